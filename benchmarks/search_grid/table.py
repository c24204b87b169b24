"""The grid as a table: every configuration's accuracy, cost, and the true front, without training.

    from benchmarks.search_grid.table import load
    table = load()
    table.pricing.ranks.parameters        # what a sampler proposes: rows of ranks
    table.score(configuration)            # in place of a training
    table.regrets(points)                 # share of the true hypervolume still missing

Accuracies are read from ``data/``; costs are computed by the product's own pricing when the
table is loaded, so they follow the cost model. Nothing here imports TensorFlow.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product

import numpy as np

from benchmarks.search_grid import grid, stored
from hwsearch.budget import Budget
from hwsearch.candidate import Epoch, Score
from hwsearch.configuration import Configuration
from hwsearch.cost.columns import Ints
from hwsearch.cost.cost import CostColumns, Floats
from hwsearch.evaluate import FAST
from hwsearch.metric import wilson
from hwsearch.objectives import cost_names, cost_values, objectives
from hwsearch.pareto import Mode, pareto
from hwsearch.pricing import Pricing
from hwsearch.ranks import Decoded
from hwsearch.search.training import Artefact, Job, Precision, Result

BUDGET = Budget(flash="32 KiB", ram="10 KiB", latency="20 ms", accuracy=0.82)
"""The limits, and the reference point of hypervolumes."""

DRAWN = 1 << 16
"""Uniform points that a hypervolume is counted on: its standard error is 0.2 % of the box."""


@dataclass(frozen=True)
class Table:
    """Every configuration of the grid.

    Attributes:
        pricing: costs configurations; its ``ranks`` are the search space.
        op_indexes: per varied operator its index in the float network, as a Task has them.
        original: accuracy of the unpruned float network on the report half.
        budget: the limits; its accuracy is the floor.
        decoded: the n distinct configurations, as columns.
        configurations: the same, one by one.
        structure: int64 [n], index in ``grid.STRUCTURES``.
        recipe: int64 [n], index in :attr:`recipes`.
        recipes: the bit widths that were deployed.
        cells: every training, by (structure, seed).
        costs: of the n configurations.
    """

    pricing: Pricing
    op_indexes: tuple[int, ...]
    original: float
    budget: Budget
    decoded: Decoded
    configurations: tuple[Configuration, ...]
    structure: Ints
    recipe: Ints
    recipes: tuple[Precision, ...]
    cells: dict[tuple[int, int], stored.Cell]
    costs: CostColumns

    @cached_property
    def right(self) -> Ints:
        """int64 [structures, recipes, 2]: images classified right, search half and report half.

        Of the trainings with seed 0; -1 where a structure was not trained yet.
        """
        found = np.full((len(grid.STRUCTURES), len(self.recipes), 2), -1, np.int64)
        for (structure, seed), cell in self.cells.items():
            if seed == 0:
                found[structure] = np.stack([cell.search_right, cell.report_right], axis=1)
        return found

    @cached_property
    def accuracy(self) -> Floats:
        """float64 [n] on the search half, what a search optimises; NaN where not trained yet."""
        right = self.right[self.structure, self.recipe, 0]
        return np.where(right < 0, np.nan, right / grid.SAMPLES)

    @cached_property
    def reported(self) -> Floats:
        """float64 [n] on the report half; NaN where not trained yet."""
        right = self.right[self.structure, self.recipe, 1]
        return np.where(right < 0, np.nan, right / grid.SAMPLES)

    @property
    def objectives(self) -> tuple[str, ...]:
        """Those that a search has by default: the metric and the costs that are limited."""
        return objectives(None, self.budget)

    @cached_property
    def values(self) -> Floats:
        """float64 [n, 1 + costs]: a trial's objectives, accuracy first."""
        return np.column_stack([self.accuracy, cost_values(self.costs, self.objectives)])

    @property
    def directions(self) -> list[Mode]:
        """Of :attr:`values`."""
        return ["max", *(["min"] * len(cost_names(self.objectives)))]  # type: ignore[list-item]

    @property
    def reference(self) -> Floats:
        """float64 [1 + costs]: the limits, accuracy's floor first."""
        limits = self.budget.limits
        return np.array(
            [self.budget.accuracy or 0.0, *(limits[c] for c in cost_names(self.objectives))]
        )

    @cached_property
    def affordable(self) -> np.ndarray:
        """bool [n]: inside the limits of cost, whatever the accuracy: what is worth training."""
        return (self.budget.excesses(self.costs) <= 0).all(axis=1)

    @cached_property
    def feasible(self) -> np.ndarray:
        """bool [n]: inside every limit, the floor of accuracy included."""
        return self.affordable & (self.accuracy >= (self.budget.accuracy or 0.0))

    @cached_property
    def front(self) -> Ints:
        """Indexes of the true Pareto front."""
        inside = np.flatnonzero(self.feasible)
        return inside[pareto(self.values[inside], self.directions)]

    @cached_property
    def _index(self) -> dict[str, int]:
        return {c.digest: i for i, c in enumerate(self.configurations)}

    def index(self, configuration: Configuration) -> int:
        """Which of the n a configuration is."""
        return self._index[configuration.digest]

    def score(self, configuration: Configuration) -> Score:
        """What a trial of this configuration scores on the search half.

        Raises:
            LookupError: its structure was not trained yet.
        """
        i = self.index(configuration)
        return self._score(int(self.structure[i]), int(self.recipe[i]))

    def _score(self, structure: int, recipe: int) -> Score:
        right = int(self.right[structure, recipe, 0])
        if right < 0:
            raise LookupError(f"structure {structure} was not trained yet: make search-grid")
        value = right / grid.SAMPLES
        return Score(value, *wilson(value, grid.SAMPLES), grid.SAMPLES, FAST)

    def train(
        self,
        job: Job,
        timeout_s: float | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> tuple[Result | None, str]:
        """What a trial process makes of a job, from the table: a search's ``train``.

        The artefacts' files are written; they hold the name of their precision, not a model.
        """
        full = self.pricing.ranks.layout.groups
        widths = tuple(int(job.widths.get(name, width)) for name, width, _ in full)
        structure = self._structure_of[widths]
        job.folder.mkdir(parents=True, exist_ok=True)
        artefacts = []
        for precision in job.precisions:
            path = job.folder / precision.name
            part = path.with_suffix(f".part{os.getpid()}")
            part.write_text(precision.name)
            part.replace(path)
            score = self._score(structure, self.recipes.index(precision))
            artefacts.append(Artefact(precision, path, score))
        cell = self.cells[structure, 0]
        return Result((Epoch(cell.loss),), cell.train_s, tuple(artefacts)), ""

    @cached_property
    def _structure_of(self) -> dict[tuple[int, ...], int]:
        pairs = zip(self.decoded.widths.tolist(), self.structure.tolist(), strict=True)
        return {tuple(widths): structure for widths, structure in pairs}

    @cached_property
    def _covers(self) -> np.ndarray:
        """uint8 [feasible, DRAWN / 8]: which drawn points each feasible one dominates, as bits."""
        signs = np.array([-1.0 if d == "max" else 1.0 for d in self.directions])
        values, corner = self.values[self.feasible] * signs, self.reference * signs
        drawn = np.random.default_rng(0).uniform(values.min(axis=0), corner, (DRAWN, len(corner)))
        return np.stack([np.packbits((v <= drawn).all(axis=1)) for v in values])

    @cached_property
    def hypervolume(self) -> float:
        """The true front's hypervolume, as a share of the box from the limits to the ideal."""
        return float(self.hypervolumes(np.flatnonzero(self.feasible))[-1])

    def hypervolumes(self, points: Sequence[int] | Ints) -> Floats:
        """float64 [m]: hypervolume of the first i + 1 of some points, in their order.

        Reference: the limits. As a share of the box from the limits to the best of each
        objective; counted on :data:`DRAWN` points, the same for all. Infeasible ones add none.

        Args:
            points: indexes of configurations, in the order in which they were scored.
        """
        place = np.cumsum(self.feasible) - 1
        covered = np.zeros(DRAWN // 8, np.uint8)
        shares = np.zeros(len(points))
        for i, point in enumerate(points):
            if self.feasible[point]:
                covered |= self._covers[place[point]]
                shares[i] = np.bitwise_count(covered).sum() / DRAWN
            elif i:
                shares[i] = shares[i - 1]
        return shares

    def regrets(self, points: Sequence[int] | Ints) -> Floats:
        """float64 [m]: share of the true hypervolume that the first i + 1 points still miss."""
        return 1 - self.hypervolumes(points) / self.hypervolume


@cache
def load(budget: Budget = BUDGET) -> Table:
    """The table under some limits.

    Raises:
        ValueError: the stored cells do not match their digest or the network.
    """
    network = stored.load_network()
    pricing, ranks = network.pricing, network.pricing.ranks
    choices = [range(p.choices) for p in ranks.parameters]
    rows = np.array(list(product(*choices)), np.int64)
    known: dict[str, int] = {}
    configurations = ranks.configurations(ranks.decode(rows))
    for i, configuration in enumerate(configurations):
        known.setdefault(configuration.digest, i)
    kept = np.array(list(known.values()))
    decoded = ranks.decode(rows[kept])
    recipes = grid.recipes(network.op_indexes)
    groups = rows[kept][:, : len(grid.WIDTHS)]
    bases = len(grid.RATIOS) ** np.arange(len(grid.WIDTHS))[::-1]
    bits = decoded.weight_bits.tolist()
    used = [recipes.index(grid.precision(network.op_indexes, each)) for each in bits]
    return Table(
        pricing,
        network.op_indexes,
        network.original,
        budget.on(pricing.board),
        decoded,
        tuple(configurations[i] for i in kept),
        groups @ bases,
        np.array(used, np.int64),
        recipes,
        stored.load_cells(network.model),
        pricing.price(decoded),
    )
