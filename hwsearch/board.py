"""Board: the facts of one microcontroller, each with its source in ``boards.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from hwsearch.errors import InputError, UnknownNameError
from hwsearch.toml_file import TomlFile, read_toml


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
        port: folder of its firmware under ``firmware/ports``; "" is the one of its own name.
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
    port: str = ""


GENERIC = Board("generic-cortex-m4", "M4")
"""Where no board is named: sizes and instructions only."""


@cache
def boards() -> dict[str, Board]:
    """Every board of the catalogue by name."""
    text = resources.files("hwsearch").joinpath("boards.toml").read_text()
    return {name: Board(name, **facts) for name, facts in tomllib.loads(text).items()}


def board(name: str) -> Board:
    """The board of this name; underscores and capitals are forgiven.

    Args:
        name: of the catalogue; or the path of a TOML file of the catalogue's form, which must end
            in ``.toml``, or ``.toml:name`` where the file holds several boards.

    Raises:
        UnknownNameError: no such board; lists those there are.
        InputError: the file cannot be read, or a fact in it is unknown or unfit.
    """
    path, dot, within = name.rpartition(".toml")
    if dot and (not within or within.startswith(":")):
        return _of_file(Path(path + dot), within.removeprefix(":"))
    known = boards()
    key = name.lower().replace("_", "-")
    if key == GENERIC.name:
        return GENERIC
    if key not in known:
        raise UnknownNameError("board", name, known)
    return known[key]


CORES = ("M0", "M0+", "M3", "M4", "M7", "M23", "M33", "M55", "M85")
"""Cores that a user's board may have."""

_NUMBERS = {"clock_hz": float, "flash_bytes": int, "ram_bytes": int, "power_w": float,
            "flash_wait_states": int}  # fmt: skip


def _of_file(path: Path, name: str) -> Board:
    file = read_toml(path, "the boards")
    for key, facts in file.table.items():
        if not isinstance(facts, dict):
            raise InputError(
                f"{file.at(key)}: {key!r} is in no board's table. Expected one table each, e.g. "
                "[my-board]."
            )
    found = file.table
    if not found:
        raise InputError(f"{path} holds no boards, expected one table each, e.g. [my-board].")
    if not name and len(found) > 1:
        raise InputError(
            f"{path} holds {len(found)} boards. Name one: "
            + " or ".join(f"{path}:{key}" for key in found)
        )
    if name and name not in found:
        raise UnknownNameError("board", name, found)
    name = name or next(iter(found))
    return Board(name, **_checked(file, name))


def _checked(file: TomlFile, name: str) -> dict[str, Any]:
    """The facts of a board in a file, if they are a board's.

    Raises:
        InputError: one is missing, unknown, or of another kind than it must be.
    """
    facts: dict[str, Any] = file.table[name]
    known = ("core", "mcu", "port", "sources", *_NUMBERS)

    def refused(fact: str, expected: str) -> InputError:
        said = f"{fact}={facts[fact]!r}" if fact in facts else f"no {fact}"
        return InputError(f"{file.at(name, fact)}, [{name}]: {said}, expected {expected}.")

    if unknown := sorted(set(facts) - set(known)):
        raise InputError(
            f"{file.at(name, unknown[0])}, [{name}]: unknown fact {unknown[0]!r}. "
            f"Known: {', '.join(known)}"
        )
    if facts.get("core") not in CORES:
        raise refused("core", f"one of {', '.join(CORES)}")
    for fact, kind in _NUMBERS.items():
        value = facts.get(fact, 1)
        whole = kind is int
        fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not fits or value < (0 if fact == "flash_wait_states" else 1e-9):
            raise refused(fact, "a positive whole number" if whole else "a positive number")
    for fact in ("mcu", "port"):
        if not isinstance(facts.get(fact, ""), str):
            raise refused(fact, "text")
    if not isinstance(facts.get("sources", {}), dict):
        raise refused("sources", "a table of texts, one a fact")
    return facts
