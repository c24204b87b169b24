"""open(url): a device behind a serial port, a socket, an emulator, QEMU, or in this process."""

from __future__ import annotations

import errno
from typing import Any
from urllib.parse import parse_qs, urlsplit

import serial

from hwsearch.device import emulator, qemu
from hwsearch.device.device import WireDevice
from hwsearch.device.image import Image
from hwsearch.device.loop import LoopLine
from hwsearch.device.port import port, ports
from hwsearch.device.session import Line, Patience, Session
from hwsearch.errors import AbsentError, ImageError, UnknownNameError

URLS = (
    "serial:///dev/ttyACM0?baudrate=115200",
    "socket://host:port",
    "loop://",
    "emulator:cortex-m4",
    "qemu:mps2-an386",
)
"""Examples of what :func:`open` takes."""

READ_TIMEOUT_S = 0.02
DEFAULT_BAUDRATE = 115200


def open(
    url: str,
    image: Image | None = None,
    *,
    digest: int | None = None,
    patience: Patience | None = None,
) -> WireDevice:
    """A greeted device.

    Args:
        url: one of the forms of :data:`URLS`; a bare ``"/dev/ttyACM0"`` or ``"COM3"`` is a serial
            port at 115,200 baud.
        image: what an emulator runs; for a board, what it must have been flashed with.
        digest: CRC-32 of the model's ``.tflite`` that the device must run; default the image's.
        patience: how long to wait for replies.

    Raises:
        UnknownNameError: no such form of URL, core or machine.
        ImageError: an emulator without an image, or with one for another port.
        ToolchainError: the emulator is not installed.
        AbsentError: the port is busy, absent or not permitted; no answer; another firmware version
            or another model.
    """
    if digest is None and image is not None:
        digest = image.digest
    scheme = url.partition(":")[0]
    name = port_of(url)
    if name is None:
        line = _serial_line(url)
        return _greeted(line, digest, patience, kind="board")
    if image is None:
        raise ImageError(f"{url} needs an image to run: image.build(model, {name!r}, folder).")
    if image.port.name != name:
        raise ImageError(f"{url} needs an image of port {name!r}, not of {image.port.name!r}.")
    if scheme == "loop":
        return _greeted(LoopLine(image), digest, patience, kind="host")
    if scheme == "emulator":
        line, stop, cycles = emulator.start(image)
        return _greeted(
            line, digest, patience, kind="emulator", instructions_per_tick=1.0,
            cycles=cycles, on_close=stop,
        )  # fmt: skip
    line, stop = qemu.start(image)
    device = _greeted(line, digest, patience, kind="emulator", on_close=stop)
    device.instructions_per_tick = qemu.instructions_per_tick(device.hello.ticks_hz)
    return device


def check_line(url: str) -> None:
    """Nothing, if a board's serial port or socket can be opened; it is closed again.

    Raises:
        AbsentError: it is absent, busy or not permitted.
    """
    _serial_line(url).close()


def port_of(url: str) -> str | None:
    """The port that images for this URL are built for; None for a board, whose name tells it.

    Raises:
        UnknownNameError: no such form of URL, core or machine.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "loop":
        return "host"
    if scheme == "emulator":
        known = [name for name in ports() if name.startswith("emulator-")]
        if f"emulator-{rest}" not in known:
            raise UnknownNameError("emulated core", rest, [k.partition("-")[2] for k in known])
        return f"emulator-{rest}"
    if scheme == "qemu":
        machines = {port(name).qemu: name for name in ports() if port(name).qemu}
        if rest not in machines:
            raise UnknownNameError("QEMU machine", rest, machines)
        return machines[rest]
    if scheme in ("serial", "socket") or url.startswith("/dev/") or scheme.startswith("COM"):
        return None
    raise UnknownNameError("device", url, URLS)


def _greeted(
    line: Line, digest: int | None, patience: Patience | None, **facts: Any
) -> WireDevice:
    try:
        session = Session(line, digest=digest, patience=patience)
    except BaseException:
        line.close()
        facts.get("on_close", lambda: None)()
        raise
    return WireDevice(session, **facts)


def _serial_line(url: str) -> serial.SerialBase:
    parts = urlsplit(url)
    if parts.scheme == "socket":
        path, options = url, {}
    else:
        path = (parts.netloc + parts.path) if parts.scheme == "serial" else url
        baudrate = int(parse_qs(parts.query).get("baudrate", [str(DEFAULT_BAUDRATE)])[0])
        options = {"baudrate": baudrate, "exclusive": True}
    try:
        return serial.serial_for_url(path, timeout=READ_TIMEOUT_S, **options)
    except (serial.SerialException, OSError) as error:
        raise AbsentError(f"{url} cannot be opened: {error}. {_remedy(error)}") from error


def _remedy(error: OSError) -> str:
    number = error.errno
    if number == errno.EACCES:
        return "Join the group that owns it (usually dialout or uucp) and log in again."
    if number in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK):
        return "Another program has it open: close that terminal or monitor."
    if number == errno.ENOENT:
        return "Is the board connected? List ports by: python -m serial.tools.list_ports"
    return "Check the cable, the port's name and the board's power."
