"""Packing n candidates' buffers into one arena: :func:`hwsearch.codegen.plan.pack`, a row each.

The same orders, the same first fit, the same improvements, so the same bytes; but a candidate
whose arena has met a lower bound is done, for no later attempt could be smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsearch.codegen.plan import ALIGNMENT, ROUNDS
from hwsearch.cost.columns import Ints

Mask = NDArray[np.bool_]

NEVER = 2**40
"""A distance that no offset reaches: the two buffers may not overlap."""


class Lifetimes:
    """Which buffers live when, and which may overlap: the same for every candidate.

    Args:
        spans: (first, last) layers between which each buffer is alive.
        rules: (made, read, exact) of each overlap, as :class:`hwsearch.codegen.plan.Overlap`.

    Attributes:
        first, last: int64 [buffers].
        rivals, rule, made, exact: per buffer whom it meets, padded with a buffer that is never
            placed: the ``few`` with a rule first (its column, whether this buffer is the made
            one, whether only its very distance will do), then the others.
        pieces, starts, groups: see :func:`least`.
    """

    def __init__(self, spans: list[tuple[int, int]], rules: list[tuple[int, int, bool]]) -> None:
        self.first, self.last = np.array(spans, np.int64).reshape(-1, 2).T
        self.rules = rules
        self._meet()
        self._pieces()

    def _meet(self) -> None:
        count, first, last = len(self.first), self.first, self.last
        meet = (first[:, None] <= last) & (first <= last[:, None])
        np.fill_diagonal(meet, False)
        ruled: list[list[tuple[int, int, bool, bool]]] = [[] for _ in range(count)]
        for column, (made, read, exact) in enumerate(self.rules):
            ruled[made].append((read, column, True, exact))
            ruled[read].append((made, column, False, exact))
            meet[made, read] = meet[read, made] = False
        plain = _padded([np.flatnonzero(row).tolist() for row in meet], count)
        with_rule = _padded([[r[0] for r in row] for row in ruled], count)
        self.few = len(with_rule)
        self.rivals = np.concatenate([with_rule, plain])
        self.rule = _padded([[r[1] for r in row] for row in ruled], len(self.rules))
        self.made = _padded([[int(r[2]) for r in row] for row in ruled], 1) > 0
        self.exact = _padded([[int(r[3]) for r in row] for row in ruled], 0) > 0

    def _pieces(self) -> None:
        count = len(self.first)
        groups: dict[int, list[tuple[int, int]]] = {}
        for column, (made, read, _) in enumerate(self.rules):
            groups.setdefault(made, []).append((read, column))
        self.groups = [
            (made, [r for r, _ in reads], reads[0][1] if len(reads) == 1 else -1)
            for made, reads in groups.items()
        ]
        by_step = []
        for step in np.unique(self.first).tolist():
            alive = set(np.flatnonzero((self.first <= step) & (step <= self.last)).tolist())
            together = []
            for i, (made, reads, _) in enumerate(self.groups):
                if {made, *reads} <= alive:
                    alive -= {made, *reads}
                    together.append(count + i)
            by_step.append([*sorted(alive), *together])
        self.pieces = np.array([i for step in by_step for i in step], np.int64)
        self.starts = np.cumsum([0, *map(len, by_step[:-1])])


@dataclass(frozen=True)
class Buffers:
    """What :func:`hwsearch.codegen.plan.pack` is given, with a row a candidate.

    Attributes:
        lifetimes: what does not change from row to row.
        sizes: int64 [n, buffers].
        distances: int64 [n, rules].
    """

    lifetimes: Lifetimes
    sizes: Ints
    distances: Ints

    def take(self, rows: Ints) -> Buffers:
        """Only these candidates."""
        return Buffers(self.lifetimes, self.sizes[rows], self.distances[rows])


def packed(buffers: Buffers) -> Ints:
    """int64 [n]: bytes of the best packing of one execution order."""
    fit = _FirstFit(buffers)
    bound = least(buffers)
    n, count = buffers.sizes.shape
    # The orders of plan.pack as keys of a stable sort, the last one leading; what is met most
    # often comes first, and of equal packings the one that plan.pack meets first is kept.
    minus, first, last = -buffers.sizes, buffers.lifetimes.first, buffers.lifetimes.last
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
        active = active[best[active] > bound[active]]
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
        active = active[best[active] > bound[active]]
    return best


def _alive(buffers: Buffers) -> Ints:
    """int64 [n]: the most bytes alive at once."""
    first, last = buffers.lifetimes.first, buffers.lifetimes.last
    steps = np.unique(first)
    alive = (first[:, None] <= steps) & (steps <= last[:, None])
    found: Ints = (buffers.sizes @ alive.astype(np.int64)).max(axis=1)
    return found


def least(buffers: Buffers) -> Ints:
    """int64 [n]: no packing is smaller.

    At every step what is alive takes its bytes, each piece but one rounded up to the alignment;
    an output and the inputs that it may reach into are one piece, as long as the longer of them,
    or as the distance and the input where that is more.
    """
    lifetimes, sizes = buffers.lifetimes, buffers.sizes
    pieces = [sizes]
    for made, reads, rule in lifetimes.groups:
        longest, within = sizes[:, made], sizes[:, reads].sum(axis=1)
        together = np.maximum(longest, within)
        if rule >= 0:
            lead = _up(np.maximum(buffers.distances[:, rule], 0))
            together = np.maximum(together, lead + within)
        pieces.append(np.minimum(together, longest + within)[:, None])
    whole = np.concatenate(pieces, axis=1)[:, lifetimes.pieces]
    rounded = _up(whole)
    total = np.add.reduceat(rounded, lifetimes.starts, axis=1)
    waste = np.maximum.reduceat(rounded - whole, lifetimes.starts, axis=1)
    found: Ints = (total - waste).max(axis=1)
    return found


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

    def __init__(self, buffers: Buffers) -> None:
        self.lifetimes = buffers.lifetimes
        none = np.full((len(buffers.sizes), 1), NEVER)
        distances = np.concatenate([buffers.distances, none], axis=1)
        self.sizes = np.ascontiguousarray(buffers.sizes.T, np.int32)
        self.distances = np.clip(distances.T, -self.FAR, self.FAR).astype(np.int32)

    def __call__(self, rows: Ints, orders: Ints, limit: Ints) -> tuple[Ints, Ints]:
        """Each buffer as low as it can; ends where every candidate has reached its limit.

        Returns:
            int64 [rows, buffers] offsets, int64 [rows] bytes; both void where bytes >= limit.
        """
        n, count = orders.shape
        tables, every, far = self.lifetimes, np.arange(n), np.int32(self.FAR)
        few = tables.few
        order = np.ascontiguousarray(orders.T)
        sizes = np.concatenate([self.sizes[:, rows], np.zeros((1, n), np.int32)])
        rivals = tables.rivals.T[order].transpose(0, 2, 1)  # [step, rival, n]
        lengths = sizes[rivals, every]
        places = rivals * n + every
        made, exact = (t.T[order].transpose(0, 2, 1) for t in (tables.made, tables.exact))
        distances = self.distances[:, rows][tables.rule.T[order].transpose(0, 2, 1), every]
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
