"""Fine-tuned networks kept across trials, workers and searches, up to a size.

An entry is a folder named by the digest of model, data, structure and training settings; it holds
what training gave (float ``.tflite``, fine-tuned weights, curve). It is written whole or not at
all, used by hard link where the file system has them, and the least recently used go first. Any
number of processes may use one cache.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hwsearch.lock import exclusive

CACHE = "cache"
"""Its folder in the directory of all studies."""

DEFAULT_BYTES = 2 * 2**30

FILL = 0.9
"""Eviction goes down to this share of the cap, so that it is rare."""


@dataclass(frozen=True)
class Cache:
    """A directory of entries.

    Attributes:
        directory: holds a folder an entry.
        most_bytes: that the entries may take together; 0 keeps nothing.
    """

    directory: Path
    most_bytes: int = DEFAULT_BYTES

    def take(self, key: str, folder: Path) -> bool:
        """Puts an entry's files into a folder; False if there is no such entry."""
        entry = self.directory / key
        try:
            os.utime(entry)  # used now
            folder.mkdir(parents=True, exist_ok=True)
            # What says that the others are there comes last.
            for path in sorted(entry.iterdir(), key=lambda p: p.suffix == ".json"):
                _link(path, folder / path.name)
        except FileNotFoundError:  # never there, or evicted meanwhile
            return False
        return True

    def put(self, key: str, files: list[Path]) -> None:
        """Keeps files as an entry; evicts others past the cap. What fails is not kept."""
        size = sum(path.stat().st_size for path in files)
        if size > self.most_bytes or (self.directory / key).is_dir():
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        with exclusive(self.directory / ".lock"), contextlib.suppress(OSError):
            new = Path(tempfile.mkdtemp(prefix=".new-", dir=self.directory))
            try:
                for path in files:
                    _link(path, new / path.name)
                new.rename(self.directory / key)
            except OSError:
                shutil.rmtree(new, ignore_errors=True)
                return
            total = self._total() + size
            self._remember(self._evict() if total > self.most_bytes else total)

    def size(self) -> int:
        """Bytes of all entries."""
        return sum(size for _, size, _ in self._entries())

    def _evict(self) -> int:
        """Deletes the least recently used down to :data:`FILL` of the cap; bytes left."""
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        for _, size, entry in entries[:-1]:
            if total <= FILL * self.most_bytes:
                break
            gone = entry.with_name(f".gone-{entry.name}")
            entry.rename(gone)  # at once, for others; a deletion that is cut short is finished
            shutil.rmtree(gone, ignore_errors=True)
            total -= size
        for left in self.directory.glob(".gone-*"):
            shutil.rmtree(left, ignore_errors=True)
        return total

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """(last use, bytes, folder) of each."""
        for entry in self.directory.iterdir() if self.directory.is_dir() else ():
            if entry.name.startswith(".") or not entry.is_dir():
                continue
            with contextlib.suppress(OSError):
                size = sum(path.stat().st_size for path in entry.iterdir())
                yield entry.stat().st_mtime, size, entry

    def _total(self) -> int:
        """Bytes as last counted, so that a put does not read every entry."""
        try:
            return int((self.directory / ".size").read_text())
        except (OSError, ValueError):
            return self.size()

    def _remember(self, total: int) -> None:
        part = self.directory / f".size{os.getpid()}"
        part.write_text(str(total))
        part.replace(self.directory / ".size")


def _link(source: Path, target: Path) -> None:
    """A file under a second name; a copy where the file system has no such thing."""
    part = target.with_name(f".part{os.getpid()}-{target.name}")
    try:
        os.link(source, part)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK):
            raise
        shutil.copy2(source, part)
    part.replace(target)
