"""Surrogate: what the metric of a configuration will be, guessed from those that were scored.

A Gaussian process (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006,
algorithm 2.1) whose covariance is the sum of a linear part, a Matérn 5/2 part, and one that
configurations of the same structure share, as they come of the same training. Its few settings
are those of the largest marginal likelihood (equation 2.30) among a small table.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular

from hwsearch.cost.cost import Floats
from hwsearch.ranks import Decoded, Ranks

MOST_POINTS = 300
"""Scored configurations that a fit uses at most: its time grows with their third power."""

FEW_POINTS = 80
"""Of these, how many the settings are chosen by."""

LENGTHS = (0.5, 1.0, 2.0)
RECIPE_SCALES = (0.2, 0.6)
TRAINING_VARIANCES = (0.003, 0.03, 0.2)
LINEAR_VARIANCE = 4.0
SCORING_VARIANCE = 1e-3
"""Of a score that is repeated, relative to the variance of all scores, as the others are."""


@dataclass(frozen=True)
class Features:
    """n configurations as the metric sees them: the runtime has no part in it.

    Attributes:
        structure: float64 [n, groups + choices + 5]: log2 of the share of channels kept, a third
            of it (so that an eighth is -1); saliency, schedule, method, blocks and
            distillation as 0 or 1.
        recipe: float64 [n, 1 + ops]: 1 for 16-bit activations, 1 for weights of 4 bits.

    The structure ends with what was done to single weights: the share of zeros; for shared values
    8 / log2 of their number less 1; 1 for the second trainer; 1 for QAT.
    """

    structure: Floats
    recipe: Floats

    @classmethod
    def of(cls, ranks: Ranks, decoded: Decoded) -> Features:
        """Those of n configurations."""
        full = np.array([width for _, width, _ in ranks.layout.groups], np.float64)
        kept = np.log2(np.maximum(decoded.widths, 1) / full) / 3
        chosen = [
            getattr(decoded, name)[:, None] == np.arange(1, len(getattr(ranks.space, name)))
            for name in ("saliency", "schedule", "method", "drop_blocks", "distillation")
        ]
        shared = np.where(
            decoded.clusters > 0, 8 / np.log2(np.maximum(decoded.clusters, 2)) - 1, 0
        )
        single = np.column_stack(
            [decoded.sparsity, decoded.pattern > 0, shared, decoded.trainer > 0, decoded.qat]
        )
        recipe = np.concatenate(
            [decoded.activation_bits[:, None] == 16, decoded.weight_bits < 8], axis=1
        )
        parts = [kept, *chosen, single]
        return cls(np.concatenate(parts, axis=1), recipe.astype(np.float64))

    def take(self, rows: Any) -> Features:
        """Only these rows."""
        return Features(self.structure[rows], self.recipe[rows])

    def __len__(self) -> int:
        """Number of configurations."""
        return len(self.structure)


@dataclass(frozen=True)
class Settings:
    """Of the covariance: a length, a scale of the recipe, the variance of a training."""

    length: float
    recipe_scale: float
    training_variance: float


@dataclass(frozen=True)
class Surrogate:
    """A fitted process.

    Attributes:
        points: what it was fitted to.
        settings: of its covariance.
        factor: lower Cholesky factor of the covariance of the points.
        weights: the inverse covariance times the values.
        mean, deviation: of the values; the process is of the values less these.
    """

    points: Features
    settings: Settings
    factor: Floats
    weights: Floats
    mean: float
    deviation: float

    @classmethod
    def fit(cls, points: Features, values: Floats) -> Surrogate:
        """The process that explains the values best.

        Args:
            points: n >= 1 scored configurations, the newest last.
            values: float64 [n], their metric, more is better; what is far below the others
                counts as that far only, so that one diverged training bends nothing.
        """
        if len(points) > MOST_POINTS:
            newest = np.arange(len(points) - MOST_POINTS // 2, len(points))
            best = np.setdiff1d(np.argsort(-values, kind="stable"), newest, assume_unique=True)
            best = best[np.argsort(-values[best], kind="stable")][: MOST_POINTS // 2]
            kept = np.sort(np.concatenate([best, newest]))
            points, values = points.take(kept), values[kept]
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        values = np.maximum(values, middle - 4 * max(high - low, 1e-9))
        mean, deviation = float(values.mean()), float(values.std()) or 1.0
        scaled = (values - mean) / deviation
        step = -(-len(points) // FEW_POINTS)
        few, their = points.take(slice(None, None, step)), scaled[::step]
        settings = max(
            (Settings(*s) for s in product(LENGTHS, RECIPE_SCALES, TRAINING_VARIANCES)),
            key=lambda s: _evidence(few, their, s),
        )
        factor = _factor(points, settings)
        return cls(points, settings, factor, cho_solve((factor, True), scaled), mean, deviation)

    def predict(self, points: Features) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the metric, each float64 [n]."""
        across = _covariance(points, self.points, self.settings)
        solved = solve_triangular(self.factor, across.T, lower=True, check_finite=False)
        variance = _variance(points, self.settings) - (solved**2).sum(axis=0)
        mean = across @ self.weights * self.deviation + self.mean
        return mean, np.sqrt(np.maximum(variance, SCORING_VARIANCE)) * self.deviation


def _scaled(points: Features, settings: Settings) -> Floats:
    return np.concatenate([points.structure, points.recipe * settings.recipe_scale], axis=1)


def _covariance(a: Features, b: Features, settings: Settings) -> Floats:
    """float64 [a, b]."""
    x, y = _scaled(a, settings), _scaled(b, settings)
    dot = x @ y.T
    squares = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1) - 2 * dot
    distance = np.sqrt(np.maximum(squares, 0) * 5) / settings.length
    matern = (1 + distance + distance**2 / 3) * np.exp(-distance)
    apart = (
        (a.structure**2).sum(axis=1)[:, None]
        + (b.structure**2).sum(axis=1)
        - 2 * a.structure @ b.structure.T
    )
    same = settings.training_variance * (apart < 1e-9)
    return np.asarray(LINEAR_VARIANCE * (1 + dot) + matern + same, np.float64)


def _variance(points: Features, settings: Settings) -> Floats:
    """float64 [n]: the covariance of each point with itself."""
    squares = (_scaled(points, settings) ** 2).sum(axis=1)
    return np.asarray(LINEAR_VARIANCE * (1 + squares) + 1 + settings.training_variance)


def _factor(points: Features, settings: Settings) -> Floats:
    covariance = _covariance(points, points, settings)
    covariance[np.diag_indices(len(points))] += SCORING_VARIANCE
    return np.asarray(cholesky(covariance, lower=True, check_finite=False), np.float64)


def _evidence(points: Features, values: Floats, settings: Settings) -> float:
    """The logarithm of the marginal likelihood, less a constant."""
    factor = _factor(points, settings)
    solved = solve_triangular(factor, values, lower=True, check_finite=False)
    return float(-0.5 * solved @ solved - np.log(np.diag(factor)).sum())
