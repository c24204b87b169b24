"""What one process knows of a search: scored trials, the best of them, counts, failures."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from hwsearch.candidate import Trained
from hwsearch.pareto import inside
from hwsearch.search import study as studies
from hwsearch.search.rows import AGAIN, LEAF, REASON, REPEAT
from hwsearch.search.stagnation import Stagnation
from hwsearch.search.task import Counts, Task

ASKS = "asks"
"""Attribute of trials: how many asks before it needed no training, by why, and ``"rows"``: the
newest of those over budget."""


@dataclass
class Known:
    """What was told so far, whoever told it.

    Attributes:
        task: what is searched.
        counts: how far it is.
        history: scored trials, in the order in which they were told.
        scored: the same by digest of their configuration.
        front: those that keep the budget and that no other dominates.
        failures: what failed and why.
        stagnation: whether the hypervolume still grows.
    """

    task: Task
    counts: Counts = field(default_factory=Counts)
    history: list[Trained] = field(default_factory=list)
    scored: dict[str, Trained] = field(default_factory=dict)
    front: list[Trained] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stagnation: Stagnation = field(init=False)

    def __post_init__(self) -> None:
        self.stagnation = Stagnation(self.task)

    @property
    def stagnates(self) -> bool:
        """Whether the hypervolume grew too little for as long as the task has patience."""
        task = self.task
        if task.patience is None:
            return False
        return self.stagnation.growth(task.patience) < task.tolerance

    def add(self, trial: FrozenTrial, own: bool, resumed: bool = False) -> Trained | None:
        """Takes a told trial in.

        Args:
            trial: told.
            own: whether this process asked for it, and so has counted the asks.
            resumed: whether an earlier session told it: its failures are tried again.

        Returns:
            The scored trial, if it is one.
        """
        marks, counts = trial.user_attrs, self.counts
        found = studies.trained(trial, self.task.pricing.cost, self.task.directory)
        if found is not None and REPEAT not in marks:
            self._know(found)
        if LEAF in marks or AGAIN in marks:
            return found
        if not own:
            asks = marks.get(ASKS, {})
            rejected, repeated = asks.get("rejected", 0), asks.get("repeated", 0)
            counts.asked += 1 + rejected + repeated
            counts.rejected += rejected
            counts.repeated += repeated
        counts.rejected += trial.state == TrialState.PRUNED
        counts.repeated += REPEAT in marks
        if trial.state == TrialState.COMPLETE and REPEAT not in marks:
            counts.evaluated += 1
            self.stagnation.mark()
        if trial.state == TrialState.FAIL:
            counts.failed += not resumed
            reason = marks.get(REASON, "its process was killed")
            self.failures.append(f"trial {trial.number}: {reason}")
        return None if REPEAT in marks else found

    def _know(self, trained: Trained) -> None:
        digest = trained.candidate.configuration.digest
        if digest in self.scored:
            return
        self.scored[digest] = trained
        self.history.append(trained)
        self.stagnation.add(trained)
        if inside(trained, self.task.budget, self.task.mode):
            self._raise_front(trained)

    def _raise_front(self, trained: Trained) -> None:
        """Adds a trial to the front unless one there dominates it; drops those that it does."""
        signs = np.array([-1.0 if d == "maximize" else 1.0 for d in self.task.directions()])
        new = signs * self.task.values(trained)
        known = np.array([self.task.values(t) for t in self.front]).reshape(-1, len(new)) * signs
        if ((known <= new).all(axis=1) & (known < new).any(axis=1)).any():
            return
        worse = (new <= known).all(axis=1) & (new < known).any(axis=1)
        self.front = [t for t, out in zip(self.front, worse, strict=True) if not out] + [trained]
