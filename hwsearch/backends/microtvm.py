"""microTVM, with its own schedules and with CMSIS-NN's kernels: estimates only.

Nobody published its memory: RAM is a greedy plan of the activations alone, flash the weights and
the typical generated code. Both are for ranking; latency rests on ResNet-8 and DS-CNN.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hwsearch.backends.backend import RamColumns, Refusal
from hwsearch.cost import flash, latency, memory
from hwsearch.cost.columns import Columns, Ints
from hwsearch.cost.cost import Band, Floats
from hwsearch.graph import Graph, Op

RUNTIME_BYTES = 8_000
CODE_PER_OP = 1_500
"""Bytes of code, guessed: ahead-of-time code has no interpreter, and one function an operator."""


def _not_int8(graph: Graph, op: Op) -> bool:
    """microTVM's published builds run int8 weights and activations only."""
    tensors = [graph.tensors[i] for i in (*op.inputs, *op.outputs) if i >= 0]
    return any(t.dtype in ("int4", "int16", "float16") for t in tensors)


@dataclass(frozen=True)
class MicroTvm:
    """One flavour of microTVM.

    Attributes:
        name: ``"microtvm-native"`` or ``"microtvm-cmsis-nn"``.
    """

    name: str
    activation_bits: tuple[int, ...] = (8,)
    weight_bits: dict[str, tuple[int, ...]] = field(default_factory=dict)
    buildable: bool = False

    @property
    def bands(self) -> dict[str, Band]:
        """RAM and flash are guesses."""
        guess = Band(-0.5, 0.5, "ranking only: nobody published microTVM's memory")
        return {"ram_bytes": guess, "flash_bytes": guess}

    def refusals(self, graph: Graph) -> list[Refusal]:
        """Every operator with 4- or 16-bit data, and every custom one."""
        remedy = "Use 8-bit weights and activations, and no custom operators."
        return [
            Refusal(i, op.kind, str(_not_int8.__doc__), remedy)
            for i, op in enumerate(graph.ops)
            if op.kind.startswith("custom:") or _not_int8(graph, op)
        ]

    def ram(self, columns: Columns) -> RamColumns:
        """A greedy plan of the activations; workspace and stack are unknown and not in it."""
        nothing = np.zeros(len(columns), np.int64)
        return RamColumns(memory.plan(columns, []).bytes, nothing, nothing)

    def flash(self, columns: Columns) -> Ints:
        """Weights and a guess of the code."""
        code = RUNTIME_BYTES + CODE_PER_OP * len(columns.graph.ops)
        return flash.weights_bytes(columns) + code

    def cycles(self, columns: Columns, core: str) -> Floats | None:
        """See :mod:`hwsearch.cost.latency`."""
        return latency.cycles(columns, core, self.name)


BACKENDS = (MicroTvm("microtvm-native"), MicroTvm("microtvm-cmsis-nn"))
