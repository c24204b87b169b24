"""Where buffers with lifetimes lie in the arena, some of them overlapping.

The model: time is the index of the layer that runs. A buffer is alive from ``first`` to ``last``,
both included. Buffers alive together do not share bytes, but for an Overlap: a layer's output may
reach into an input that dies there, if it starts early enough (overlap.py). Packing is first fit
(each buffer at the lowest offset that keeps every rule) in several orders, improved by moving the
buffers that end highest to the front; the smallest wins. Pure functions of sizes, lifetimes and
overlaps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

ALIGNMENT = 8
"""Bytes that offsets are multiples of."""

ROUNDS = 24
"""How many times the best order is improved."""


@dataclass(frozen=True)
class Buffer:
    """Something that needs memory.

    Attributes:
        size: bytes.
        first, last: the layers between which it is alive, both included.
    """

    size: int
    first: int
    last: int


@dataclass(frozen=True)
class Overlap:
    """A layer's output that may reach into an input that dies there.

    Attributes:
        made, read: indexes of the two buffers.
        distance: bytes that ``made`` starts before ``read`` at least.
        exact: whether the only such start is ``distance`` itself.
    """

    made: int
    read: int
    distance: int
    exact: bool = False


@dataclass(frozen=True)
class Layout:
    """A packing.

    Attributes:
        offsets: bytes from the arena's start, one per buffer.
        size: bytes of the arena.
    """

    offsets: tuple[int, ...]
    size: int


def pack(buffers: Sequence[Buffer], overlaps: Sequence[Overlap] = ()) -> Layout:
    """The smallest packing found; the same input gives the same packing."""
    rules = {(o.made, o.read): o for o in overlaps}
    count = len(buffers)
    rivals = [
        [j for j in range(count) if j != i and _meet(buffers[i], buffers[j])] for i in range(count)
    ]
    least = max(
        (
            sum(b.size for b in buffers if b.first <= step <= b.last)
            for step in {b.first for b in buffers}
        ),
        default=0,
    )
    if not overlaps and count == 0:
        return Layout((), 0)
    keys: list[Callable[[int], tuple[int, ...]]] = [
        lambda i: (-buffers[i].size, buffers[i].first, i),
        lambda i: (-buffers[i].size, -buffers[i].last, i),
        lambda i: (buffers[i].first, -buffers[i].size, i),
        lambda i: (-buffers[i].last, -buffers[i].size, i),
        lambda i: (-(buffers[i].last - buffers[i].first + 1) * buffers[i].size, i),
    ]
    orders = [sorted(range(count), key=key) for key in keys]
    packed = [(_first_fit(buffers, rivals, rules, order), order) for order in orders]
    best, order = min(packed, key=lambda found: found[0].size)
    for _ in range(ROUNDS):
        if not overlaps and best.size <= least + ALIGNMENT:
            break
        top = max(range(count), key=lambda i: best.offsets[i] + buffers[i].size)
        place = order.index(top)
        if place == 0:
            break
        order = [top, *order[:place], *order[place + 1 :]]
        found = _first_fit(buffers, rivals, rules, order)
        if found.size < best.size:
            best = found
    return best


def _meet(a: Buffer, b: Buffer) -> bool:
    return a.size > 0 and b.size > 0 and a.first <= b.last and b.first <= a.last


def _apart(
    buffers: Sequence[Buffer],
    rules: dict[tuple[int, int], Overlap],
    offsets: Sequence[int],
    i: int,
    j: int,
) -> bool:
    """Whether two buffers alive together are disjoint, or overlap as a rule allows."""
    a, b = offsets[i], offsets[j]
    if a + buffers[i].size <= b or b + buffers[j].size <= a:
        return True
    for made, read in ((i, j), (j, i)):
        rule = rules.get((made, read))
        if rule is not None:
            lead = offsets[read] - offsets[made]
            if lead == rule.distance or (lead > rule.distance and not rule.exact):
                return True
    return False


def _first_fit(
    buffers: Sequence[Buffer],
    rivals: list[list[int]],
    rules: dict[tuple[int, int], Overlap],
    order: Sequence[int],
) -> Layout:
    offsets = [-1] * len(buffers)
    for i in order:
        placed = [j for j in rivals[i] if offsets[j] >= 0]
        candidates = {0}
        for j in placed:
            candidates.add(_up(offsets[j] + buffers[j].size))
            made, read = rules.get((i, j)), rules.get((j, i))
            if made is not None:
                candidates.add(max(0, (offsets[j] - made.distance) // ALIGNMENT * ALIGNMENT))
            if read is not None:
                candidates.add(max(0, _up(offsets[j] + read.distance)))
        for offset in sorted(candidates):
            offsets[i] = offset
            if all(_apart(buffers, rules, offsets, i, j) for j in placed):
                break
    return Layout(
        tuple(offsets), max((o + b.size for o, b in zip(offsets, buffers, strict=True)), default=0)
    )


def _up(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT
