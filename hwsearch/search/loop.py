"""The search loop: ask, cost, reject or train, tell. Knows nothing of MLflow: it calls back."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import optuna
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from hwsearch.candidate import Candidate, Trained
from hwsearch.cost.cost import CostColumns
from hwsearch.errors import StudyError
from hwsearch.search import children
from hwsearch.search import study as studies
from hwsearch.search.task import Counts, Task, objectives
from hwsearch.search.training import DISK_FULL, Result
from hwsearch.space import Configuration, as_row

ASKS_A_TRIAL = 20
"""The search ends after so many asks for each trial wanted: nothing new that fits is proposed."""

MOST_ROWS = 1000
"""Rejected asks kept for the aggregate table."""


@dataclass
class Search:
    """A running search.

    Attributes:
        task: what to do.
        study: Optuna's; durable.
        on_trained: called with each scored trial and its excess over each limit.
        on_change: called after each ask.
        counts: how far it is.
        history: scored trials, earlier sessions' included.
        rejected: rows on rejected asks of this session.
        failures: what failed and why.
        interrupted: whether Ctrl-C ended it.
    """

    task: Task
    study: optuna.Study
    on_trained: Callable[[Trained, Mapping[str, float]], None]
    on_change: Callable[[Search], None]
    counts: Counts = field(default_factory=Counts)
    history: list[Trained] = field(default_factory=list)
    rejected: list[dict[str, object]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    interrupted: bool = False
    _scored: dict[str, Trained] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _flying: int = 0
    _error: BaseException | None = None

    def resume(self) -> None:
        """Takes in what earlier sessions told; enqueues again what they left running.

        A training that had finished lies in its folder: the second try finds it there.
        """
        counts = self.counts
        for trial in self.study.get_trials(deepcopy=False):
            found = studies.trained(trial, self.task.pricing.cost, self.task.directory)
            if found is not None:
                self._know(found)
            if trial.state in (TrialState.WAITING, TrialState.RUNNING) or {"leaf", "again"} & set(
                trial.user_attrs
            ):
                continue
            counts.asked += 1
            if trial.state == TrialState.FAIL:  # this session tries as many again
                reason = trial.user_attrs.get("reason", "its process was killed")
                self.failures.append(f"trial {trial.number}: {reason}")
            counts.rejected += trial.state == TrialState.PRUNED
            repeated = bool(trial.user_attrs.get("repeat"))
            counts.repeated += repeated
            counts.evaluated += trial.state == TrialState.COMPLETE and not repeated
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._again(optuna.trial.Trial(self.study, trial._trial_id))

    def run(self) -> None:
        """Searches until trials, time or proposals are used up, or Ctrl-C."""
        workers = [
            threading.Thread(target=self._work, daemon=True) for _ in range(self.task.workers)
        ]
        started, limit = time.monotonic(), self.task.timeout_s
        for worker in workers:
            worker.start()
        try:
            while any(worker.is_alive() for worker in workers):
                workers[0].join(0.1)
                workers[-1].join(0.1)
                if limit is not None and time.monotonic() - started > limit:
                    self._stop.set()
        except KeyboardInterrupt:
            self.interrupted = True
            self._stop.set()
            for worker in workers:
                worker.join()
        if isinstance(self._error, OSError | SQLAlchemyError | StorageInternalError):
            raise StudyError(
                f"the study in {self.task.directory} cannot be written: {self._error}. Free disk "
                "space; the same call goes on where this one stopped."
            ) from self._error
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as error:
            self._error = error
            self._stop.set()

    def _turn(self) -> bool:
        """One ask; False when there is nothing more to do."""
        with self._lock:
            if self._done():
                return False
            trial = self.study.ask(studies.distributions(self.task.pricing.ranks.parameters))
            self.counts.asked += 1
            row = as_row(trial.params, self.task.pricing.ranks.parameters)
            configuration = self.task.pricing.ranks.configuration(row)
            judged = self._judge(trial, configuration)
            self.on_change(self)
            if judged:
                return True
            self._flying += 1
            leaves = self.task.leaves(configuration, set(self._scored))
        result, reason = children.run(
            self.task.job(leaves), self.task.trial_timeout_s, self._stop.is_set
        )
        with self._lock:
            self._flying -= 1
            if result is not None:
                reason = self._tell(trial, row, leaves, result)
            if reason and self._stop.is_set():
                self._again(trial)
            elif reason.startswith(DISK_FULL):
                self._again(trial)
                raise OSError(reason)
            elif reason:
                self._fail(trial, reason)
            self.on_change(self)
        return True

    def _done(self) -> bool:
        counts = self.counts
        busy = counts.evaluated + counts.failed + self._flying
        proposals = ASKS_A_TRIAL * self.task.trials
        return self._stop.is_set() or busy >= self.task.trials or counts.asked >= proposals

    def _judge(self, trial: optuna.Trial, configuration: Configuration) -> bool:
        """Tells at once what is over budget or was scored before; False if it needs training."""
        task = self.task
        costs = task.pricing.price(task.pricing.ranks.columns([configuration]))
        excess = dict(
            zip(task.budget.limits, map(float, task.budget.excesses(costs)[0]), strict=True)
        )
        if any(value > 0 for value in excess.values()):
            self.counts.rejected += 1
            self._note(trial.number, configuration, costs, excess)
            for name, value in excess.items():
                trial.set_constraint(name, value)
            self.study.tell(trial, state=TrialState.PRUNED)
            return True
        known = self._scored.get(configuration.digest)
        if known is not None:
            self.counts.repeated += 1
            trial.set_user_attr("repeat", True)
            self._complete(trial, known)
        return known is not None

    def _note(
        self,
        number: int,
        configuration: Configuration,
        costs: CostColumns,
        excess: Mapping[str, float],
    ) -> None:
        if len(self.rejected) >= MOST_ROWS:
            return
        row: dict[str, object] = {"trial": number, "configuration": str(configuration)}
        for name in ("flash_bytes", "ram_bytes", "latency_s", "energy_j"):
            values = getattr(costs, name)
            row[name] = None if values is None else float(values[0])
        worst = max(excess, key=lambda name: excess[name])
        self.rejected.append(row | {"limit": worst, "excess": excess[worst]})

    def _tell(
        self, trial: optuna.Trial, row: list[int], leaves: list[Configuration], result: Result
    ) -> str:
        """Tells the leaves, the asked one last: until then a killed search finds it unfinished.

        Returns:
            Why the asked one has no value, or "".
        """
        reason = ""
        for leaf in [*leaves[1:], leaves[0]]:
            asked = leaf is leaves[0]
            artefact = result.of(self.task.precision(leaf))
            if artefact is None or math.isnan(artefact.score.value):
                reason = "its metric is NaN" if asked else reason
                continue
            candidate = Candidate(trial.number, leaf, self.task.pricing.cost(leaf))
            seconds = result.train_s if asked else 0.0
            trained = Trained(candidate, artefact.tflite, artefact.score, result.curve, seconds)
            kept = studies.result(trained, self.task.directory)
            if asked:
                self.counts.evaluated += 1
                trial.set_user_attr(studies.RESULT, kept)
                self._complete(trial, trained)
            else:
                trained = self._add(row, trained, kept)
            self._know(trained)
            self.on_trained(trained, self.task.budget.excess(trained.candidate.cost))
        return reason

    def _complete(self, trial: optuna.Trial, trained: Trained) -> None:
        for name, value in self._constraints(trained).items():
            trial.set_constraint(name, value)
        self.study.tell(trial, self._values(trained))

    def _add(self, row: list[int], trained: Trained, kept: Mapping[str, object]) -> Trained:
        """A leaf that was not asked for, as a trial of its own."""
        ranks = self.task.pricing.ranks
        found = studies.distributions(ranks.parameters)
        names = ranks.names(ranks.ranks(trained.candidate.configuration, row))
        self.study.add_trial(
            create_trial(
                values=self._values(trained),
                params={name: names[name] for name in found},
                distributions=found,
                user_attrs={studies.RESULT: dict(kept), "leaf": True},
                constraints=self._constraints(trained),
            )
        )
        number = self.study.get_trials(deepcopy=False)[-1].number
        candidate = trained.candidate
        return Trained(
            Candidate(number, candidate.configuration, candidate.cost),
            trained.tflite,
            trained.score,
            trained.curve,
            trained.train_s,
        )

    def _values(self, trained: Trained) -> list[float]:
        """The objectives of a scored trial: the metric, then the budgeted costs."""
        cost = trained.candidate.cost
        costs = (getattr(cost, name) for name in objectives(self.task.budget))
        return [trained.score.value, *(float(value or 0) for value in costs)]

    def _constraints(self, trained: Trained) -> dict[str, float]:
        """Per limit the relative overshoot, and what the metric lacks of its floor."""
        budget = self.task.budget
        found = budget.excess(trained.candidate.cost)
        if budget.accuracy is not None:
            lacks = budget.accuracy - trained.score.value
            found["metric"] = lacks if self.task.mode == "max" else -lacks
        return found

    def _fail(self, trial: optuna.Trial, reason: str) -> None:
        self.counts.failed += 1
        self.failures.append(f"trial {trial.number}: {reason}")
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def _again(self, trial: optuna.Trial) -> None:
        """A trial that was cut short: enqueued for the next session."""
        trial.set_user_attr("again", True)
        self.study.tell(trial, state=TrialState.FAIL)
        self.study.enqueue_trial(trial.params)

    def _know(self, trained: Trained) -> None:
        digest = trained.candidate.configuration.digest
        if digest not in self._scored:
            self._scored[digest] = trained
            self.history.append(trained)
