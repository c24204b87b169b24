"""Memory plans over columns: where each buffer lies in the arena, for n candidates at once.

The planner is TFLite Micro's greedy one (``greedy_memory_planner.cc``): buffers in order of
falling size, equal sizes by falling index, each at the lowest offset that is free of the buffers
placed before it that are alive at the same time. Lifetimes follow from the topology, so all
candidates share them; only sizes differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from hwsearch.cost.columns import Columns, Ints
from hwsearch.graph import Graph

ALIGNMENT = 16
"""Bytes to which TFLite Micro rounds a buffer (``MicroArenaBufferAlignment``)."""


@dataclass(frozen=True)
class Lifetimes:
    """Which buffers are alive when.

    Attributes:
        first, last: int64 [buffers], the steps between which a buffer is alive.
        rivals: int64 [buffers, most], per buffer those alive at the same time, padded with
            ``buffers`` (one past the end).
    """

    first: Ints
    last: Ints
    rivals: Ints

    @classmethod
    def of(cls, first: Ints, last: Ints) -> Lifetimes:
        """Lifetimes from their first and last steps."""
        alive = (first[:, None] <= last[None, :]) & (first[None, :] <= last[:, None])
        np.fill_diagonal(alive, False)
        most = max(1, int(alive.sum(axis=1).max(initial=1)))
        rivals = np.full((len(first), most), len(first), np.int64)
        for i, row in enumerate(alive):
            found = np.flatnonzero(row)
            rivals[i, : len(found)] = found
        return cls(first, last, rivals)

    @cached_property
    def rivals_of(self) -> tuple[tuple[int, ...], ...]:
        """Per buffer those alive at the same time."""
        return tuple(tuple(i for i in row if i < len(self.first)) for row in self.rivals.tolist())


@dataclass(frozen=True)
class Plan:
    """Where each buffer lies.

    Attributes:
        offsets, sizes: int64 [n, buffers], bytes.
        lifetimes: of the buffers.
    """

    offsets: Ints
    sizes: Ints
    lifetimes: Lifetimes

    @property
    def bytes(self) -> Ints:
        """int64 [n]: bytes that the plan takes in all."""
        return (self.offsets + self.sizes).max(axis=1, initial=0)


def greedy(sizes: Ints, lifetimes: Lifetimes) -> Plan:
    """TFLite Micro's greedy plan of n candidates.

    Args:
        sizes: int64 [n, buffers], already rounded up to :data:`ALIGNMENT`.
        lifetimes: of the same buffers.
    """
    n, buffers = sizes.shape
    if n == 1:  # a tenth of the time of arrays of one row
        row = np.array([_greedy_one(sizes[0].tolist(), lifetimes.rivals_of)], np.int64)
        return Plan(row.reshape(1, buffers), sizes, lifetimes)
    order = buffers - 1 - np.argsort(-sizes[:, ::-1], axis=1, kind="stable")
    # One column past the end stands for "no rival": it lies beyond every buffer, unplaced.
    start = np.full((n, buffers + 1), -1, np.int64)
    end = np.zeros((n, buffers + 1), np.int64)
    rows = np.arange(n)
    column = rows[:, None]
    for step in range(buffers):
        buffer = order[:, step]
        size = sizes[rows, buffer]
        rivals = lifetimes.rivals[buffer]
        begins, ends = start[column, rivals], end[column, rivals]
        # The lowest free offset is 0 or the end of a placed rival: try them all at once.
        tries = np.concatenate([np.zeros((n, 1), np.int64), ends], axis=1)
        clash = (
            (begins[:, None, :] >= 0)
            & (begins[:, None, :] < (tries + size[:, None])[:, :, None])
            & (ends[:, None, :] > tries[:, :, None])
        ).any(axis=2)
        offset = np.where(clash, np.iinfo(np.int64).max, tries).min(axis=1)
        start[rows, buffer] = offset
        end[rows, buffer] = offset + size
    return Plan(start[:, :buffers], sizes, lifetimes)


def _greedy_one(sizes: list[int], rivals_of: tuple[tuple[int, ...], ...]) -> list[int]:
    """Offsets of one candidate: for each buffer the first gap that is wide enough."""
    offsets = [-1] * len(sizes)
    for buffer in sorted(range(len(sizes)), key=lambda i: (-sizes[i], -i)):
        size, offset = sizes[buffer], 0
        placed = ((offsets[i], sizes[i]) for i in rivals_of[buffer] if offsets[i] >= 0)
        for start, taken in sorted(placed):
            if start - offset >= size and start > offset:
                break
            offset = max(offset, start + taken)
        offsets[buffer] = offset
    return offsets


def align(size: Ints) -> Ints:
    """Bytes rounded up to :data:`ALIGNMENT`."""
    return -(-size // ALIGNMENT) * ALIGNMENT


@lru_cache(maxsize=256)
def _activations(graph: Graph, scratch_ops: tuple[int, ...]) -> tuple[NDArray[np.intp], Lifetimes]:
    """Indexes of the tensors that the arena holds, and lifetimes of these and then of scratch."""
    index = [i for i, (first, _) in enumerate(graph.lifetimes) if first >= 0]
    index = [i for i in index if not graph.tensors[i].variable]
    first = np.array([graph.lifetimes[i][0] for i in index], np.int64)
    last = np.array([graph.lifetimes[i][1] for i in index], np.int64)
    # Inputs are alive from before the first operator; one that nothing reads, only then.
    read = {i for op in graph.ops for i in op.inputs}
    for position, i in enumerate(index):
        if i in graph.inputs:
            first[position] = -1
            if i not in read and i not in graph.outputs:
                last[position] = -1
    steps = np.array(scratch_ops, np.int64)
    lifetimes = Lifetimes.of(np.concatenate([first, steps]), np.concatenate([last, steps]))
    return np.array(index, np.intp), lifetimes


def plan(columns: Columns, scratch: Sequence[tuple[int, Ints]]) -> Plan:
    """TFLite Micro's plan of the non-persistent part of the arena: activations, then scratch.

    Args:
        columns: the candidates.
        scratch: (operator, int64 [n] bytes) of each scratch buffer, in the order in which
            kernels ask for them; 0 where a candidate needs none.
    """
    index, lifetimes = _activations(columns.graph, tuple(op for op, _ in scratch))
    sizes = columns.tensor_bytes[:, index]
    if scratch:
        sizes = np.concatenate([sizes, np.stack([size for _, size in scratch], axis=1)], axis=1)
    return greedy(align(sizes), lifetimes)


def buffer_names(graph: Graph, scratch: Sequence[tuple[int, Ints]]) -> tuple[str, ...]:
    """Names of the buffers of :func:`plan` in its order: tensors, then scratch by its operator."""
    index, _ = _activations(graph, tuple(op for op, _ in scratch))
    return (*(graph.tensors[i].name for i in index), *(f"scratch of {op}" for op, _ in scratch))
