"""What a search optimises: one to four of the metric and the four costs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsearch.budget import Budget
from hwsearch.cost.cost import COSTS, CostColumns, Floats
from hwsearch.errors import InputError

METRIC = "metric"

NAMES = {
    "accuracy": METRIC,
    METRIC: METRIC,
    "flash": "flash_bytes",
    "ram": "ram_bytes",
    "latency": "latency_s",
    "energy": "energy_j",
}
"""What users write, and what it is called here."""

MOST = 4
"""Objectives at once: with more, nearly every trial is on the front."""


def objectives(given: Sequence[str] | None, budget: Budget) -> tuple[str, ...]:
    """The objectives by name: ``"metric"``, then costs in the order of :data:`COSTS`.

    By default the metric and the costs that are limited, flash where none is. Energy is left out
    where latency is limited: on one board it is latency times power (see ``cost/energy.py``), so
    it orders models alike.

    Args:
        given: as users write them; None is the default.
        budget: the limits.

    Raises:
        InputError: an objective is unknown, given twice, or they are too many; or the metric is
            not among them and has no floor, so that the smallest network would win.
    """
    if given is None:
        limited = [name for name in COSTS if name in budget.limits]
        if "latency_s" in limited:
            limited = [name for name in limited if name != "energy_j"]
        return (METRIC, *(limited or ["flash_bytes"]))
    wanted = [given] if isinstance(given, str) else list(given)
    for name in wanted:
        if not isinstance(name, str) or name not in NAMES:
            raise InputError(
                f"objectives has {name!r}, expected some of {', '.join(NAMES)}. Another measure "
                "of the deployed model than accuracy is given as metric=."
            )
    found = [NAMES[name] for name in wanted]
    for name in wanted:
        if found.count(NAMES[name]) > 1:
            raise InputError(f"objectives={wanted!r} has {name!r} twice. Give each once.")
    if not 1 <= len(found) <= MOST:
        raise InputError(f"objectives={wanted!r} are {len(found)}, expected 1 to {MOST}.")
    if METRIC not in found and budget.accuracy is None:
        raise InputError(
            f"objectives={wanted!r} has no accuracy, so the smallest network would win. Add "
            '"accuracy", or give its floor: Budget(accuracy=...).'
        )
    return tuple(name for name in (METRIC, *COSTS) if name in found)


def cost_names(names: Sequence[str]) -> tuple[str, ...]:
    """The costs among the objectives."""
    return tuple(name for name in names if name != METRIC)


def cost_values(costs: CostColumns, names: Sequence[str]) -> Floats:
    """float64 [n, costs among the objectives]; what is unknown is 0 for all."""
    n = len(costs)
    columns = [getattr(costs, name) for name in cost_names(names)]
    known = [np.zeros(n) if c is None else np.asarray(c, np.float64) for c in columns]
    return np.stack(known, axis=1) if known else np.zeros((n, 0))
