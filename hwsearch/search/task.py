"""Task: what one search is to do; Counts: how far it is; which leaves a training serves."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from optuna.samplers import BaseSampler

from hwsearch.budget import Budget
from hwsearch.candidate import Trained
from hwsearch.compress.elementwise import Elementwise
from hwsearch.compress.goal import Goal
from hwsearch.configuration import Configuration
from hwsearch.cost.cost import Cost
from hwsearch.metric import Mode
from hwsearch.objectives import METRIC, cost_values
from hwsearch.pareto import pareto
from hwsearch.pricing import Pricing
from hwsearch.search.cache import Cache
from hwsearch.search.memory import Direction
from hwsearch.search.training import Job, Precision
from hwsearch.space import Space

MOST_LEAVES = 8
"""Leaves quantized and scored after one training."""


@dataclass(frozen=True)
class Task:
    """What one search is to do.

    Attributes:
        directory: of the study: model, data, database, results.
        name: of the study.
        pricing, budget, space: costs, limits, what may vary.
        op_indexes: per operator of the layout its index in the float network.
        mode: of the metric.
        objectives: names, in the study's order, see :func:`hwsearch.objectives.objectives`.
        sampler: a name or Optuna's, see :mod:`hwsearch.search.sampler`.
        original: the unpruned float model's metric on what the search scores by; None is unknown.
        loss, metric, custom_objects: carried, see :class:`Job`.
        trials: trainings in all, promotions and those of earlier sessions included.
        timeout_s, trial_timeout_s: of the search, and of a training of the first rung; None is
            none.
        patience: trials after which the search ends unless the hypervolume grew by ``tolerance``,
            a share of it; None goes on.
        workers: trainings at once.
        threads: of TensorFlow in each.
        memory_bytes: that each may hold; 0 is any.
        cache: of trainings, shared with other studies; its cap is also that of the artefacts
            that this study keeps beside its front's. None keeps everything, for this study alone.
        lineage: digest of model, data and loss.
        seed: of everything.
    """

    directory: Path
    name: str
    pricing: Pricing
    budget: Budget
    space: Space
    op_indexes: tuple[int, ...]
    mode: Mode
    objectives: tuple[str, ...]
    sampler: str | BaseSampler
    original: float | None
    loss: bytes
    metric: bytes
    custom_objects: bytes
    trials: int
    timeout_s: float | None
    trial_timeout_s: float | None
    patience: int | None
    tolerance: float
    workers: int
    threads: int
    seed: int
    memory_bytes: int = 0
    cache: Cache | None = None
    lineage: str = ""

    def values(self, trained: Trained) -> list[float]:
        """The objectives of a scored trial, in their order; an unknown cost is 0."""
        cost, score = trained.candidate.cost, trained.score.value
        return [
            score if name == METRIC else float(getattr(cost, name) or 0)
            for name in self.objectives
        ]

    def constraints(self, trained: Trained) -> dict[str, float]:
        """Per limit the relative overshoot, and what the metric lacks of its floor."""
        found = self.budget.excess(trained.candidate.cost)
        if self.budget.accuracy is not None:
            lacks = self.budget.accuracy - trained.score.value
            found["metric"] = lacks if self.mode == "max" else -lacks
        return found

    def is_over(self, cost: Cost) -> bool:
        """Whether a cost exceeds a limit."""
        return any(value > 0 for value in self.budget.excess(cost).values())

    def directions(self) -> list[Direction]:
        """Of each objective."""
        return ["maximize" if m == "max" else "minimize" for m in self.modes()]

    def modes(self) -> list[Mode]:
        """The same, as :func:`hwsearch.pareto.pareto` takes them."""
        return [self.mode if name == METRIC else "min" for name in self.objectives]

    def precision(self, leaf: Configuration) -> Precision:
        """The bit widths of a leaf, by operator of the float network."""
        depth = self.pricing.ranks.layout.depth(leaf.dropped)
        indexes, bits = self.op_indexes, leaf.weight_bits
        if depth is not None:
            indexes, bits = depth.op_indexes, tuple(bits[op] for op in depth.ops)
        pairs = zip(indexes, bits, strict=True)
        return Precision(leaf.activation_bits, tuple((i, b) for i, b in pairs if b != 8))

    def job(self, leaves: list[Configuration]) -> Job:
        """The training that these leaves of one structure and rung share."""
        layout, first = self.pricing.ranks.layout, leaves[0]
        asked, rung = first.asked or first, first.rung
        depth, pruned = layout.depth(asked.dropped), {}
        for i, ((name, full, _), kept) in enumerate(zip(layout.groups, asked.widths, strict=True)):
            if kept < full:
                pruned[name if depth is None else depth.names[depth.groups.index(i)]] = kept
        return Job(
            directory=self.directory,
            structure=first.training,
            widths=pruned,
            saliency=first.saliency,
            schedule=first.schedule,
            precisions=tuple(dict.fromkeys(self.precision(leaf) for leaf in leaves)),
            space=replace(self.space, epochs=self.space.ladder[rung], rungs=()),
            before=self.job([replace(first, rung=rung - 1)]) if rung else None,
            loss=self.loss,
            metric=self.metric,
            custom_objects=self.custom_objects,
            seed=self.seed,
            threads=self.threads,
            memory_bytes=self.memory_bytes,
            cache=self.cache,
            lineage=self.lineage,
            elementwise=Elementwise(
                first.sparsity, first.pattern, first.clusters, first.qat, first.trainer
            ),
            plain=self.job([first.plain]) if first.qat else None,
            goal=None if rung else self.goal(asked),
            dropped=asked.dropped,
            distillation=first.distillation,
        )

    def goal(self, asked: Configuration) -> Goal | None:
        """What a differentiable training is to fit: the share that the widths asked for take of
        the limit that they use most. None for another method, and where nothing is pruned."""
        full = tuple(width for _, width, _ in self.pricing.ranks.layout.groups)
        if asked.method != "differentiable" or asked.widths == full:
            return None
        goal = Goal(self.pricing, self.budget, asked)
        return replace(goal, share=min(1.0, float(goal.uses(np.array([asked.widths])).max())))

    def limit_s(self, job: Job) -> float | None:
        """Seconds after which a training is given up: longer ones in proportion."""
        if self.trial_timeout_s is None:
            return None
        return self.trial_timeout_s * max(1.0, job.space.epochs / max(1, self.space.epochs))

    def leaves(
        self,
        configuration: Configuration,
        scored: Container[Configuration],
        wanted: Sequence[Configuration] = (),
    ) -> list[Configuration]:
        """The configuration, and of its other leaves those worth scoring, up to MOST_LEAVES.

        They fit, were not scored before, and none beats them both in the costs optimised and in
        the bits that activations and weights have.

        Args:
            configuration: asked for; comes first.
            scored: what was scored.
            wanted: leaves to score whatever beats them.
        """
        ranks = self.pricing.ranks
        leaves = ranks.leaves(configuration)
        columns = ranks.columns(leaves)
        costs = self.pricing.price(columns)
        fits = (self.budget.excesses(costs) <= 0).all(axis=1)
        sizes = np.array([size for _, _, size in ranks.layout.ops], np.float64)
        bits = np.stack([columns.activation_bits, columns.weight_bits @ sizes], axis=1)
        values = np.concatenate([cost_values(costs, self.objectives), bits], axis=1)
        down: list[Mode] = ["min"] * (values.shape[1] - 2)
        directions: list[Mode] = [*down, "max", "max"]
        kept = np.flatnonzero(fits)
        kept = kept[pareto(values[kept], directions)]
        kept = kept[np.argsort(-costs.flash_bytes[kept], kind="stable")]
        first = {leaf.digest: leaf for leaf in (configuration, *wanted)}
        others = [leaves[i] for i in kept]
        others = [leaf for leaf in others if leaf.digest not in first and leaf not in scored]
        most = max(0, MOST_LEAVES - len(first))
        if len(others) > most:
            picks = np.linspace(0, len(others) - 1, most).round().astype(int)
            others = [others[i] for i in picks]
        return [*first.values(), *others]


@dataclass
class Counts:
    """How far a search is.

    Attributes:
        asked: configurations proposed.
        rejected: over budget, told without training.
        repeated: proposed before, told again without training.
        evaluated: trials scored after a training of theirs or an earlier one.
        failed: trials that failed.
    """

    asked: int = 0
    rejected: int = 0
    repeated: int = 0
    evaluated: int = 0
    failed: int = 0
