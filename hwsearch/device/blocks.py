"""Counts the instructions an emulated core executes, basic block by basic block.

A hook on every instruction would miss those that an IT block skips, and is slow. The hook is
``firmware/ports/emulator/blocks.c`` where this computer has a C compiler, else the same in Python.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import unicorn

from hwsearch.device.port import FIRMWARE
from hwsearch.device.toolchain import WARNINGS, find_host
from hwsearch.errors import ToolchainError

SOURCE = FIRMWARE / "ports" / "emulator" / "blocks.c"
NONE = 0xFFFFFFFF


class Blocks(Protocol):
    """What has run on one emulated core.

    Attributes:
        recording: whether runs are kept for :meth:`recorded`.
        instructions: how many instructions have run since the start.
    """

    recording: bool

    @property
    def instructions(self) -> int: ...

    def clear(self) -> None:
        """Forget what was recorded."""
        ...

    def recorded(self) -> Iterator[tuple[int, int, int, int]]:
        """Address, bytes, runs, and runs that ended in a jump, of each block recorded."""
        ...


def make_blocks(uc: unicorn.Uc, start: int, code: bytes) -> Blocks:
    """Hook an emulator's blocks; compiled where that is possible.

    Args:
        uc: the emulator.
        start: address of code.
        code: all that can run, as it lies in memory.
    """
    if os.environ.get("HWSEARCH_PYTHON_BLOCKS"):
        return PythonBlocks(uc, start, code)
    try:
        library = _library()
    except ToolchainError:
        return PythonBlocks(uc, start, code)
    return CompiledBlocks(uc, start, code, library)


def instructions_in(code: bytes) -> int:
    """Thumb instructions in these bytes: a halfword from 0xE800 opens a 32-bit one.

    Source: Armv7-M ARM (DDI 0403), A5.1.
    """
    count = at = 0
    while at < len(code):
        at += 4 if code[at + 1] >= 0xE8 else 2
        count += 1
    return count


class PythonBlocks:
    """The hook in Python: some ten times slower."""

    def __init__(self, uc: unicorn.Uc, start: int, code: bytes) -> None:
        self.recording = False
        self.instructions = 0
        self._start, self._code = start, code
        self._counts: dict[tuple[int, int], int] = {}
        self._runs: dict[tuple[int, int], list[int]] = {}
        self._last: tuple[int, int] | None = None
        uc.hook_add(unicorn.UC_HOOK_BLOCK, self._hook)

    def clear(self) -> None:
        """See :class:`Blocks`."""
        self._runs.clear()
        self._last = None

    def recorded(self) -> Iterator[tuple[int, int, int, int]]:
        """See :class:`Blocks`."""
        for (address, size), (runs, taken) in self._runs.items():
            yield address, size, runs, taken

    def _hook(self, uc: object, address: int, size: int, data: object) -> None:
        key = (address, size)
        count = self._counts.get(key)
        if count is None:
            at = address - self._start
            count = self._counts[key] = instructions_in(self._code[at : at + size])
        self.instructions += count
        if self.recording:
            if self._last and sum(self._last) != address:
                self._runs[self._last][1] += 1
            self._runs.setdefault(key, [0, 0])[0] += 1
            self._last = key


class _Struct(ctypes.Structure):
    """``blocks`` of blocks.c."""

    _fields_ = (
        ("instructions", ctypes.c_uint64),
        ("code_start", ctypes.c_uint32),
        ("code_halfwords", ctypes.c_uint32),
        ("code", ctypes.c_void_p),
        ("sizes", ctypes.POINTER(ctypes.c_uint32)),
        ("counts", ctypes.POINTER(ctypes.c_uint32)),
        ("runs", ctypes.POINTER(ctypes.c_uint32)),
        ("taken", ctypes.POINTER(ctypes.c_uint32)),
        ("touched", ctypes.POINTER(ctypes.c_uint32)),
        ("touched_count", ctypes.c_uint32),
        ("last", ctypes.c_uint32),
        ("last_end", ctypes.c_uint32),
        ("recording", ctypes.c_uint32),
    )


class CompiledBlocks:
    """The hook in C, called by Unicorn without Python in between."""

    def __init__(self, uc: unicorn.Uc, start: int, code: bytes, library: ctypes.CDLL) -> None:
        self._library = library
        self._code = ctypes.create_string_buffer(code, len(code))
        halfwords = len(code) // 2
        words = [(ctypes.c_uint32 * halfwords)() for _ in range(5)]
        self._struct = _Struct(
            0, start, halfwords, ctypes.cast(self._code, ctypes.c_void_p),
            *(ctypes.cast(w, ctypes.POINTER(ctypes.c_uint32)) for w in words), 0, NONE, 0, 0,
        )  # fmt: skip
        self._words = words
        self._add_hook(uc)

    @property
    def instructions(self) -> int:
        """See :class:`Blocks`."""
        return int(self._struct.instructions)

    @property
    def recording(self) -> bool:
        """See :class:`Blocks`."""
        return bool(self._struct.recording)

    @recording.setter
    def recording(self, on: bool) -> None:
        self._struct.recording = on

    def clear(self) -> None:
        """See :class:`Blocks`."""
        self._library.blocks_clear(ctypes.byref(self._struct))

    def recorded(self) -> Iterator[tuple[int, int, int, int]]:
        """See :class:`Blocks`."""
        s = self._struct
        for i in s.touched[: s.touched_count]:
            yield s.code_start + 2 * i, s.sizes[i], s.runs[i], s.taken[i]

    def _add_hook(self, uc: Any) -> None:
        """The Python binding wraps every callback, so this calls the C library below it."""
        from unicorn.unicorn_py3.unicorn import uclib

        handle = ctypes.c_size_t()
        status = uclib.uc_hook_add(
            uc._uch,
            ctypes.byref(handle),
            ctypes.c_int(unicorn.UC_HOOK_BLOCK),
            ctypes.cast(self._library.blocks_hook, ctypes.c_void_p),
            ctypes.cast(ctypes.byref(self._struct), ctypes.c_void_p),
            ctypes.c_uint64(1),
            ctypes.c_uint64(0),
        )
        if status != unicorn.UC_ERR_OK:
            raise unicorn.UcError(status)


def _library() -> ctypes.CDLL:
    """blocks.c as a shared library, compiled once for a version of its source."""
    compiler = find_host()
    key = hashlib.sha256(SOURCE.read_bytes() + str(compiler).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"hwsearch-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise ToolchainError(f"{folder} belongs to another user; remove it.")
    path = folder / f"blocks-{key}.so"
    if not path.exists():
        half = path.with_suffix(f".{os.getpid()}")
        compiler.run([*WARNINGS, "-O2", "-fPIC", "-shared", SOURCE, "-o", half])
        half.replace(path)
    return ctypes.CDLL(str(path))
