"""Searches that begin at once on one store."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from hwsearch.track import Tracker


def test_searches_that_begin_at_once_share_the_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    Tracker(None, "hwsearch", "first", tmp_path).start({})  # makes the tables
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    find, both = type(client).get_experiment_by_name, threading.Barrier(2)
    seen: list[Any] = []

    def find_together(self: Any, name: str) -> Any:
        found = find(self, name)
        if len(seen) < 2:
            seen.append(found)
            both.wait(30)
        return found

    monkeypatch.setattr(type(client), "get_experiment_by_name", find_together)
    trackers = [Tracker(None, "at once", f"study {i}", tmp_path) for i in range(2)]
    for tracker in trackers:
        tracker.start({})
    assert [tracker.logged() for tracker in trackers] == [set(), set()]
    assert [tracker.trouble for tracker in trackers] == ["", ""]
    assert seen == [None, None]
    (experiment,) = client.search_experiments(filter_string="name = 'at once'")
    assert len(client.search_runs([experiment.experiment_id])) == 2


def test_processes_that_begin_at_once_make_the_tables_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from hwsearch.track import Tracker\n"
        "tracker = Tracker(None, 'hwsearch', sys.argv[1], Path(sys.argv[2]), wait_s=300)\n"
        "tracker.start({}); tracker.logged(); print('trouble:', tracker.trouble)"
    )
    begun = [
        subprocess.Popen(
            [sys.executable, "-c", code, study, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for study in ("one", "two")
    ]
    assert [process.communicate(timeout=300)[0].strip() for process in begun] == ["trouble:"] * 2
