"""Plan: what a search would choose from, and whether anything fits, before any training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hwsearch.arguments import aim
from hwsearch.board import Board
from hwsearch.budget import Budget
from hwsearch.cost.cost import Cost
from hwsearch.metric import Mode
from hwsearch.problem import Given, problem
from hwsearch.search.bootstrap import bootstrap
from hwsearch.space import Space

DRAWN = 2048
"""Random configurations that are costed to see what share fits."""


@dataclass(frozen=True)
class Plan:
    """What a search would start from.

    Attributes:
        board: the board.
        metric, original: what would be scored, and the float model's value.
        groups: name, full width and least width of each channel group.
        operators: how many have weights whose bits can vary.
        backends: runtimes to choose from.
        log10_configurations: of how many combinations there are.
        whole: cost at the first choice of everything: of most spaces the model as it is, at 8
            bits, on the first runtime.
        screened, feasible: random configurations costed, and how many of them fit.
        nearest: where none fits, per limit by how much the nearest exceeds it; else empty.
        notes: what the search would say once.
    """

    board: Board
    metric: str
    original: float
    groups: tuple[tuple[str, int, int], ...]
    operators: int
    backends: tuple[str, ...]
    log10_configurations: float
    whole: Cost
    screened: int
    feasible: int
    nearest: Mapping[str, float]
    notes: tuple[str, ...]


def plan(
    model: Any,
    budget: Budget,
    data: Any = None,
    validation_data: Any = None,
    test_data: Any = None,
    *,
    board: str | Board | None = None,
    loss: Any = None,
    metric: Any = None,
    mode: Mode | None = None,
    backends: Sequence[str] | None = None,
    space: Space | str | Path | None = None,
    seed: int = 0,
) -> Plan:
    """What :func:`hwsearch.optimize` with these arguments would search; nothing is trained.

    Raises:
        InputError: as :func:`hwsearch.optimize`.
        RefusedError: no backend runs the model.
        BudgetError: no backend can tell a cost that is limited.
    """
    chosen = aim(budget, board, None, backends, space)
    on, limits, varied = chosen.board, chosen.budget, (chosen.backends, chosen.space)
    found = problem(
        model, on, Given(data, validation_data, test_data, loss, metric, mode, *varied, seed)
    )
    pricing, left_out = found.pricing.within(limits).knowing(limits.limits)
    found = replace(found, pricing=pricing, notes=(*found.notes, *left_out))
    ranks = found.pricing.ranks
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([ranks.pruned(rng, DRAWN // 2), ranks.random(rng, DRAWN // 2)])
    excess = limits.excesses(found.pricing.price(ranks.decode(drawn))).max(axis=1, initial=-1.0)
    screened, feasible = len(drawn), int((excess <= 0).sum())
    nearest: dict[str, float] = {}
    if not feasible:  # look harder before saying so
        harder = bootstrap(found.pricing, limits, seed)
        screened, feasible = screened + harder.screened, len(harder.feasible)
        if harder.excess > 0:
            cost = found.pricing.cost(ranks.configuration(harder.nearest))
            nearest = {name: e for name, e in limits.excess(cost).items() if e > 0}
    full = ranks.decode(np.zeros((1, len(ranks.parameters)), np.int64))
    return Plan(
        board=on,
        metric=found.metric.name,
        original=found.original.value,
        groups=ranks.layout.groups,
        operators=len(ranks.layout.ops),
        backends=tuple(b.name for b in ranks.backends),
        log10_configurations=sum(math.log10(p.choices) for p in ranks.parameters),
        whole=found.pricing.cost(ranks.configurations(full)[0]),
        screened=screened,
        feasible=feasible,
        nearest=nearest,
        notes=found.notes,
    )
