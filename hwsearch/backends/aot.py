"""``aot``: C generated ahead of time (:mod:`hwsearch.codegen`), compiled and linked by us.

RAM is the compiler's own plan, byte for byte, and the stack that was measured on emulated cores.
Flash is what the compiler writes (packed weights, biases, requantization, tables), the sections of
the kernels that a network links, and the code of its calls; both from images linked here. Cycles
are instructions (trip counts of the kernels' loops × what a turn takes, exact emulated counts)
times what an instruction takes by the core's manual. ``make bench-aot-cost`` measures anew and
prints how far each is off.

What it does not know: flash wait states, caches and bus contention; the scale of a candidate's
logits (softmax's table); layers whose activations are clamped inside int8's range or whose sums
are not proven narrow (the quick paths are counted); the amounts of a folded padding; channels that
fine-tuning leaves dead, which the compiler drops.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from hwsearch.backends.aot_layers import Group, groups, sizes
from hwsearch.backends.aot_loops import counts
from hwsearch.backends.aot_measured import Target, compiler, target
from hwsearch.backends.aot_memory import arena
from hwsearch.backends.backend import RamColumns, Refusal
from hwsearch.codegen import refuse
from hwsearch.codegen.tables import exps
from hwsearch.cost import latency
from hwsearch.cost.columns import Columns, Ints
from hwsearch.cost.cost import Band, Floats
from hwsearch.graph import Graph

DSP = frozenset({"M4", "M7", "M33", "M35P", "M55", "M85"})
"""Cores whose kernels use dual multiply-accumulates (``__ARM_FEATURE_DSP``)."""

EXPONENTIALS = 125
"""Entries of softmax's table where the scale of its input is not known: of a scale of 0.17, as in
both MLPerf Tiny models. The table ends where exp is 0 in Q31, at 21.5 / scale, or 256."""

WINDOW, REQUANTIZATION, REQUANTIZATION16, BINARY, MEAN, RESCALE, PAD = 28, 28, 24, 104, 32, 32, 48
"""Bytes of the constant structures of ``nn.h`` on a 32-bit target."""
LOOKUP, SIGMOID, EXPONENTIALS16 = 256, 512, 2 * 1028
"""Bytes of the tables of a unary int8 operator; of int16's logistic and tanh, and its softmax."""

MARGIN, STAND_IN, TWIN = 0.005, 0.15, 0.03
"""What bands are widened by: the extremes of some 30 networks are not those of all; and at least
where another core's or compiler's code stands in: gcc's and clang's kernels differ by so much. The
M0+ is the M0's twin: linked for the Pico, both MLPerf models have the M0's code to the byte, and
268 bytes of its boot loader."""

_WINDOWED = ("conv", "depthwise", "transpose_conv", "average_pool", "max_pool")
_FLAT = {"add": BINARY, "sub": BINARY, "mul": BINARY, "mean": MEAN, "rescale": RESCALE}


def variant(kernel: str, int4: bool) -> str:
    """The key of a kernel in a Target: int4 weights take other loops than int8's."""
    return f"{kernel} int4" if int4 and kernel in ("nn_conv_s8", "nn_dense_s8") else kernel


def instructions(columns: Columns, measured: Target) -> tuple[Floats, Floats, Floats]:
    """float64 [n, ops] each: instructions, and cycles at least and at most, of every operator."""
    result = np.zeros((3, len(columns), len(columns.graph.ops)))
    for group in groups(columns.graph):
        found = counts(columns, group, measured.core in DSP)
        wide = np.stack(list(np.broadcast_arrays(*found.values())), axis=-1).astype(np.float64)
        kinds = [measured.loops.get(variant(group.kernel, i), {}) for i in (False, True)]
        tables = [
            np.array([loops.get(name, (0.0, 0.0, 0.0)) for name in found]) for loops in kinds
        ]
        per_layer = wide @ tables[0]
        if variant(group.kernel, True) != group.kernel:
            int4 = sizes(columns, group).bits == 4
            if int4.any():
                per_layer = np.where(int4[..., None], wide @ tables[1], per_layer)
        result[:, :, group.ops] += per_layer.transpose(2, 0, 1)
    return result[0], result[1], result[2]


