"""Energy of an inference: the board's measured power × the time it takes.

Within one board, clock and submission the power of different networks is constant to about 5 %
(``docs/cost-model.md``); across submissions it is not, for the supply voltage differs.
"""

from __future__ import annotations

from hwsearch.board import Board
from hwsearch.cost.cost import Band, Floats

POWER_SPREAD = 0.10
"""90 % edge of power's relative spread over networks on one board and submission: 1.645 standard
deviations of measured over predicted power, leave-one-out, on the published rows."""


def energy_j(latency_s: Floats | None, board: Board) -> Floats | None:
    """float64 [n]: joules of each inference; None where power or latency is unknown.

    Args:
        latency_s: float64 [n].
        board: its ``power_w`` holds at its own ``clock_hz``.
    """
    return None if latency_s is None or board.power_w is None else latency_s * board.power_w


def band(latency: Band) -> Band:
    """The band of an energy: its latency's and the spread of power, added in quadrature."""
    return Band(
        -min((latency.low**2 + POWER_SPREAD**2) ** 0.5, 1.0),
        (latency.high**2 + POWER_SPREAD**2) ** 0.5,
        f"{latency.basis}; power ±{POWER_SPREAD:.0%} between networks on one board",
    )
