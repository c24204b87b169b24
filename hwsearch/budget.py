"""Budget: the limits that a deployed model must keep, and by how much a cost exceeds them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np

from hwsearch.board import GENERIC, Board, boards
from hwsearch.board import board as board_of
from hwsearch.cost.cost import COSTS, Cost, CostColumns, Floats
from hwsearch.errors import BudgetError

Strictness = Literal["likely", "sure"]

UNITS = {
    "flash": {"B": 1, "KB": 1e3, "KiB": 2**10, "MB": 1e6, "MiB": 2**20},
    "ram": {"B": 1, "KB": 1e3, "KiB": 2**10, "MB": 1e6, "MiB": 2**20},
    "latency": {"s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9},
    "energy": {"J": 1, "mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6, "nJ": 1e-9},
}  # fmt: skip
"""Units that each limit may be written in, and their factor to bytes, seconds, joules."""

_NUMBER = re.compile(r"\s*([-+]?[0-9_]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-zµ]*)\s*")
LIMIT_OF = dict(zip(COSTS, ("flash", "ram", "latency", "energy"), strict=True))
"""By cost the name of the limit that bounds it."""


@dataclass(frozen=True)
class Budget:
    """What a deployed model may take; a limit left out is the board's own, or none.

    Args:
        flash, ram: bytes, or text such as ``"192 KiB"``.
        latency: seconds a single inference, or text such as ``"150 ms"``.
        energy: joules a single inference, or text such as ``"2 mJ"``.
        accuracy: the least value of the metric that is acceptable (the most, for a metric that
            is minimised); in the metric's own unit.
        strictness: which edge of an estimate's 90 % band is judged: ``"likely"`` the estimate
            itself, ``"sure"`` the dearer edge.

    Raises:
        BudgetError: a limit is negative, not a number, or of an unknown unit.

    Example:
        >>> Budget(flash="192 KiB", latency="150 ms").flash
        196608
    """

    flash: float | str | None = None
    ram: float | str | None = None
    latency: float | str | None = None
    energy: float | str | None = None
    accuracy: float | None = None
    strictness: Strictness = "likely"

    def __post_init__(self) -> None:
        for name in UNITS:
            limit = getattr(self, name)
            if limit is not None:
                value = parse(name, limit)
                object.__setattr__(self, name, int(value) if name in ("flash", "ram") else value)
        if self.accuracy is not None and not math.isfinite(self.accuracy):
            raise BudgetError(
                f"accuracy={self.accuracy} is not a number. Give e.g. accuracy=0.88."
            )
        if self.strictness not in ("likely", "sure"):
            raise BudgetError(
                f'strictness={self.strictness!r} is unknown, expected "likely" or "sure".'
            )

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set, by the name of the cost that each bounds; in B, s, J."""
        values = ((cost, getattr(self, name)) for cost, name in LIMIT_OF.items())
        return {cost: float(value) for cost, value in values if value is not None}

    def most_cycles(self, board: Board, bands: Mapping[str, object]) -> float:
        """Core cycles that an inference may be estimated at on a board, by the limits of latency
        and of energy; infinite where neither is set.

        Args:
            board: its clock, and its power at that clock.
            bands: of the estimate, by name of the cost; with ``strictness="sure"`` their upper
                edge has to be inside.
        """
        seconds = {"latency_s": 1.0, "energy_j": board.power_w}
        allowed = [
            limit / float(self._judged(name, each, bands))
            for name, limit in self.limits.items()
            if (each := seconds.get(name)) is not None
        ]
        return min(allowed, default=math.inf) * (board.clock_hz or math.inf)

    def on(self, board: Board) -> Budget:
        """This budget with the board's own flash and RAM where it sets none.

        Raises:
            BudgetError: a limit is larger than what the board has; or latency or energy is
                limited and nothing is known of the board's clock or power.
        """
        for name, has in (("flash", board.flash_bytes), ("ram", board.ram_bytes)):
            limit = getattr(self, name)
            if limit is not None and has is not None and limit > has:
                raise BudgetError(
                    f"{name}={limit:,} B is more than the {has:,} B of {board.name}. "
                    f"Lower it, or leave it out to use all that the board has."
                )
        if self.latency is not None and board.clock_hz is None:
            raise BudgetError(
                f"a latency limit needs a board whose clock is known; {board.name} has none. "
                f"Boards: {', '.join(sorted(boards()))}"
            )
        if self.energy is not None and board.power_w is None:
            measured = sorted(b.name for b in boards().values() if b.power_w is not None)
            raise BudgetError(
                f"an energy limit needs a board whose power was measured, unlike {board.name}. "
                f"Boards: {', '.join(measured)}"
            )
        return replace(
            self,
            flash=board.flash_bytes if self.flash is None else self.flash,
            ram=board.ram_bytes if self.ram is None else self.ram,
        )

    def excess(self, cost: Cost) -> dict[str, float]:
        """Per limited cost its relative overshoot, ``use / limit - 1``; 0 or less is inside.

        A cost that is unknown counts as inside: it cannot be judged.
        """
        used = {name: getattr(cost, name) for name in self.limits}
        return {
            name: float(self._judged(name, value, cost.bands)) / limit - 1
            if value is not None
            else -1.0
            for (name, limit), value in zip(self.limits.items(), used.values(), strict=True)
        }

    def excesses(self, costs: CostColumns) -> Floats:
        """float64 [n, limits]: the same for n candidates; columns as in :attr:`limits`."""
        columns = []
        for name, limit in self.limits.items():
            value = getattr(costs, name)
            columns.append(
                np.full(len(costs), -1.0)
                if value is None
                else np.asarray(self._judged(name, value, costs.bands)) / limit - 1
            )
        return np.stack(columns, axis=1) if columns else np.zeros((len(costs), 0))

    def fits(self, cost: Cost) -> Literal["sure", "likely", "no"]:
        """How a cost stands to the limits: inside with its whole band, by its estimate, or not."""
        if any(e > 0 for e in replace(self, strictness="likely").excess(cost).values()):
            return "no"
        sure = all(e <= 0 for e in replace(self, strictness="sure").excess(cost).values())
        return "sure" if sure else "likely"

    def _judged(self, name: str, value: object, bands: Mapping[str, object]) -> Floats:
        band = bands.get(name)
        high = getattr(band, "high", 0.0) if self.strictness == "sure" else 0.0
        return np.asarray(value, np.float64) * (1 + high)

    def __str__(self) -> str:
        set_ = {f.name: getattr(self, f.name) for f in fields(self)}
        texts = [f"{k} ≤ {shown(k, v)}" for k, v in set_.items() if k in UNITS and v is not None]
        if self.accuracy is not None:
            texts.append(f"metric at least {self.accuracy:g}")
        return ", ".join(texts) or "no limits"


