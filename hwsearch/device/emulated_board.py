"""The emulated board as a process: ``python -m hwsearch.device.emulated_board IMAGE PORT RECORD``.

Runs a firmware image on Unicorn with one device (firmware/ports/emulator): a serial line behind a
pseudo-terminal, whose path it prints, an instruction counter, and two pins. While the invoke pin
is high it records which blocks run; when it falls it writes instructions and cycle bounds of the
invoke to the open file of number RECORD. It ends when its standard input does.
"""

from __future__ import annotations

import os
import select
import struct
import sys
import threading
import tty
from pathlib import Path

import unicorn
from capstone import CS_ARCH_ARM, CS_MODE_MCLASS, CS_MODE_THUMB, Cs
from unicorn import arm_const as arm

from hwsearch.device.blocks import Blocks, make_blocks
from hwsearch.device.elf import segments
from hwsearch.device.port import Port, port
from hwsearch.device.timing import TIMINGS, kind_of

RECORD = struct.Struct("<Qdd")
"""Instructions, least and most cycles of the last invoke."""

CPU_MODELS = {
    "M0": arm.UC_CPU_ARM_CORTEX_M0,
    "M3": arm.UC_CPU_ARM_CORTEX_M3,
    "M4": arm.UC_CPU_ARM_CORTEX_M4,
    "M7": arm.UC_CPU_ARM_CORTEX_M7,
    "M33": arm.UC_CPU_ARM_CORTEX_M33,
}

DEVICE, DEVICE_BYTES = 0x40000000, 0x1000
READ, WRITE, TICKS, TRIGGER, RESET = 0x0, 0x4, 0x8, 0xC, 0x10
SYSTEM, SYSTEM_BYTES = 0xE000E000, 0x1000
CFSR, HFSR, BFAR = 0xE000ED28, 0xE000ED2C, 0xE000ED38
FORCED = 1 << 30
CFSR_BITS = {
    unicorn.UC_ERR_INSN_INVALID: 1 << 16,  # UNDEFINSTR
    unicorn.UC_ERR_EXCEPTION: 1 << 16,
    unicorn.UC_ERR_FETCH_UNMAPPED: 1 << 8,  # IBUSERR
    unicorn.UC_ERR_FETCH_PROT: 1 << 8,
}
PRECISE_DATA_BUS_ERROR = (1 << 9) | (1 << 15)  # PRECISERR, BFARVALID
STACKING_BUS_ERROR = 1 << 12
HARD_FAULT_VECTOR = 3
RETURN_TO_THREAD = 0xFFFFFFF9
STACKED = ("R0", "R1", "R2", "R3", "R12", "LR", "PC", "XPSR")


