"""Latency coefficients from a folder of measurements: ``python -m hwsearch.calibrate FOLDER OUT``.

Cross-validated by leaving out whole network families, of every board and version at once.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hwsearch.cost.coefficients import ANY, Coefficients, CoefficientSet, Residuals
from hwsearch.cost.fit import Cell, Floats, Hierarchy
from hwsearch.cost.kernels import CLASSES, QUANTITIES
from hwsearch.cost.latency import SMALL, SMALL_CYCLES
from hwsearch.cost.priors import TREES, Tree, spread
from hwsearch.cost.published import Observation, observations

LAYER = "layer"
NORMAL_90 = 1.645
"""Half width of a normal distribution's central 90 %, in standard deviations."""
PRIOR_FAMILIES = 2.0
"""A group's spread starts from its parent group's, which counts as so many families."""


def fit(folder: Path | str) -> Coefficients:
    """Coefficients of every cell with their left-out errors, from a folder of measurements.

    Raises:
        DataError: the folder is not of the published format.
    """
    return fit_observations(observations(Path(folder)))


def fit_observations(rows: Sequence[Observation]) -> Coefficients:
    """The same from observations, wherever they are from: published, or measured on a device.

    Runtimes that share a tree with none of the observations get no coefficients.
    """
    sets: list[CoefficientSet] = []
    judged: list[tuple[Observation, float]] = []
    for tree in TREES:
        own = of_tree(rows, tree)
        if not own:
            continue
        hierarchy = hierarchy_of(tree, (row.cell for row in own))
        effects = effects_of(tree, hierarchy, own)
        predicted = left_out(own, tree)
        judged += log_errors(own, predicted)
        for cell in hierarchy.cells:
            theta = hierarchy.coefficients(cell, effects)
            cycles = {
                f"{name}.{quantity}": float(value)
                for feature, value in zip(tree.prior, theta, strict=True)
                for names, quantity in (spread(feature),)
                for name in names
            }
            sets.append(_set(cell, cycles, own, predicted))
    sets.sort(key=lambda s: (s.runtime, s.version, s.core))
    return Coefficients(tuple(sets), tuple(residuals(judged)))


def of_tree(rows: Iterable[Observation], tree: Tree) -> list[Observation]:
    """The rows of the tree's runtimes."""
    return [row for row in rows if row.cell[1] in tree.runtimes]


def hierarchy_of(tree: Tree, cells: Iterable[Cell]) -> Hierarchy:
    """The design of a tree over these cells and those that the tree is asked for."""
    asked = {
        (core, runtime, version)
        for runtime, (cores, versions) in tree.asked.items()
        for core in cores
        for version in versions
    }
    return Hierarchy(tree.prior, tree.kin, tree.levels, sorted(asked | set(cells)), tree.scale)


def features(tree: Tree, rows: Sequence[Observation]) -> Floats:
    """float64 [rows, features]: the quantities that the tree's prior names."""
    tables = np.stack([row.table for row in rows])
    columns = []
    for feature in tree.prior:
        names, quantity = spread(feature)
        classes = [CLASSES.index(name) for name in names]
        columns.append(tables[:, classes, QUANTITIES.index(quantity)].sum(axis=1))
    return np.stack(columns, axis=1)


def effects_of(tree: Tree, hierarchy: Hierarchy, rows: Sequence[Observation]) -> Floats:
    """The effects of the hierarchy that these rows make most probable."""
    return hierarchy.fit(
        features(tree, rows),
        [row.cell for row in rows],
        np.array([row.cycles for row in rows]),
        np.array([row.sigma for row in rows]),
    )


def predict(
    tree: Tree, hierarchy: Hierarchy, effects: Floats, rows: Sequence[Observation]
) -> Floats:
    """float64 [rows]: cycles."""
    amounts = features(tree, rows)
    theta = np.stack([hierarchy.coefficients(row.cell, effects) for row in rows])
    total: Floats = (amounts * theta).sum(axis=1)
    return total


