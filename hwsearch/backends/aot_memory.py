"""The arena of n candidates at once: what :func:`hwsearch.codegen.memory.memory` plans for each.

Candidates share a topology, so layers, lifetimes and which output may reach into which input are
computed once; sizes and distances are columns. The packing is that of
:mod:`hwsearch.codegen.plan`, step by step, a row a candidate, and ends early for the candidates
whose arena has met a lower bound: no later attempt could be smaller. The same bytes as the
compiler's planner, always; the tests compare them on random networks and random widths.

Only channels (last dimensions) may differ between candidates, not image or window sizes.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwsearch.codegen import overlap
from hwsearch.codegen.layers import BINARY, PIXELS, UNARY, Layer, Window, layers, storage
from hwsearch.codegen.plan import ALIGNMENT, ROUNDS
from hwsearch.cost.columns import Columns, Ints
from hwsearch.graph import Graph

Mask = NDArray[np.bool_]

NEVER = 2**40
"""A distance that no offset reaches: the two buffers may not overlap."""


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


_networks: dict[int, Network] = {}


def network(graph: Graph) -> Network:
    """The Network of a graph, made once per Graph object and dropped with it."""
    found = _networks.get(id(graph))
    if found is None:
        known = layers(graph)
        found = Network(known, storage(graph), tuple(_lead_vertices(layer) for layer in known))
        _networks[id(graph)] = found
        weakref.finalize(graph, _networks.pop, id(graph), None)
    return found


def arena(columns: Columns) -> Ints:
    """int64 [n]: bytes of activations and scratch, as the compiler lays them out."""
    known = network(columns.graph)
    scratch = _scratch(columns, known)
    natural = tuple(range(len(known.layers)))
    everyone = np.arange(len(columns))
    best = _packed(_buffers(columns, known, scratch, natural, everyone))
    for order, rows in _frugal(columns, known):
        if order != natural:
            buffers = _buffers(columns, known, scratch, order, rows)
            better = np.flatnonzero(_least(buffers) < best[rows])
            if len(better):
                found = _packed(buffers.take(better))
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
    if layer.window is None or layer.kind not in ("conv_2d", "average_pool_2d", "max_pool_2d"):
        return np.zeros((0, 2), np.int64)
    reads = _first_pixels(layer.window)
    step = PIXELS if layer.kind == "conv_2d" else 1
    ends = np.arange(step, len(reads), step)
    still = np.minimum.accumulate(reads[::-1])[::-1][ends]
    points = np.stack([ends, still], axis=1)
    if layer.kind != "conv_2d":
        points = np.concatenate([points, np.stack([np.arange(len(reads)), reads], axis=1)])
    return _hull(points.astype(np.int64))


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


def _distance(columns: Columns, known: Network, index: int, tensor: int) -> Ints | None:
    """int64 [n]: :func:`hwsearch.codegen.overlap.distance`; NEVER or None for no overlap."""
    layer = known.layers[index]
    n = len(columns)
    if layer.kind in UNARY or layer.kind in BINARY or layer.kind == "softmax":
        same = columns.elements[:, layer.output] == columns.elements[:, tensor]
        same &= columns.bits[:, layer.output] <= columns.bits[:, tensor]
        return np.where(same, 0, NEVER)
    if layer.window is None:
        return None
    if layer.kind == "dense":
        return np.full(n, overlap.ANYWHERE)
    if layer.kind == "depthwise_conv_2d":
        equal = columns.shapes[:, layer.output, -1] == columns.shapes[:, tensor, -1]
        window = replace(layer.window, channels_out=layer.window.channels_in)
        safe = overlap.distance(columns.graph, replace(layer, window=window), tensor) == 0
        return np.where(equal & safe, 0, NEVER)
    if layer.kind in ("conv_2d", "average_pool_2d", "max_pool_2d"):
        vertices = known.leads[index]
        if not len(vertices):
            return np.full(n, overlap.ANYWHERE * (columns.bits[0, tensor] // 8))
        made, read = _channels(columns, layer, tensor)
        leads = vertices[:, 0] * made[:, None] - vertices[:, 1] * read[:, None]
        found: Ints = columns.bits[:, tensor] // 8 * leads.max(axis=1)
        return found
    return None


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


@dataclass(frozen=True)
class _Buffers:
    """What :func:`hwsearch.codegen.plan.pack` is given, with a row a candidate.

    Attributes:
        sizes: int64 [n, buffers].
        first, last: int64 [buffers], the layers between which each is alive.
        rules: (made, read, exact) of each overlap.
        distances: int64 [n, rules].
    """

    sizes: Ints
    first: Ints
    last: Ints
    rules: tuple[tuple[int, int, bool], ...]
    distances: Ints

    def take(self, rows: Ints) -> _Buffers:
        """Only these candidates."""
        return replace(self, sizes=self.sizes[rows], distances=self.distances[rows])


def _buffers(
    columns: Columns, known: Network, scratch: Ints, order: tuple[int, ...], rows: Ints
) -> _Buffers:
    """As ``_packed`` of codegen/memory.py lists them."""
    graph, root = columns.graph, known.root
    end = max(len(order) - 1, 0)
    lives: dict[int, tuple[int, int]] = {root[i]: (0, 0) for i in graph.inputs}
    for step, index in enumerate(order):
        layer = known.layers[index]
        for tensor in (*layer.inputs, layer.output):
            first, _ = lives.get(root[tensor], (step, step))
            lives[root[tensor]] = (first, step)
    for tensor in graph.outputs:
        if not graph.tensors[tensor].is_constant:
            lives[root[tensor]] = (lives.get(root[tensor], (0, 0))[0], end)
    roots = list(lives)
    place = {tensor: i for i, tensor in enumerate(roots)}
    spans = [lives[t] for t in roots]
    sizes = [columns.tensor_bytes[rows, t] for t in roots]
    rules, distances = [], []
    chosen = columns.take(rows)
    for step, index in enumerate(order):
        layer = known.layers[index]
        if layer.scratch_bytes:
            spans.append((step, step))
            sizes.append(scratch[rows, index])
        made = root[layer.output]
        for tensor in dict.fromkeys(layer.inputs):
            read = root[tensor]
            if lives[read][1] != step or lives[made][0] != step or read == made:
                continue
            distance = _distance(chosen, known, index, tensor)
            if distance is not None:
                rules.append((place[made], place[read], overlap.exact(layer)))
                distances.append(distance)
    shape = (len(rows), 0)
    return _Buffers(
        np.stack(sizes, axis=1),
        np.array([f for f, _ in spans], np.int64),
        np.array([e for _, e in spans], np.int64),
        tuple(rules),
        np.stack(distances, axis=1) if distances else np.zeros(shape, np.int64),
    )


def _packed(buffers: _Buffers) -> Ints:
    """int64 [n]: bytes of the best packing of one execution order."""
    fit = _FirstFit(buffers)
    least = _least(buffers)
    n, count = buffers.sizes.shape
    # The orders of plan.pack as keys of a stable sort, the last one leading; what is met most
    # often comes first, and of equal packings the one that plan.pack meets first is kept.
    minus, first, last = -buffers.sizes, buffers.first, buffers.last
    none = np.zeros_like(minus)
    keys = (
        (1, (none - last, minus)),
        (0, (first + none, minus)),
        (2, (minus, first + none)),
        (3, (minus, none - last)),
        (4, (minus * (last - first + 1),)),
    )
    best, rank = np.full(n, NEVER), np.zeros(n, np.int64)
    order_of, offsets = np.zeros((n, count), np.int64), np.zeros((n, count), np.int64)
    active = np.arange(n)
    for place, key in keys:
        orders = np.lexsort(tuple(k[active] for k in key), axis=1)
        # Of an equal packing only the order matters, and only where it comes before.
        found, sizes = fit(active, orders, best[active] + (place < rank[active]))
        better = (sizes < best[active]) | ((sizes == best[active]) & (place < rank[active]))
        chosen = active[better]
        best[chosen], rank[chosen] = sizes[better], place
        order_of[chosen], offsets[chosen] = orders[better], found[better]
        active = active[best[active] > least[active]]
        if not len(active):
            return best
    overlapping: Mask = np.any(buffers.distances < NEVER, axis=1)
    alive = _alive(buffers)
    for _ in range(ROUNDS):
        # plan.pack's own end: without any overlap it is content with this.
        active = active[overlapping[active] | (best[active] > alive[active] + ALIGNMENT)]
        top = (offsets[active] + buffers.sizes[active]).argmax(axis=1)
        place = (order_of[active] == top[:, None]).argmax(axis=1)
        active, place = active[place > 0], place[place > 0]
        if not len(active):
            break
        steps = np.arange(count)
        source = np.where(steps <= place[:, None], steps - 1, steps)
        source[:, 0] = place
        order_of[active] = np.take_along_axis(order_of[active], source, axis=1)
        found, sizes = fit(active, order_of[active], best[active])
        better = sizes < best[active]
        best[active[better]], offsets[active[better]] = sizes[better], found[better]
        active = active[best[active] > least[active]]
    return best


def _alive(buffers: _Buffers) -> Ints:
    """int64 [n]: the most bytes alive at once."""
    steps = np.unique(buffers.first)
    alive = (buffers.first[:, None] <= steps) & (steps <= buffers.last[:, None])
    found: Ints = (buffers.sizes @ alive.astype(np.int64)).max(axis=1)
    return found


def _least(buffers: _Buffers) -> Ints:
    """int64 [n]: no packing is smaller.

    At every step what is alive takes its bytes, each piece but one rounded up to the alignment;
    an output and the inputs that it may reach into are one piece, as long as the longer of them,
    or as the distance and the input where that is more.
    """
    least = np.zeros(len(buffers.sizes), np.int64)
    for step in np.unique(buffers.first).tolist():
        alive = set(np.flatnonzero((buffers.first <= step) & (step <= buffers.last)).tolist())
        pieces = []
        groups: dict[int, list[tuple[int, Ints]]] = {}
        for rule, (made, read, _) in enumerate(buffers.rules):
            if made in alive and read in alive:
                groups.setdefault(made, []).append((read, buffers.distances[:, rule]))
        for made, reads in groups.items():
            alive -= {made, *(read for read, _ in reads)}
            longest = buffers.sizes[:, made]
            apart = longest
            within = np.zeros_like(longest)
            for read, distance in reads:
                size = buffers.sizes[:, read]
                apart = apart + size
                within = within + size
                if len(reads) == 1:
                    lead = np.where(distance < NEVER, _up(np.maximum(distance, 0)), NEVER)
                    longest = np.maximum(longest, lead + size)
            pieces.append(np.minimum(apart, np.maximum(longest, within)))
        pieces += [buffers.sizes[:, i] for i in alive]
        rounded = [_up(piece) for piece in pieces]
        waste = np.max([r - p for r, p in zip(rounded, pieces, strict=True)], axis=0)
        least = np.maximum(least, np.sum(rounded, axis=0) - waste)
    return least


def _up(size: Ints) -> Ints:
    """Rounded up to the alignment."""
    return -(-size // ALIGNMENT) * ALIGNMENT


class _FirstFit:
    """First fit of buffers in any order; the tables of who meets whom, and by which rule.

    A rival forbids an interval of offsets; a rule only moves one of its ends, or, where the
    output may lie nowhere but at the distance itself, excepts that one offset. Arrays are int32
    with the candidates last, so that a step is a few passes over memory.
    """

    FAR = 2**28
    """Past every arena; where a buffer that is not placed lies."""

    def __init__(self, buffers: _Buffers) -> None:
        count, rules = len(buffers.first), buffers.rules
        self.sizes = np.ascontiguousarray(buffers.sizes.T, np.int32)
        distances = np.clip(buffers.distances.T, -self.FAR, self.FAR)
        none = np.full((1, distances.shape[1]), self.FAR)
        self.distances = np.ascontiguousarray(np.concatenate([distances, none]), np.int32)
        meet = (buffers.first[:, None] <= buffers.last) & (buffers.first <= buffers.last[:, None])
        np.fill_diagonal(meet, False)
        ruled: list[list[tuple[int, int, bool, bool]]] = [[] for _ in range(count)]
        for column, (made, read, exact) in enumerate(rules):
            ruled[made].append((read, column, True, exact))
            ruled[read].append((made, column, False, exact))
            meet[made, read] = meet[read, made] = False
        # Rivals with a rule, then those without; padded with a buffer that is never placed.
        self.few = max(1, *map(len, ruled)) if ruled else 1
        plain = _padded([np.flatnonzero(row).tolist() for row in meet], count)
        self.rivals = np.concatenate(
            [_padded([[r[0] for r in row] for row in ruled], count), plain]
        )
        self.rule = _padded([[r[1] for r in row] for row in ruled], len(rules))
        self.made = _padded([[int(r[2]) for r in row] for row in ruled], 1) > 0
        self.exact = _padded([[int(r[3]) for r in row] for row in ruled], 0) > 0

    def __call__(self, rows: Ints, orders: Ints, limit: Ints) -> tuple[Ints, Ints]:
        """Each buffer as low as it can; ends where every candidate has reached its limit.

        Returns:
            int64 [rows, buffers] offsets, int64 [rows] bytes; both void where bytes >= limit.
        """
        n, count = orders.shape
        every, far, few = np.arange(n), np.int32(self.FAR), self.few
        order = np.ascontiguousarray(orders.T)
        sizes = np.concatenate([self.sizes[:, rows], np.zeros((1, n), np.int32)])
        rivals = self.rivals.T[order].transpose(0, 2, 1)  # [step, rival, n]
        lengths = sizes[rivals, every]
        places = rivals * n + every
        made, exact = (t.T[order].transpose(0, 2, 1) for t in (self.made, self.exact))
        distances = self.distances[:, rows][self.rule.T[order].transpose(0, 2, 1), every]
        size_of = sizes[order, every]
        start = np.full((count + 1, n), far, np.int32)
        flat, top = start.reshape(-1), np.zeros(n, np.int32)
        targets = order * n + every
        # Where the rule's end of the forbidden interval lies from the rival's start.
        below = np.where(made & ~exact, -distances, -4 * far)
        above = np.where(made | exact, 4 * far, distances)
        # Where the rule's own offset lies from it; rounded down where made, else up.
        lead = np.where(made, -distances, distances + (ALIGNMENT - 1))
        point = np.where(exact, np.where(made, -distances, distances), 4 * far)
        excepts = bool(exact.any())
        tries = np.zeros((1 + few + rivals.shape[1], n), np.int32)
        low, high = np.empty((2, rivals.shape[1], n), np.int32)
        for step in range(count):
            size = size_of[step]
            begins = flat.take(places[step])
            ruled = begins[:few]
            np.add(begins, lengths[step], out=high)
            np.bitwise_and(high + (ALIGNMENT - 1), -ALIGNMENT, out=tries[1 + few :])
            np.maximum((ruled + lead[step]) & -ALIGNMENT, 0, out=tries[1 : 1 + few])
            np.subtract(begins, size - 1, out=low)
            np.maximum(low[:few], ruled + below[step] + 1, out=low[:few])
            np.minimum(high[:few], ruled + above[step], out=high[:few])
            width = np.maximum(high - low, 0).view(np.uint32)
            inside = (tries[:, None] - low).view(np.uint32) < width
            if excepts:
                inside[:, :few] &= tries[:, None] != ruled + point[step]
            clash = np.logical_or.reduce(inside, axis=1)
            offset = np.where(clash, 4 * far, tries).min(axis=0)
            flat[targets[step]] = offset
            np.maximum(top, offset + size, out=top)
            if step % 4 == 3 and (top >= limit).all():
                break
        return start[:count].T.astype(np.int64), top.astype(np.int64)


def _padded(rows: list[list[int]], padding: int) -> Ints:
    """int64 [longest, rows], at least one long."""
    longest = max(1, *(len(row) for row in rows)) if rows else 1
    return np.array([row + [padding] * (longest - len(row)) for row in rows], np.int64).T
