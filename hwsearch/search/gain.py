"""The hypervolume that a proposal is expected to gain, where its costs are known.

Only the metric is uncertain, so the expected improvement of the hypervolume (Emmerich et al.,
"Single- and multiobjective evolutionary optimization assisted by Gaussian random field
metamodels", IEEE TEVC 10(4), 2006) is an integral over the cost box of the ordinary expected
improvement (Jones et al., J. Global Optimization 13, 1998) over the best metric that a trial no
dearer has reached there. The integral is a mean over uniform sample points of the box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from hwsearch.cost.cost import Floats

BOX = 1024
"""Sample points of the cost box."""


@dataclass(frozen=True)
class Front:
    """What was reached so far.

    Attributes:
        costs: float64 [n, k], of scored configurations that are inside the budget.
        metric: float64 [n], theirs; more is better.
        reference: the metric from which on a configuration counts.
        corner: float64 [k], the limits: the dearest costs that count.
    """

    costs: Floats
    metric: Floats
    reference: float
    corner: Floats

    def reached(self, costs: Floats) -> Floats:
        """float64 [p]: the best metric of those that are no dearer, else the reference."""
        cheaper = (self.costs[:, None, :] <= costs[None]).all(axis=2)
        best = np.where(cheaper, self.metric[:, None], self.reference)
        return np.asarray(best.max(axis=0, initial=self.reference), np.float64)


def gains(
    front: Front, costs: Floats, mean: Floats, deviation: Floats, metric_counts: bool = True
) -> Floats:
    """The expected gain of each proposal, as a share of the box times the metric.

    Args:
        front: what was reached.
        costs: float64 [p, k], of the proposals.
        mean, deviation: float64 [p], of their metric.
        metric_counts: whether the metric is an objective; else only its floor matters, the
            reference, and the gain is of cost alone.

    Returns:
        float64 [p], 0 or more.
    """
    ideal = np.minimum(front.corner, costs.min(axis=0, initial=np.inf))
    ideal = np.minimum(ideal, front.costs.min(axis=0, initial=np.inf))
    drawn = np.random.default_rng(0).uniform(ideal, front.corner, (BOX, len(front.corner)))
    inside = np.ones((len(costs), BOX), bool)
    for column in range(costs.shape[1]):
        inside &= costs[:, column, None] <= drawn[:, column]
    reached = front.reached(drawn)
    if not metric_counts:
        covered = (front.costs[:, None, :] <= drawn[None]).all(axis=2).any(axis=0)
        volume = (inside & ~covered).mean(axis=1)
        return np.asarray(volume * ndtr((mean - front.reference) / deviation), np.float64)
    levels, of_point = np.unique(reached, return_inverse=True)
    at_level = np.zeros((BOX, len(levels)), np.float32)
    at_level[np.arange(BOX), of_point] = 1 / BOX
    share = inside.astype(np.float32) @ at_level
    above = mean[:, None] - levels
    z = above / deviation[:, None]
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    improvement = above * ndtr(z) + deviation[:, None] * density
    return np.asarray((share * improvement).sum(axis=1), np.float64)
