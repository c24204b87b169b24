"""The search loop that every worker runs: ask, cost, reject or train, tell.

The owner of a study and whoever joins it run the same :class:`Search`. The sampler sees a study in
memory (:mod:`hwsearch.search.memory`), where over-budget asks stay; what is trained goes through
the durable one (:mod:`hwsearch.search.storage`), and comes back from it the same way whoever told
it. Knows nothing of MLflow: it calls back.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from hwsearch.candidate import Trained
from hwsearch.configuration import Configuration
from hwsearch.errors import StudyError
from hwsearch.ranks import as_row
from hwsearch.search import children
from hwsearch.search import study as studies
from hwsearch.search.disk import Disk
from hwsearch.search.interrupt import interruptible
from hwsearch.search.known import ASKS, NO_METRIC, Known
from hwsearch.search.lease import Leases
from hwsearch.search.memory import Memory
from hwsearch.search.offer import Artefacts, folder
from hwsearch.search.outcome import excess_of, outcomes, rejection, rejections
from hwsearch.search.rows import AGAIN, LEAF, PROMOTED, REPEAT, RUNG
from hwsearch.search.storage import Begun, Storage
from hwsearch.search.task import Task
from hwsearch.search.training import DISK_FULL, Job, Result

ASKS_IN_A_ROW = 300
"""The search ends when so many proposals in a row were over budget or scored before: nothing new
that fits is left, or the sampler does not find it."""

MOST_ROWS = 1000
"""Rejected asks kept for the aggregate table."""

MOST_ASKS = 50
"""Rejected asks that a trial tells other workers' samplers."""

LOOK_S, IDLE_S = 0.2, 0.5
"""How often the durable study is read, and how often by a worker that has nothing to do."""

Train = Callable[[Job, float | None, Callable[[], bool]], tuple[Result | None, str]]
"""Runs a job: (job, seconds after which it is given up, whether to stop) -> (result, "") or
(None, why there is none)."""


@dataclass(frozen=True)
class Flight:
    """A trial in training: in the durable study, in the sampler's unless it was promoted, and
    what it is."""

    begun: Begun
    trial: optuna.Trial | None
    row: list[int]
    leaves: list[Configuration]