def constant_bytes(columns: Columns) -> Ints:
    """int64 [n]: weights, biases, requantization, tables and structures, as they are emitted."""
    total = np.zeros(len(columns), np.int64)
    once = 0
    for group in groups(columns.graph):
        name = group.kernel.removeprefix("nn_")
        layers = len(group.layers)
        if "taps" in group.geometry and "pool" not in name:
            total += _weighted(columns, group, name)
        if name.startswith(_WINDOWED):
            total += WINDOW * layers
        total += layers * next((size for kind, size in _FLAT.items() if name.startswith(kind)), 0)
        if name.startswith(("add", "sub", "mul")) or name == "copy_rows":
            total += _operands(columns, group)
        once += {"lookup_s8": LOOKUP, "pad": PAD}.get(name, 0) * layers
        if name == "softmax_s8":
            once += sum(_exponentials(columns.graph, op) for op in group.ops.tolist())
    names = {group.kernel for group in groups(columns.graph)}
    once += EXPONENTIALS16 * ("nn_softmax_s16" in names)
    once += SIGMOID * bool(names & {"nn_logistic_s16", "nn_tanh_s16"})
    return total + once


def _exponentials(graph: Graph, op: int) -> int:
    """Bytes of one softmax's table; a candidate's scale is taken to be its base network's."""
    scale = graph.tensors[graph.ops[op].inputs[0]].scale
    return 4 * (_entries(scale, graph.ops[op].alpha) if scale else EXPONENTIALS)


@lru_cache(maxsize=256)
def _entries(scale: float, beta: float) -> int:
    return max(1, len(exps(np.float32(scale), beta)))


