"""Ping-pong: a made-up runtime of two buffers, which layers write to in turn."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hwsearch.backends import RamColumns, Refusal
from hwsearch.cost import flash
from hwsearch.cost.columns import Columns, Ints
from hwsearch.cost.cost import Band, Floats
from hwsearch.graph import Graph, Op

KERNELS = {  # bytes of code of each kernel, linked once
    "conv_2d": 3_000, "depthwise_conv_2d": 2_400, "fully_connected": 1_200, "mean": 700,
    "average_pool_2d": 900, "max_pool_2d": 900, "softmax": 1_100, "reshape": 0,
}  # fmt: skip
RUNTIME_BYTES = 2_500
CYCLES_A_MAC, CYCLES_AN_ELEMENT = {"M4": 2.6, "M7": 1.4}, 12.0


def unknown(graph: Graph, op: Op) -> bool:
    """Ping-pong has no such kernel."""
    return op.kind not in KERNELS


def not_int8(graph: Graph, op: Op) -> bool:
    """Ping-pong runs int8 alone."""
    return any(graph.tensors[i].dtype in ("int4", "int16") for i in (*op.inputs, *op.outputs))


def branches(graph: Graph, op: Op) -> bool:
    """Ping-pong has two buffers, so a layer reads one tensor, made by the layer before it."""
    return sum(i >= 0 and not graph.tensors[i].is_constant for i in op.inputs) != 1


RULES = (
    (unknown, "Use another layer, or the aot backend."),
    (not_int8, "Use 8 bits: Space(weight_bits=(8,), activation_bits=(8,))."),
    (branches, "Use a network without branches."),
)


@dataclass(frozen=True)
class PingPong:
    """The four methods that a backend has, all but the first for n candidates at once."""

    name: str = "ping-pong"
    activation_bits: tuple[int, ...] = (8,)
    weight_bits: dict[str, tuple[int, ...]] = field(default_factory=dict)
    buildable: bool = False  # hwsearch cannot build its images: searched when it is named

    @property
    def bands(self) -> dict[str, Band]:
        """How sure the estimates are; without this they count as "ranking only"."""
        return {"ram_bytes": Band(0.0, 0.0, "two buffers: exact"),
                "flash_bytes": Band(-0.1, 0.1, "made up")}  # fmt: skip

    def refusals(self, graph: Graph) -> list[Refusal]:
        """Each operator by the first rule that it breaks; the rule's docstring is the reason."""
        found = []
        for i, op in enumerate(graph.ops):
            broken = next(((rule, help) for rule, help in RULES if rule(graph, op)), None)
            if broken:
                found.append(Refusal(i, op.kind, str(broken[0].__doc__), broken[1]))
        return found

    def ram(self, columns: Columns) -> RamColumns:
        """Tensors in turn: even ones share a buffer, odd ones the other."""
        graph = columns.graph
        made = [*graph.inputs, *(op.outputs[0] for op in graph.ops)]
        sizes = columns.tensor_bytes[:, made]
        nothing = np.zeros(len(columns), np.int64)
        return RamColumns(sizes[:, ::2].max(axis=1) + sizes[:, 1::2].max(axis=1), nothing, nothing)

    def flash(self, columns: Columns) -> Ints:
        """Weights, each kernel that is used once, and the runtime."""
        code = sum(KERNELS[kind] for kind in {op.kind for op in columns.graph.ops})
        return flash.weights_bytes(columns) + RUNTIME_BYTES + code

    def cycles(self, columns: Columns, core: str) -> Floats | None:
        """Multiply-accumulates and elements; None on a core where nobody has measured them."""
        if core not in CYCLES_A_MAC:
            return None
        elements = columns.elements[:, [op.outputs[0] for op in columns.graph.ops]]
        return columns.macs * CYCLES_A_MAC[core] + elements * CYCLES_AN_ELEMENT


BACKEND = PingPong()
