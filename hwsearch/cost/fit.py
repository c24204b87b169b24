"""Coefficients from measurements: a fit that lets little data borrow from related data.

The cycles of observation i on a cell (core, runtime, version) are ``sum_f x_if * theta_f`` with
``log theta_f = log prior_f + sum of effects``. An effect belongs to a level (all cells, the core,
the version, the cell) and is either common to all features or one feature's own; each is shrunk
to 0 by a Gaussian of the level's width. So a version measured on two networks moves as a whole
and keeps the shape that the well-measured ones have, and no coefficient is ever negative.

The maximum a posteriori, by Levenberg-Marquardt on relative errors with Huber's loss (partial
pooling: Gelman and Hill 2007, ch. 12; Huber 1964).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Cell = tuple[str, str, str]
"""(core, runtime, version)."""

HUBER = 1.5
"""Residuals beyond so many standard deviations count linearly, not squared."""
ITERATIONS = 100


@dataclass(frozen=True)
class Level:
    """One level of the hierarchy.

    Attributes:
        key: the group of a cell at this level; None leaves the cell out.
        common: width of the effect common to all features, as a natural logarithm; 0 is none.
        kin: width of the effect that features of one group share; 0 is none.
        own: width of each feature's own effect; 0 is none.
    """

    key: Callable[[Cell], str | None]
    common: float
    kin: float
    own: float


class Hierarchy:
    """The design: which effects add up to a cell's coefficients.

    Args:
        prior: feature name to cycles expected before seeing data.
        kin: feature name to its group; a feature that is absent is alone.
        levels: the hierarchy, widest first.
        cells: every cell that coefficients may be asked for.
        scale: cell to the factor on all coefficients that is expected before seeing data.

    Attributes:
        effects: how many there are.
    """

    def __init__(
        self,
        prior: Mapping[str, float],
        kin: Mapping[str, str],
        levels: Sequence[Level],
        cells: Sequence[Cell],
        scale: Callable[[Cell], float] = lambda cell: 1.0,
    ) -> None:
        self.features = tuple(prior)
        self.cells = tuple(cells)
        log_prior = np.log([prior[f] for f in self.features])
        self._log_prior = {cell: log_prior + np.log(scale(cell)) for cell in cells}
        count = len(self.features)
        groups = [kin.get(f, f) for f in self.features]
        shared = np.array([[g == other for other in sorted(set(groups))] for g in groups], float)
        blocks: list[tuple[dict[Cell, Floats], Floats]] = []
        for level in levels:
            for group in sorted({k for k in map(level.key, cells) if k is not None}):
                members = [c for c in cells if level.key(c) == group]
                if level.common:
                    blocks.append(
                        (dict.fromkeys(members, np.ones((count, 1))), np.array([level.common]))
                    )
                if level.kin:
                    width = np.full(shared.shape[1], level.kin)
                    blocks.append((dict.fromkeys(members, shared), width))
                if level.own:
                    blocks.append(
                        (dict.fromkeys(members, np.eye(count)), np.full(count, level.own))
                    )
        self._widths = np.concatenate([w for _, w in blocks])
        self.effects = len(self._widths)
        self._design = {
            cell: np.concatenate(
                [d.get(cell, np.zeros((count, len(w)))) for d, w in blocks], axis=1
            )
            for cell in cells
        }

    def coefficients(self, cell: Cell, effects: Floats) -> Floats:
        """float64 [features]: cycles per quantity on this cell."""
        theta: Floats = np.exp(self._log_prior[cell] + self._design[cell] @ effects)
        return theta

    def covariance(self, cell: Cell) -> Floats:
        """float64 [features, features]: of a cell's log coefficients before seeing data."""
        design = self._design[cell] * self._widths
        spread: Floats = design @ design.T
        return spread

    def fit(self, x: Floats, cells: Sequence[Cell], cycles: Floats, sigma: Floats) -> Floats:
        """The most probable effects.

        Args:
            x: [n, features], quantities of each observation.
            cells: [n].
            cycles: [n], measured.
            sigma: [n], relative standard deviation of each.
        """
        kept = x.sum(axis=1) > 0
        x, cycles, sigma = x[kept], cycles[kept], sigma[kept]
        cells = [cell for cell, keep in zip(cells, kept, strict=True) if keep]
        rows_of = {cell: [i for i, c in enumerate(cells) if c == cell] for cell in set(cells)}
        target, precision = np.log(cycles), self._widths**-2

        def evaluate(p: Floats) -> tuple[Floats, Floats, float]:
            parts = np.empty_like(x)
            for cell, rows in rows_of.items():
                parts[rows] = x[rows] * self.coefficients(cell, p)
            total = parts.sum(axis=1)
            residual = (np.log(total) - target) / sigma
            size = np.abs(residual)
            loss = np.where(size < HUBER, size**2, 2 * HUBER * size - HUBER**2).sum()
            return parts / total[:, None], residual, float(loss + (precision * p * p).sum())

        effects, damping = np.zeros(len(self._widths)), 1e-3
        shares, residual, loss = evaluate(effects)
        for _ in range(ITERATIONS):
            weight = np.minimum(1, HUBER / np.maximum(np.abs(residual), 1e-12))
            jacobian = np.empty((len(x), len(effects)))
            for cell, rows in rows_of.items():
                jacobian[rows] = shares[rows] @ self._design[cell]
            jacobian /= sigma[:, None]
            hessian = (jacobian * weight[:, None]).T @ jacobian + np.diag(precision)
            gradient = jacobian.T @ (weight * residual) + precision * effects
            while damping < 1e8:
                step = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), gradient)
                trial = evaluate(effects - step)
                if trial[2] <= loss:
                    break
                damping *= 5
            else:
                break
            done = loss - trial[2] < 1e-7 * (1 + loss)
            effects, (shares, residual, loss) = effects - step, trial
            damping = max(damping / 5, 1e-9)
            if done:
                break
        return effects
