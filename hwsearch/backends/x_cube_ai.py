"""X-CUBE-AI (STM32Cube.AI): estimates only, for its compiler and runtime are not to be had here.

The model of its memory, judged on the 47 published rows of int8 networks that say what they took
(versions 7.3 and 8.1): weights err by 0.2 % on average, activations by 5 %, code by 5 %, runtime
data by 9 %; RAM in all by 5 %, flash in all by 2 %. ``benchmarks/cost.py`` prints it.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hwsearch.backends.backend import RamColumns, Refusal
from hwsearch.cost import flash, latency
from hwsearch.cost.columns import Columns, Ints
from hwsearch.cost.cost import Band, Floats
from hwsearch.graph import WEIGHT_OPS, Graph, Op
from hwsearch.graph.dead import without_dead_channels
from hwsearch.graph.tflite import TfliteModel

VERSIONS = ("7.1", "7.3", "8.0", "8.1", "9.0", "10.2")
"""Versions with published measurements; the README names 7.3, 8.1, 9.0 and 10.2."""

CODE_BYTES, CODE_PER_OP, CODE_PER_CHANNEL = 34_500, 740, 5.0
"""Bytes of code and tables: least squares on relative error over the published int8 rows."""
RUNTIME_BYTES, RUNTIME_PER_OP, RUNTIME_PER_CHANNEL = 125, 380, 1.6
"""Bytes of runtime data in RAM: the same."""
SCRATCH_PER_ROW, SCRATCH_PER_CHANNEL = 4, 230
"""Bytes of scratch of a windowed convolution with more than 4 input channels, per value of a row
and per output channel: from GMP (24 and 48 rows) and ST-MNIST, where nothing else is large."""

_BASIS = "published rows of X-CUBE-AI 7.3 and 8.1"
RAM_BAND = Band(-0.07, 0.26, f"all 39 {_BASIS}")
FLASH_BAND = Band(-0.12, 0.19, f"all 39 {_BASIS}")
"""Truth over estimate, minus 1: the extremes, for the constants were fitted to the same rows."""

DROPS_DEAD_CHANNELS = frozenset({"9.0", "10.2"})
"""Versions taken to fold dead channels away (:mod:`hwsearch.graph.dead`). That newer ones do is
known of MLPerf Tiny's visual-wake-words network; that it began with 9.0, whose kernels are new,
is an assumption."""

_SHAPES = frozenset({"shape", "strided_slice", "pack", "reshape", "squeeze", "expand_dims"})
"""Resolved when the code is generated."""


def _dynamic(graph: Graph, op: Op) -> bool:
    """X-CUBE-AI runs no operator that is not one of TensorFlow Lite's own."""
    return op.kind.startswith("custom:")


def _low_bits(graph: Graph, op: Op) -> bool:
    """X-CUBE-AI packs no 4-bit weights of a TensorFlow Lite file."""
    return any(i >= 0 and graph.tensors[i].dtype == "int4" for i in op.inputs)


def _wide(graph: Graph, op: Op) -> bool:
    """X-CUBE-AI runs no 16-bit activations."""
    return any(graph.tensors[i].dtype == "int16" for i in (*op.inputs, *op.outputs) if i >= 0)


RULES = (
    (_dynamic, "Replace the layer by one that converts without custom operators."),
    (_low_bits, "Use 8-bit weights: Space(weight_bits=(8,))."),
    (_wide, "Use 8-bit activations: Space(activation_bits=(8,))."),
)
"""Each rule's docstring is the message; beside it, what would help."""


@dataclass(frozen=True)
class _Steps:
    """Per operator that moves data: what is alive beside its first input and its output."""

    others: NDArray[np.float64]  # [tensors, steps], 1 where alive
    read: Ints
    made: Ints
    in_place: NDArray[np.bool_]  # the output may lie over the input
    weights: Ints  # 0 where there is none
    scratch_rows: NDArray[np.float64]  # input rows kept while the output overwrites them
    is_conv: NDArray[np.bool_]


_steps: dict[int, _Steps] = {}


def _steps_of(graph: Graph) -> _Steps:
    steps = _steps.get(id(graph))
    if steps is None:
        steps = _steps[id(graph)] = _planned(graph)
        weakref.finalize(graph, _steps.pop, id(graph), None)
    return steps


