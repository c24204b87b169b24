"""kill -9 at random moments of a real search: owner, workers, PostgreSQL, MLflow's server.

Processes and databases are real; trainings replay a table. Afterwards every trial that was told is
there once, with the table's value; the front is the table's; MLflow has a run for each scored
trial, none missing and none double.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from search.postgres import Postgres
from search.replay import BUDGET, replayed, value

from hwsearch.candidate import Score, Trained
from hwsearch.finalists import latest
from hwsearch.pareto import Mode, inside, pareto
from hwsearch.record import from_json
from hwsearch.search.database import Database
from hwsearch.search.rows import AGAIN, LEAF, REASON, REPEAT, RUNG
from hwsearch.search.study import RESULT
from hwsearch.search.study import trained as trained_of

TESTS = Path(__file__).parents[1]
DEADLINE_S = 900


class Server:
    """MLflow's server on a port of its own, its database in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        with (self.folder / "mlflow.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1",
                 "--port", str(self.port), "--workers", "1",
                 "--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}",
                 "--artifacts-destination", str(self.folder / "artifacts")],
                stdout=log, stderr=log, start_new_session=True,
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            )  # fmt: skip

    def wait(self) -> None:
        """Until it answers."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            try:
                with urlopen(f"{self.uri}/health", timeout=2):
                    return
            except OSError:
                time.sleep(0.2)
        raise AssertionError((self.folder / "mlflow.log").read_text()[-2000:])

    def kill(self) -> None:
        """kill -9 of the server and the processes that it started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass
class Scene:
    """A search's processes.

    Attributes:
        url: of the study's database.
        directory: that all share.
        trials: wanted.
        seconds: that each training takes.
        tracking: MLflow's server, or "".
    """

    url: str
    directory: Path
    trials: int
    seconds: float
    tracking: str = ""
    killed: Counter[str] = field(default_factory=Counter)
    told: dict[int, tuple[object, ...]] = field(default_factory=dict)

    def owner(self) -> subprocess.Popen[str]:
        given = [self.url, str(self.directory), str(self.trials), str(self.seconds)]
        return self._run("own", *given, *([self.tracking] if self.tracking else []))

    def worker(self) -> subprocess.Popen[str]:
        return self._run("join", self.url, str(self.directory), str(self.seconds))

    def _run(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(TESTS / "search" / "replay.py"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])},
        )

    def found_or_none(self) -> list[FrozenTrial]:
        """The same; nothing while there are no tables: Optuna would make some under the owner's
        hands."""
        base = Database(self.url)
        try:
            base.check()
            return self.found()
        except Exception:
            return []
        finally:
            base.close()

    def found(self) -> list[FrozenTrial]:
        """The study's trials, as Optuna reads them; what was told before has to be as it was."""
        with Database(self.url).optuna(create=False) as storage:
            try:
                study = optuna.load_study(study_name="by-hand", storage=storage)
            except KeyError:
                return []
            trials = study.get_trials(deepcopy=False)
        now = {t.number: outcome(t) for t in trials if t.state == TrialState.COMPLETE}
        lost = {n: was for n, was in self.told.items() if now.get(n) != was}
        assert not lost, f"told trials were lost or changed: {lost}"
        self.told = now
        return trials


def outcome(trial: FrozenTrial) -> tuple[object, ...]:
    return tuple(trial.values or ()), json.dumps(trial.user_attrs, sort_keys=True)


def kill_at_random(
    scene: Scene,
    kinds: Sequence[str],
    kills: int,
    postgres: Postgres,
    server: Server | None,
    seed: int,
) -> dict[str, object]:
    """Runs a search and kills; what the last owner said.

    Args:
        scene: the search.
        kinds: what to kill: ``"owner"``, ``"worker"``, ``"postgres"``, ``"mlflow"``; in turn.
        kills: how often.
        postgres, server: the databases.
        seed: of the moments.
    """
    rng = random.Random(seed)
    owner, workers = scene.owner(), []
    try:
        while not scene.found_or_none():
            assert owner.poll() is None, owner.stderr and owner.stderr.read()[-3000:]
            time.sleep(0.2)
        workers = [scene.worker() for _ in range(2)]
        for i in range(kills):
            kind = kinds[i % len(kinds)]
            before = len(scene.found())
            end = time.monotonic() + DEADLINE_S
            while len(scene.found()) <= before and owner.poll() is None:  # it goes on
                assert time.monotonic() < end, "nothing is told any more"
                time.sleep(0.1)
            time.sleep(rng.uniform(0, 2 * scene.seconds))
            if owner.poll() is not None:
                break
            if kind == "owner":
                owner.kill()
                owner.communicate()
                owner = scene.owner()
            elif kind == "worker":
                workers[0].kill()
                workers.pop(0).communicate()
                workers.append(scene.worker())
            elif kind == "postgres":
                postgres.kill()
                time.sleep(rng.uniform(0, 2))
                postgres.start()
            elif server is not None:
                server.kill()
                time.sleep(rng.uniform(0, 2))
                server.start()
            scene.killed[kind] += 1
        ended(owner)
        for worker in workers:
            worker.wait(DEADLINE_S)
        said: dict[str, object] = {}
        for _ in range(4):  # logs what MLflow missed, as the next search of a name does
            if server is not None:
                server.wait()
            said = ended(scene.owner())
            if server is None or said["logged"] == said["scored"]:
                break
        return said
    finally:
        for process in (owner, *workers):
            if process.poll() is None:
                process.kill()
            process.communicate()


