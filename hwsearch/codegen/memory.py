"""The arena of a network: the order of its layers, the place of every tensor and scratch.

A pure function of the Graph (shapes, dtypes, topology), fast enough to be asked for every
candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hwsearch.codegen import overlap
from hwsearch.codegen.layers import Layer, layers, storage
from hwsearch.codegen.plan import Buffer, Overlap, pack
from hwsearch.graph import Graph


@dataclass(frozen=True)
class Memory:
    """The plan of one network.

    Attributes:
        layers: in the order in which they run.
        offsets: per tensor of the graph its place in the arena, -1 where it has none.
        scratch: per layer the place of its scratch buffer, -1 without.
        lives: per tensor with a storage of its own the layers between which it is kept.
        arena_bytes: of activations and scratch together.
    """

    layers: tuple[Layer, ...]
    offsets: tuple[int, ...]
    scratch: tuple[int, ...]
    lives: dict[int, tuple[int, int]]
    arena_bytes: int


def memory(graph: Graph, formats: Mapping[int, str] | None = None) -> Memory:
    """The best of several execution orders, each packed by :func:`hwsearch.codegen.plan.pack`.

    Args:
        graph: the network.
        formats: by operator how its weights are stored, where that is not dense.
    """
    natural = layers(graph, formats)
    orders = {natural: None, _frugal(graph, natural): None}  # a dict keeps order and drops equals
    return min((_packed(graph, order) for order in orders), key=lambda found: found.arena_bytes)


def _packed(graph: Graph, order: tuple[Layer, ...]) -> Memory:
    root = storage(graph)
    end = max(len(order) - 1, 0)
    lives: dict[int, tuple[int, int]] = {root[i]: (0, 0) for i in graph.inputs}
    for step, layer in enumerate(order):
        for tensor in (*layer.inputs, layer.output):
            first, _ = lives.get(root[tensor], (step, step))
            lives[root[tensor]] = (first, step)
    for tensor in graph.outputs:
        if not graph.tensors[tensor].is_constant:
            lives[root[tensor]] = (lives.get(root[tensor], (0, 0))[0], end)
    roots = list(lives)
    place = {tensor: i for i, tensor in enumerate(roots)}
    buffers = [Buffer(graph.tensors[t].size_bytes, *lives[t]) for t in roots]
    overlaps = []
    scratches = {}
    for step, layer in enumerate(order):
        if layer.scratch_bytes:
            scratches[step] = len(buffers)
            buffers.append(Buffer(layer.scratch_bytes, step, step))
        made = root[layer.output]
        for tensor in dict.fromkeys(layer.inputs):
            read = root[tensor]
            if lives[read][1] != step or lives[made][0] != step or read == made:
                continue
            lead = overlap.distance(graph, layer, tensor)
            if lead is not None:
                overlaps.append(Overlap(place[made], place[read], lead, overlap.exact(layer)))
    layout = pack(buffers, overlaps)
    offsets = tuple(
        layout.offsets[place[root[t]]] if root[t] in place else -1
        for t in range(len(graph.tensors))
    )
    scratch = tuple(
        layout.offsets[scratches[step]] if step in scratches else -1 for step in range(len(order))
    )
    return Memory(order, offsets, scratch, lives, layout.size)


def _frugal(graph: Graph, natural: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """The order that always runs the ready layer after which the fewest bytes are alive."""
    root = storage(graph)
    size = {t: graph.tensors[t].size_bytes for t in root}
    made = {root[layer.output] for layer in natural}
    readers: dict[int, set[int]] = {}
    for i, layer in enumerate(natural):
        for tensor in layer.inputs:
            readers.setdefault(root[tensor], set()).add(i)
    kept = {root[t] for t in graph.outputs}
    waiting = set(range(len(natural)))
    ready = {t for t in root if t not in made}
    order = []
    while waiting:
        best = None
        for i in sorted(waiting):
            layer = natural[i]
            reads = {root[t] for t in layer.inputs}
            if not reads <= ready:
                continue
            freed = sum(size[t] for t in reads if readers[t] == {i} and t not in kept)
            cost = size[root[layer.output]] - freed
            if best is None or cost < best[0]:
                best = (cost, i)
        assert best is not None  # a graph has no cycles: the natural order exists
        chosen = best[1]
        order.append(natural[chosen])
        waiting.discard(chosen)
        ready.add(root[natural[chosen].output])
        for tensor in natural[chosen].inputs:
            readers[root[tensor]].discard(chosen)
    return tuple(order)
