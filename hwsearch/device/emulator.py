"""emulator:cortex-m4: an image on an emulated core, in a process, behind a pseudo-terminal."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import serial

import hwsearch
from hwsearch.device.device import Cycles
from hwsearch.device.image import Image
from hwsearch.device.timing import TIMINGS
from hwsearch.errors import ImageError, ToolchainError, WireError

INSTALL = "Install it by pip install unicorn capstone pyelftools."


def start(image: Image) -> tuple[serial.SerialBase, Callable[[], None], Callable[[], Cycles]]:
    """A pyserial port to a freshly started board, what ends it, and its estimate of cycles.

    Raises:
        ImageError: the image is not for an emulated core.
        ToolchainError: Unicorn or capstone is missing.
        WireError: the process ended at once; carries its output.
    """
    if not image.port.name.startswith("emulator-"):
        raise ImageError(f"port {image.port.name!r} is not an emulated core: emulator-cortex-m4 …")
    missing = [m for m in ("unicorn", "capstone") if importlib.util.find_spec(m) is None]
    if missing:
        raise ToolchainError(f"the emulator needs {' and '.join(missing)}. {INSTALL}")
    record = tempfile.TemporaryFile()
    packages = [str(Path(hwsearch.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    board = [sys.executable, "-m", "hwsearch.device.emulated_board"]
    process = subprocess.Popen(
        [*board, image.path, image.port.name, str(record.fileno())],
        pass_fds=[record.fileno()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, packages))},
    )

    def stop() -> None:
        process.kill()
        process.communicate()
        record.close()

    assert process.stdout is not None
    terminal = process.stdout.readline().strip()
    if not terminal:
        said = process.communicate()[1]
        record.close()
        raise WireError(f"the emulated board ended before it started:\n{said}")
    line = serial.serial_for_url(terminal, timeout=0.05)
    return line, stop, lambda: _cycles(record.fileno(), image.port.core)


def _cycles(record: int, core: str) -> Cycles:
    from hwsearch.device.emulated_board import RECORD

    _, low, high = RECORD.unpack(os.pread(record, RECORD.size, 0))
    return Cycles(
        low, high, f"instruction timing of the {core} ({TIMINGS[core].source}); no silicon seen"
    )
