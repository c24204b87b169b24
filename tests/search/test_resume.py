"""A search that is killed, or stopped by Ctrl-C, loses nothing and repeats nothing."""

from __future__ import annotations

import collections
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

SCRIPT = Path(__file__).parents[1] / "digits.py"
DEADLINE_S = 400


def start(directory: Path, trials: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(directory), str(trials)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def said(process: subprocess.Popen[str]) -> dict[str, object]:
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err[-3000:]
    found: dict[str, object] = json.loads(out.strip().splitlines()[-1])
    return found


def trials(directory: Path) -> list[FrozenTrial]:
    home = directory / "mlruns" / "studies" / "digits"
    if not (home / "data" / "search" / "samples.json").is_file():
        return []  # written after the study: reading earlier would make tables under its hands
    study = optuna.load_study(study_name="digits", storage=f"sqlite:///{home / 'study.db'}")
    return study.get_trials(deepcopy=False)


def wait_for_a_running_trial_after_a_completed_one(
    directory: Path, process: subprocess.Popen[str]
) -> list[FrozenTrial]:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end and process.poll() is None:
        found = trials(directory)
        asked = [t for t in found if "leaf" not in t.user_attrs]
        if any(t.state == TrialState.COMPLETE for t in asked) and any(
            t.state == TrialState.RUNNING for t in asked
        ):
            return found
        time.sleep(0.05)
    raise AssertionError(f"no such state: {process.stderr.read()[-3000:]}")


def outcome(trial: FrozenTrial) -> tuple[object, ...]:
    return trial.state, tuple(trial.values or ()), json.dumps(trial.user_attrs, sort_keys=True)


def digests(found: list[FrozenTrial]) -> collections.Counter[str]:
    return collections.Counter(
        json.dumps(t.user_attrs["result"]["configuration"], sort_keys=True)
        for t in found
        if t.state == TrialState.COMPLETE and "repeat" not in t.user_attrs
    )


def test_killed_then_called_again_and_then_interrupted(tmp_path: Path) -> None:
    process = start(tmp_path, 3)
    before = wait_for_a_running_trial_after_a_completed_one(tmp_path, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    completed = {t.number: outcome(t) for t in before if t.state == TrialState.COMPLETE}
    running = [t for t in before if t.state == TrialState.RUNNING]

    assert said(start(tmp_path, 3))["failed"] == 0
    after = trials(tmp_path)
    assert {n: outcome(after[n]) for n in completed} == completed, "a completed trial was lost"
    assert max(digests(after).values()) == 1, "a configuration was scored twice"
    asked = [t for t in after if t.state == TrialState.COMPLETE and "leaf" not in t.user_attrs]
    assert len(asked) == 3
    waiting = [t.system_attrs["fixed_params"] for t in after if t.state == TrialState.WAITING]
    again = [p for p in (*waiting, *(t.params for t in asked)) if p == running[0].params]
    assert len(again) == 1, "the trial that was cut short is neither done nor waiting"
    assert not [t for t in after if t.state == TrialState.RUNNING]

    process = start(tmp_path, 40)
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end and len(trials(tmp_path)) == len(after):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    report = said(process)
    assert report["interrupted"] is True
    assert report["chosen"] is not None
    assert int(str(report["scored"])) >= len(digests(after))
