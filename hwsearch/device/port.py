"""Port: the facts of one firmware port, read from ``firmware/ports/<name>/port.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hwsearch.errors import ImageError, UnknownNameError

FIRMWARE = Path(__file__).parents[1] / "firmware"
"""The C sources of the firmware."""

HOST = "host"
"""The core of the port that runs on this computer."""


@dataclass(frozen=True)
class Port:
    """Where a firmware image can run.

    Attributes:
        name: its folder's name.
        core: as :class:`hwsearch.board.Board` spells it, or ``"host"``.
        sources: C files, relative to ``firmware/ports`` or to ``firmware``.
        flash, ram: (origin, bytes) of the memories images are linked into; (0, 0) on the host.
        stack_bytes: reserved for the stack, at the start of RAM.
        defines: preprocessor symbols of its sources.
        qemu: machine of ``qemu-system-arm`` that is this board; "" if none.
        flash_command: how an image is written to the board; ``{elf}`` and ``{bin}``
            stand for the files, one alternative a line.
        boot2: whether the image starts with a second-stage boot loader that needs a checksum.
        baudrate: of its serial line.
    """

    name: str
    core: str
    sources: tuple[str, ...]
    flash: tuple[int, int] = (0, 0)
    ram: tuple[int, int] = (0, 0)
    stack_bytes: int = 4096
    defines: Mapping[str, str] = field(default_factory=dict)
    qemu: str = ""
    flash_command: tuple[str, ...] = ()
    boot2: bool = False
    baudrate: int = 115200

    @property
    def is_host(self) -> bool:
        """Whether it runs on this computer."""
        return self.core == HOST

    @property
    def source_paths(self) -> list[Path]:
        """Its C files."""
        found = []
        for source in self.sources:
            places = [FIRMWARE / "ports" / source, FIRMWARE / source]
            found.append(next((p for p in places if p.exists()), places[0]))
        return found


def ports() -> tuple[str, ...]:
    """Names of the ports there are.

    Raises:
        ImageError: the firmware's sources are not beside the package.
    """
    if not (FIRMWARE / "port.h").exists():
        raise ImageError(
            f"the firmware's sources are expected in {FIRMWARE}. "
            "Install hwsearch from a checkout (pip install --editable .) to build images."
        )
    return tuple(sorted(p.parent.name for p in FIRMWARE.glob("ports/*/port.toml")))


def port(name: str) -> Port:
    """The port of this name.

    Raises:
        UnknownNameError: no such port; lists those there are.
        ImageError: the firmware's sources are not beside the package.
    """
    known = ports()
    if name not in known:
        raise UnknownNameError("port", name, known)
    facts = tomllib.loads((FIRMWARE / "ports" / name / "port.toml").read_text())
    lists = {key: tuple(value) for key, value in facts.items() if isinstance(value, list)}
    return Port(name, **{**facts, **lists})
