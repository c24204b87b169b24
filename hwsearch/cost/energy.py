"""Energy of an inference: the board's measured power × the time it takes.

Within one board, clock and submission the power of different networks is constant to about 5 %
(``docs/cost-model.md``); across submissions it is not, for the supply voltage differs.
"""

from __future__ import annotations

import math

from hwsearch.board import Board
from hwsearch.cost.cost import Band, Floats

POWER_SPREAD = 0.12
"""90 % edge of power's relative spread over the networks of one board and submission: measured
over predicted from the other networks there (``make bench-cost`` prints it)."""

POWER_SPREAD_OTHER_CLOCK = 0.30
"""The same at another clock than the measured one: a convention, nobody published both."""


def energy_j(
    latency_s: Floats | None, board: Board, clock_hz: float | None = None
) -> Floats | None:
    """float64 [n]: joules of each inference; None where power or latency is unknown.

    At another clock than the board's own the energy of a cycle is taken to stay the same: power is
    mostly dynamic, and so goes with the clock (CMOS: ``P = C V² f``).

    Args:
        latency_s: float64 [n], at ``clock_hz``.
        board: its ``power_w`` holds at its own ``clock_hz``.
        clock_hz: the clock; defaults to the board's own.
    """
    if latency_s is None or board.power_w is None:
        return None
    ratio = clock_hz / board.clock_hz if clock_hz and board.clock_hz else 1.0
    return latency_s * (board.power_w * ratio)


def band(latency: Band, other_clock: bool = False) -> Band:
    """The band of an energy: its latency's and the spread of power, added in quadrature.

    Args:
        latency: the latency's band.
        other_clock: whether the clock is not the one at which the power was measured.
    """
    spread = POWER_SPREAD_OTHER_CLOCK if other_clock else POWER_SPREAD
    return Band(
        -min(math.hypot(latency.low, spread), 1.0),
        math.hypot(latency.high, spread),
        f"{latency.basis}; power ±{spread:.0%} between networks on one board",
    )