class Board:
    """One emulated board, reset and ready."""

    def __init__(self, image: Path, target: Port, terminal: int, record: int) -> None:
        self._target = target
        self._terminal = terminal
        self._record = record
        self._reset = False
        self._fault_address: int | None = None
        self._segments = segments(image)
        self._uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        self._uc.ctl_set_cpu_model(CPU_MODELS[target.core])
        self._uc.mem_map(*target.flash, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC)
        self._uc.mem_map(*target.ram)
        self._uc.mem_map(SYSTEM, SYSTEM_BYTES)
        self._uc.mmio_map(DEVICE, DEVICE_BYTES, self._on_read, None, self._on_write, None)
        self._uc.hook_add(
            unicorn.UC_HOOK_MEM_READ_UNMAPPED
            | unicorn.UC_HOOK_MEM_WRITE_UNMAPPED
            | unicorn.UC_HOOK_MEM_WRITE_PROT,
            self._on_unmapped,
        )
        code = bytearray(target.flash[1])
        for address, data in self._segments:
            code[address - target.flash[0] : address - target.flash[0] + len(data)] = data
        self._code = bytes(code)
        self._blocks: Blocks = make_blocks(self._uc, target.flash[0], self._code)
        self._timing = TIMINGS[target.core]
        self._disassembler = Cs(CS_ARCH_ARM, CS_MODE_THUMB | CS_MODE_MCLASS)
        self._block_cycles: dict[tuple[int, int], tuple[float, float]] = {}
        self._before = 0

    def run(self) -> None:
        """Run for ever; a reset starts the image anew."""
        while True:
            self._reset = False
            for address, data in self._segments:
                self._uc.mem_write(address, data)
            stack, start = struct.unpack_from("<II", self._code, 0)
            self._uc.reg_write(arm.UC_ARM_REG_SP, stack)
            while not self._reset:
                start = self._run_until_fault(start)

    def _run_until_fault(self, start: int) -> int:
        """Run from start; after a fault the address of the handler, with its frame stacked."""
        try:
            self._uc.emu_start(start | 1, 0xFFFFFFFF)
            return start  # a reset
        except unicorn.UcError as error:
            return self._enter_hard_fault(error)

    def _enter_hard_fault(self, error: unicorn.UcError) -> int:
        """As Armv7-M does on exception entry (ARM DDI 0403, B1.5.6), fault escalated to hard."""
        uc = self._uc
        cause = CFSR_BITS.get(error.errno, PRECISE_DATA_BUS_ERROR)
        registers = [uc.reg_read(getattr(arm, f"UC_ARM_REG_{name}")) for name in STACKED]
        frame = (uc.reg_read(arm.UC_ARM_REG_SP) & ~7) - 4 * len(STACKED)
        try:
            uc.mem_write(frame, struct.pack("<8I", *registers))
        except unicorn.UcError:
            cause |= STACKING_BUS_ERROR
        uc.mem_write(CFSR, cause.to_bytes(4, "little"))
        uc.mem_write(HFSR, FORCED.to_bytes(4, "little"))
        uc.mem_write(BFAR, (self._fault_address or 0).to_bytes(4, "little"))
        uc.reg_write(arm.UC_ARM_REG_SP, frame & 0xFFFFFFFF)
        uc.reg_write(arm.UC_ARM_REG_LR, RETURN_TO_THREAD)
        handler: int = struct.unpack_from("<I", self._code, 4 * HARD_FAULT_VECTOR)[0]
        return handler

    def _on_unmapped(
        self, uc: object, access: int, address: int, size: int, value: int, data: object
    ) -> bool:
        self._fault_address = address
        return False

    def _on_read(self, uc: object, offset: int, size: int, data: object) -> int:
        if offset == READ:
            return self._next_byte()
        if offset == TICKS:
            return self._blocks.instructions & 0xFFFFFFFF
        return 0

    def _next_byte(self) -> int:
        while True:
            try:
                got = os.read(self._terminal, 1)
            except BlockingIOError:
                got = b""
            if got:
                return got[0]
            select.select([self._terminal], [], [], 0.1)

    def _on_write(self, uc: object, offset: int, size: int, value: int, data: object) -> None:
        if offset == WRITE:
            self._send(bytes([value & 0xFF]))
        elif offset == TRIGGER:
            self._on_trigger(bool(value & 1))
        elif offset == RESET:
            self._reset = True
            self._uc.emu_stop()

    def _send(self, data: bytes) -> None:
        while True:
            try:
                os.write(self._terminal, data)
                return
            except BlockingIOError:  # the host has not read for a while
                select.select([], [self._terminal], [], 0.1)

    def _on_trigger(self, high: bool) -> None:
        if high and not self._blocks.recording:
            self._blocks.clear()
            self._blocks.recording = True
            self._before = self._blocks.instructions
        elif not high and self._blocks.recording:
            self._blocks.recording = False
            low, high_cycles = self._cycles()
            instructions = self._blocks.instructions - self._before
            os.pwrite(self._record, RECORD.pack(instructions, low, high_cycles), 0)

    def _cycles(self) -> tuple[float, float]:
        low = high = 0.0
        for address, size, runs, taken in self._blocks.recorded():
            block_low, block_high = self._cycles_of(address, size)
            low += runs * block_low + taken * self._timing.refill[0]
            high += runs * block_high + taken * self._timing.refill[1]
        return low, high

    def _cycles_of(self, address: int, size: int) -> tuple[float, float]:
        """Cycles of a block that is left at its end."""
        key = (address, size)
        if key not in self._block_cycles:
            start = address - self._target.flash[0]
            code = self._code[start : start + size]
            low = high = 0.0
            for instruction in self._disassembler.disasm(code, address):
                least, most = self._timing.cycles(*kind_of(instruction))
                low, high = low + least, high + most
            self._block_cycles[key] = (low, high)
        return self._block_cycles[key]


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Run the board named on the command line."""
    image, target, record = Path(sys.argv[1]), port(sys.argv[2]), int(sys.argv[3])
    terminal, other_end = os.openpty()
    tty.setraw(other_end)
    os.set_blocking(terminal, False)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    board = Board(image, target, terminal, record)
    print(os.ttyname(other_end), flush=True)
    board.run()


if __name__ == "__main__":
    main()
