"""Stagnation: whether the hypervolume still grows."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import numpy as np

from hwsearch.cost.cost import Floats
from hwsearch.objectives import METRIC, cost_names, cost_values
from hwsearch.search.task import Task

DRAWN = 4096
"""Sample points of the cost box: the hypervolume's standard error is about 1 % of the box."""

SCREENED = 256
"""Random configurations whose dearest bounds a cost that has no limit."""


class Stagnation:
    """The hypervolume of a search, trial by trial; a new one costs the same at any length.

    The box of costs reaches from 0 to the limits; of a cost without one, to the dearest of some
    random configurations. Over each of its sample points stands the best metric that a trial no
    dearer reached, less the floor of the metric; without a floor, less the worst metric seen
    inside the limits. Where the metric is no objective, the share of the box that is covered.

    Args:
        task: what is searched.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        names, limits = cost_names(task.objectives), task.budget.limits
        ranks = task.pricing.ranks
        drawn = ranks.decode(ranks.pruned(np.random.default_rng(0), SCREENED))
        dearest = cost_values(task.pricing.price(drawn), task.objectives).max(axis=0, initial=0)
        corner = [limits.get(name, most) for name, most in zip(names, dearest, strict=True)]
        rng = np.random.default_rng(0)
        self._points: Floats = rng.uniform(0, corner, (DRAWN, len(corner)))
        self._best = np.full(DRAWN, -math.inf)
        self._worst = math.inf
        self._marks = array("d", (0.0, 0.0))  # of each trial two numbers, see mark

    def add(self, values: Sequence[float], metric: float) -> None:
        """Takes a scored trial in that keeps every limit.

        Args:
            values: of the objectives, in their order.
            metric: its metric, whether or not it is an objective.
        """
        task = self._task
        metric = metric if task.mode == "max" else -metric
        counts = METRIC in task.objectives
        costs = [v for n, v in zip(task.objectives, values, strict=True) if n != METRIC]
        above = (np.array(costs) <= self._points).all(axis=1)
        self._best[above] = np.maximum(self._best[above], metric if counts else 0.0)
        self._worst = min(self._worst, metric)

    def mark(self) -> None:
        """Ends a trial, with all its leaves: keeps the sum over the covered points, and their
        number."""
        covered = self._best > -math.inf
        self._marks.extend((float(self._best[covered].sum()), float(covered.sum())))

    def growth(self, window: int) -> float:
        """By what share of itself the hypervolume grew over the last trials that were marked.

        Infinite before there are so many after the first that is inside the limits.
        """
        marks = np.array(self._marks[-2 * (window + 1) :]).reshape(-1, 2)
        if len(marks) <= window:
            return math.inf
        then, now = self._volume(*marks[0]), self._volume(*marks[-1])
        if then > 0:
            return now / then - 1
        something = marks[0, 1] > 0  # all as good as the worst: no volume yet
        return 0.0 if something and now <= 0 else math.inf

    def _volume(self, total: float, covered: float) -> float:
        """The integral over the covered points, less what lies below the reference."""
        task = self._task
        if METRIC not in task.objectives:
            return float(covered)
        floor = task.budget.accuracy
        if floor is None:
            reference = self._worst if math.isfinite(self._worst) else 0.0
        else:
            reference = floor if task.mode == "max" else -floor
        return float(total - reference * covered)
