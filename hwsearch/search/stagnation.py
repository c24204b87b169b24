"""Stagnation: whether the hypervolume still grows."""

from __future__ import annotations

import math

import numpy as np

from hwsearch.candidate import Trained
from hwsearch.cost.cost import Floats
from hwsearch.objectives import METRIC, cost_names, cost_values
from hwsearch.pareto import inside
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
        self._marks: list[tuple[float, int]] = [(0.0, 0)]

    def add(self, trained: Trained) -> None:
        """Takes a scored trial in."""
        task = self._task
        if not inside(trained, task.budget, task.mode):
            return
        metric = trained.score.value if task.mode == "max" else -trained.score.value
        counts = METRIC in task.objectives
        values = [v for n, v in zip(task.objectives, task.values(trained), strict=True)
                  if n != METRIC]  # fmt: skip
        above = (np.array(values) <= self._points).all(axis=1)
        self._best[above] = np.maximum(self._best[above], metric if counts else 0.0)
        self._worst = min(self._worst, metric)

    def mark(self) -> None:
        """Ends a trial, with all its leaves."""
        covered = self._best > -math.inf
        self._marks.append((float(self._best[covered].sum()), int(covered.sum())))

    def growth(self, window: int) -> float:
        """By what share of itself the hypervolume grew over the last trials that were marked.

        Infinite before there are so many after the first that is inside the limits.
        """
        if len(self._marks) <= window:
            return math.inf
        then, now = (self._volume(self._marks[i]) for i in (-1 - window, -1))
        if then > 0:
            return now / then - 1
        something = self._marks[-1 - window][1] > 0  # all as good as the worst: no volume yet
        return 0.0 if something and now <= 0 else math.inf

    def _volume(self, mark: tuple[float, int]) -> float:
        """The integral over the covered points, less what lies below the reference."""
        task, (total, covered) = self._task, mark
        if METRIC not in task.objectives:
            return float(covered)
        floor = task.budget.accuracy
        if floor is None:
            reference = self._worst if math.isfinite(self._worst) else 0.0
        else:
            reference = floor if task.mode == "max" else -floor
        return total - reference * covered
