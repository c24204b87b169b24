"""The arena of n candidates at once: what :func:`hwsearch.codegen.memory.memory` plans for each.

Candidates share a topology, so layers, lifetimes and which output may reach into which input are
computed once; sizes and distances are columns, packed by :mod:`hwsearch.backends.aot_packing`.
The same bytes as the compiler's planner, always; the tests compare them on random networks and
random widths.

Only channels (last dimensions) may differ between candidates, not image or window sizes.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from hwsearch.backends.aot_packing import NEVER, Buffers, Lifetimes, least, packed
from hwsearch.codegen import overlap
from hwsearch.codegen.layers import (
    BINARY,
    FORMATS,
    PALETTE_BYTES,
    PIXELS,
    UNARY,
    Layer,
    Window,
    layers,
    storage,
)
from hwsearch.cost.columns import Columns, Ints
from hwsearch.graph import Graph

POOLS = ("average_pool_2d", "max_pool_2d")


@dataclass(frozen=True)
class Network:
    """What of a network does not change with its channels.

    Attributes:
        layers: as the compiler runs them, in the graph's order.
        root: per tensor the tensor whose storage it is.
        leads: per layer and input the vertices (pixels written, pixels read) that the distance is
            the largest of, in multiples of the channels made and read; [0, 2] where it is not so.
    """

    layers: tuple[Layer, ...]
    root: tuple[int, ...]
    leads: tuple[Ints, ...]
    in_place: tuple[bool, ...]


_networks: dict[int, Network] = {}


def network(graph: Graph) -> Network:
    """The Network of a graph, made once per Graph object and dropped with it."""
    found = _networks.get(id(graph))
    if found is None:
        known = layers(graph)
        found = Network(
            known, storage(graph), tuple(_lead_vertices(layer) for layer in known),
            tuple(_keeps_ahead(graph, layer) for layer in known),
        )  # fmt: skip
        _networks[id(graph)] = found
        weakref.finalize(graph, _networks.pop, id(graph), None)
    return found


def arena(columns: Columns, forms: Ints | None = None) -> Ints:
    """int64 [n]: bytes of activations and scratch, as the compiler lays them out.

    Args:
        columns: n candidates.
        forms: int64 [n, ops], how weights are stored; None is dense.
    """
    known = network(columns.graph)
    scratch = _scratch(columns, known)
    if forms is not None:
        ops = [layer.op_index for layer in known.layers]
        scratch += PALETTE_BYTES * (forms[:, ops] == FORMATS.index("palette"))
    natural = tuple(range(len(known.layers)))
    best = packed(_buffers(columns, known, scratch, natural))
    for order, rows in _frugal(columns, known):
        if order != natural:
            buffers = _buffers(columns.take(rows), known, scratch[rows], order)
            better = np.flatnonzero(least(buffers) < best[rows])
            if len(better):
                found = packed(buffers.take(better))
                best[rows[better]] = np.minimum(best[rows[better]], found)
    return best


def _scratch(columns: Columns, known: Network) -> Ints:
    """int64 [n, layers]: see :func:`hwsearch.codegen.layers.scratch_bytes`."""
    result = np.zeros((len(columns), len(known.layers)), np.int64)
    for i, layer in enumerate(known.layers):
        if not layer.scratch_bytes:
            continue
        if layer.kind == "depthwise_conv_2d":
            result[:, i] = layer.scratch_bytes
            continue
        assert layer.window is not None
        weights = columns.graph.ops[layer.op_index].inputs[1]
        kernel = layer.window.kernel[0] * layer.window.kernel[1]
        values = kernel * columns.shapes[:, weights, -1]
        whole = np.where(columns.bits[:, weights] == 4, 4, 2)
        pixels = PIXELS if layer.kind == "conv_2d" else 1
        result[:, i] = 2 * pixels * (-(-values // whole) * whole)
    return result


def _lead_vertices(layer: Layer) -> Ints:
    """int64 [k, 2]: steps at which a windowed layer's output may lead its input the most."""
    if layer.window is None or layer.kind not in ("conv_2d", *POOLS):
        return np.zeros((0, 2), np.int64)
    reads = _first_pixels(layer.window)
    step = PIXELS if layer.kind == "conv_2d" else 1
    ends = np.arange(step, len(reads), step)
    still = np.minimum.accumulate(reads[::-1])[::-1][ends]
    points = np.stack([ends, still], axis=1)
    if layer.kind != "conv_2d":
        points = np.concatenate([points, np.stack([np.arange(len(reads)), reads], axis=1)])
    return _hull(points.astype(np.int64))