def ended(process: subprocess.Popen[str]) -> dict[str, object]:
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err[-3000:]
    said: dict[str, object] = json.loads(out.strip().splitlines()[-1])
    return said


def check(scene: Scene, said: dict[str, object]) -> dict[str, int]:
    """What was lost or doubled; raises AssertionError if anything was.

    Returns:
        Counts to print.
    """
    trials = scene.found()
    task = replayed(scene.directory, scene.trials)
    assert [t.number for t in trials] == list(range(len(trials)))
    states = Counter(t.state for t in trials)
    assert states[TrialState.RUNNING] == 0
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    scored = [t for t in complete if REPEAT not in t.user_attrs]
    asked = [t for t in scored if LEAF not in t.user_attrs]
    dead = [t for t in trials if t.state == TrialState.FAIL and AGAIN not in t.user_attrs]
    assert all("died" in t.user_attrs[REASON] for t in dead), dead
    assert len(asked) + len(dead) >= scene.trials and len(asked) <= scene.trials
    found: dict[int, Trained] = {}
    for trial in scored:
        known = trained_of(trial, task.pricing.cost, task.directory)
        assert known is not None and trial.values is not None
        leaf = known.candidate.configuration
        assert known.score == from_json(Score, trial.user_attrs[RESULT]["score"])
        assert trial.values[0] == value(leaf.training, task.precision(leaf)), "not the table's"
        assert known.tflite.is_file()
        found[trial.number] = known
    per_configuration = Counter(json.dumps(t.user_attrs[RESULT]["configuration"]) for t in asked)
    promoted = Counter(
        found[t.number].candidate.configuration.training for t in asked if t.params.get(RUNG)
    )
    assert set(promoted.values()) <= {1}, "a training was gone on with twice"
    # The front of the list, computed anew.
    fits = [t for t in latest(list(found.values())) if inside(t, BUDGET, "max")]
    values = np.array([task.values(t) for t in fits])
    modes: list[Mode] = ["max" if d == "maximize" else "min" for d in task.directions()]
    front = {tuple(v) for v, on in zip(values.tolist(), pareto(values, modes), strict=True) if on}
    said_front = {tuple(task.values(found[n])) for n in said["front"]}  # type: ignore[attr-defined]
    assert said_front == front, "the front is not the list's"
    counts = {
        "trials told": len(complete),
        "trained": len(asked),
        "enqueued again": sum(AGAIN in t.user_attrs for t in trials),
        "died twice": len(dead),
        "trained by two at once": sum(n - 1 for n in per_configuration.values()),
        "promoted": len(promoted),
        "front": len(front),
    }
    if scene.tracking:
        runs = logged(scene.tracking)
        assert Counter(runs) == Counter(dict.fromkeys(found, 1)), (
            f"missing {sorted(set(found) - set(runs))[:9]}, double "
            f"{[n for n, c in Counter(runs).items() if c > 1][:9]}"
        )
        counts["MLflow runs"] = len(runs)
    return counts


def logged(uri: str) -> list[int]:
    """The trial number of every finished run of a trial in MLflow."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("hwsearch")
    found, token = [], None
    while True:
        page = client.search_runs(
            [experiment.experiment_id], "tags.`hwsearch.trial` LIKE '%'", 1, 1000, None, token
        )
        for run in page:
            assert run.info.status == "FINISHED", run.info.status
            found.append(int(run.data.tags["hwsearch.trial"]))
        token = page.token
        if not token:
            return found


@contextmanager
def mlflow_server() -> Iterator[Server]:
    """A server in a new folder."""
    with tempfile.TemporaryDirectory(prefix="hwsearch-mlflow-") as folder:
        server = Server(Path(folder))
        try:
            server.wait()
            yield server
        finally:
            server.kill()
