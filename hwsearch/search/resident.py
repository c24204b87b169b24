"""Memory of trial processes: what one holds, what it may hold, and sizes as people write them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hwsearch.errors import InputError

_UNITS = {"B": 1, "": 1} | {
    f"{letter}{i}B": (1024 if i else 1000) ** power
    for power, letter in enumerate("KMGT", 1)
    for i in ("", "i")
}

SHARE = 0.9
"""Of the machine's memory that all trial processes together may hold unless told otherwise."""


def parse_bytes(name: str, value: float | str) -> int:
    """Bytes of a number or a text such as ``"4 GiB"``.

    Raises:
        InputError: neither, or not positive; names the argument.
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z]*)\s*", str(value))
    if found is None or found[2] not in _UNITS or not float(found[1]) * _UNITS[found[2]] >= 1:
        raise InputError(f'{name}={value!r} is no size. Give bytes, or text such as "4 GiB".')
    return int(float(found[1]) * _UNITS[found[2]])


def machine_bytes() -> int:
    """Memory of this machine, or of the container that this process is in."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(path).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return total


def share_of(workers: int) -> int:
    """Bytes that one of so many trial processes may hold."""
    return int(SHARE * machine_bytes() / workers)


def resident_bytes(pid: int) -> int:
    """Physical memory of a process and its children; 0 where it has ended or cannot be read.

    Virtual memory says nothing: TensorFlow reserves gigabytes that it never touches.
    """
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, ValueError, IndexError):
        return 0
    own = pages * os.sysconf("SC_PAGE_SIZE")
    return own + sum(resident_bytes(int(child)) for child in children)
