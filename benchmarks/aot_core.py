"""One inference of a linked image on an emulated core in this process: what every call costs.

The image runs as it is, without hooks in its code: Unicorn calls back where ``model_invoke`` is
entered and where its calls return, so instructions, cycle bounds and stack are known per kernel
call, exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import unicorn
from capstone import CS_ARCH_ARM, CS_MODE_MCLASS, CS_MODE_THUMB, Cs
from elftools.elf.elffile import ELFFile
from unicorn import arm_const as arm

from hwsearch.device.blocks import instructions_in, make_blocks
from hwsearch.device.emulated_board import CPU_MODELS
from hwsearch.device.image import Image
from hwsearch.device.timing import TIMINGS, kind_of

RETURN = 0x1F0000  # an address in flash past every image
PAINT = 0xA5

FAST_MULTIPLY = frozenset({"M0"})
"""Cores whose multiplier takes 1 or 32 cycles, as their maker chose. From memory: that of both
Armv6-M boards of the catalogue (RP2040, STM32G0B1) takes 1."""


@dataclass(frozen=True)
class Call:
    """One call that ``model_invoke`` makes.

    Attributes:
        kernel: the function called.
        instructions: from the block that calls it until its return.
        low, high: core cycles of the same, by the core's manual.
        stack: bytes from the stack pointer of ``model_invoke`` to the deepest word written.
        frame: bytes of ``model_invoke`` itself, from its entry.
        code: bytes of the block that calls it.
    """

    kernel: str
    instructions: int
    low: float
    high: float
    stack: int
    frame: int
    code: int


def functions(elf: Path) -> dict[str, tuple[int, int]]:
    """Address and bytes of every function of an ELF file; a second name has the bytes too."""
    with elf.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        found = [
            (s.name, s["st_value"] & ~1, s["st_size"])
            for s in table.iter_symbols()
            if s["st_info"]["type"] == "STT_FUNC"
        ]
    sizes: dict[int, int] = {}
    for _, address, size in found:
        sizes[address] = max(size, sizes.get(address, 0))
    return {name: (address, sizes[address]) for name, address, _ in found}


def segments(elf: Path) -> list[tuple[int, bytes]]:
    """Address and content of what is loaded."""
    with elf.open("rb") as file:
        return [
            (s["p_paddr"], s.data())
            for s in ELFFile(file).iter_segments()
            if s["p_type"] == "PT_LOAD" and s["p_filesz"]
        ]


@dataclass(frozen=True)
class _Visit:
    """``model_invoke`` at the start of one of its blocks; what is counted since the last one."""

    instructions: int
    callee: str
    low: float
    high: float
    depth: int
    frame: int
    code: int


class Core:
    """An emulated core with an image of an ``emulator-cortex-…`` port in its flash."""

    def __init__(self, image: Image) -> None:
        port = image.port
        self._flash, self._ram = port.flash, port.ram
        self._uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        self._uc.ctl_set_cpu_model(CPU_MODELS[port.core])
        self._uc.mem_map(*port.flash)
        self._uc.mem_map(*port.ram)
        code = bytearray(port.flash[1])
        for address, data in segments(image.path):
            code[address - port.flash[0] : address - port.flash[0] + len(data)] = data
        self._code = bytes(code)
        self._uc.mem_write(port.flash[0], self._code)
        self._symbols = functions(image.path)
        self._names = {address: name for name, (address, _) in self._symbols.items()}
        self._blocks = make_blocks(self._uc, port.flash[0], self._code)
        self._blocks.recording = True
        self._timing = TIMINGS[port.core]
        if port.core in FAST_MULTIPLY:
            kinds = {**self._timing.kinds, "multiply": (1.0, 1.0)}
            self._timing = replace(self._timing, kinds=kinds)
        self._disassembler = Cs(CS_ARCH_ARM, CS_MODE_THUMB | CS_MODE_MCLASS)
        self._stack_top = port.ram[0] + port.stack_bytes
        self._static: dict[tuple[int, int], tuple[float, float]] = {}
        self._visits: list[_Visit] = []
        start, size = self._symbols["model_invoke"]
        self._uc.hook_add(unicorn.UC_HOOK_BLOCK, self._on_block, begin=start, end=start + size - 1)

    def run(self, seed: int = 0) -> list[Call]:
        """The calls of one inference on random bytes."""
        uc = self._uc
        rng = np.random.default_rng(seed)
        arena = self._ram[0] + int(self._stack_top - self._ram[0])
        uc.mem_write(arena, rng.integers(0, 256, self._ram[1] // 2, np.uint8).tobytes())
        self._paint()
        self._visits.clear()
        self._blocks.clear()
        uc.reg_write(arm.UC_ARM_REG_SP, self._stack_top)
        uc.reg_write(arm.UC_ARM_REG_LR, RETURN | 1)
        uc.emu_start(self._symbols["model_invoke"][0] | 1, RETURN)
        last = _Visit(self._blocks.instructions, "", *self._cycles(), *self._depth(), 0)
        visits = [*self._visits, last]
        return [
            Call(
                now.callee, after.instructions - now.instructions, after.low, after.high,
                after.depth - after.frame, after.frame, now.code,
            )
            for now, after in itertools.pairwise(visits)
            if now.callee
        ]  # fmt: skip

    def _paint(self) -> None:
        size = self._stack_top - self._ram[0]
        self._uc.mem_write(self._ram[0], bytes([PAINT]) * size)

    def _depth(self) -> tuple[int, int]:
        """Bytes of stack used since it was painted, and used now; paints what lies below anew."""
        size = self._stack_top - self._ram[0]
        words = self._uc.mem_read(self._ram[0], size)
        clean = len(words) - len(words.lstrip(bytes([PAINT])))
        pointer = min(self._uc.reg_read(arm.UC_ARM_REG_SP), self._stack_top)
        free = pointer - self._ram[0]
        self._uc.mem_write(self._ram[0], bytes([PAINT]) * free)
        return (size - clean + 3) // 4 * 4, size - free

    def _on_block(self, uc: object, address: int, size: int, data: object) -> None:
        at = address - self._flash[0]
        code = self._code[at : at + size]
        before = self._blocks.instructions - instructions_in(code)
        low, high = self._cycles()
        depth, frame = self._depth()
        *_, last = self._disassembler.disasm(code, address)
        callee = ""
        if last.mnemonic == "bl":
            callee = self._names.get(int(last.op_str.lstrip("#"), 16), "?")
        self._visits.append(_Visit(before, callee, low, high, depth, frame, size))

    def _cycles(self) -> tuple[float, float]:
        low = high = 0.0
        for address, size, runs, taken in self._recorded():
            least, most = self._cycles_of(address, size)
            low += runs * least + taken * self._timing.refill[0]
            high += runs * most + taken * self._timing.refill[1]
        self._blocks.clear()
        return low, high

    def _recorded(self) -> Iterator[tuple[int, int, int, int]]:
        yield from self._blocks.recorded()

    def _cycles_of(self, address: int, size: int) -> tuple[float, float]:
        key = (address, size)
        if key not in self._static:
            at = address - self._flash[0]
            bounds = [
                self._timing.cycles(*kind_of(i))
                for i in self._disassembler.disasm(self._code[at : at + size], address)
            ]
            self._static[key] = (sum(b[0] for b in bounds), sum(b[1] for b in bounds))
        return self._static[key]
