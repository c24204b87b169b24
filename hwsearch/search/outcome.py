"""What a configuration's costs are against the budget, and what to tell of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from hwsearch.candidate import Candidate, Trained
from hwsearch.codegen.packing import PALETTE
from hwsearch.configuration import Configuration
from hwsearch.cost.columns import Values
from hwsearch.cost.cost import COSTS, Cost, CostColumns
from hwsearch.search import study as studies
from hwsearch.search.known import ASKS
from hwsearch.search.rows import LEAF, RUNG
from hwsearch.search.task import Task
from hwsearch.search.training import Result


def excess_of(task: Task, configuration: Configuration) -> tuple[dict[str, float], CostColumns]:
    """By what share a configuration exceeds each limit, and its costs as one row."""
    costs = task.pricing.price(task.pricing.ranks.columns([configuration]))
    row = map(float, task.budget.excesses(costs)[0])
    return dict(zip(task.budget.limits, row, strict=True)), costs


def rejection(
    number: int, configuration: Configuration, costs: CostColumns, excess: Mapping[str, float]
) -> dict[str, object]:
    """A row on an over-budget ask: its costs, and the limit that it misses by most."""
    row: dict[str, object] = {"trial": number, "configuration": str(configuration)}
    for name in COSTS:
        values = getattr(costs, name)
        row[name] = None if values is None else float(values[0])
    worst = max(excess, key=lambda name: excess[name])
    return row | {"limit": worst, "excess": excess[worst]}


def rejections(
    task: Task, distributions: Mapping[str, BaseDistribution], trial: FrozenTrial
) -> list[FrozenTrial]:
    """The over-budget asks that another worker's trial tells of, judged again."""
    rows = trial.user_attrs.get(ASKS, {}).get("rows", [])
    if not rows:
        return []
    ranks, budget = task.pricing.ranks, task.budget
    excesses = budget.excesses(task.pricing.price(ranks.decode(np.array(rows, np.int64))))
    return [
        create_trial(
            state=TrialState.PRUNED,
            params={n: r for n, r in ranks.names(row).items() if n in distributions},
            distributions=dict(distributions),
            constraints=dict(zip(budget.limits, map(float, excess), strict=True)),
        )
        for row, excess in zip(rows, excesses, strict=True)
    ]


def outcomes(
    task: Task,
    distributions: Mapping[str, BaseDistribution],
    number: int,
    row: Sequence[int],
    leaves: Sequence[Configuration],
    result: Result,
) -> list[FrozenTrial]:
    """What to tell of each leaf that has a value; the asked one comes first if it has.

    Args:
        task: what is searched.
        distributions: of the parameters.
        number: of the trial that was asked for.
        row: its ranks.
        leaves: configurations that the training served, the asked one first.
        result: of the training.
    """
    told = []
    for wanted in leaves:
        asked = wanted is leaves[0]
        artefact = result.of(task.precision(wanted))
        if artefact is None or math.isnan(artefact.score.value):
            continue
        cost = task.pricing.cost
        candidate = result.candidate(Candidate(number, wanted, cost(wanted)), cost)
        if not asked and task.is_over(candidate.cost):
            continue  # with these bits, the widths that were found take more than those asked for
        seconds = result.train_s if asked else 0.0
        notes = (*result.notes, *unpaid(task, candidate.configuration, candidate.cost))
        trained = Trained(
            candidate, artefact.tflite, artefact.score, result.curve, seconds, notes,
            artefact.plain, result.diverged,
        )  # fmt: skip
        marks: dict[str, object] = {studies.RESULT: studies.result(trained, task.directory)}
        ranks = row if asked else task.pricing.ranks.ranks(wanted, row)
        names = task.pricing.ranks.names(ranks) | {RUNG: wanted.rung}
        params = {name: names[name] for name in distributions}
        marks |= {} if asked else {LEAF: True}
        told.append(scored(task, trained, marks, params, distributions))
    return told


def unpaid(task: Task, leaf: Configuration, cost: Cost) -> tuple[str, ...]:
    """A note where zeros and shared values save no flash, and why."""
    dense = replace(leaf, sparsity=0.0, clusters=0)
    flash = task.pricing.cost(dense).flash_bytes or 0
    if dense == leaf or flash > (cost.flash_bytes or 0):
        return ()
    if not _pays_zeros(task, leaf):
        low = " at these bits" if {leaf.activation_bits, *leaf.weight_bits} != {8} else ""
        why = f"stores zeros and shared values{low} like other weights"
    elif leaf.clusters > PALETTE and not leaf.sparsity:
        why = f"stores {leaf.clusters} values like any number (a palette holds {PALETTE})"
    else:
        why = (
            "can store zeros and shared values for less, but what this network would save is not "
            "worth the code or the time that it takes"
        )
    return (f"{leaf.backend} {why}: they save nothing",)


def _pays_zeros(task: Task, leaf: Configuration) -> bool:
    """Whether the leaf's runtime stores weights that are all zero for less than others."""
    runtime = next(b for b in task.pricing.ranks.backends if b.name == leaf.backend)
    dense = replace(task.pricing.columns(leaf), sparsity=None, clusters=None)
    none = np.zeros(dense.bits.shape, np.int64)
    zero = replace(dense, values=Values(fours=none, distinct=none + 1))
    return bool(runtime.flash(zero)[0] < runtime.flash(dense)[0])


def scored(
    task: Task,
    trained: Trained,
    marks: Mapping[str, object],
    params: Mapping[str, int],
    distributions: Mapping[str, BaseDistribution],
) -> FrozenTrial:
    """A completed trial: values, constraints, attributes and params."""
    return create_trial(
        values=task.values(trained),
        params=dict(params),
        distributions=dict(distributions),
        user_attrs=dict(marks),
        constraints=task.constraints(trained),
    )