def _keeps_ahead(graph: Graph, layer: Layer) -> bool:
    if layer.kind != "depthwise_conv_2d" or layer.window is None:
        return False
    window = replace(layer.window, channels_out=layer.window.channels_in)
    return overlap.distance(graph, replace(layer, window=window), layer.inputs[0]) == 0


def _first_pixels(window: Window) -> Ints:
    """int64 [output pixels]: the first input pixel that each reads."""
    rows = np.maximum(np.arange(window.made[0]) * window.stride[0] - window.padding[0], 0)
    columns = np.maximum(np.arange(window.made[1]) * window.stride[1] - window.padding[1], 0)
    return np.asarray((rows[:, None] * window.image[1] + columns[None, :]).reshape(-1), np.int64)


def _hull(points: Ints) -> Ints:
    """The points that can be the largest of x * a - y * b for some a, b > 0: the lower right."""
    chain: list[tuple[int, int]] = []
    for x, y in sorted(map(tuple, points.tolist()), key=lambda p: (-p[0], p[1])):
        if chain and y >= chain[-1][1]:
            continue  # one further right reads no later
        while len(chain) > 1 and _turns(chain[-2], chain[-1], (x, y)):
            chain.pop()
        chain.append((x, y))
    return np.array(chain, np.int64).reshape(-1, 2)


