"""Core cycles of executed instructions, by the timing tables of Arm's manuals; bounds, not truth.

Zero wait states and no bus contention are assumed. Lower bounds take every load as pipelined and
the shortest pipeline refill, upper bounds neither. No table has been confirmed on silicon here:
that is what calibration with a board is for.

Sources: Cortex-M0 ARM DDI 0432, table 3-1; Cortex-M0+ ARM DDI 0484, table 3-1; Cortex-M3 ARM DDI
0337, table 3-1 (r2p1); Cortex-M4 ARM DDI 0439, tables 3-1 and 7-1. Arm publishes no such table for
the Cortex-M7 and M33, which can issue two instructions at once: half a cycle an instruction is
their lower bound, the Cortex-M4's upper bound theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from capstone import CsInsn

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Timing:
    """Cycles (low, high) of each kind of instruction of one core.

    Attributes:
        refill: pipeline refill of a taken branch, "P" of the manuals.
        kinds: cycles by kind; kinds that are absent take 1.
        call: of BL and BLX beside the refill.
        dual_issue: whether two instructions may issue in one cycle.
        source: the manual.
    """

    refill: Bounds
    kinds: dict[str, Bounds]
    source: str
    call: Bounds = (1, 1)
    dual_issue: bool = False
    fpu: dict[str, Bounds] = field(default_factory=dict)

    def cycles(self, kind: str, registers: int) -> Bounds:
        """Cycles of one instruction whose branch, if it is one, is not taken.

        Args:
            kind: what :func:`kind_of` says.
            registers: how many it moves, for ``"multiple"``: 1 + N cycles.
        """
        if kind == "multiple":
            low, high = 1.0 + registers, 1.0 + registers
        elif kind == "call":
            low, high = self.call
        else:
            low, high = self.kinds.get(kind) or self.fpu.get(kind) or (1.0, 1.0)
        return (0.5, high) if self.dual_issue else (low, high)


_M4 = {
    "load": (1.0, 2.0), "store": (1.0, 2.0), "divide": (2.0, 12.0), "it": (0.0, 1.0),
    "system": (1.0, 2.0), "barrier": (1.0, 4.0), "table": (2.0, 2.0),
}  # fmt: skip
_FPU = {"fma": (3.0, 3.0), "fdiv": (14.0, 14.0)}
_M3 = {
    **_M4, "mla": (2.0, 2.0), "long_multiply": (3.0, 5.0), "long_mla": (4.0, 7.0),
}  # fmt: skip
_M0 = {
    "load": (2.0, 2.0), "store": (2.0, 2.0), "multiply": (1.0, 32.0), "system": (4.0, 4.0),
    "barrier": (4.0, 4.0),
}  # fmt: skip

TIMINGS = {
    "M0": Timing((2, 3), _M0, "ARM DDI 0432, table 3-1", call=(2, 2)),
    "M0+": Timing(
        (1, 2), {**_M0, "system": (3, 3), "barrier": (3, 3)}, "ARM DDI 0484, table 3-1", (2, 2)
    ),
    "M3": Timing((1, 3), _M3, "ARM DDI 0337, table 3-1"),
    "M4": Timing((1, 3), _M4, "ARM DDI 0439, tables 3-1 and 7-1", fpu=_FPU),
    "M7": Timing((0, 6), _M4, "dual issue, and ARM DDI 0439 above", dual_issue=True, fpu=_FPU),
    "M33": Timing((1, 3), _M4, "dual issue, and ARM DDI 0439 above", dual_issue=True, fpu=_FPU),
}
"""By core, as :class:`hwsearch.board.Board` spells it."""

_LONG = ("umull", "smull")
_LONG_MLA = ("umlal", "smlal", "umaal")
_MULTIPLE = ("ldm", "stm", "push", "pop", "vldm", "vstm", "vpush", "vpop", "ldrd", "strd")


def kind_of(instruction: CsInsn) -> tuple[str, int]:
    """Kind of an instruction for :meth:`Timing.cycles`, and how many registers it moves."""
    name = instruction.mnemonic.split(".")[0]
    if name.startswith("it") and set(name[2:]) <= {"t", "e"}:
        return "it", 0
    if name.startswith(_MULTIPLE):
        pair = name.startswith(("ldrd", "strd"))
        return "multiple", 2 if pair else _register_count(instruction.op_str)
    if name.startswith(("vldr", "ldr")):
        return "load", 1
    if name.startswith(("vstr", "str")):
        return "store", 1
    if name in ("bl", "blx"):
        return "call", 0
    if name.startswith(("tbb", "tbh")):
        return "table", 0
    if name.startswith(("udiv", "sdiv")):
        return "divide", 0
    if name.startswith(("vdiv", "vsqrt")):
        return "fdiv", 0
    if name.startswith(("vmla", "vmls", "vfma", "vfms", "vnmla", "vfnma")):
        return "fma", 0
    if name.startswith(_LONG_MLA):
        return "long_mla", 0
    if name.startswith(_LONG):
        return "long_multiply", 0
    if name.startswith(("mla", "mls")):
        return "mla", 0
    if name.startswith("mul"):
        return "multiply", 0
    if name.startswith(("mrs", "msr", "cps")):
        return "system", 0
    if name.startswith(("dsb", "dmb", "isb")):
        return "barrier", 0
    return "other", 0


def _register_count(operands: str) -> int:
    """Registers of ``"{r4, r5-r7, pc}"``; a range of capstone is always written out singly."""
    return operands[operands.find("{") :].count(",") + 1