@dataclass
class Search:
    """One process's part in a search.

    Attributes:
        task: what to do.
        storage: the durable study.
        leases: this process's, entered; the owner's search decides when the study is done.
        sampler: proposes; sees the study in memory.
        on_trained: called with each scored trial, whoever told it, and its excess over each limit.
        on_change: called after each ask.
        train: runs a job.
        disk: what trainings left in the study's directory; the owner's, else None.
        store: where results go that no shared directory holds; None if one does.
        known: what was told, in earlier sessions and by other workers too.
        rejected: rows on rejected asks of this process.
        begun: how many trials this process took.
        interrupted: whether Ctrl-C ended it.
    """

    task: Task
    storage: Storage
    leases: Leases
    sampler: BaseSampler
    on_trained: Callable[[Trained, Mapping[str, float]], None]
    on_change: Callable[[Search], None]
    train: Train = children.run
    store: Artefacts | None = None
    disk: Disk | None = None
    known: Known = field(init=False)
    rejected: list[dict[str, object]] = field(default_factory=list)
    begun: int = 0
    interrupted: bool = False
    _flights: dict[int, Flight] = field(default_factory=dict)
    _asks: dict[str, int] = field(default_factory=dict)
    _rows: list[list[int]] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _looked: float = -math.inf
    _free: int = 0
    _dry: int = 0
    _error: BaseException | None = None

    def __post_init__(self) -> None:
        self.known = Known(self.task, self.storage)
        self._searched = studies.distributions(self.task.pricing.ranks.parameters)
        self._memory = Memory(self.sampler, self._searched, self.task.directions())

    @property
    def exhausted(self) -> bool:
        """Whether the sampler has nothing new that fits."""
        return self._dry >= ASKS_IN_A_ROW

    def resume(self) -> None:
        """Takes in what was told before, without calling back."""
        self._take_in(resumed=True)

    def call_back(self, known: Set[int]) -> None:
        """Calls back for scored trials of earlier sessions whose numbers are not known."""
        for trained in self._told():
            if trained.candidate.number not in known:
                self.on_trained(trained, self.task.budget.excess(trained.candidate.cost))

    def history(self) -> list[Trained]:
        """The scored trials, read from the study, in the order in which they began."""
        return list(self._told())

    def stop(self) -> None:
        """Ends the search: trials in training are given back."""
        self._stop.set()

    def run(self) -> None:
        """Searches until trials, time or proposals are used up, Ctrl-C, or the owner says so.

        Raises:
            StudyError: the study cannot be written, or is another's by now.
        """
        workers = [
            threading.Thread(target=self._work, daemon=True) for _ in range(self.task.workers)
        ]
        started, limit = time.monotonic(), self.task.timeout_s
        for worker in workers:
            worker.start()
        with interruptible(self._interrupt):
            while any(worker.is_alive() for worker in workers):
                workers[0].join(0.1)
                workers[-1].join(0.1)
                if limit is not None and time.monotonic() - started > limit:
                    self._stop.set()
                if self.leases.error is not None:
                    self._error = self.leases.error
                    self._stop.set()
        if self._error is not None:
            for trial_id in self._flights:  # another takes them at once
                with suppress(StudyError):
                    self.storage.give_back(trial_id)
            raise self._error
        if self.leases.owns:
            self.storage.finish("stopped" if self._stop.is_set() else "done")

    def _interrupt(self) -> None:
        self.interrupted = True
        self._stop.set()

    def _told(self) -> Iterator[Trained]:
        for trial in self.storage.completed():
            if studies.configuration(trial) is not None:
                yield self.known.trained(trial)

    def _work(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as error:
            self._error = error
            self._stop.set()

    def _turn(self) -> bool:
        """One ask or one waiting trial; False when there is nothing more to do."""
        with self._lock:
            self._look()
            flight = self._next()
            if flight is None and self._is_over():
                return False
            idle = self.exhausted or not self._free
            self.on_change(self)
        if flight is not None:
            job = self.task.job(flight.leaves)
            self._fetch(job.before)
            result, reason = self.train(job, self.task.limit_s(job), self._stop.is_set)
            if result is not None and self.store is not None:
                self.store.put(folder(job.structure), self.task.directory)
            with self._lock:
                self._land(flight, result, reason)
                self.on_change(self)
        elif idle:  # what others train may come back to the queue
            self._stop.wait(IDLE_S)
        return True

    def _fetch(self, before: Job | None) -> None:
        """What a promotion goes on from, where another machine trained it; else it is made."""
        if before is not None and self.store is not None and not before.folder.is_dir():
            with suppress(StudyError):
                self.store.get(folder(before.structure), self.task.directory)

    def _look(self, now: bool = False) -> None:
        """Reads what was told since, and whether trials may begin."""
        if not now and time.monotonic() - self._looked < LOOK_S:
            return
        self._take_in()
        state, self._free = self.storage.state()
        if state != "open":
            self._stop.set()
        self._looked = time.monotonic()

    def _take_in(self, resumed: bool = False) -> None:
        """What was told since, by this process or another: for the sampler, and for who called."""
        learnt: list[FrozenTrial] = []
        for trial in self.storage.news():
            flight = self._flights.pop(trial._trial_id, None)
            self.leases.mine.discard(trial._trial_id)
            again = trial.state == TrialState.FAIL and (resumed or AGAIN in trial.user_attrs)
            if flight is not None and flight.trial is not None:
                if again:
                    self._memory.drop(flight.trial)
                else:
                    values, constraints = trial.values, trial.constraints
                    self._memory.tell(flight.trial, trial.state, values, constraints)
            elif flight is None and not again:
                learnt += rejections(self.task, self._searched, trial)
                learnt += [] if trial.params.get(RUNG) else [trial]
            configuration = self.known.add(trial, flight is not None, resumed)
            if configuration is None:
                continue
            if not resumed:
                trained = self.known.trained(trial)
                self.on_trained(trained, self.task.budget.excess(trained.candidate.cost))
            if self.disk is not None:
                for one in {configuration, configuration.plain}:  # its twin without QAT, too
                    self.disk.add(one.training)
        self._memory.learn(learnt)
        if self.disk is not None and self.disk.is_over():
            used = {f.leaves[0].training for f in self._flights.values()}
            used |= {t.candidate.configuration.training for t in self.known.front}
            self.disk.evict(used)

    def _next(self) -> Flight | None:
        """What to train next; None if nothing may, or what was proposed needs no training."""
        if self._stop.is_set() or self.known.stagnates or not self._free:
            return None
        return self._claim() or self._promote() or (None if self.exhausted else self._ask())

    def _is_over(self) -> bool:
        """Whether nothing can come any more, where nothing is to be trained now."""
        if self._stop.is_set() or self.known.stagnates:
            return True
        running = TrialState.RUNNING in self.storage.unfinished.values()
        return not (self._flights or running or (self._free and not self.exhausted))

    def _claim(self) -> Flight | None:
        """A waiting trial to train; None if there is none, or it needs no training."""
        begun = self.storage.claim()
        if begun is None:
            return None
        trial = None if begun.params.get(RUNG) else self._memory.begin(begun.params)
        self.known.counts.asked += 1
        flight = self._flight(begun, trial, begun.params)
        excess, costs = excess_of(self.task, flight.leaves[0])
        known = self.known.scores.trial_id(flight.leaves[0])
        if any(value > 0 for value in excess.values()):
            self._note(rejection(begun.number, flight.leaves[0], costs, excess))
            told = create_trial(state=TrialState.PRUNED, constraints=excess)
        elif known is not None:
            told = self.storage.read(known)
            told = create_trial(
                values=told.values, constraints=told.constraints, user_attrs={REPEAT: True}
            )
        else:
            return flight
        self.storage.tell(begun, told)
        self._look(now=True)
        return None

    def _promote(self) -> Flight | None:
        """A training of the front to go on with; None if there is none, or another has it."""
        known = self.known
        chosen = known.rungs.next(lambda: known.front)
        if chosen is None:
            return None
        known.rungs.begin(chosen)
        last = known.scores.trial_id(replace(chosen, rung=chosen.rung - 1))
        assert last is not None
        ranks = self.task.pricing.ranks
        row = as_row(self.storage.read(last).params, ranks.parameters)
        if chosen.asked is not None:  # its gates were trained for other bits or another runtime
            row = ranks.ranks(chosen.asked, row)
        names = ranks.names(row) | {RUNG: chosen.rung}
        params = {name: names[name] for name in self.storage.rows.distributions}
        begun = self.storage.begin(params, {PROMOTED: chosen.training})
        if begun is None:
            return None
        known.counts.asked += 1
        return self._flight(begun, None, params)

    def _ask(self) -> Flight | None:
        """A trial to train of the sampler's choice; None if its choice needs no training."""
        trial = self._memory.ask()
        self.known.counts.asked += 1
        self._dry += 1
        parameters = self.task.pricing.ranks.parameters
        row = as_row(trial.params, parameters)
        configuration = self.task.pricing.ranks.configuration(row)
        excess, costs = excess_of(self.task, configuration)
        known = self.known.scores.trial_id(configuration)
        if any(value > 0 for value in excess.values()):
            self.known.counts.rejected += 1
            self._note(rejection(trial.number, configuration, costs, excess))
            self._memory.tell(trial, TrialState.PRUNED, constraints=excess)
            self._rows.append(row)
            self._asks["rejected"] = self._asks.get("rejected", 0) + 1
            return None
        if known is not None:
            told = self.storage.read(known)
            self._memory.tell(trial, TrialState.COMPLETE, told.values, told.constraints)
        lost = self.known.is_lost(configuration)
        if known is not None or lost or configuration.digest in self._flying():
            self.known.counts.repeated += 1
            self._asks["repeated"] = self._asks.get("repeated", 0) + 1
            if lost:
                self._memory.tell(trial, TrialState.FAIL)
            elif known is None:
                self._memory.drop(trial)
            return None
        asks = {ASKS: {**self._asks, "rows": self._rows[-MOST_ASKS:]}} if self._asks else {}
        begun = self.storage.begin(trial.params, asks)
        if begun is None:  # another was faster
            self._memory.drop(trial)
            self._free = 0
            return None
        self._asks, self._rows, self._dry = {}, [], 0
        return self._flight(begun, trial, trial.params)

    def _flight(
        self, begun: Begun, trial: optuna.Trial | None, params: Mapping[str, int]
    ) -> Flight:
        ranks, rung = self.task.pricing.ranks, params.get(RUNG, 0)
        row = as_row(params, ranks.parameters)
        configuration = replace(ranks.configuration(row), rung=rung)
        wanted: list[Configuration] = []
        if rung:
            self.known.rungs.begin(configuration)
            front = (t.candidate.configuration for t in self.known.front)
            wanted = [replace(c, rung=rung) for c in front
                      if c.structure == configuration.structure and c.rung < rung]  # fmt: skip
        leaves = self.task.leaves(configuration, self.known.scores, wanted)
        self._free, self.begun = self._free - 1, self.begun + 1
        self._flights[begun.trial_id] = flight = Flight(begun, trial, row, leaves)
        self.leases.mine.add(begun.trial_id)
        return flight

    def _flying(self) -> set[str]:
        return {flight.leaves[0].digest for flight in self._flights.values()}

    def _land(self, flight: Flight, result: Result | None, reason: str) -> None:
        """Tells what came of a training, all at once; or gives the trial back, or fails it."""
        distributions = self.storage.rows.distributions
        told = []
        if result is not None:
            asked = flight.begun.number
            told = outcomes(self.task, distributions, asked, flight.row, flight.leaves, result)
        if result is not None and (not told or LEAF in told[0].user_attrs):
            told, reason = [], NO_METRIC
        if told:
            self.storage.tell(flight.begun, told[0], told[1:])
        elif self._stop.is_set() or reason.startswith(DISK_FULL):
            self.storage.give_back(flight.begun.trial_id)
        else:
            self.storage.fail(flight.begun, reason)
        self._look(now=True)
        if reason.startswith(DISK_FULL):
            raise StudyError(
                f"trainings of the study in {self.task.directory} cannot be written: {reason}. "
                "Free disk space; the same call goes on where this one stopped."
            )

    def _note(self, row: dict[str, object]) -> None:
        if len(self.rejected) < MOST_ROWS:
            self.rejected.append(row)