def _turns(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> bool:
    """Whether b lies on or above the line from a to c (going left), so that it is never best."""
    return (b[1] - a[1]) * (a[0] - c[0]) >= (c[1] - a[1]) * (a[0] - b[0])


def _may_overlap(layer: Layer) -> bool:
    """Whether a layer's output may reach into its input for some sizes."""
    return (
        layer.kind in UNARY or layer.kind in BINARY or layer.kind == "softmax"
        or layer.kind in ("dense", "depthwise_conv_2d", "conv_2d", *POOLS)
    )  # fmt: skip


def _distance(columns: Columns, known: Network, index: int, tensor: int) -> Ints:
    """int64 [n]: :func:`hwsearch.codegen.overlap.distance`; NEVER for no overlap."""
    layer = known.layers[index]
    n = len(columns)
    if layer.kind in UNARY or layer.kind in BINARY or layer.kind == "softmax":
        same = columns.elements[:, layer.output] == columns.elements[:, tensor]
        same &= columns.bits[:, layer.output] <= columns.bits[:, tensor]
        return np.where(same, 0, NEVER)
    if layer.kind == "dense":
        return np.full(n, overlap.ANYWHERE)
    if layer.kind == "depthwise_conv_2d":
        assert layer.window is not None
        equal = columns.shapes[:, layer.output, -1] == columns.shapes[:, tensor, -1]
        return np.where(equal & (known.in_place[index]), 0, NEVER)
    vertices = known.leads[index]
    if not len(vertices):
        return np.full(n, overlap.ANYWHERE)
    made, read = _channels(columns, layer, tensor)
    leads = vertices[:, 0] * made[:, None] - vertices[:, 1] * read[:, None]
    found: Ints = columns.bits[:, tensor] // 8 * leads.max(axis=1)
    return found


def _channels(columns: Columns, layer: Layer, tensor: int) -> tuple[Ints, Ints]:
    """int64 [n] each: channels that a windowed layer makes, and reads of an input."""
    op = columns.graph.ops[layer.op_index]
    if op.kind == "fully_connected":
        weights = columns.shapes[:, op.inputs[1]]
        return weights[:, -2], weights[:, -1]
    return columns.shapes[:, layer.output, -1], columns.shapes[:, tensor, -1]


_State = tuple[Ints, tuple[int, ...], frozenset[int], dict[int, frozenset[int]]]
"""Rows, the layers that have run, tensors that are made, and who has still to read each."""


def _frugal(columns: Columns, known: Network) -> Iterator[tuple[tuple[int, ...], Ints]]:
    """(order, rows) of the candidates by their frugal order: see codegen/memory.py."""
    graph, root = columns.graph, known.root
    size = columns.tensor_bytes
    natural = known.layers
    readers: dict[int, frozenset[int]] = {}
    for i, layer in enumerate(natural):
        for tensor in layer.inputs:
            readers[root[tensor]] = readers.get(root[tensor], frozenset()) | {i}
    kept = {root[t] for t in graph.outputs}
    made = {root[layer.output] for layer in natural}
    ready = frozenset(t for t in root if t not in made)
    states: list[_State] = [(np.arange(len(columns)), (), ready, readers)]
    for _ in natural:
        following: list[_State] = []
        for rows, order, ready, readers in states:
            able = [
                i
                for i, layer in enumerate(natural)
                if i not in order and {root[t] for t in layer.inputs} <= ready
            ]
            if len(able) == 1:
                choice = np.zeros(len(rows), np.int64)
            else:
                costs = []
                for i in able:
                    cost = size[rows, root[natural[i].output]]
                    for t in {root[t] for t in natural[i].inputs}:
                        if readers[t] == {i} and t not in kept:
                            cost = cost - size[rows, t]
                    costs.append(cost)
                choice = np.argmin(costs, axis=0)
            for position, i in enumerate(able):
                chosen = rows[choice == position]
                if not len(chosen):
                    continue
                fewer = dict(readers)
                for tensor in natural[i].inputs:
                    fewer[root[tensor]] = fewer[root[tensor]] - {i}
                now = ready | {root[natural[i].output]}
                following.append((chosen, (*order, i), now, fewer))
        states = following
    for rows, order, _, _ in states:
        yield order, rows


class _Order:
    """One execution order: which buffers there are, when they live, what may overlap what.

    Attributes:
        tensors: int64 [activations], those with a buffer; scratch follows, a layer of ``scratch``
            each.
        overlaps: (layer, tensor) of each overlap.
        lifetimes: of the buffers.
    """

    def __init__(self, graph: Graph, known: Network, order: tuple[int, ...]) -> None:
        root, end = known.root, max(len(order) - 1, 0)
        lives: dict[int, tuple[int, int]] = {root[i]: (0, 0) for i in graph.inputs}
        for step, index in enumerate(order):
            layer = known.layers[index]
            for tensor in (*layer.inputs, layer.output):
                lives[root[tensor]] = (lives.get(root[tensor], (step, step))[0], step)
        for tensor in graph.outputs:
            if not graph.tensors[tensor].is_constant:
                lives[root[tensor]] = (lives.get(root[tensor], (0, 0))[0], end)
        place = {tensor: i for i, tensor in enumerate(lives)}
        spans = list(lives.values())
        self.overlaps: list[tuple[int, int]] = []
        rules = []
        scratch = []
        for step, index in enumerate(order):
            layer = known.layers[index]
            if layer.scratch_bytes:
                spans.append((step, step))
                scratch.append(index)
            made = root[layer.output]
            for tensor in dict.fromkeys(layer.inputs):
                read = root[tensor]
                dies = lives[read][1] == step and lives[made][0] == step and read != made
                if dies and _may_overlap(layer):
                    rules.append((place[made], place[read], overlap.exact(layer)))
                    self.overlaps.append((index, tensor))
        self.tensors = np.array(list(lives), np.int64)
        self.scratch = np.array(scratch, np.int64)
        self.lifetimes = Lifetimes(spans, rules)


_orders: dict[tuple[int, tuple[int, ...]], _Order] = {}


def _order(graph: Graph, known: Network, order: tuple[int, ...]) -> _Order:
    """The tables of an execution order, made once per Graph object and dropped with it."""
    key = (id(graph), order)
    if key not in _orders:
        _orders[key] = _Order(graph, known, order)
        weakref.finalize(graph, _orders.pop, key, None)
    return _orders[key]


def _buffers(columns: Columns, known: Network, scratch: Ints, order: tuple[int, ...]) -> Buffers:
    """As ``_packed`` of codegen/memory.py lists them."""
    tables = _order(columns.graph, known, order)
    sizes = np.concatenate(
        [columns.tensor_bytes[:, tables.tensors], scratch[:, tables.scratch]], axis=1
    )
    distances = np.empty((len(columns), len(tables.overlaps)), np.int64)
    for column, (layer, tensor) in enumerate(tables.overlaps):
        distances[:, column] = _distance(columns, known, layer, tensor)
    return Buffers(tables.lifetimes, sizes, distances)
