"""qemu:<machine>: an image on QEMU's model of a whole board, its UART on a socket."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import serial

from hwsearch.device.image import Image
from hwsearch.errors import ImageError, ToolchainError, WireError

ICOUNT_SHIFT = 6
"""``-icount shift=6``: an instruction takes 2^6 ns of the board's time, exactly."""

BOOT_S = 0.1
"""QEMU looks at a UART's line again only every second when it found its receiver off: connecting
before the firmware has switched it on costs that second."""

INSTALL = "Install Debian's qemu-system-arm, or use emulator:cortex-m4, which pip alone brings."


def instructions_per_tick(ticks_hz: int) -> float:
    """Instructions in a tick of a timer of this rate, by ICOUNT_SHIFT: 0.625 at 25 MHz."""
    return 1e9 / (ticks_hz * (1 << ICOUNT_SHIFT))


def find_qemu() -> str:
    """Path of qemu-system-arm.

    Raises:
        ToolchainError: it is not on PATH.
    """
    path = shutil.which("qemu-system-arm")
    if path is None:
        raise ToolchainError(f"qemu-system-arm is not on PATH. {INSTALL}")
    return path


def start(image: Image) -> tuple[serial.SerialBase, Callable[[], None]]:
    """A pyserial port to a freshly started board, and what ends it.

    Raises:
        ImageError: the image is not for a board that QEMU has.
        ToolchainError: QEMU is missing.
        WireError: QEMU ended at once; carries its output.
    """
    if not image.port.qemu:
        raise ImageError(f"port {image.port.name!r} is no board that QEMU has.")
    qemu = find_qemu()
    with socket.create_server(("127.0.0.1", 0)) as server:
        number = server.getsockname()[1]
        process = subprocess.Popen(
            _command(qemu, image.port.qemu, image.path, server.fileno()),
            pass_fds=[server.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def stop() -> None:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()

    try:
        time.sleep(BOOT_S)
        line = serial.serial_for_url(f"socket://127.0.0.1:{number}", timeout=0.05)
    except serial.SerialException as error:
        process.kill()
        said = process.communicate()[1]
        raise WireError(f"{image.port.qemu} did not start: {said or error}") from error
    return line, stop


def _command(qemu: str, machine: str, image: Path, fd: int) -> list[str]:
    uart = f"socket,id=uart,fd={fd},server=on,wait=off,nodelay=on"
    return [
        qemu, "-M", machine, "-kernel", str(image), "-icount", f"shift={ICOUNT_SHIFT}",
        "-nographic", "-monitor", "none", "-chardev", uart, "-serial", "chardev:uart",
    ]  # fmt: skip
