"""Tracking against MLflow's own sqlite store, and against stores that are down."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import factories
import numpy as np
import pytest

from hwsearch import links, notes, runs, track
from hwsearch.deployed_tflite import DeployedTflite
from hwsearch.graph.tflite import read
from hwsearch.report import Report
from hwsearch.track import Tracker

LAYOUT = factories.LAYOUT
PARAMS = {"metric": "accuracy", "mode": "max", "board": "nucleo-test", "trials": 5}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests: making its tables takes seconds."""
    return tmp_path_factory.mktemp("mlruns")


@pytest.fixture(scope="module")
def client(directory: Path) -> Any:
    from mlflow import MlflowClient

    Tracker(None, "hwsearch", "first", directory).start({})  # makes the tables
    return MlflowClient(f"sqlite:///{directory}/mlflow.db")


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pictures, which take a second; the test of finish has them."""
    monkeypatch.setattr(runs, "write_pictures", lambda report, folder: [])


@pytest.fixture
def study(request: pytest.FixtureRequest) -> str:
    return request.node.name


@pytest.fixture
def report(tmp_path: Path, study: str) -> Report:
    return factories.report(tmp_path / "artefacts", trials=5, study=study)


def started(directory: Path, study: str, **changed: Any) -> Tracker:
    tracker = Tracker(changed.pop("uri", None), "hwsearch", study, directory, **changed)
    tracker.start(PARAMS, {"note": "x"}, LAYOUT)
    return tracker


def all_runs(client: Any, study: str) -> tuple[list[Any], list[Any]]:
    """(parents, children) of a study."""
    experiment = client.get_experiment_by_name("hwsearch").experiment_id
    found = client.search_runs([experiment], f"tags.`hwsearch.study` = '{study}'")
    parents = [r for r in found if "hwsearch.trial" not in r.data.tags]
    return parents, [r for r in found if "hwsearch.trial" in r.data.tags]


def log_all(tracker: Tracker, report: Report) -> None:
    for trial in report.history:
        tracker.trial(trial, report.budget.excess(trial.candidate.cost))


def test_a_trial_is_a_child_run_with_everything_known(
    directory: Path, client: Any, study: str, report: Report
) -> None:
    tracker = started(directory, study)
    log_all(tracker, report)
    assert tracker.logged() == {t.candidate.number for t in report.history}
    assert (tracker.unlogged, tracker.trouble) == (0, "")
    (parent,), children = all_runs(client, study)
    assert parent.data.params["board"] == "nucleo-test" and parent.info.status == "RUNNING"
    note = parent.data.tags["mlflow.note.content"]
    assert "is running" in note and "3: stem 32, body 32, head 32" in note
    assert len(children) == 5
    for child in children:
        number = int(child.data.tags["hwsearch.trial"])
        trial = report.history[number]
        cost, chosen = trial.candidate.cost, trial.candidate.configuration
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.info.status == "FINISHED"
        metrics, params = child.data.metrics, child.data.params
        assert metrics["accuracy"] == trial.score.value
        assert metrics["ram_bytes"] == cost.ram_bytes
        assert metrics["excess/ram_bytes"] == cost.ram_bytes / 24576 - 1
        assert params["width/body"] == str(chosen.widths[1])
        assert params["bits/dw"] == str(chosen.weight_bits[1])
        curve = client.get_metric_history(child.info.run_id, "epoch/loss")
        assert sorted((m.step, m.value) for m in curve) == [(1, 0.71), (2, 0.52)]
        files = {a.path for a in client.list_artifacts(child.info.run_id)}
        assert files == {trial.tflite.name, "layers.json", "operators.json"}
        note = child.data.tags["mlflow.note.content"]
        assert "| RAM |" in note and f"| body | {chosen.widths[1]} | 32 |" in note
        layers = json.loads(
            Path(client.download_artifacts(child.info.run_id, "layers.json")).read_text()
        )
        rows = {(row[0], row[1]): row[2:] for row in layers["data"]}
        assert rows["body", "channels"] == [chosen.widths[1], 32, 1 - chosen.widths[1] / 32]
        assert rows["dw", "weight bits"] == [chosen.weight_bits[1], 8, 0.0]
        visible = child.info.run_name[:17]
        assert f"{trial.score.value:.3f}"[1:] in visible and f"#{number}" in visible
    place = client.get_experiment_by_name("hwsearch").artifact_location
    assert place.startswith(directory.as_uri())


def test_a_restart_goes_on_with_the_parent_and_logs_nothing_twice(
    directory: Path, client: Any, study: str, report: Report
) -> None:
    first = started(directory, study)
    for trial in report.history[:3]:
        first.trial(trial, {})
    assert first.logged() == {0, 1, 2}
    # Killed in the middle of trial 3: its run exists, and was never ended.
    experiment = client.get_experiment_by_name("hwsearch").experiment_id
    client.create_run(experiment, tags={"hwsearch.study": study, "hwsearch.trial": "3"})
    second = started(directory, study)
    assert second.logged() == {0, 1, 2}
    log_all(second, report)
    assert second.logged() == {0, 1, 2, 3, 4}
    parents, children = all_runs(client, study)
    assert len(parents) == 1
    assert sorted(int(c.data.tags["hwsearch.trial"]) for c in children) == [0, 1, 2, 3, 4]
    assert {c.info.status for c in children} == {"FINISHED"}


def test_finish_logs_counts_pictures_and_finalists(
    directory: Path, client: Any, study: str, report: Report
) -> None:
    tracker = started(directory, study)
    rejected = [{"reason": "ram_bytes", "ram_bytes": 30_000 + i} for i in range(3)]
    tracker.finish(report, rejected)  # nothing was logged before: it catches up
    assert (tracker.unlogged, tracker.trouble) == (0, "")
    (parent,), children = all_runs(client, study)
    assert parent.info.status == "FINISHED" and len(children) == 5
    assert parent.data.metrics["asked"] == 142 and parent.data.metrics["rejected"] == 61
    files = {a.path for a in client.list_artifacts(parent.info.run_id)}
    assert files == {
        "hypervolume.png", "memory.png", "operators.json", "operators.png", "overview.png",
        "pareto.png", "rejected.json", "report.html", "report.json",
    }  # fmt: skip
    folder = Path(client.download_artifacts(parent.info.run_id, ""))
    table = json.loads((folder / "rejected.json").read_text())
    assert table == {
        "columns": ["reason", "ram_bytes"],
        "data": [["ram_bytes", 30_000 + i] for i in range(3)],
    }
    assert Report.load(folder / "report.json").study == study
    note = parent.data.tags["mlflow.note.content"]
    assert (
        note.startswith(f"**Trial {report.chosen.number}: accuracy ")
        and f"| ►\u00a0{report.chosen.number} |" in note
    )
    assert "% of 192.0 KiB)" in note
    for picture in ("overview.png", "memory.png", "operators.png"):
        assert f"(get-artifact?path={picture}&run_uuid={parent.info.run_id})" in note
    assert "3: stem 32" in note and "142 asked" in note and len(note) <= notes.MOST
    shares = client.get_metric_history(parent.info.run_id, "front/hypervolume")
    assert [m.step for m in shares] == [1, 2, 3, 4, 5] and shares[-1].value == 1
    cycles = client.get_metric_history(parent.info.run_id, "operator/cycles")
    assert [m.value for m in cycles] == [op.cycles for op in report.chosen.cost.ops]
    (chosen,) = [c for c in children if c.data.tags.get("hwsearch.chosen") == "yes"]
    assert chosen.data.tags["hwsearch.trial"] == str(report.chosen.number)
    assert chosen.info.run_name.startswith("★ ")
    assert chosen.data.metrics["report_accuracy"] == report.chosen.score.value
    assert chosen.data.metrics["measured_arena_bytes"] == 14_336


@pytest.mark.usefixtures("plain")
def test_the_chosen_is_registered_once_and_runs_the_deployed_bytes(
    directory: Path, client: Any, study: str, report: Report, tmp_path: Path
) -> None:
    for _ in range(2):
        started(directory, study).finish(report)
    (version,) = client.search_model_versions(f"name = '{runs.file_name(study)}'")
    assert version.tags["board"] == "nucleo-test" and version.tags["core"] == "M4"
    assert version.tags["budget"] == str(report.budget)
    named = client.get_model_version_by_alias(runs.file_name(study), "chosen")
    assert named.version == version.version
    folder = Path(version.source.removeprefix("file://"))
    assert [p.name for p in folder.rglob("*.pkl")] == [], "no pickle in our formats"
    packages = (folder / "requirements.txt").read_text().split()
    assert {p.split("==")[0] for p in packages} == {"mlflow", "ai-edge-litert", "numpy"}
    # In a process of its own, without hwsearch on its path.
    shape = (
        read(report.chosen.tflite).graph.tensors[read(report.chosen.tflite).graph.inputs[0]].shape
    )
    x = np.random.default_rng(0).normal(0, 1, (3, *shape[1:])).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    code = (
        "import mlflow, numpy as np, sys\n"
        f"mlflow.set_tracking_uri('sqlite:///{directory}/mlflow.db')\n"
        f"model = mlflow.pyfunc.load_model('models:/{study}@chosen')\n"
        "y = model.predict(np.load('x.npy'))\n"
        "assert model.metadata.signature.inputs.inputs[0].type == np.dtype('float32')\n"
        "assert model.input_example is not None\n"
        "np.save('y.npy', y)\n"
        "assert not any(m.startswith('hwsearch') for m in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, check=True)
    expected = DeployedTflite(report.chosen.tflite).predict(x)
    assert np.array_equal(np.load(tmp_path / "y.npy"), expected) and expected.shape[0] == 3


@pytest.mark.usefixtures("plain")
def test_the_users_own_run_and_settings_stay(
    directory: Path, client: Any, study: str, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{directory}/mlflow.db")
    try:
        with mlflow.start_run(run_name="mine") as mine:
            started(directory, study).finish(report)
            assert mlflow.active_run().info.run_id == mine.info.run_id
            assert mlflow.get_tracking_uri() == f"sqlite:///{directory}/mlflow.db"
        assert client.get_run(mine.info.run_id).data.metrics == {}
        assert client.get_run(mine.info.run_id).info.status == "FINISHED"
    finally:
        mlflow.set_tracking_uri(before)


@pytest.fixture
def warned() -> Iterator[list[str]]:
    """Every warning that any package logs while the test runs: each is a line on the terminal."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler = Lines(logging.WARNING)
    logging.getLogger().addHandler(handler)
    yield lines
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:////proc/none/mlflow.db"])
def test_a_store_that_is_down_costs_a_line_and_no_time(
    uri: str, tmp_path: Path, report: Report, warned: list[str]
) -> None:
    tracker = started(tmp_path, "down", uri=uri)
    begin = time.monotonic()
    log_all(tracker, report)
    assert time.monotonic() - begin < 0.1, "a trial never waits for MLflow"
    assert tracker.logged() == set() and tracker.unlogged == 5
    assert "not tracked" in tracker.link() and tracker.trouble in tracker.link()
    begin = time.monotonic()
    tracker.finish(report)
    assert time.monotonic() - begin < 30
    first, last = warned
    assert "goes on without it" in first and "5 trials wait for the next search" in last
    assert all("\n" not in w for w in warned)


