"""Promotion: which trainings of the front are gone on with for more epochs.

Asynchronous successive halving (Li et al. 2020, "A System for Massively Parallel Hyperparameter
Tuning", arXiv:1810.05934), where "the best so far" is the front: of the structures trained at a
rung one in :data:`REDUCTION` is promoted to the next, those of the front with the best metric
first. Optuna prunes no study of several objectives.

The samplers see the first rung alone: scores after different numbers of epochs do not compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hwsearch.candidate import Trained
from hwsearch.configuration import Configuration
from hwsearch.metric import Mode

REDUCTION = 3
"""One of so many goes on. Li et al. 2018 (Hyperband, arXiv:1603.06560) find 3 to 4 best."""


class Rungs:
    """Which structures were trained at each rung, and which was promoted, by whichever worker.

    Args:
        count: rungs of the space's ladder.
        mode: of the metric.
    """

    def __init__(self, count: int, mode: Mode) -> None:
        self._sign = 1 if mode == "max" else -1
        self._done: list[set[str]] = [set() for _ in range(count)]
        self._begun: list[set[str]] = [set() for _ in range(count)]

    @property
    def trained(self) -> list[int]:
        """How many structures were trained at each rung."""
        return [len(structures) for structures in self._done]

    def add(self, configuration: Configuration) -> None:
        """Its training was told."""
        self.begin(configuration)
        for done in self._done[: configuration.rung + 1]:
            done.add(configuration.structure)

    def begin(self, configuration: Configuration) -> None:
        """Its training began, or was found to have begun elsewhere: it is not promoted again."""
        for begun in self._begun[: configuration.rung + 1]:
            begun.add(configuration.structure)

    def next(self, front: Callable[[], Sequence[Trained]]) -> Configuration | None:
        """The configuration to train next, at its new rung; the highest rung comes first.

        Args:
            front: gives the present front; asked for only if something may be promoted.
        """
        for rung in range(len(self._done) - 1, 0, -1):
            if len(self._begun[rung]) >= len(self._done[rung - 1]) // REDUCTION:
                continue
            found = [
                t
                for t in front()
                if t.candidate.configuration.rung == rung - 1
                and not t.diverged
                and t.candidate.configuration.structure not in self._begun[rung]
            ]
            if found:
                best = max(found, key=lambda t: self._sign * t.score.value)
                return replace(best.candidate.configuration, rung=rung)
        return None
