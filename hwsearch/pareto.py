"""Comparing candidates: the non-dominated set, hypervolume, and the one to deploy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwsearch.budget import Budget
from hwsearch.candidate import Trained
from hwsearch.cost.cost import Cost, Floats

Mode = Literal["max", "min"]


def pareto(values: ArrayLike, directions: Sequence[Mode]) -> NDArray[np.bool_]:
    """Which points no other point dominates: is at least as good in all and better in one.

    Equal points do not dominate each other, so all copies of a front point are in the mask. A
    point with a NaN neither dominates nor is in the front.

    Args:
        values: float [n, k].
        directions: per column ``"max"`` or ``"min"``.

    Returns:
        bool [n].

    Raises:
        ValueError: ``values`` is not two-dimensional, or has not one column a direction.
    """
    points = _minimised(values, directions)
    known: NDArray[np.bool_] = np.asarray(~np.isnan(points).any(axis=1))
    mask = known.copy()
    # Sorted lexicographically, a point can only be dominated by one before it; so the front is
    # built in one pass, each point compared with the front so far in one vector operation.
    order = np.lexsort(points.T[::-1]) if points.shape[1] else np.arange(len(points))
    front, size = np.empty_like(points), 0
    for i in order[known[order]]:
        rivals = front[:size]
        if ((rivals <= points[i]).all(axis=1) & (rivals < points[i]).any(axis=1)).any():
            mask[i] = False
        else:
            front[size] = points[i]
            size += 1
    return mask


def hypervolumes(
    values: ArrayLike, reference: ArrayLike, directions: Sequence[Mode], samples: int = 20_000
) -> Floats:
    """The share of a box that the first i points dominate, for every i; it never falls.

    The box lies between the reference point and the best value of each column. Its volume is
    estimated by the same seeded uniform samples for all i (Bader and Zitzler, "HypE", Evol.
    Comput. 19(1), 2011): the error is about ``1 / sqrt(samples)`` of the box, the time linear
    in n, where exact ones grow with ``n ** (k / 2)``.

    Args:
        values: float [n, k], in the order in which they were found.
        reference: float [k], the worst point that counts.
        directions: per column ``"max"`` or ``"min"``.
        samples: points that are drawn.

    Returns:
        float64 [n], 0 to 1.
    """
    points = _minimised(values, directions)
    if len(points) == 0:
        return np.zeros(0)
    corner = _minimised(np.reshape(np.asarray(reference, np.float64), (1, -1)), directions)[0]
    ideal = np.minimum(np.nanmin(points, axis=0), corner)
    drawn = np.random.default_rng(0).uniform(ideal, corner, (samples, len(corner)))
    covered = np.zeros(samples, bool)
    shares = np.zeros(len(points))
    for i, point in enumerate(points):
        covered |= (point <= drawn).all(axis=1) & (point < corner).all()
        shares[i] = covered.mean()
    return shares


def _minimised(values: ArrayLike, directions: Sequence[Mode]) -> Floats:
    points = np.asarray(values, np.float64)
    if points.ndim != 2 or points.shape[1] != len(directions):
        raise ValueError(
            f"values of shape {points.shape} do not match the directions {list(directions)}: "
            f"expected [n, {len(directions)}]."
        )
    signs = np.array([-1.0 if d == "max" else 1.0 for d in directions])
    return np.asarray(points * signs, np.float64)


def use(cost: Cost, budget: Budget) -> float:
    """The largest share of a limit that a cost takes; 1 is full, 0 when nothing is limited."""
    return max((1 + excess for excess in budget.excess(cost).values()), default=0.0)


def inside(trained: Trained, budget: Budget, mode: Mode) -> bool:
    """Whether a trial keeps every limit, the floor (or ceiling) of the metric included."""
    value = trained.score.value
    if np.isnan(value) or any(e > 0 for e in budget.excess(trained.candidate.cost).values()):
        return False
    if budget.accuracy is None:
        return True
    return value >= budget.accuracy if mode == "max" else value <= budget.accuracy


def choose(
    trained: Sequence[Trained], mode: Mode, budget: Budget, metric_counts: bool = True
) -> Trained | None:
    """The trial to deploy, by the search half of the data; None when none is inside the budget.

    The best metric inside the budget sets the bar; among the trials inside whose metric lies
    within that one's 95 % interval, the cheapest: least :func:`use` of the tightest limit, ties
    by flash, then by trial number.

    Args:
        trained: the trials.
        mode: whether the metric is maximised or minimised.
        budget: the limits.
        metric_counts: whether the metric is an objective; else all that reach its floor are alike.
    """
    candidates = [t for t in trained if inside(t, budget, mode)]
    if not candidates:
        return None
    sign = 1 if mode == "max" else -1
    best = max(candidates, key=lambda t: (sign * t.score.value, -t.candidate.number)).score
    edge = best.low if mode == "max" else best.high
    if np.isnan(edge):
        edge = best.value
    alike = [t for t in candidates if not metric_counts or sign * t.score.value >= sign * edge]

    def expense(t: Trained) -> tuple[float, float, int]:
        cost = t.candidate.cost
        flash = float("inf") if cost.flash_bytes is None else cost.flash_bytes
        return use(cost, budget), flash, t.candidate.number

    return min(alike, key=expense)
