"""What one process knows of a search: what was scored, the best of it, counts, failures.

Scored trials are numbers here; the study has them, see :meth:`Storage.completed`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from optuna.trial import FrozenTrial, TrialState

from hwsearch.candidate import Trained
from hwsearch.configuration import Configuration
from hwsearch.ranks import as_row
from hwsearch.search import study as studies
from hwsearch.search.promotion import Rungs
from hwsearch.search.rows import AGAIN, LEAF, REASON, REPEAT, RUNG
from hwsearch.search.scores import Scores
from hwsearch.search.stagnation import Stagnation
from hwsearch.search.storage import Storage
from hwsearch.search.task import Counts, Task

ASKS = "asks"
"""Attribute of trials: how many asks before it needed no training, by why, and ``"rows"``: the
newest of those over budget."""

NO_METRIC = "its metric is NaN"
"""Why a trial failed whose training did not."""

MOST_FAILURES = 100
"""Reasons of failures that are kept."""


@dataclass
class Known:
    """What was told so far, whoever told it.

    Attributes:
        task: what is searched.
        storage: the durable study.
        counts: how far it is.
        scores: what was scored, and which of it is non-dominated.
        rungs: how far which structures were trained.
        failures: what failed and why; the first :data:`MOST_FAILURES`.
        lost: what failed in this session, see :meth:`is_lost`: digests of structures whose
            training failed, and of configurations whose metric is NaN.
        stagnation: whether the hypervolume still grows.
    """

    task: Task
    storage: Storage
    counts: Counts = field(default_factory=Counts)
    scores: Scores = field(init=False)
    rungs: Rungs = field(init=False)
    failures: list[str] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    stagnation: Stagnation = field(init=False)
    _front: dict[int, Trained] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scores = Scores(self.task.modes())
        self.rungs = Rungs(len(self.task.space.ladder), self.task.mode)
        self.stagnation = Stagnation(self.task)

    @property
    def stagnates(self) -> bool:
        """Whether the hypervolume grew too little for as long as the task has patience."""
        task = self.task
        if task.patience is None:
            return False
        return self.stagnation.growth(task.patience) < task.tolerance

    @property
    def front(self) -> list[Trained]:
        """The scored trials that keep the budget and that no other such trial dominates."""
        ids = self.scores.front
        self._front = {i: self._front.get(i) or self._read(i) for i in ids}
        return list(self._front.values())

    def add(self, trial: FrozenTrial, own: bool, resumed: bool = False) -> Configuration | None:
        """Takes a told trial in.

        Args:
            trial: told.
            own: whether this process asked for it, and so has counted the asks.
            resumed: whether an earlier session told it: its failures are tried again.

        Returns:
            What it is a score of, if it is one.
        """
        marks, counts = trial.user_attrs, self.counts
        found = studies.configuration(trial)
        if found is not None:
            self._know(trial, found)
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
        if found is not None:
            counts.evaluated += 1
            self.stagnation.mark()
        if trial.state == TrialState.FAIL:
            counts.failed += not resumed
            reason = marks.get(REASON, "its process was killed")
            if not (resumed or trial.params.get(RUNG)):
                ranks = self.task.pricing.ranks
                gone = ranks.configuration(as_row(trial.params, ranks.parameters))
                self.lost.add(gone.digest if reason == NO_METRIC else gone.structure)
            self.failed(trial.number, reason)
        return found

    def is_lost(self, configuration: Configuration) -> bool:
        """Whether it failed in this session, so that it is not trained again; what another
        training scored since is not lost."""
        lost = {configuration.digest, configuration.structure} & self.lost
        return bool(lost) and self.scores.trial_id(configuration) is None

    def failed(self, number: int, reason: str) -> None:
        """Keeps why a trial failed."""
        if len(self.failures) < MOST_FAILURES:
            self.failures.append(f"trial {number}: {reason}")

    def trained(self, trial: FrozenTrial) -> Trained:
        """A scored trial with its costs, computed again."""
        found = studies.trained(trial, self.task.pricing.cost, self.task.directory)
        assert found is not None
        return found

    def _read(self, trial_id: int) -> Trained:
        return self.trained(self.storage.read(trial_id))

    def _know(self, trial: FrozenTrial, configuration: Configuration) -> None:
        assert trial.values is not None
        fits = all(excess <= 0 for excess in trial.constraints.values())
        self.rungs.add(configuration)
        if not self.scores.add(configuration, trial._trial_id, trial.values, fits):
            return
        if fits:
            metric = float(trial.user_attrs[studies.RESULT]["score"]["value"])
            self.stagnation.add(trial.values, metric)
