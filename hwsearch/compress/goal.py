"""Goal: a share of a budget that a network is to fit, and the widths that it may have."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from hwsearch.budget import Budget
from hwsearch.compress.projection import Widths
from hwsearch.configuration import Configuration
from hwsearch.cost.columns import Ints
from hwsearch.cost.cost import Floats
from hwsearch.errors import InputError
from hwsearch.pricing import Pricing, Scheme

NARROW = 0.05
"""A limit is aimed at with the upper edge of a cost's error band where that is no farther off."""


@dataclass(frozen=True)
class Goal:
    """What a network is to fit.

    Attributes:
        pricing: costs configurations.
        budget: with at least one limit.
        like: its backend and bits are those of the network; its widths do not count.
        share: of each limit that is aimed at.

    Raises:
        InputError: no limit is set, so there is nothing to aim at.
    """

    pricing: Pricing
    budget: Budget
    like: Configuration
    share: float = 1.0

    def __post_init__(self) -> None:
        if not self.budget.limits:
            raise InputError(
                "differentiable pruning needs a limit to aim at. Give e.g. "
                "Budget(flash='64 KiB'), or a board."
            )

    @property
    def limits(self) -> tuple[str, ...]:
        """Names of the limited costs: the columns of :meth:`uses`."""
        return tuple(self.budget.limits)

    @property
    def scheme(self) -> Scheme:
        """The quantized graph, with the binding of dimensions to groups."""
        return self.pricing.schemes[self.like.activation_bits]

    @cached_property
    def allowed(self) -> Widths:
        """The widths that the network may have."""
        ranks = self.pricing.ranks
        return Widths(
            np.array([least for _, _, least in ranks.layout.groups], np.int64),
            np.array([full for _, full, _ in ranks.layout.groups], np.int64),
            min(ranks.space.multiple_of),
            self.uses,
        )

    def uses(self, widths: Ints) -> Floats:
        """float64 [n, limits]: cost / what is aimed at; widths int64 [n, groups].

        Gates use up what they are given, and what comes of them is linked and measured: so costs
        with a narrow error band count with its upper edge (:data:`NARROW`).
        """
        one, rows = self.pricing.ranks.columns([self.like]), np.zeros(len(widths), np.int64)
        columns = {f.name: getattr(one, f.name)[rows] for f in fields(one)}
        costs = self.pricing.price(replace(one, **(columns | {"widths": np.asarray(widths)})))
        judged = self.budget.excesses(costs) + 1
        edge = replace(self.budget, strictness="sure").excesses(costs) + 1
        return np.where(edge <= (1 + NARROW) * judged, edge, judged) / self.share

    @property
    def key(self) -> list[object]:
        """All that tells it from another goal for the same model."""
        limits = [self.budget.limits, self.budget.strictness, self.allowed.step]
        return [self.pricing.board.name, limits, self.like.digest, self.share]