def left_out(rows: Sequence[Observation], tree: Tree) -> Floats:
    """float64 [rows]: cycles of networks by a fit that saw none of their family, on any board.

    Layers are not predicted: NaN.
    """
    hierarchy = hierarchy_of(tree, (row.cell for row in rows))
    predicted = np.full(len(rows), np.nan)
    for family in sorted({row.family for row in rows if row.kind != LAYER}):
        effects = effects_of(tree, hierarchy, [row for row in rows if row.family != family])
        held = [i for i, row in enumerate(rows) if row.family == family]
        predicted[held] = predict(tree, hierarchy, effects, [rows[i] for i in held])
    return predicted


def log_errors(rows: Sequence[Observation], predicted: Floats) -> list[tuple[Observation, float]]:
    """log(measured / predicted) of the rows that were predicted."""
    return [
        (row, math.log(row.cycles / p))
        for row, p in zip(rows, predicted, strict=True)
        if not math.isnan(p)
    ]


def _set(
    cell: Cell, cycles: dict[str, float], rows: Sequence[Observation], predicted: Floats
) -> CoefficientSet:
    own = [(r, p) for r, p in zip(rows, predicted, strict=True) if r.cell == cell]
    errors = [
        abs(p / r.cycles - 1) for r, p in own if not math.isnan(p) and r.cycles >= SMALL_CYCLES
    ]
    return CoefficientSet(
        *cell,
        boards=tuple(sorted({r.board for r, _ in own})),
        date=max((r.date for r, _ in own), default=""),
        rows=len(own),
        families=len({r.family for r, _ in own}),
        error=sum(errors) / len(errors) if errors else None,
        note="" if own else "borrowed from other cores and versions of this runtime",
        cycles=cycles,
    )


def residuals(judged: Sequence[tuple[Observation, float]]) -> list[Residuals]:
    """90 % intervals of measured over estimated cycles, by group, widest group first.

    Groups: everything; a runtime; a core with it; a version with it; a kind of network with it;
    networks below SMALL_CYCLES in groups of their own. A group's variance is the mean over its
    families (a family is one witness) of the mean square of their log errors, shrunk to that of
    the group around it.

    Args:
        judged: observations with log(measured / predicted) by a fit that never saw their family.
    """
    large = [pair for pair in judged if pair[0].cycles >= SMALL_CYCLES]
    small = [pair for pair in judged if pair[0].cycles < SMALL_CYCLES]
    return [*_groups(large, 5), *(replace(r, kind=SMALL) for r in _groups(small, 4))]


def _groups(judged: Sequence[tuple[Observation, float]], levels: int) -> list[Residuals]:
    spreads: dict[tuple[str, ...], float] = {}
    found = []
    for level in range(levels):
        groups: dict[tuple[str, ...], list[tuple[Observation, float]]] = {}
        for row, error in judged:
            core, runtime, version = row.cell
            names = (runtime, core, version, row.kind)[:level]
            groups.setdefault(names, []).append((row, error))
        for names, members in sorted(groups.items()):
            families: dict[str, list[float]] = {}
            for row, error in members:
                families.setdefault(row.family, []).append(error * error)
            square = sum(sum(e) / len(e) for e in families.values())
            count = float(len(families))
            if names:
                square += PRIOR_FAMILIES * spreads[names[:-1]] ** 2
                count += PRIOR_FAMILIES
            spreads[names] = math.sqrt(square / count)
            edge = NORMAL_90 * spreads[names]
            runtime, core, version, kind = (*names, *[ANY] * (4 - level))
            low, high = math.expm1(-edge), math.expm1(edge)
            found.append(
                Residuals(core, runtime, version, kind, low, high, len(members), len(families))
            )
    return found


def main(arguments: Sequence[str]) -> int:
    """Fit FOLDER and write OUT."""
    if len(arguments) != 2:
        print("usage: python -m hwsearch.calibrate FOLDER OUT", file=sys.stderr)
        return 2
    Path(arguments[1]).write_text(fit(arguments[0]).to_json())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
