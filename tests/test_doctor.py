"""What a machine lacks, and the command that mends it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from hwsearch import cli, doctor


def test_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["doctor", "--json"])
    rows = json.loads(capsys.readouterr().out)["findings"]
    assert [r["what"] for r in rows][:2] == ["cross compiler: gcc", "cross compiler: zig"]
    wrong = [r for r in rows if r["needed"] and not r["found"]]
    assert code == (1 if wrong else 0)
    assert all(r["remedy"] for r in wrong)
    for row in rows[:6]:
        assert row["found"] or row["remedy"], row
    assert {"tensorflow", "keras", "mlflow", "optuna"} <= {r["what"] for r in rows}
    cli.main(["doctor"])
    assert "to have it" in capsys.readouterr().out


def test_what_writes_images_and_builds_firmware(monkeypatch: pytest.MonkeyPatch) -> None:
    from serial.tools import list_ports
    from serial.tools.list_ports_common import ListPortInfo

    monkeypatch.setenv("PATH", "")
    wired, board = ListPortInfo("/dev/ttyS0"), ListPortInfo("/dev/ttyACM0")
    board.hwid, board.description = "USB VID:PID=0483:374B", "STM32 STLink"
    monkeypatch.setattr(list_ports, "comports", lambda: [wired, board])
    found = {e.what: e for e in doctor.examine()}
    for name in ("pyocd", "st-flash", "openocd", "picotool"):
        row = found[f"writes images: {name}"]
        assert not row.found and row.remedy
    assert found["builds exported firmware: make"].remedy == "sudo apt install make"
    assert found["serial ports"].found == "/dev/ttyACM0 (STM32 STLink)"
    assert "may use /dev/ttyS0" not in found
    monkeypatch.setattr(list_ports, "comports", lambda: [wired])
    assert {e.what: e for e in doctor.examine()}["serial ports"].remedy == "connect a board"


def test_variables_that_change_keras(capsys: pytest.CaptureFixture[str]) -> None:
    """Through the shell, as that is where they come from."""
    command = [sys.executable, "-m", "hwsearch.cli", "doctor"]
    given = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "KERAS_BACKEND": "torch"}
    done = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "unset TF_USE_LEGACY_KERAS" in done.stdout and "unset KERAS_BACKEND" in done.stdout


def package(folder: Path, name: str, version: str, *needs: str) -> None:
    """An installed package, as far as its metadata goes."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    (info / "METADATA").write_text("\n".join([*lines, *(f"Requires-Dist: {n}" for n in needs)]))


def test_versions_that_clash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = (
        "protobug<6,>=5",
        "not-here>=1",
        "other-os>=1; sys_platform == 'plan9'",
        "extra; extra == 'x'",
    )
    package(tmp_path, "tensorflaw", "2.0", *needs)
    package(tmp_path, "protobug", "7.1")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert doctor.unmet("tensorflaw") == ["'protobug<6,>=5'", "'not-here>=1'"]
    monkeypatch.setattr(doctor, "CHECKED", ("tensorflaw", "protobug", "nowhere"))
    first, second, third = doctor._versions()
    assert first.wrong and first.remedy.startswith("pip install 'protobug<6,>=5' 'not-here>=1'")
    assert not second.wrong and second.found == "7.1"
    assert third.wrong and third.remedy == "pip install nowhere"


@pytest.mark.skipif(os.getuid() != 0, reason="needs to be someone else for a while")
def test_a_port_that_may_not_be_used() -> None:
    ours, theirs = pty.openpty()
    name = os.ttyname(theirs)
    assert doctor.permission(name).found == "yes"
    code = f"from hwsearch.doctor import permission; print(permission({name!r}).remedy)"
    Path(name).chmod(0o600)
    child = (
        "import grp, os, pwd, sys; sys.path[:] = eval(sys.argv[2]); import hwsearch.doctor; "
        "os.setuid(65534); exec(sys.argv[1])"
    )
    command = [sys.executable, "-c", child, code, repr(sys.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sudo usermod -aG ") and "$USER" in done.stdout
    os.close(ours)
    os.close(theirs)
