"""Projection: the widths nearest to those that training chose, on steps and inside the limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from hwsearch.cost.columns import Ints
from hwsearch.cost.cost import Floats


@dataclass(frozen=True)
class Widths:
    """Widths that a network may have.

    Attributes:
        least, full: int64 [groups], limits of each.
        step: widths are multiples of this, or full.
        uses: (widths int64 [n, groups]) -> float64 [n, limits]: cost / limit.
    """

    least: Ints
    full: Ints
    step: int
    uses: Callable[[Ints], Floats]

    def over(self, widths: Ints) -> Floats:
        """float64 [n]: by how much limits are exceeded, summed; 0 is inside."""
        found: Floats = np.maximum(self.uses(widths) - 1, 0).sum(axis=1)
        return found

    def rounded(self, widths: Ints) -> Ints:
        """Widths on steps, each up."""
        up = -(-widths // self.step) * self.step
        return np.clip(up, self._lowest, self.full)

    @property
    def _lowest(self) -> Ints:
        return np.minimum(
            np.maximum(-(-self.least // self.step) * self.step, self.step), self.full
        )

    def down(self, widths: Ints) -> Ints:
        """int64 [groups, groups]: row g is one step down in group g, if there is one."""
        lower = np.maximum(-(-widths // self.step) * self.step - self.step, self._lowest)
        return np.where(np.eye(len(widths), dtype=bool), np.minimum(lower, widths), widths)

    def up(self, widths: Ints, steps: int = 1) -> Ints:
        """int64 [groups, groups]: row g is so many steps up in group g, or at its full width."""
        higher = np.minimum((widths // self.step + steps) * self.step, self.full)
        return np.where(np.eye(len(widths), dtype=bool), higher, widths)


def project(wanted: Ints, worth: Mapping[int, Floats], allowed: Widths) -> Ints:
    """int64 [groups]: the widths on steps that fit, near those wanted.

    Down: the step that gives up least worth for what it takes off the excess, until all limits
    hold. Then up: the step that brings most worth and still fits, until none does; where none
    does but several at once do, the fewest. RAM can fall as a group widens, as maps of equal size
    share memory: a DS-CNN with 12 channels a layer and 4 in one took more RAM with 8 there, but
    not with 12, and lost 10.2 points instead of 7.9 (one seed).

    Args:
        wanted: int64 [groups].
        worth: per index of a group what its channels are worth, float64 [width], falling: the
            last of those kept goes first.
        allowed: what widths there are. If even the narrowest are over, those nearest come back.
    """
    summed = [np.concatenate([[0.0], np.cumsum(worth[g])]) for g in range(len(wanted))]

    def lost(here: Ints, there: Ints) -> Floats:
        return np.array([summed[g][here[g]] - summed[g][there[g, g]] for g in range(len(here))])

    widths = allowed.rounded(wanted)
    over = float(allowed.over(widths[None])[0])
    while over > 0:
        tries = allowed.down(widths)
        found = allowed.over(tries)
        moves = np.flatnonzero((tries != widths).any(axis=1) & (found < over))
        if not len(moves):  # no single step helps: a peak is shared; take all down together
            lower = np.diagonal(tries).copy()
            if (lower == widths).all():
                return widths
            widths, over = lower, float(allowed.over(lower[None])[0])
            continue
        price = (lost(widths, tries)[moves] + 1e-12) / (over - found[moves])
        best = moves[np.argmin(price)]
        widths, over = tries[best], float(found[best])
    steps, most = 1, int(np.max(allowed.full // allowed.step)) + 1
    while steps <= most:
        tries = allowed.up(widths, steps)
        fits = np.flatnonzero((tries != widths).any(axis=1) & (allowed.over(tries) == 0))
        steps += 1
        if len(fits):
            widths, steps = tries[fits[np.argmax(-lost(widths, tries)[fits])]], 1
    return widths
