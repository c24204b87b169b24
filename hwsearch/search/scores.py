"""Scores: what was scored so far, as numbers, and which of it no other dominates.

A search scores tens of thousands of configurations; what they were is read from the study when
it is wanted.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import numpy as np

from hwsearch.configuration import Configuration
from hwsearch.cost.cost import Floats
from hwsearch.pareto import Mode, pareto


class Scores:
    """Values of scored configurations; about 150 bytes each.

    A score at a higher rung takes the place of the lower one's, even where it is worse: the
    longer training says better what the configuration is worth.

    Args:
        modes: of the objectives, in the study's order.
    """

    def __init__(self, modes: Sequence[Mode]) -> None:
        self._signs = np.array([-1.0 if mode == "max" else 1.0 for mode in modes])
        self._row_of: dict[str, int] = {}
        self._firsts, self._ids = array("q"), array("q")  # at the first rung, at the highest
        self._rungs, self._fits = array("b"), array("b")
        self._values = array("d")
        self._front: list[int] = []

    def __contains__(self, configuration: object) -> bool:
        """Whether it was scored, at its rung or a higher one."""
        if not isinstance(configuration, Configuration):
            return False
        row = self._row_of.get(configuration.digest)
        return row is not None and configuration.rung <= self._rungs[row]

    def __len__(self) -> int:
        return len(self._ids)

    def trial_id(self, configuration: Configuration) -> int | None:
        """The trial that scored it at its rung, or at a higher one; None if none did."""
        if configuration not in self:
            return None
        row = self._row_of[configuration.digest]
        return self._ids[row] if configuration.rung else self._firsts[row]

    def add(
        self, configuration: Configuration, trial_id: int, values: Iterable[float], fits: bool
    ) -> bool:
        """Takes a scored trial in; False when its configuration was scored before.

        Args:
            configuration: of the trial.
            trial_id: in the study.
            values: of the objectives, in their order.
            fits: whether it keeps the budget, the floor of the metric among it.
        """
        if configuration in self:
            return False
        signed = self._signs * np.fromiter(values, np.float64)
        row = self._row_of.setdefault(configuration.digest, len(self))
        if row == len(self):
            self._firsts.append(trial_id)
            self._ids.append(trial_id)
            self._rungs.append(configuration.rung)
            self._fits.append(fits)
            self._values.extend(signed.tolist())
        else:
            before = self._table()[row].copy()
            self._ids[row], self._rungs[row], self._fits[row] = trial_id, configuration.rung, fits
            self._values[row * len(signed) : (row + 1) * len(signed)] = array("d", signed)
            if row in self._front:
                if not fits or (signed > before).any():  # others may come forward
                    inside = np.flatnonzero(np.frombuffer(self._fits, np.int8))
                    on = pareto(self._table()[inside], ["min"] * len(signed))
                    self._front = inside[on].tolist()
                    return True
                self._front.remove(row)
        if fits:
            self._raise(row, signed)
        return True

    @property
    def front(self) -> list[int]:
        """Ids of the trials that keep the budget and that no other such trial dominates."""
        return [self._ids[row] for row in self._front]

    def _raise(self, row: int, signed: Floats) -> None:
        """Adds a row to the front unless one there dominates it; drops those that it does."""
        known = self._table()[self._front]
        if ((known <= signed).all(axis=1) & (known < signed).any(axis=1)).any():
            return
        worse = (signed <= known).all(axis=1) & (signed < known).any(axis=1)
        kept = np.array(self._front, np.int64)[~worse]
        self._front = [*kept.tolist(), row]

    def _table(self) -> Floats:
        """float64 [n, objectives]: a view, all minimised; let go of before anything is added."""
        return np.frombuffer(self._values, np.float64).reshape(-1, len(self._signs))
