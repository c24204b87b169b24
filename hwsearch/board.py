"""Board: the facts of one microcontroller, each with its source in ``boards.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from hwsearch.errors import UnknownNameError


@dataclass(frozen=True)
class Board:
    """One microcontroller board, or a core alone.

    Attributes:
        name: its name in lower case, e.g. ``"nucleo-l4r5zi"``.
        core: ``"M0+"``, ``"M3"``, ``"M4"``, ``"M7"``, ``"M33"``, ``"M55"``, ``"M85"``.
        clock_hz: core clock that estimates assume.
        flash_bytes, ram_bytes: what the chip has; None is unknown (then unlimited).
        power_w: power drawn during inference at ``clock_hz``; None is unknown.
        mcu: the part's name.
        flash_wait_states: at ``clock_hz``; None is unknown.
        sources: per fact, where it is from.
    """

    name: str
    core: str
    clock_hz: float | None = None
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    power_w: float | None = None
    mcu: str = ""
    flash_wait_states: int | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


GENERIC = Board("generic-cortex-m4", "M4")
"""Where no board is named: sizes and instructions only."""


@cache
def boards() -> dict[str, Board]:
    """Every board of the catalogue by name."""
    text = resources.files("hwsearch").joinpath("boards.toml").read_text()
    return {name: Board(name, **facts) for name, facts in tomllib.loads(text).items()}


def board(name: str) -> Board:
    """The board of this name; underscores and capitals are forgiven.

    Raises:
        UnknownNameError: no such board; lists those there are.
    """
    known = boards()
    key = name.lower().replace("_", "-")
    if key == GENERIC.name:
        return GENERIC
    if key not in known:
        raise UnknownNameError("board", name, known)
    return known[key]