def _planned(graph: Graph) -> _Steps:
    moving = [
        (s, op)
        for s, op in enumerate(graph.ops)
        if op.kind not in _SHAPES and op.inputs and op.outputs
    ]
    others = np.zeros((len(graph.tensors), len(moving)))
    in_place, rows = [], []
    for column, (step, op) in enumerate(moving):
        for i, (first, last) in enumerate(graph.lifetimes):
            others[i, column] = first <= step <= last and i not in (op.inputs[0], op.outputs[0])
        in_place.append(graph.lifetimes[op.inputs[0]][1] == step)
        windowed = op.kind in ("conv_2d", "depthwise_conv_2d")
        rows.append(float(graph.tensors[op.inputs[1]].shape[1]) if windowed else 0.0)
    return _Steps(
        others,
        np.array([op.inputs[0] for _, op in moving], np.int64),
        np.array([op.outputs[0] for _, op in moving], np.int64),
        np.array(in_place, bool),
        np.array([op.inputs[1] if op.kind in WEIGHT_OPS else 0 for _, op in moving], np.int64),
        np.array(rows),
        np.array([op.kind == "conv_2d" for _, op in moving], bool),
    )


def arena_bytes(columns: Columns) -> Ints:
    """int64 [n]: activations and scratch.

    The largest, over the operators, of what must live: an input that nobody reads again shares
    its place with the output, but for the rows that the window still needs. Input and output of
    the network count as int8: they are quantized in place.
    """
    steps = _steps_of(columns.graph)
    if not len(steps.read):
        return np.zeros(len(columns), np.int64)
    size = np.minimum(columns.tensor_bytes, columns.elements)
    read, made = size[:, steps.read], size[:, steps.made]
    window = columns.shapes[:, steps.weights, -4:]
    row_bytes = columns.shapes[:, steps.read, -2] * columns.shapes[:, steps.read, -1]
    length = window[..., 1:].prod(axis=-1)
    deep = steps.is_conv & (window[..., 3] > 4) & (window[..., 1] * window[..., 2] > 1)
    scratch = steps.scratch_rows * row_bytes + deep * (
        SCRATCH_PER_ROW * length + SCRATCH_PER_CHANNEL * window[..., 0]
    )
    both = np.where(steps.in_place, np.maximum(read, made), read + made)
    peak: Ints = (size @ steps.others + both + scratch).max(axis=1).astype(np.int64)
    return peak


def _operators_and_channels(columns: Columns) -> tuple[int, Ints]:
    """Operators that run, and int64 [n] their output channels in all."""
    graph = columns.graph
    running = sum(op.kind not in _SHAPES for op in graph.ops)
    channels = np.zeros(len(columns), np.int64)
    for op in graph.ops:
        if op.kind in WEIGHT_OPS:
            channels = channels + columns.shapes[:, op.outputs[0], -1]
    return running, channels


@dataclass(frozen=True)
class XCubeAi:
    """One version of X-CUBE-AI.

    Attributes:
        version: ``"8.1"`` …
    """

    version: str
    activation_bits: tuple[int, ...] = (8,)
    weight_bits: dict[str, tuple[int, ...]] = field(default_factory=dict)
    buildable: bool = False

    @property
    def name(self) -> str:
        """``"x-cube-ai-8.1"`` …"""
        return f"x-cube-ai-{self.version}"

    def columns_of(self, model: TfliteModel) -> Columns:
        """The network that it computes; later versions leave out the dead channels."""
        drops = self.version in DROPS_DEAD_CHANNELS
        return Columns.of(without_dead_channels(model) if drops else model.graph)

    @property
    def bands(self) -> dict[str, Band]:
        """90 % intervals of RAM and flash."""
        return {"ram_bytes": RAM_BAND, "flash_bytes": FLASH_BAND}

    def refusals(self, graph: Graph) -> list[Refusal]:
        """Every operator that it cannot run, by the first rule that it breaks."""
        found = []
        for i, op in enumerate(graph.ops):
            for rule, remedy in RULES:
                if rule(graph, op):
                    found.append(Refusal(i, op.kind, str(rule.__doc__), remedy))
                    break
        return found

    def ram(self, columns: Columns) -> RamColumns:
        """Activations and runtime data; its stack is not published, so 0."""
        operators, channels = _operators_and_channels(columns)
        runtime = RUNTIME_BYTES + RUNTIME_PER_OP * operators + RUNTIME_PER_CHANNEL * channels
        nothing = np.zeros(len(columns), np.int64)
        return RamColumns(arena_bytes(columns), runtime.astype(np.int64), nothing)

    def flash(self, columns: Columns) -> Ints:
        """Weights, code and tables; start-up and drivers are not in the published figures."""
        operators, channels = _operators_and_channels(columns)
        code = CODE_BYTES + CODE_PER_OP * operators + CODE_PER_CHANNEL * channels
        total: Ints = flash.weights_bytes(columns) + code.astype(np.int64)
        return total

    def cycles(self, columns: Columns, core: str) -> Floats | None:
        """See :mod:`hwsearch.cost.latency`."""
        return latency.cycles(columns, core, self.name)


BACKENDS = tuple(XCubeAi(version) for version in VERSIONS)
