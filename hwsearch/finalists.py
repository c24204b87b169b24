"""Finalists: which trials are verified, which of them is deployed, and the nearest miss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hwsearch.budget import Budget
from hwsearch.candidate import Candidate, NearestMiss, Trained, Verified
from hwsearch.choice import heaviest
from hwsearch.configuration import Configuration
from hwsearch.objectives import METRIC, objectives
from hwsearch.pareto import Mode, choose, inside, pareto
from hwsearch.pricing import Pricing

FINALISTS = 6
"""Models of the front that are verified, the chosen one among them."""

Check = Callable[[list[Trained]], tuple[list[Verified], list[tuple[Verified, str]]]]
"""Verifies trials: (those that hold, those that do not with the reason)."""


@dataclass(frozen=True)
class Proven:
    """What verification left of a search.

    Attributes:
        finalists: those that hold.
        winner: the one to deploy, None when none holds.
        disqualified: those that do not, each with the reason.
        interrupted: whether Ctrl-C ended it.
    """

    finalists: tuple[Verified, ...]
    winner: Verified | None
    disqualified: tuple[tuple[Verified, str], ...]
    interrupted: bool


def proven(
    history: Sequence[Trained],
    mode: Mode,
    budget: Budget,
    check: Check,
    names: Sequence[str] | None = None,
) -> Proven:
    """Verifies the front of a search, and goes on until the chosen trial holds or none is left.

    Args:
        history: the scored trials.
        mode: of the metric.
        budget: the limits.
        check: verifies.
        names: the objectives; default as in :func:`hwsearch.objectives.objectives`.
    """
    names = names or objectives(None, budget)
    disqualified: list[tuple[Verified, str]] = []
    finalists: list[Verified] = []
    winner: Verified | None = None
    interrupted, pool = False, list(history)
    try:
        while True:
            best = choose(pool, mode, budget, METRIC in names)
            number = -1 if best is None else best.candidate.number
            winner = next((v for v in finalists if v.trained.candidate.number == number), None)
            if best is None or winner is not None:
                break
            known = {v.trained.candidate.number for v in finalists}
            front = candidates(pool, best, budget, mode, names)
            wanted = [t for t in front if t.candidate.number not in known]
            held, thrown = check(wanted)
            finalists += held
            disqualified += thrown
            out = {t.candidate.number for t in wanted}
            out -= {v.trained.candidate.number for v in held}  # what is gone is neither
            again = {v.trained.candidate.number: v.trained for v in held}  # trained for longer
            pool = [again.get(t.candidate.number, t) for t in pool]
            pool = [t for t in pool if t.candidate.number not in out]
    except KeyboardInterrupt:  # what was verified so far is reported
        interrupted = True
    return Proven(tuple(finalists), winner, tuple(disqualified), interrupted)


def latest(history: Sequence[Trained]) -> list[Trained]:
    """Of each configuration the trial that was trained longest."""
    found: dict[str, Trained] = {}
    for trained in history:
        c = trained.candidate.configuration
        if c.digest not in found or found[c.digest].candidate.configuration.rung < c.rung:
            found[c.digest] = trained
    return list(found.values())


def candidates(
    pool: list[Trained], best: Trained, budget: Budget, mode: Mode, names: Sequence[str]
) -> list[Trained]:
    """The chosen trial and others of the front of the search half, evenly over the metric."""
    fits = [t for t in pool if inside(t, budget, mode)]
    values = [
        [t.score.value if n == METRIC else getattr(t.candidate.cost, n) or 0 for n in names]
        for t in fits
    ]
    directions: list[Mode] = [mode if name == METRIC else "min" for name in names]
    front = [
        t
        for t, on in zip(fits, pareto(np.array(values), directions), strict=True)
        if on and t is not best
    ]
    front.sort(key=lambda t: t.score.value, reverse=mode == "max")
    if len(front) > FINALISTS - 1:
        front = [
            front[i] for i in np.linspace(0, len(front) - 1, FINALISTS - 1).round().astype(int)
        ]
    return [best, *front]


def nearest_miss(pricing: Pricing, budget: Budget, configuration: Configuration) -> NearestMiss:
    """By how much a configuration misses its budget, and the operator behind it."""
    cost = pricing.cost(configuration)
    excess = budget.excess(cost)
    limit = max(excess, key=lambda name: excess[name])
    op = heaviest(cost, limit)
    share = {"flash_bytes": "flash_bytes", "ram_bytes": "live_bytes"}.get(limit, "cycles")
    second = 1 / (pricing.board.clock_hz or 1)
    scale = {"latency_s": second, "energy_j": second * (pricing.board.power_w or 0)}
    taken = 0.0 if op is None else float(getattr(op, share) or 0) * scale.get(limit, 1)
    return NearestMiss(
        Candidate(-1, configuration, cost),
        limit,
        excess[limit],
        -1 if op is None else op.index,
        "" if op is None else op.kind,
        taken,
    )
