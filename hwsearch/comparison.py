"""Comparison: two models side by side, and whether the second grew by more than is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsearch import estimation
from hwsearch.board import Board
from hwsearch.cost.cost import COSTS, NAMES
from hwsearch.errors import InputError

if TYPE_CHECKING:
    from hwsearch.report import Choice


@dataclass(frozen=True)
class Side:
    """One of two models.

    Attributes:
        name: what was compared.
        flash_bytes, ram_bytes, latency_s, energy_j: measured where they were, else estimated;
            None is unknown.
        proven: how far a finalist was proven; "estimate" of a model's file.
        metric, value: of a search's model its metric on fresh data; "" and None else.
        mode: whether more of the metric is better: ``"max"`` or ``"min"``.
    """

    name: str
    flash_bytes: float | None
    ram_bytes: float | None
    latency_s: float | None
    energy_j: float | None
    proven: str
    metric: str = ""
    value: float | None = None
    mode: str = "max"

    @classmethod
    def of_choice(cls, name: str, found: Choice) -> Side:
        """A search's model."""
        report = found.report
        costs = {cost: found.known(cost) for cost in COSTS}
        label = f"{name}, trial {found.number}"
        return cls(
            label, **costs, proven=found.level,
            metric=report.metric, value=found.score.value, mode=report.mode,
        )  # fmt: skip

    @classmethod
    def of_file(cls, path: Path, board: Board, backend: str) -> Side:
        """A model's file, estimated."""
        cost = estimation.estimate(path, board=board, backend=backend)
        known = {name: getattr(cost, name) for name in COSTS}
        return cls(str(path), **known, proven="estimate")


@dataclass(frozen=True)
class Comparison:
    """Two models side by side.

    Attributes:
        first, second: the models; growth is from the first to the second.
        growth: per cost that both know, relative: 0.02 is two percent more.
        metric_drop: by how much the second's metric is worse; None where they share none.
        exceeded: in words, what grew by more than was allowed; empty when nothing did.
    """

    first: Side
    second: Side
    growth: Mapping[str, float]
    metric_drop: float | None
    exceeded: tuple[str, ...] = field(default=())


def compare(
    first: Side, second: Side, allowed: Mapping[str, float], metric_drop: float | None = None
) -> Comparison:
    """The comparison of two models.

    Args:
        first, second: the models.
        allowed: by cost the largest relative growth; a cost left out may grow.
        metric_drop: by how much the metric may get worse, in its own unit; None is any.

    Raises:
        InputError: a gate is on something that one of them does not know.
    """
    growth: dict[str, float] = {}
    for cost in COSTS:
        before, after = getattr(first, cost), getattr(second, cost)
        if before is not None and after is not None and before > 0:
            growth[cost] = after / before - 1
    drop = None
    if first.metric and first.metric == second.metric:
        assert first.value is not None and second.value is not None
        worse = first.value - second.value if first.mode == "max" else second.value - first.value
        drop = worse + 0.0  # not -0.0
    exceeded = []
    for cost, limit in allowed.items():
        if cost not in growth:
            raise InputError(
                f"{NAMES[cost]} of {_lacking(first, second, cost)} is not known, so its growth "
                "cannot be judged. Name a board and a backend whose figures are known, or drop "
                "the limit."
            )
        if growth[cost] > limit:
            exceeded.append(f"{NAMES[cost]} grew by {growth[cost]:.1%}, allowed are {limit:.1%}")
    if metric_drop is not None:
        if drop is None:
            raise InputError(
                "a limit on the metric needs two searches that scored the same metric: files of "
                "models have none."
            )
        if drop > metric_drop:
            exceeded.append(
                f"{first.metric} got worse by {drop:.4g}, allowed are {metric_drop:.4g}"
            )
    return Comparison(first, second, growth, drop, tuple(exceeded))


def _lacking(first: Side, second: Side, cost: str) -> Any:
    return (first if getattr(first, cost) is None else second).name