def target(budget: Budget | str, board: str | Board | None) -> tuple[Board, Budget]:
    """The board, and the budget with the board's own limits.

    Args:
        budget: the limits, or a board's name alone.
        board: a name of the catalogue or a Board; None is a generic Cortex-M4.

    Raises:
        BudgetError: two boards are named, or the budget is none.
        UnknownNameError: no such board.
    """
    if isinstance(budget, str):
        if board is not None:
            raise BudgetError(
                f"budget={budget!r} names a board and board={board!r} another. Give one of them."
            )
        board, budget = budget, Budget()
    if not isinstance(budget, Budget):
        raise BudgetError(
            f"budget is a {type(budget).__name__}, expected a hwsearch.Budget or a board's name."
        )
    on = GENERIC if board is None else board if isinstance(board, Board) else board_of(board)
    return on, budget.on(on)


def shown(name: str, value: float) -> str:
    """A limit or cost in the unit a person would use, e.g. ``"192.0 KiB"``, ``"1.50 ms"``."""
    if name.startswith(("flash", "ram")):
        return f"{value / 1024:,.1f} KiB" if abs(value) >= 1024 else f"{value:,.0f} B"
    unit = "s" if name.startswith("latency") else "J"
    for factor, prefix in ((1, ""), (1e-3, "m"), (1e-6, "µ")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value / 1e-9:.3g} n{unit}"


def parse(name: str, limit: float | str) -> float:
    """A limit in bytes, seconds or joules.

    Args:
        name: of the limit, a key of :data:`UNITS`.
        limit: a number, or text with a unit.

    Raises:
        BudgetError: it is not positive, not a number, or of an unknown unit.
    """
    units = UNITS[name]
    if isinstance(limit, str):
        match = _NUMBER.fullmatch(limit)
        if match is None or match[2] not in {*units, ""}:
            raise BudgetError(
                f"{name}={limit!r} cannot be read. Expected a number and a unit "
                f'({", ".join(units)}), e.g. "{_EXAMPLES[name]}".'
            )
        value = float(match[1].replace("_", "")) * units.get(match[2], 1)
    elif isinstance(limit, bool) or not isinstance(limit, (int, float, np.integer, np.floating)):
        raise BudgetError(f"{name}={limit!r} is not a number. Give e.g. {_EXAMPLES[name]!r}.")
    else:
        value = float(limit)
    least = 1 if name in ("flash", "ram") else 0  # a whole byte
    if not math.isfinite(value) or value <= 0 or value < least:
        raise BudgetError(
            f"{name}={limit!r} is not a positive number. Give e.g. {_EXAMPLES[name]!r}."
        )
    return value


_EXAMPLES = {"flash": "192 KiB", "ram": "24 KiB", "latency": "150 ms", "energy": "2 mJ"}
