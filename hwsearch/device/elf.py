"""What an ELF file holds: bytes of its sections, content of its segments, where a section lies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hwsearch.errors import ToolchainError

SHF_ALLOC = 2
"""Section flag: it takes memory when the image runs (ELF specification, 1-13)."""


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        from elftools.elf.elffile import ELFFile
    except ImportError as error:
        raise ToolchainError(
            "images are measured by pyelftools. Install it by pip install pyelftools."
        ) from error
    with path.open("rb") as file:
        yield ELFFile(file)


def section_bytes(path: Path) -> dict[str, int]:
    """Bytes of each section that takes memory and is not empty, by name.

    Raises:
        ToolchainError: pyelftools is not installed.
    """
    with _opened(path) as elf:
        return {
            section.name: section["sh_size"]
            for section in elf.iter_sections()
            if section["sh_flags"] & SHF_ALLOC and section["sh_size"]
        }


def segments(path: Path) -> list[tuple[int, bytes]]:
    """(load address, content) of what is written to flash.

    Raises:
        ToolchainError: pyelftools is not installed.
    """
    with _opened(path) as elf:
        return [
            (segment["p_paddr"], segment.data())
            for segment in elf.iter_segments()
            if segment["p_type"] == "PT_LOAD" and segment["p_filesz"]
        ]


def section(path: Path, name: str) -> tuple[int, bytes] | None:
    """(offset in the file, content) of a section; None if there is none of this name.

    Raises:
        ToolchainError: pyelftools is not installed.
    """
    with _opened(path) as elf:
        found = elf.get_section_by_name(name)
        return None if found is None else (found["sh_offset"], found.data())