def _weighted(columns: Columns, group: Group, name: str) -> Ints:
    """Of layers with weights: codegen/packing.py, and ``_requant`` of codegen/calls.py."""
    g, s = group.geometry, sizes(columns, group)
    wide = name.endswith("s16")
    even = s.made + s.made % 2
    if name.startswith("depthwise"):
        packed = g["taps"] * s.made
    else:
        values = g["taps"] * s.read
        packed = even // 2 * np.where(s.bits == 4, 4 * -(-values // 4), 4 * -(-values // 2))
    words = -(-packed // 4) * 4 + even * (8 if wide else 4) + even * 4 + -(-even // 4) * 4
    total: Ints = (words + (REQUANTIZATION16 if wide else REQUANTIZATION)).sum(axis=1)
    return total


def _operands(columns: Columns, group: Group) -> Ints:
    """Of constants that are added, multiplied or concatenated."""
    graph = columns.graph
    total = np.zeros(len(columns), np.int64)
    for op in group.ops.tolist():
        for t in graph.ops[op].inputs:
            if t >= 0 and graph.tensors[t].is_constant:
                total += -(-columns.tensor_bytes[:, t] // 4) * 4
    return total


@dataclass(frozen=True)
class _Linked:
    """What of a network's code does not change with its channels.

    Attributes:
        calls: bytes of its calls.
        sections: bytes of the kernels, with int8 weights alone.
        int4: the weights whose kernels differ with their bits, and whether each is dense.
    """

    calls: float
    always: frozenset[str]
    mixed: tuple[tuple[str, Ints], ...]


_linked: dict[tuple[int, str, str], _Linked] = {}


def _linked_of(graph: Graph, measured: Target) -> _Linked:
    key = (id(graph), measured.core, measured.compiler)
    if key not in _linked:
        calls, always, mixed = 0.0, set[str](), []
        for group in groups(graph):
            times = len(group.layers)
            if group.kernel == "nn_copy_rows":
                times = sum(len(graph.ops[op].inputs) for op in group.ops.tolist())
            calls += times * measured.call_bytes.get(group.kernel, 0.0)
            if variant(group.kernel, True) != group.kernel:
                mixed.append((group.kernel, group.geometry["weight_tensor"]))
            else:
                always |= set(measured.links.get(group.kernel, ()))
        _linked[key] = _Linked(calls, frozenset(always), tuple(mixed))
        weakref.finalize(graph, _linked.pop, key, None)
    return _linked[key]


def code_bytes(columns: Columns, measured: Target) -> Ints:
    """int64 [n]: start-up, engine, calls, and the kernels linked."""
    linked = _linked_of(columns.graph, measured)
    total = np.full(len(columns), measured.image_bytes + linked.calls)
    used = np.zeros((len(columns), 2 * len(linked.mixed)), bool)
    for i, (_, weights) in enumerate(linked.mixed):
        int4 = columns.bits[:, weights] == 4
        used[:, 2 * i], used[:, 2 * i + 1] = (~int4).any(axis=1), int4.any(axis=1)
    patterns, which = np.unique(used, axis=0, return_inverse=True)
    for row, pattern in enumerate(patterns):
        names = set(linked.always)
        for i, (kernel, _) in enumerate(linked.mixed):
            for int4 in (0, 1):
                if pattern[2 * i + int4]:
                    names |= set(measured.links.get(variant(kernel, bool(int4)), ()))
        total[which.reshape(-1) == row] += sum(measured.sections[name] for name in names)
    return np.rint(total).astype(np.int64)


def stack_bytes(columns: Columns, measured: Target) -> Ints:
    """int64 [n]: of ``model_invoke`` and the deepest kernel."""
    frame = deepest = np.zeros(len(columns), np.int64)
    for group in groups(columns.graph):
        frame = np.maximum(frame, measured.frame_bytes.get(group.kernel, 0))
        known: Mapping[str, int] = measured.stack_bytes.get(group.kernel, {})
        for name, times in counts(columns, group, measured.core in DSP).items():
            depth = known.get(name, 0)
            deepest = np.maximum(deepest, np.where((times > 0).any(axis=-1), depth, 0))
    return frame + deepest


@lru_cache(maxsize=64)
def _bands(core: str, built_by: str) -> dict[str, Band]:
    measured = target(core, built_by)
    stands = (measured.core, measured.compiler) != (core, built_by)
    twin = (core, built_by) == ("M0+", measured.compiler) and measured.core == "M0"
    memory = TWIN if twin else STAND_IN
    found = {}
    for name in ("flash_bytes", "ram_bytes", "latency_s"):
        low, high = measured.bands[name]
        widest = (STAND_IN if name == "latency_s" else memory) if stands else 0.0
        basis = f"{measured.judged} unseen networks on {measured.core}, {measured.version}"
        if name == "latency_s":
            basis = (
                f"instructions within {100 * max(map(abs, measured.bands['instructions'])):.1f} % "
                f"on {basis}; cycles an instruction by the core's manual, zero wait states, "
                "no silicon seen"
            )
            if measured.core == "M0":
                basis += "; a multiplier of one cycle"
        if stands:
            basis += f"; stands in for {core}, {built_by}"
        found[name] = Band(min(low - MARGIN, -widest), max(high + MARGIN, widest), basis)
    return found


@dataclass(frozen=True)
class Aot:
    """Generated C on one core.

    Attributes:
        core: whose code and stack are meant; instructions are of the core that is asked for.
        compiler: ``"gcc"`` or ``"zig"``; None is what an image would be built with here.
    """

    name: str = "aot"
    activation_bits: tuple[int, ...] = (8, 16)
    weight_bits: dict[str, tuple[int, ...]] = field(
        default_factory=lambda: {"conv_2d": (8, 4), "fully_connected": (8, 4)}
    )
    buildable: bool = True
    core: str = "M4"
    compiler: str | None = None

    @property
    def measured(self) -> Target:
        """Of the core and compiler."""
        return target(self.core, self.compiler)

    def on_core(self, core: str) -> Aot:
        """The same for another core."""
        return self if core == self.core else replace(self, core=core)

    @property
    def bands(self) -> dict[str, Band]:
        """What networks that no fit had seen deviated at most, a little widened; of time the
        bounds that the core's manual leaves."""
        return dict(_bands(self.core, self.compiler or compiler()))

    def refusals(self, graph: Graph) -> list[Refusal]:
        """See :mod:`hwsearch.codegen.refuse`."""
        return refuse.refusals(graph)

    def ram(self, columns: Columns) -> RamColumns:
        """Arena exact; persistent: what rounds it up to words."""
        planned = np.maximum(arena(columns), 8)
        return RamColumns(planned, -planned % 4, stack_bytes(columns, self.measured))

    def flash(self, columns: Columns) -> Ints:
        """The linked image without wire, commands and port."""
        return constant_bytes(columns) + code_bytes(columns, self.measured)

    def cycles(self, columns: Columns, core: str) -> Floats | None:
        """The middle of what the core's manual allows, corrected where a device was calibrated."""
        _, low, high = instructions(columns, target(core, self.compiler))
        middle: Floats = (low + high) / 2
        corrections = latency.corrections(columns, core)
        return middle if corrections is None else middle * corrections


BACKENDS = (Aot(),)