@pytest.mark.usefixtures("plain")
def test_a_full_disk_in_the_middle_is_caught_up_at_the_end(
    directory: Path,
    client: Any,
    study: str,
    report: Report,
    warned: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracker = started(directory, study)
    tracker.trial(report.history[0], {})
    assert tracker.logged() == {0}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(tracker._client, "log_artifacts", full)
        log_all(tracker, report)
        assert tracker.logged() == {0}
    assert tracker.unlogged == 4 and "No space left" in tracker.trouble
    assert len(warned) == 1 and "No space left" in warned[0]
    tracker.finish(report)
    assert tracker.unlogged == 0 and tracker.logged() == {0, 1, 2, 3, 4}
    assert len(all_runs(client, study)[1]) == 5


@pytest.mark.usefixtures("plain")
def test_a_slow_store_holds_no_more_than_its_queue(
    directory: Path,
    client: Any,
    study: str,
    report: Report,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(track, "QUEUE", 2)
    tracker = started(directory, study)
    tracker.logged()
    gate = threading.Event()
    tracker._submit(lambda: gate.wait(60) and None)
    while tracker._jobs.qsize():
        time.sleep(0.01)
    log_all(tracker, report)  # two wait, three are left out
    assert tracker.unlogged == 3
    gate.set()
    tracker.finish(report)
    assert tracker.unlogged == 0 and len(all_runs(client, study)[1]) == 5


def test_an_answer_that_never_comes_is_given_up(directory: Path, study: str) -> None:
    tracker = started(directory, study, wait_s=0.2)
    gate = threading.Event()
    tracker._submit(lambda: gate.wait(60) and None)
    begin = time.monotonic()
    assert tracker.logged() == set() and "TimeoutError" in tracker.trouble
    tracker.finish(factories.report(directory / "none", trials=0, finalists=(), winner=None))
    assert time.monotonic() - begin < 5, "what hangs is waited for once"
    gate.set()


def test_more_params_than_a_batch_takes(
    directory: Path, client: Any, study: str, tmp_path: Path
) -> None:
    trial = factories.trained(tmp_path, 0)
    wide = replace(trial.candidate.configuration, widths=tuple(range(230)))
    tracker = Tracker(None, "hwsearch", study, directory)
    tracker.start(PARAMS)
    tracker.trial(replace(trial, candidate=replace(trial.candidate, configuration=wide)), {})
    assert tracker.logged() == {0}, tracker.trouble
    (child,) = all_runs(client, study)[1]
    assert child.data.params["width/229"] == "229"


@pytest.mark.usefixtures("plain")
def test_quotes_and_slashes_in_names(directory: Path, client: Any, tmp_path: Path) -> None:
    name = "bob's net/a:b"
    report = factories.report(tmp_path, trials=5, study=name)
    for _ in range(2):
        tracker = started(directory, name)
        tracker.finish(report)
        assert (tracker.unlogged, tracker.trouble) == (0, "")
    assert len(client.search_model_versions("name = 'bob_s net_a_b'")) == 1


def test_the_link_opens_a_view_that_the_experiment_keeps(
    directory: Path, client: Any, study: str
) -> None:
    tracker = started(directory, study)
    link = tracker.link()
    assert link.startswith(f"hwsearch ui --directory {directory}, then http://127.0.0.1:5000/")
    key = link.split("viewStateShareKey=")[1]
    tags = client.get_experiment_by_name("hwsearch").tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    view = json.loads(tags[f"mlflow.sharedViewState.{key}"])
    state = json.loads(view["state"])
    assert view["name"] == study and state["orderByKey"] == "metrics.`accuracy`"
    assert "params.`backend`" in state["selectedColumns"] and state["orderByAsc"] is False
    assert study in links.views(tags)
    pages = track.pages(tracker.uri, "http://127.0.0.1:5077/")
    assert pages[study] == link.split(", then ")[1].replace(":5000", ":5077")
    assert track.pages(tracker.uri, experiment="none") == {}


def test_importing_the_tracker_does_not_import_mlflow() -> None:
    code = (
        "import sys, hwsearch.track\nassert not {'mlflow', 'pandas', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
