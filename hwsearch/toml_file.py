"""TomlFile: what a TOML file holds, and the line on which each key stands, for messages."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hwsearch.errors import InputError

Names = tuple[str, ...]
"""A key by the tables that it is in: ``("my-board", "core")``."""


@dataclass(frozen=True)
class TomlFile:
    """A TOML file that was read.

    Attributes:
        path: of it.
        text: all of it.
        table: its content.
    """

    path: Path
    text: str
    table: dict[str, Any]

    def at(self, *names: str) -> str:
        """``"FILE, line 3"`` of a key; the line of its table where it is none of its own."""
        known = next(n for i in range(len(names)) if (n := names[: len(names) - i]) in self.lines)
        return f"{self.path}, line {self.lines[known]}"

    @cached_property
    def lines(self) -> dict[Names, int]:
        """The line of each key, from 1.

        Beginnings of the text that are TOML themselves end between two statements; a key stands
        on the line after the longest that lacks it.
        """
        found: dict[Names, int] = {}
        lines, begun = self.text.splitlines(keepends=True), 0
        for end in range(1, len(lines) + 1):
            try:
                table = tomllib.loads("".join(lines[:end]))
            except tomllib.TOMLDecodeError:
                continue
            for names in _keys(table):
                found.setdefault(names, begun + 1)
            begun = end
        return found


def read_toml(path: Path, what: str, kind: type[InputError] = InputError) -> TomlFile:
    """The content of a TOML file.

    Args:
        path: of it.
        what: it holds, e.g. ``"the boards"``, for the message.
        kind: of the error.

    Raises:
        InputError: of that kind; the file cannot be read, or is not TOML: says where.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return TomlFile(path, text, tomllib.loads(text))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise kind(f"cannot read {what} in {path}: {said}.") from error


def _keys(table: Mapping[str, Any], above: Names = ()) -> Iterator[Names]:
    for name, value in table.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from _keys(value, (*above, name))
