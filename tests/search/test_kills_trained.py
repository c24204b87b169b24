"""Five kills at random moments of a search that really trains: its owner, and its children."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState
from search.test_resume import DEADLINE_S, digests, outcome, said, start, trials

from hwsearch.configuration import Configuration
from hwsearch.record import from_json
from hwsearch.report import Report
from hwsearch.search.rows import AGAIN, DEATHS
from hwsearch.search.study import RESULT

TRIALS, KILLS = 4, 5


def children(pid: int) -> list[int]:
    """Trial processes of an owner: the children of the one that it forks them from."""

    def below(process: int) -> list[int]:
        try:
            text = Path(f"/proc/{process}/task/{process}/children").read_text()
        except OSError:
            return []
        return [int(child) for child in text.split()]

    return [child for server in below(pid) for child in below(server)]


@pytest.fixture
def owners() -> Iterator[list[subprocess.Popen[str]]]:
    """Owners that the test started; none outlives it."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_five_kills_of_a_search_that_trains(
    tmp_path: Path, owners: list[subprocess.Popen[str]]
) -> None:
    rng = random.Random(5)
    told: dict[int, tuple[object, ...]] = {}
    owners.append(start(tmp_path, TRIALS))
    for i in range(KILLS):
        process = owners[-1]
        end, before = time.monotonic() + DEADLINE_S, len(trials(tmp_path))
        while time.monotonic() < end and process.poll() is None:
            found = trials(tmp_path)
            running = any(t.state == TrialState.RUNNING for t in found)
            if running and (len(found) > before or i % 2):
                break
            time.sleep(0.1)
        time.sleep(rng.uniform(0, 3))
        now = {t.number: outcome(t) for t in trials(tmp_path) if t.state == TrialState.COMPLETE}
        assert {n: now[n] for n in told} == told, "a told trial was lost or changed"
        told = now
        if process.poll() is not None:
            break
        if i % 2 and children(process.pid):
            os.kill(children(process.pid)[0], signal.SIGKILL)
        else:
            process.kill()
            process.wait()
            owners.append(start(tmp_path, TRIALS))
    owners[-1].wait(2 * DEADLINE_S)
    owners.append(start(tmp_path, TRIALS))
    last = said(owners[-1])
    found = trials(tmp_path)
    complete = {t.number: t for t in found if t.state == TrialState.COMPLETE}
    assert {n: outcome(complete[n]) for n in told} == told
    assert max(digests(found).values()) == 1, "a configuration was told twice"
    assert not [t for t in found if t.state == TrialState.RUNNING]
    for trial in found:
        if trial.state == TrialState.FAIL:
            told_of = trial.user_attrs
            twice = told_of.get(DEATHS, 0) > 0  # both of its owners were killed: it is given up
            assert AGAIN in told_of or twice or "killed" in told_of["reason"]
    home = tmp_path / "mlruns" / "studies" / "digits"
    report = Report.load(home / "report.json")
    known = {t.candidate.number: t for t in report.history}
    scored = {n: t for n, t in complete.items() if "repeat" not in t.user_attrs}
    assert set(known) == set(scored) and last["scored"] == len(scored)
    for number, trial in scored.items():
        kept = trial.user_attrs[RESULT]
        assert known[number].score.value == trial.values[0] == kept["score"]["value"]
        configuration = from_json(Configuration, kept["configuration"])
        assert known[number].candidate.configuration == configuration
    assert Counter(logged(tmp_path)) == Counter(dict.fromkeys(scored, 1))


def logged(directory: Path) -> list[int]:
    """The trial number of every finished run of a trial in MLflow's database."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{directory / 'mlruns' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("hwsearch")
    runs = client.search_runs(
        [experiment.experiment_id], "tags.`hwsearch.trial` LIKE '%'", 1, 1000
    )
    assert {run.info.status for run in runs} == {"FINISHED"}
    return [int(run.data.tags["hwsearch.trial"]) for run in runs]
