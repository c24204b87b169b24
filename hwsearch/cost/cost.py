"""Cost: what one model takes of a microcontroller, and CostColumns: the same for n candidates."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hwsearch.cost.columns import Ints

Floats = NDArray[np.float64]

COSTS = ("flash_bytes", "ram_bytes", "latency_s", "energy_j")
"""The four costs, in the order in which they are shown."""

NAMES = dict(zip(COSTS, ("flash", "RAM", "latency", "energy"), strict=True))
"""What a person calls each cost."""


@dataclass(frozen=True, slots=True)
class Band:
    """Relative error band of an estimate: the truth lies in ``value * [1 + low, 1 + high]``.

    Attributes:
        low, high: relative edges of the 90 % interval, low <= 0 <= high.
        basis: what the band was measured on, or why it is only a guess.
    """

    low: float
    high: float
    basis: str


@dataclass(frozen=True)
class BandColumns:
    """The same of n estimates: a small network's latency is less certain than a large one's.

    Attributes:
        low, high: float64 [n], relative edges as in :class:`Band`.
    """

    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class OpCost:
    """One operator's share of a Cost.

    Attributes:
        index, kind: which operator.
        macs: multiply-accumulates.
        cycles: estimated core cycles; None is unknown.
        flash_bytes: bytes of its constants in flash.
        live_bytes: bytes of activations and scratch alive while it runs.
    """

    index: int
    kind: str
    macs: int
    cycles: float | None
    flash_bytes: int
    live_bytes: int


@dataclass(frozen=True)
class Cost:
    """What one model takes; unknown is None, never 0.

    Attributes:
        flash_bytes: of the whole image: weights, kernels, runtime, start-up.
        ram_bytes: of arena, scratch and stack of one inference.
        latency_s, energy_j: of one inference.
        macs: multiply-accumulates of one inference.
        cycles: core cycles of one inference.
        instructions: where they are counted or fitted, else None.
        bands: per cost its error band.
        ops: the break-down.
    """

    flash_bytes: int | None
    ram_bytes: int | None
    latency_s: float | None
    energy_j: float | None
    macs: int
    cycles: float | None = None
    instructions: float | None = None
    bands: dict[str, Band] = field(default_factory=dict)
    ops: tuple[OpCost, ...] = ()


@dataclass(frozen=True)
class CostColumns:
    """The costs of n candidates; a column that is unknown is None.

    Attributes:
        flash_bytes, ram_bytes: int64 [n].
        latency_s, energy_j, cycles: float64 [n] or None.
        bands: per cost the candidates' error bands.
    """

    flash_bytes: Ints
    ram_bytes: Ints
    latency_s: Floats | None
    energy_j: Floats | None
    cycles: Floats | None
    bands: dict[str, BandColumns] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of candidates."""
        return len(self.flash_bytes)
