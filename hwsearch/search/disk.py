"""What trainings left in a study's directory, and its eviction: dominated trials' goes first."""

from __future__ import annotations

import shutil
from collections.abc import Set
from pathlib import Path

FILL = 0.9
"""Eviction goes down to this share of the cap, so that it is rare."""


class Disk:
    """The folders of a study's structures, in the order in which they were told.

    A trial whose folder is evicted stays told, and MLflow keeps its artefact; it is made again
    should it be wanted.

    Args:
        directory: holds a folder a structure.
        most_bytes: that they may take together.

    Attributes:
        total: bytes that they take, as last counted.
    """

    def __init__(self, directory: Path, most_bytes: int) -> None:
        self._directory, self._most = directory, most_bytes
        self._sizes: dict[str, int] = {}
        self.total = 0

    def add(self, structure: str) -> None:
        """A structure was told of: its folder is counted, with what is new in it."""
        size = _size(self._directory / structure)
        if size:
            self.total += size - self._sizes.get(structure, 0)
            self._sizes[structure] = size

    def is_over(self) -> bool:
        """Whether there is more than there may be."""
        return self.total > self._most

    def evict(self, kept: Set[str]) -> list[str]:
        """Deletes the folders told of first, but those to keep; the structures that went."""
        gone = []
        for structure in [s for s in self._sizes if s not in kept]:
            if self.total <= FILL * self._most:
                break
            shutil.rmtree(self._directory / structure, ignore_errors=True)
            self.total -= self._sizes.pop(structure)
            gone.append(structure)
        return gone


def _size(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.iterdir())
    except OSError:  # on another machine, or deleted
        return 0
