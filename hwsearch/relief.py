"""Relief: what more room would buy, and which board has it; by estimate, without training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hwsearch.board import Board, boards
from hwsearch.budget import LIMIT_OF, Budget
from hwsearch.candidate import BoardFit, Candidate, Relief, Trained
from hwsearch.configuration import Configuration
from hwsearch.cost.columns import Ints
from hwsearch.metric import Mode
from hwsearch.pricing import Pricing
from hwsearch.search.bootstrap import bootstrap
from hwsearch.search.surrogate import Features, Surrogate

RAISED = 1.1
"""By what a limit is raised."""

FEW = 6
"""Scored trials before their metric is extrapolated."""

POOL = 128
"""Configurations that fit among which the best is expected."""


def reliefs(
    pricing: Pricing, budget: Budget, seed: int, scored: Sequence[Trained], mode: Mode
) -> tuple[Relief, ...]:
    """What each limit would buy if it alone were raised by a tenth.

    Args:
        pricing: costs configurations.
        budget: the limits.
        seed: of the draws.
        scored: trials, from which the metric of others is guessed.
        mode: of the metric.
    """
    surrogate = None
    if len(scored) >= FEW:
        sign = 1 if mode == "max" else -1
        told = pricing.ranks.columns([t.candidate.configuration for t in scored])
        values = sign * np.array([t.score.value for t in scored], np.float64)
        surrogate = Surrogate.fit(Features.of(pricing.ranks, told), values)
    found = []
    for limit, value in budget.limits.items():
        raised = RAISED * value
        change: dict[str, Any] = {LIMIT_OF[limit]: raised}
        roomier = replace(budget, **change)
        there = pricing.within(roomier)
        screened = bootstrap(there, roomier, seed, POOL)
        rows = screened.feasible
        if not len(rows):
            found.append(Relief(limit, raised, None, screened.excess))
            continue
        decoded = pricing.ranks.decode(rows)
        if surrogate is None:
            best = int(np.argmax(there.price(decoded).flash_bytes))
            metric = None
        else:
            expected, _ = surrogate.predict(Features.of(pricing.ranks, decoded))
            best = int(np.argmax(expected))
            metric = float(expected[best]) * (1 if mode == "max" else -1)
        configuration = pricing.ranks.configuration(rows[best])
        candidate = Candidate(-1, configuration, there.cost(configuration))
        found.append(Relief(limit, raised, candidate, screened.excess, metric))
    return tuple(found)


def smallest_board(
    pricing: Pricing, budget: Budget, chosen: Configuration | None, seed: int
) -> BoardFit | None:
    """See :meth:`hwsearch.report.Report.smallest_board`.

    Args:
        pricing: costs configurations; its board has no part in this.
        budget: its latency and energy count.
        chosen: the configuration that is to fit; None is any of the space.
        seed: of the draws.
    """
    ranks = pricing.ranks
    if chosen is None:
        rows = _small(pricing, np.random.default_rng(seed))
        configurations = ranks.configurations(ranks.decode(rows))
    else:
        configurations = [chosen]
    columns = ranks.columns(configurations)
    for place in sorted(boards().values(), key=_size):
        if place.flash_bytes is None or place.ram_bytes is None:
            continue
        there = replace(pricing, board=place).within(budget)
        costs = there.price(columns)
        if any(getattr(costs, limit) is None for limit in budget.limits):
            continue  # its clock or power is unknown
        own = replace(budget, flash=place.flash_bytes, ram=place.ram_bytes)
        fits = np.flatnonzero((own.excesses(costs) <= 0).all(axis=1))
        if len(fits):
            best = configurations[int(fits[np.argmax(costs.flash_bytes[fits])])]
            return BoardFit(place, Candidate(-1, best, there.cost(best)))
    return None


def _size(place: Board) -> tuple[float, float, str]:
    return place.ram_bytes or 0, place.flash_bytes or 0, place.name


def _small(pricing: Pricing, rng: np.random.Generator) -> Ints:
    """int64 [n, parameters]: random configurations, and the smallest of each of them."""
    ranks = pricing.ranks
    rows = np.concatenate([ranks.pruned(rng, POOL), ranks.random(rng, POOL)])
    return np.unique(np.concatenate([rows, ranks.narrowest(rows)]), axis=0)
