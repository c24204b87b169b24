"""Plan: what a search would choose from, and whether anything fits, before any training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hwsearch.board import GENERIC, Board
from hwsearch.board import board as board_of
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
        whole: cost of the model as it is, at 8 bits, on the first runtime.
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
    """
    on = GENERIC if board is None else board if isinstance(board, Board) else board_of(board)
    limits = budget.on(on)
    what = space if isinstance(space, Space) or space is None else Space.load(space)
    runtimes = None if backends is None else tuple(backends)
    given = Given(data, validation_data, test_data, loss, metric, mode, runtimes, what, seed)
    found = problem(model, on, given)
    found = replace(found, pricing=found.pricing.within(limits))
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
