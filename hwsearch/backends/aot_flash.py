"""Flash of generated code: constants as they are emitted, and the sections that are linked."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from hwsearch.backends.aot_cycles import KINDS, kinds, variant
from hwsearch.backends.aot_layers import Group, groups, sizes
from hwsearch.backends.aot_measured import Target
from hwsearch.backends.aot_weights import CHOICE, values_of, weight_bytes
from hwsearch.codegen.layers import FORMATS
from hwsearch.codegen.tables import exps
from hwsearch.cost.columns import Columns, Ints
from hwsearch.graph import Graph

EXPONENTIALS = 125
"""Entries of softmax's table where the scale of its input is not known: of a scale of 0.17, as in
both MLPerf Tiny models. The table ends where exp is 0 in Q31, at 21.5 / scale, or 256."""

WINDOW, REQUANTIZATION, REQUANTIZATION16, BINARY, MEAN, RESCALE, PAD = 28, 28, 24, 104, 32, 32, 48
"""Bytes of the constant structures of ``nn.h`` on a 32-bit target."""
LOOKUP, SIGMOID, EXPONENTIALS16 = 256, 512, 2 * 1028
"""Bytes of the tables of a unary int8 operator; of int16's logistic and tanh, and its softmax."""

_WINDOWED = ("conv", "depthwise", "transpose_conv", "average_pool", "max_pool")
_FLAT = {"add": BINARY, "sub": BINARY, "mul": BINARY, "mean": MEAN, "rescale": RESCALE}


def flash_bytes(columns: Columns, measured: Target, forms: Ints | None) -> Ints:
    """int64 [n]: the linked image without wire, commands and port."""
    return constant_bytes(columns, forms) + code_bytes(columns, measured, forms)


def constant_bytes(columns: Columns, forms: Ints | None = None) -> Ints:
    """int64 [n]: weights, biases, requantization, tables and structures, as they are emitted.

    Args:
        columns: n candidates.
        forms: int64 [n, ops], how weights are stored; None is dense.
    """
    total = np.zeros(len(columns), np.int64)
    once = 0
    for group in groups(columns.graph):
        name = group.kernel.removeprefix("nn_")
        layers = len(group.layers)
        if "taps" in group.geometry and "pool" not in name:
            total += _weighted(columns, group, name, forms)
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


def _weighted(columns: Columns, group: Group, name: str, forms: Ints | None) -> Ints:
    """Of layers with weights: codegen/packing.py, and ``_requant`` of codegen/weighted.py."""
    s = sizes(columns, group)
    wide = name.endswith("s16")
    even = s.made + s.made % 2
    if name.startswith("depthwise"):
        words = -(-group.geometry["taps"] * s.made // 4) * 4
    else:
        words = weight_bytes(columns, group, None, 0)
    if forms is not None and group.kernel in CHOICE:
        values, stored = values_of(columns), forms[:, group.ops]
        for form in range(1, len(FORMATS)):
            if (stored == form).any():
                words = np.where(stored == form, weight_bytes(columns, group, values, form), words)
    words = words + even * (8 if wide else 4) + even * 4 + -(-even // 4) * 4
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
    """What of a network's code does not change from candidate to candidate.

    Attributes:
        calls: bytes of its calls.
        always: sections of the kernels that there is one of.
        mixed: layers whose kernels differ with how their weights are stored.
    """

    calls: float
    always: frozenset[str]
    mixed: tuple[Group, ...]


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
            if group.kernel in CHOICE:
                mixed.append(group)
            else:
                always |= set(measured.links.get(group.kernel, ()))
        _linked[key] = _Linked(calls, frozenset(always), tuple(mixed))
        weakref.finalize(graph, _linked.pop, key, None)
    return _linked[key]


def code_bytes(columns: Columns, measured: Target, forms: Ints | None = None) -> Ints:
    """int64 [n]: start-up, engine, calls, and the kernels linked.

    Args:
        columns: n candidates.
        measured: what holds on the core.
        forms: int64 [n, ops], how weights are stored; None is dense.
    """
    linked = _linked_of(columns.graph, measured)
    total = np.full(len(columns), measured.image_bytes + linked.calls)
    used = np.zeros((len(columns), len(linked.mixed), len(KINDS)), bool)
    for i, group in enumerate(linked.mixed):
        stored = kinds(columns, group, forms)
        for kind in range(len(KINDS)):
            used[:, i, kind] = (stored == kind).any(axis=1)
    patterns, which = np.unique(used.reshape(len(columns), -1), axis=0, return_inverse=True)
    for row, pattern in enumerate(patterns.reshape(len(patterns), *used.shape[1:])):
        names = set(linked.always)
        for i, kind in np.argwhere(pattern).tolist():
            names |= set(measured.links.get(variant(linked.mixed[i].kernel, KINDS[kind]), ()))
        total[which.reshape(-1) == row] += sum(measured.sections[name] for name in names)
    return np.rint(total).astype(np.int64)
