"""``hwsearch worker`` as a process of its own, files through MLflow, and the launchers."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.trial import TrialState
from search.kills import Scene, mlflow_server
from search.postgres import Postgres
from search.replay import replayed
from search.tasks import searching, trials

import hwsearch
from hwsearch.artefacts import RunArtefacts
from hwsearch.cli import main
from hwsearch.errors import StudyError
from hwsearch.search.database import Database
from hwsearch.search.join import joined
from hwsearch.search.offer import Offer, folder
from hwsearch.search.resident import machine_bytes, parse_bytes, resident_bytes, share_of
from hwsearch.search.sampler import sampler
from hwsearch.search.study import OWNED

LAUNCHERS = Path(__file__).parents[2] / "examples" / "workers"


def files(directory: Path) -> None:
    """What stands for model and data."""
    directory.mkdir(parents=True)
    (directory / "model.keras").write_bytes(b"model")
    for part in ("train", "search"):
        (directory / "data" / part).mkdir(parents=True)
        (directory / "data" / part / "input_0.npy").write_bytes(part.encode())


def test_a_worker_takes_the_owners_files_if_their_digests_are_right(tmp_path: Path) -> None:
    task = replayed(tmp_path / "mine", 3)
    files(task.directory)
    offer = Offer.load(Offer.of(task, partial(sampler, task)).dump())
    copied = tmp_path / "theirs"
    shutil.copytree(task.directory, copied)
    assert offer.here(copied, None).directory == copied
    (copied / "data" / "train" / "input_0.npy").write_bytes(b"other data")
    with pytest.raises(StudyError, match=r"train/input_0\.npy has another digest"):
        offer.here(copied, None)
    with pytest.raises(StudyError, match=r"model\.keras is missing.*--directory"):
        offer.here(tmp_path / "nowhere", None)
    with pytest.raises(StudyError, match=r"other versions \(hwsearch 0\.0\.1 there"):
        head = b'{"hwsearch": "0.0.1", "optuna": "5.0.0", "python": "3.11"}'
        Offer.load(head + b"\n" + b"never unpickled")
    with pytest.raises(StudyError, match="offers no work"):
        Offer.load(b"")


def test_joining_what_is_not_there_says_what_is(tmp_path: Path) -> None:
    task = replayed(tmp_path, 2)
    url = f"sqlite:///{tmp_path / 's.db'}"
    with pytest.raises(StudyError, match="there is no study in"), joined(url, "by-hand"):
        pass
    with searching(task, url=url) as search:
        with pytest.raises(StudyError, match=r"no study 'other'.*Known: by-hand"):
            with joined(url, "other"):
                pass
        search.storage.finish("done")
        with pytest.raises(StudyError, match="is done: it needs no worker"):
            with joined(url, "by-hand", tmp_path):
                pass


def test_the_command_says_what_is_wrong_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["worker", "--storage", "sqlite:///no/such/file.db", "--study", "x"]) != 0
    assert main(["worker", "--storage", "postgresql+psycopg://u:hush@127.0.0.1:9/x", "--study",
                 "x"]) != 0  # fmt: skip
    assert main(["worker", "--storage", "x", "--study", "x", "--memory", "much"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 3 and "hush" not in "".join(lines), lines
    assert "u:***@127.0.0.1:9" in lines[1] and "4 GiB" in lines[2]


def test_sigterm_gives_a_workers_trial_back(tmp_path: Path) -> None:
    scene = Scene(f"sqlite:///{tmp_path / 's.db'}", tmp_path, 3, 60.0)
    task = replayed(tmp_path, 3)
    with searching(task, url=scene.url) as search:
        worker = scene.worker()
        end = time.monotonic() + 60
        while not search.storage.running() and time.monotonic() < end:
            time.sleep(0.05)
        assert search.storage.running()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
        worker.communicate()
        assert search.storage.running() == {}
        again = [t for t in trials(task, scene.url) if "again" in t.user_attrs]
        assert len(again) == 1
        assert search.leases.watch() == 0, "nothing is left for a reaper"


@pytest.mark.slow
def test_files_go_through_a_real_mlflow_server(tmp_path: Path) -> None:
    from hwsearch.track import Tracker

    task = replayed(tmp_path / "owner", 4)
    files(task.directory)
    with mlflow_server() as server:
        tracker = Tracker(server.uri, "hwsearch", task.name, tmp_path)
        tracker.start({"metric": "accuracy", "mode": "max"})
        tracker.logged()
        store = RunArtefacts(server.uri, task.name)
        offer = Offer.load(Offer.of(task, partial(sampler, task), store).dump())
        assert offer.artefacts == server.uri
        away = tmp_path / "away"
        here = offer.here(away, RunArtefacts(offer.artefacts, task.name))
        assert (here.directory / "data" / "search" / "input_0.npy").read_bytes() == b"search"
        trained = away / folder("abc")
        trained.mkdir(parents=True)
        (trained / "float.tflite").write_bytes(b"float")
        store.put(folder("abc"), away)
        store.get(folder("abc"), tmp_path / "third")
        assert (tmp_path / "third" / folder("abc") / "float.tflite").read_bytes() == b"float"
        quick = RunArtefacts(server.uri, task.name, patience_s=1.0)
        with pytest.raises(StudyError, match="cannot be fetched"):
            quick.get(folder("never"), away)
        server.kill()
        with pytest.raises(StudyError, match=r"cannot be stored.*Is the server up"):
            quick.put(folder("abc"), away)
        server.start()


def test_sizes_and_what_a_process_holds() -> None:
    assert parse_bytes("memory", "4 GiB") == 4 * 2**30
    assert parse_bytes("cache", "1.5 MB") == 1_500_000 and parse_bytes("cache", 7) == 7
    for wrong in ("much", "-1 GiB", "3 furlongs", 0):
        with pytest.raises(ValueError, match="memory="):
            parse_bytes("memory", wrong)
    assert 10 * 2**20 < resident_bytes(os.getpid()) < machine_bytes()
    assert resident_bytes(2**22 + 1) == 0
    assert share_of(2) == int(0.9 * machine_bytes() / 2)


# The launchers.


@pytest.mark.parametrize("name", ["ssh.sh", "local.sh", "slurm.sbatch"])
def test_shell_launchers_are_sound(name: str) -> None:
    path = LAUNCHERS / name
    shell = "bash" if "bash" in path.read_text().splitlines()[0] else "sh"
    subprocess.run([shell, "-n", str(path)], check=True)
    assert "worker --study" in path.read_text()


def test_the_systemd_unit_is_sound(tmp_path: Path) -> None:
    unit = LAUNCHERS / "hwsearch-worker@.service"
    command = next(
        line.partition("=")[2]
        for line in unit.read_text().splitlines()
        if line.startswith("ExecStart=")
    )
    options(shlex.split(command)[2:])
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    made = tmp_path / "hwsearch-worker@kws.service"
    made.write_text(unit.read_text())
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(made)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "hwsearch-worker@kws" not in done.stderr, done.stderr


def test_the_kubernetes_job_is_sound() -> None:
    job = yaml.safe_load((LAUNCHERS / "kubernetes.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] in ("OnFailure", "Never"), "a Job takes no other"
    container = pod["containers"][0]
    options(container["args"][1:])
    assert container["env"][0]["valueFrom"]["secretKeyRef"]["name"] == "hwsearch"
    mounts = {m["name"] for m in container["volumeMounts"]}
    assert mounts == {v["name"] for v in pod["volumes"]}


def options(arguments: list[str]) -> None:
    """Nothing, if the command line takes these arguments."""
    from hwsearch.commands.worker import command

    assert arguments[0] == "worker"
    command.make_context("worker", [*arguments[1:], "--storage", "sqlite://"])


def test_plain_processes_really_help(postgres: Postgres, tmp_path: Path) -> None:
    """local.sh with the replaying worker in place of ``hwsearch``; SIGTERM reaches them."""
    url = postgres.make("launched")
    scene = Scene(url, tmp_path, 12, 0.5)
    script = tmp_path / "hwsearch"
    joins = [sys.executable, str(Path(__file__).with_name("replay.py")), "join", url,
             str(tmp_path), "0.5"]  # fmt: skip
    script.write_text(f"#!/bin/sh\nexec {shlex.join(joins)}\n")
    script.chmod(0o755)
    tests = str(Path(__file__).parents[1])
    environment = os.environ | {
        "HWSEARCH": str(script), "STUDY": "by-hand", "HWSEARCH_STORAGE": url, "COUNT": "2",
        "PYTHONPATH": os.pathsep.join([tests, str(Path(tests).parent)]),
    }  # fmt: skip
    task = replayed(tmp_path, 12)
    with searching(replace(task, workers=1), url=url) as search:
        launched = subprocess.run(
            ["sh", str(LAUNCHERS / "local.sh")], env=environment, timeout=120, check=True,
            capture_output=True, text=True,
        )  # fmt: skip
        assert sum(int(line.split(":")[1].strip(" }")) for line in
                   launched.stdout.splitlines()) == 12  # fmt: skip
        search.resume()
        assert search.known.counts.evaluated == 12
        assert {len({t.user_attrs["worker"] for t in trials(task, url)
                     if "worker" in t.user_attrs})} == {2}  # fmt: skip
    assert (task.directory / OWNED).exists() and scene.found()


OWNS = """
import sys
from pathlib import Path
import hwsearch
from tests import digits
train, val = digits.data()
hwsearch.optimize(
    digits.network(train, epochs=3), digits.BUDGET, train, val, board="nucleo-l4r5zi", trials=8,
    sampler="random",
    study="digits", storage=sys.argv[1], directory=sys.argv[2], backends=["tflm"],
    space=hwsearch.Space(epochs=1, rungs=(3,), samples=512),
)
"""


@pytest.mark.slow
def test_the_command_really_trains_for_a_search(tmp_path: Path) -> None:
    """An owner and ``hwsearch worker`` share trainings; promotions are made once by either."""
    url, home = f"sqlite:///{tmp_path / 's.db'}", tmp_path / "mlruns"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    join = [sys.executable, "-m", "hwsearch.cli", "worker", "--storage", url, "--study", "digits",
            "--directory", str(home)]  # fmt: skip
    owner = subprocess.Popen([sys.executable, "-c", OWNS, url, str(home)], env=environment)
    workers: list[subprocess.Popen[bytes]] = []
    try:
        end = time.monotonic() + 300
        while not (home / "studies" / "digits" / "trained").is_dir():  # it trains: it has offered
            assert owner.poll() is None and time.monotonic() < end
            time.sleep(0.2)
        workers.append(subprocess.Popen(join, env=environment))
        assert owner.wait(600) == 0
        assert workers[0].wait(60) == 0
    finally:
        for process in (owner, *workers):
            process.kill()
            process.wait()
    with Database(url).optuna(create=False) as storage:
        found = optuna.load_study(study_name="digits", storage=storage).get_trials()
    asked = [t for t in found if t.state == TrialState.COMPLETE and "leaf" not in t.user_attrs]
    assert len(asked) == 8 and len({t.user_attrs["worker"] for t in asked}) == 2
    promoted = [t.user_attrs["promoted"] for t in asked if t.params["rung"]]
    assert 1 <= len(promoted) == len(set(promoted)) <= 2
    assert hwsearch.Report.load(home / "studies" / "digits").chosen is not None
