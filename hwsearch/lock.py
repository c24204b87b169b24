"""A lock file: one process or thread at a time."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Waits until nobody else holds the file, and holds it; who is killed holds it no longer.

    Raises:
        OSError: the file cannot be made.
    """
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
