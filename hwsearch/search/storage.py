"""The durable study: which trials are waiting, running and told; shared by every worker.

A trial is begun, then told, failed or given back, each in one transaction. What came of one
training is told at once, all its leaves or none. A trial that another worker was given in the
meantime cannot be told any more. What a worker has not seen yet is read by trial id, so the cost
does not grow with the study.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import sqlalchemy as sa
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from hwsearch.search import database
from hwsearch.search.database import Database, searches, trials
from hwsearch.search.rows import AGAIN, DEATHS, PROMOTED, REASON, REPEAT, WORKER, Rows, chunks

State = Literal["open", "done", "stopped"]

MOST_DEATHS = 1
"""A trial whose worker died is tried once more: the second death is taken to be its doing."""


@dataclass(frozen=True)
class Begun:
    """A trial that this process is to tell.

    Attributes:
        trial_id, number: of the study.
        params: ranks by parameter name.
        deaths: workers that died over it.
    """

    trial_id: int
    number: int
    params: Mapping[str, int]
    deaths: int = 0


class Storage:
    """One study in a database, as one process sees it.

    Every method raises StudyError when the database stays away.

    Args:
        base: the database.
        study_id: the study's.
        distributions: of the parameters; ranks from 0.

    Attributes:
        worker: name of the lease that trials begun here are under.
        unfinished: by trial id the state of those waiting or running, as last read.
    """

    def __init__(
        self, base: Database, study_id: int, distributions: Mapping[str, BaseDistribution]
    ) -> None:
        self.base, self.study_id = base, study_id
        self.rows = Rows(study_id, distributions)
        self.worker = ""
        self.unfinished: dict[int, TrialState] = {}
        self._last = 0

    # The search as a whole.

    def start(self, wanted: int, task: bytes, waiting: Iterable[Mapping[str, int]]) -> None:
        """Opens the search for workers; if it is new, enqueues what it begins with.

        Args:
            wanted: trials in all, those evaluated earlier included.
            task: pickled, for workers.
            waiting: params of trials to begin with.
        """

        def work(c: sa.Connection) -> None:
            self.rows.lock(c)  # an earlier owner's workers may begin trials while they are counted
            known = c.execute(self.rows.of(sa.select(searches.c.begun), searches)).first()
            row = {"state": "open", "trials": wanted, "begun": self.rows.busy(c), "task": task}
            if known is not None:
                c.execute(self.rows.of(sa.update(searches), searches).values(**row))
                return
            c.execute(sa.insert(searches).values(study_id=self.study_id, **row))
            for one in waiting:
                self.rows.enqueue(c, one)

        self.base.write(work)

    def finish(self, state: State) -> None:
        """Tells workers that the search is over."""
        change = self.rows.of(sa.update(searches), searches).values(state=state)
        self.base.write(lambda c: c.execute(change))

    def state(self) -> tuple[State, int]:
        """Whether the search is open, and how many trials may still begin."""
        ask = sa.select(searches.c.state, searches.c.trials - searches.c.begun)
        state, free = self.base.read(lambda c: c.execute(self.rows.of(ask, searches)).one())
        return state, max(0, free)

    def told(self) -> int:
        """How many trials there are."""
        ask = self.rows.of(sa.select(sa.func.count()).select_from(trials), trials)
        return int(self.base.read(lambda c: c.execute(ask).scalar_one()))

    # Trials of this worker.

    def begin(self, params: Mapping[str, int], attributes: Mapping[str, Any]) -> Begun | None:
        """A new running trial; None when the search is over or all its trials have begun.

        Nor is there one when the attributes have a promotion that another trial has.
        """
        distributions = self.rows.distributions
        trial = create_trial(
            state=TrialState.RUNNING,
            params={name: int(params.get(name, 0)) for name in distributions},
            distributions=distributions,
            user_attrs={**attributes, WORKER: self.worker},
        )

        def work(c: sa.Connection) -> Begun | None:
            if not self.rows.take_slot(c):
                return None
            if PROMOTED in attributes and self.rows.has(c, PROMOTED, attributes[PROMOTED]):
                self.rows.free_slot(c)
                return None
            return Begun(*self.rows.insert(c, trial), trial.params)

        return self.base.write(work)

    def claim(self) -> Begun | None:
        """A waiting trial, now this worker's; None when there is none or no slot for it."""
        waiting = sorted(i for i, s in self.unfinished.items() if s == TrialState.WAITING)

        def work(c: sa.Connection) -> Begun | None:
            if not self.rows.take_slot(c):
                return None
            for trial_id in waiting:
                if self.rows.move(c, trial_id, TrialState.WAITING, TrialState.RUNNING):
                    return self._claimed(c, trial_id)
            self.rows.free_slot(c)
            return None

        return self.base.write(work) if waiting else None

    def _claimed(self, c: sa.Connection, trial_id: int) -> Begun:
        kept = self.rows.attributes(c, [trial_id], database.system_attributes)[trial_id]
        params = {name: int(kept["fixed_params"].get(name, 0)) for name in self.rows.distributions}
        self.rows.set_params(c, trial_id, params)
        self.rows.set_attributes(c, trial_id, {WORKER: self.worker})
        number = c.execute(sa.select(trials.c.number).where(trials.c.trial_id == trial_id))
        deaths = self.rows.attributes(c, [trial_id])[trial_id].get(DEATHS, 0)
        return Begun(trial_id, int(number.scalar_one()), params, int(deaths))

    def tell(self, begun: Begun, told: FrozenTrial, leaves: Sequence[FrozenTrial] = ()) -> bool:
        """Tells a trial, and adds what else its training gave.

        Args:
            begun: the trial.
            told: its state, values, constraints and attributes.
            leaves: told trials of their own.

        Returns:
            False when the trial was another worker's by now: then nothing is written.
        """

        def work(c: sa.Connection) -> bool:
            self.rows.lock(c)
            if not self._mine(c, begun.trial_id, self.worker, told.state):
                return False
            self.rows.set_outcome(c, begun.trial_id, told)
            if told.state == TrialState.PRUNED or REPEAT in told.user_attrs:
                self.rows.free_slot(c)
            for leaf in leaves:
                self.rows.insert(c, leaf)
            return True

        return self.base.write(work)

    def fail(self, begun: Begun, reason: str) -> bool:
        """Fails a trial for good; False as in :meth:`tell`."""
        return self.tell(begun, create_trial(state=TrialState.FAIL, user_attrs={REASON: reason}))

    def give_back(self, trial_id: int) -> bool:
        """Fails a trial and enqueues it again; False when it was not this worker's any more."""
        return self._again(trial_id, self.worker, lambda known: known)

    def reap(self, trial_id: int, worker: str) -> bool:
        """Fails a dead worker's trial, and enqueues it again unless it is its second death.

        Returns:
            Whether it was this call that did so: of several processes one is told yes.
        """
        return self._again(trial_id, worker, lambda known: known + 1)

    def _again(self, trial_id: int, worker: str, deaths: Callable[[int], int]) -> bool:
        def work(c: sa.Connection) -> bool:
            self.rows.lock(c)
            if not self._mine(c, trial_id, worker, TrialState.FAIL):
                return False
            died = deaths(int(self.rows.attributes(c, [trial_id])[trial_id].get(DEATHS, 0)))
            if died > MOST_DEATHS:
                reason = f"its process died, as {died - 1} before it did over the same trial"
                self.rows.set_attributes(c, trial_id, {REASON: reason})
                return True
            self.rows.set_attributes(c, trial_id, {AGAIN: True})
            self.rows.enqueue(c, self.rows.params(c, [trial_id])[trial_id], died)
            self.rows.free_slot(c)
            return True

        return self.base.write(work)

    def _mine(self, c: sa.Connection, trial_id: int, worker: str, to: TrialState) -> bool:
        """Moves a running trial of this worker; False when it is not such a one."""
        held = self.rows.attributes(c, [trial_id], key=WORKER)[trial_id].get(WORKER, "")
        return held == worker and self.rows.move(c, trial_id, TrialState.RUNNING, to)

    # What others did.

    def news(self) -> list[FrozenTrial]:
        """Trials told since the last call, this process's own included, by trial id."""

        def work(c: sa.Connection) -> tuple[list[Any], list[FrozenTrial]]:
            ask = sa.select(trials.c.trial_id, trials.c.number, trials.c.state)
            fresh = self.rows.of(ask, trials).where(trials.c.trial_id > self._last)
            rows = list(c.execute(fresh))
            for ids in chunks(sorted(self.unfinished)):
                rows += c.execute(ask.where(trials.c.trial_id.in_(ids)))
            told = {i: (number, state) for i, number, state in rows if state.is_finished()}
            return rows, list(self.rows.frozen(c, told))

        rows, found = self.base.read(work)
        for trial_id, _, state in rows:
            self._last = max(self._last, trial_id)
            if state.is_finished():
                self.unfinished.pop(trial_id, None)
            else:
                self.unfinished[trial_id] = state
        return found

    def completed(self) -> Iterator[FrozenTrial]:
        """Every completed trial, by trial id; read in parts, as it is asked for."""
        ask = self.rows.of(sa.select(trials.c.trial_id, trials.c.number), trials)
        ask = ask.where(trials.c.state == TrialState.COMPLETE).order_by(trials.c.trial_id)
        numbers = {i: int(n) for i, n in self.base.read(lambda c: c.execute(ask).all())}
        for ids in chunks(list(numbers)):
            part = {i: (numbers[i], TrialState.COMPLETE) for i in ids}
            yield from self.base.read(partial(self._frozen, part))

    def read(self, trial_id: int) -> FrozenTrial:
        """One told trial."""

        def work(c: sa.Connection) -> FrozenTrial:
            ask = sa.select(trials.c.number, trials.c.state).where(trials.c.trial_id == trial_id)
            number, state = c.execute(ask).one()
            return self._frozen({trial_id: (number, state)}, c)[0]

        return self.base.read(work)

    def _frozen(
        self, told: Mapping[int, tuple[int, TrialState]], c: sa.Connection
    ) -> list[FrozenTrial]:
        return list(self.rows.frozen(c, told))

    def running(self) -> dict[int, str]:
        """By trial id the worker of every running trial."""

        def work(c: sa.Connection) -> dict[int, str]:
            ask = self.rows.of(sa.select(trials.c.trial_id), trials)
            ids = c.execute(ask.where(trials.c.state == TrialState.RUNNING)).scalars().all()
            held = self.rows.attributes(c, ids, key=WORKER)
            return {i: str(held[i].get(WORKER, "")) for i in ids}

        return self.base.read(work)
