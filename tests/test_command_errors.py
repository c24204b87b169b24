"""What users get wrong, or their system refuses: one paragraph, the documented exit code."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import factories
import pytest

from hwsearch import cli
from hwsearch.report import Report

CLI = [sys.executable, "-m", "hwsearch.cli"]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Runs a command in an empty folder: (exit code, the one line on stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str]:
        code = cli.main([str(a) for a in arguments])
        _, err = capsys.readouterr()
        assert err.startswith("hwsearch: ") and err.count("\n") == 1, err
        assert "fault of hwsearch" not in err
        return code, err

    return call


@pytest.fixture
def options(run, tmp_path: Path):
    """Runs a search whose options are in a file; what is said of it."""

    def call(text: str) -> str:
        (tmp_path / "o.toml").write_text(text)
        code, err = run("optimize", "m.keras", "--config", "o.toml")
        assert code == cli.UNUSABLE
        return err

    return call


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trust-model = true", "line 1: 'trust-model' is taken on the command line alone"),
        ("\ntrust_model = true", "line 2: 'trust_model' is taken on the command line alone"),
        ('config = "other.toml"', "command line alone"),
        ('data = "evil.py:f"', "line 1: data='evil.py:f' is no .npz file. A function is code"),
        ('validation-data = "evil.py:f"', "as --validation-data evil.py:f"),
        ('test_data = "os:getcwd"', "as --test-data os:getcwd"),
        ('flash = "192 KiB"\ntrials = "many"', "line 2: trials='many': expected a whole number"),
        ("trials = true", "line 1: trials=True: expected a number or text"),
        ("trials = 2.5", "expected a whole number"),
        ("trials = [1]", "expected a whole number"),
        ('plan = "no"', "line 1: plan='no': expected true or false"),
        ("flash = [1]", "expected one value, not a list"),
        ('flash = "much"', "line 1: flash='much': flash='much' cannot be read"),
        ("backend = [1]", "expected a list of texts"),
        ("timeout = 'soon'", "line 1: timeout='soon': 'soon' is no duration"),
        ("accuracy = nan", "is not a finite number"),
        ('flash = 192 KiB"', "cannot read the options in o.toml"),
        ('backend = "aot"', "there is no file m.keras"),
        ('backend = ["aot", "tflm"]\nflash = 20000\nplan = true', "there is no file m.keras"),
    ],
)
def test_options_in_a_file(options, text: str, said: str) -> None:
    assert said in options(text)


def test_a_file_of_options_runs_no_code(options, tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(
        "import pathlib\npathlib.Path('ran').touch()\ndef f(): pass\n"
    )
    for key in ("data", "validation-data", "test-data"):
        options(f'{key} = "evil.py:f"\n')
        options(f'{key} = "evil:f"\n')
        options(f'{key} = "{tmp_path}/evil.py:f"\n')
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def study(tmp_path: Path) -> Report:
    report = factories.report(tmp_path / "mlruns" / "studies" / "q")
    report.save(report.directory / "report.json")
    return report


@pytest.mark.parametrize(
    "arguments",
    [("report", "q", "--html", "/proc/x.html", "--json"), ("export", "q", "/proc/x")],
)
def test_a_place_that_cannot_be_written(study: Report, run, arguments: tuple[str, ...]) -> None:
    code, err = run(*arguments)
    assert code == cli.UNUSABLE and "/proc/" in err and "cannot be used" in err


def test_a_full_disk_behind_stdout(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*CLI, "boards"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == cli.FAILED
    assert done.stderr == "hwsearch: the system refused: No space left on device.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("verify", "m.tflite", "--flags", '"'), "cannot be split into words"),
        (("calibrate", "--device", "emulator:cortex-m4", "--out", "c", "--flags", "'"), "words"),
        (("verify", "m.tflite", "--repeats", "0"), "1<=x<=65535"),
        (("compare", "a.tflite", "b.tflite", "--max-metric-drop", "nan"), "finite"),
        (("estimate", "m.tflite", "--board", "x", "--clock", "nan"), "finite"),
        (("worker", "--study", "s", "--storage", "nonsense"), "storage nonsense cannot be used"),
        (("ui", "--host", "999.1.1.1"), "--host"),
    ],
)
def test_a_value_that_cannot_be_meant(
    run, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").touch()
    code, err = run(*arguments)
    assert code == cli.UNUSABLE and said in err


def test_a_store_that_is_damaged_or_down(run, tmp_path: Path) -> None:
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").write_bytes(b"no database at all, far from it" * 99)
    code, err = run("ui")
    assert code == cli.FAILED and "mlflow.db cannot be read" in err
    with socket.socket() as probe:  # nobody listens here once it is closed
        probe.bind(("127.0.0.1", 0))
        address = f"http://me:secret@127.0.0.1:{probe.getsockname()[1]}"
    begun = time.monotonic()
    code, err = run("ui", "--tracking-uri", address)
    assert time.monotonic() - begun < 20, "MLflow's own settings try for minutes"
    assert code == cli.FAILED and "Is the server up" in err and "secret" not in err


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_ui_ends_mlflow_when_it_is_told_to(host: str, tmp_path: Path) -> None:
    from hwsearch.track import Tracker

    tracker = Tracker(None, "hwsearch", "mine", tmp_path / "mlruns", wait_s=600)
    tracker.start({"metric": "accuracy", "mode": "max"})
    assert "hwsearch ui" in tracker.link()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        port = probe.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    command = [*CLI, "ui", "--host", host, "--port", str(port)]
    words = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True)
    assert json.loads(words.stdout)["store"].endswith("/mlruns/mlflow.db")
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(f"mine: http://{shown}:{port}/#/experiments/")
        for _ in range(300):
            with socket.socket(family) as probe:
                if probe.connect_ex((host, port)) == 0:
                    break
            assert process.poll() is None
            time.sleep(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    for _ in range(30):
        with socket.socket(family) as probe:
            if probe.connect_ex((host, port)) != 0:
                return
        time.sleep(1)
    os.kill(process.pid, 0)
    pytest.fail("MLflow still listens")
