"""Finalists of a search on a board behind a line: QEMU's Netduino Plus 2, which a stand-in for
openocd writes images to. All that differs from a board on the desk is that tool."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import digits
import factories
import keras
import numpy as np
import pytest

import hwsearch
from hwsearch import proof
from hwsearch.board import board
from hwsearch.data import Samples
from hwsearch.errors import (
    AbsentError,
    DeviceError,
    InputError,
    ToolchainError,
    UnknownNameError,
    WireError,
)
from hwsearch.proof import port_on, reach
from hwsearch.report import Report
from hwsearch.verification import _on_device
from tests.firmware.images import require

TOOL = """#!/bin/sh
set -e
test ! -e {folder}/unplugged || {{ echo no target voltage >&2; exit 1; }}
kill $(cat {folder}/pid) && while kill -0 $(cat {folder}/pid) 2>/dev/null; do sleep 0.02; done
set -- $6
cp $2 {folder}/image && echo $2 >> {folder}/flashed
{qemu} -kernel {folder}/image
"""

QEMU = (
    "qemu-system-arm -M netduinoplus2 -icount shift=6 -display none -monitor none -daemonize "
    "-pidfile {folder}/pid -serial chardev:uart "
    "-chardev socket,id=uart,host=127.0.0.1,port={port},server=on,wait=off,nodelay=on"
)


@dataclass(frozen=True)
class Desk:
    """A board on it.

    Attributes:
        folder: ``flashed`` has a line an image; with a file ``unplugged`` flashing fails.
        device: the board's line.
        board: the file that tells of it.
    """

    folder: Path
    device: str
    board: str


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    require("qemu-system-arm", "arm-none-eabi-gcc")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tmp_path / "desk"
    folder.mkdir()
    qemu = QEMU.format(folder=folder, port=port)
    tool = folder / "openocd"
    tool.write_text(TOOL.format(folder=folder, qemu=qemu))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    facts = folder / "mine.toml"
    facts.write_text(
        '[mine]\ncore = "M4"\nport = "netduinoplus2"\nclock_hz = 168_000_000\n'
        "flash_bytes = 1_048_576\nram_bytes = 131_072\n"
    )
    assert os.system(f"{qemu} -S") == 0  # powered, nothing written to it yet
    yield Desk(folder, f"socket://127.0.0.1:{port}", str(facts))
    os.kill(int((folder / "pid").read_text()), signal.SIGKILL)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return digits.network(digits.data()[0])


def search(model: keras.Model, desk: Desk) -> Report:
    return hwsearch.optimize(
        model, hwsearch.Budget(), trials=3, backends="aot", board=desk.board, device=desk.device,
        workers=2, directory=desk.folder / "mlruns",
    )  # fmt: skip


@pytest.mark.emulator
def test_finalists_are_written_to_the_board_one_by_one_and_an_absent_one_is_a_note(
    model: keras.Model, desk: Desk
) -> None:
    report = search(model, desk)
    assert report.chosen is not None and report.chosen.level == "image"
    flashed = (desk.folder / "flashed").read_text().splitlines()
    assert len(flashed) == len(report.finalists)
    for finalist in report.finalists:
        measured = finalist.measurement
        assert measured is not None
        assert (measured.device, measured.kind) == (desk.device, "board")
        assert measured.mismatched_outputs == 0 < measured.compared_outputs
        assert measured.latency_s is not None and measured.latency_s > 0
    (desk.folder / "unplugged").touch()
    again = search(model, desk)
    assert again.chosen is not None and again.chosen.level == "outputs"
    for finalist in again.finalists:
        assert finalist.note.startswith(f"no image was run on {desk.device}: openocd")


@pytest.mark.parametrize(
    ("error", "reason", "note"),
    [
        (WireError("no valid reply to INVOKE"), "no valid reply to INVOKE", ""),
        (DeviceError("the core took a hard fault"), "the core took a hard fault", ""),
        (AbsentError("nobody greets\nat all"), "", "no image was run on /dev/x: nobody greets"),
        (ToolchainError("openocd is gone"), "", "no image was run on /dev/x: openocd is gone"),
    ],
)
def test_an_image_that_falls_silent_is_no_good_and_an_absent_board_says_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, reason: str, note: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(proof, "verify", fails)
    of = factories.report(tmp_path, trials=1).finalists[0]
    assert of.measurement is not None
    given = of.trained, of.score, of.difference, of.measurement, Samples((np.zeros((2, 4)),))
    found, why = _on_device(*given, hwsearch.Budget(), ("/dev/x", "x", 1e9))
    assert (found.level, found.note, why) == ("outputs", note, reason)


def test_what_no_image_can_be_run_on_is_said_before_the_search(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(UnknownNameError, match="toaster"):
        reach("toaster", board("nucleo-l4r5zi"))
    with pytest.raises(InputError, match=r"no firmware for nucleo-f401re.*nucleo-l4r5zi, pico"):
        reach("/dev/ttyACM0", board("nucleo-f401re"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainError, match=r"none of picotool, openocd, pyocd is installed"):
        reach("/dev/ttyACM0", board("raspberry-pi-pico"))
    (tmp_path / "pyocd").touch(mode=0o755)
    with pytest.raises(WireError, match=r"Is the board connected\?"):
        reach("serial:///dev/ttyHWSEARCH", board("raspberry-pi-pico"))


def test_an_emulated_board_has_its_own_port() -> None:
    assert port_on("qemu:mps2-an386", board("nucleo-f401re")) == "mps2-an386"
    assert port_on("/dev/ttyACM0", board("nucleo-l4r5zi-p")) == "nucleo-l4r5zi"
