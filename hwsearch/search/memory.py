"""What a sampler sees: a study in memory that forgets, so that an ask always costs the same.

Any Optuna sampler works on it. It holds what is running, the non-dominated trials, the nearest
misses and the newest trials, :data:`MOST` at most; numbers and ids stay those at which a trial was
added. The durable study is :mod:`hwsearch.search.storage`.
"""

from __future__ import annotations

import copy
from collections.abc import Container, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from hwsearch.pareto import Mode, pareto

Direction = Literal["minimize", "maximize"]

MOST = 500
"""Trials that a sampler sees: TPE's ask takes 22, 39 and 250 ms at 100, 1,000 and 5,000."""

KEPT = 400
"""Trials kept when there are more than MOST; so that forgetting is rare."""

FRONT, NEAREST = 150, 50
"""Of these at most so many for being non-dominated, and for missing the limits by least."""


class Memory:
    """The study that a sampler sees.

    Args:
        sampler: proposes.
        distributions: of the parameters.
        directions: of the objectives.

    Attributes:
        study: Optuna's; in memory.
    """

    def __init__(
        self,
        sampler: BaseSampler,
        distributions: Mapping[str, BaseDistribution],
        directions: Sequence[Direction],
    ) -> None:
        self._trials = _Forgetting()
        self._distributions = dict(distributions)
        self.study = optuna.create_study(
            storage=self._trials, sampler=sampler, directions=list(directions)
        )

    def ask(self) -> optuna.Trial:
        """A trial whose params the sampler chose."""
        return self.study.ask(self._distributions)

    def begin(self, params: Mapping[str, int]) -> optuna.Trial:
        """A running trial with these params: enqueued, not the sampler's choice."""
        searched = {name: params[name] for name in self._distributions}
        trial = create_trial(
            state=TrialState.RUNNING, params=searched, distributions=self._distributions
        )
        number = self._trials.create_new_trial(self.study._study_id, trial)
        return optuna.Trial(self.study, number)

    def tell(
        self,
        trial: optuna.Trial,
        state: TrialState,
        values: Sequence[float] | None = None,
        constraints: Mapping[str, float] | None = None,
    ) -> None:
        """Tells a trial of :meth:`ask` or :meth:`begin`."""
        for name, value in (constraints or {}).items():
            trial.set_constraint(name, value)
        self.study.tell(trial, values, state)
        self._forget()

    def drop(self, trial: optuna.Trial) -> None:
        """Takes a trial of :meth:`ask` or :meth:`begin` back: it may be asked for again."""
        self.study.tell(trial, state=TrialState.FAIL)
        self._trials.forget([trial.number])

    def learn(self, told: Sequence[FrozenTrial]) -> None:
        """Adds trials that others told; of many only those that would be kept."""
        if len(told) > KEPT:
            told = [told[i] for i in chosen(told, self.study.directions)]
        known = self._distributions
        for trial in told:
            lean = copy.copy(trial)
            lean.user_attrs = {}
            lean.distributions = {n: known[n] for n in trial.params if n in known}
            lean.params = {n: rank for n, rank in trial.params.items() if n in known}
            self.study.add_trial(lean)
        self._forget()

    def _forget(self) -> None:
        seen = self._trials.seen
        if len(seen) > MOST:
            found = self.study.get_trials(deepcopy=False)
            kept = {found[i].number for i in chosen(found, self.study.directions)}
            self._trials.forget([n for n in seen if n not in kept])


def chosen(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[int]:
    """Indexes of the trials to keep, :data:`KEPT` at most and what is running, in their order.

    The non-dominated ones among those that keep every limit and, apart, among all that have
    values; those that miss the limits by least; then the newest.
    """
    modes: list[Mode] = ["max" if d == StudyDirection.MAXIMIZE else "min" for d in directions]
    running = [i for i, t in enumerate(trials) if not t.state.is_finished()]
    scored = np.array([i for i, t in enumerate(trials) if t.values], int)
    worst = np.array([max(t.constraints.values(), default=0.0) for t in trials])
    front: list[int] = []
    for rows in (scored[worst[scored] <= 0], scored):
        values = np.array([trials[i].values for i in rows]).reshape(len(rows), len(modes))
        mask = pareto(values, modes)
        best = rows[mask]
        if len(best) > FRONT // 2:
            order = best[np.argsort(values[mask][:, 0], kind="stable")]
            best = order[np.linspace(0, len(order) - 1, FRONT // 2).round().astype(int)]
        front += best.tolist()
    missed = np.flatnonzero(worst > 0)
    nearest = missed[np.argsort(worst[missed], kind="stable")][:NEAREST]
    kept = {*running, *front, *nearest.tolist()}
    for i in range(len(trials) - 1, -1, -1):
        if len(kept) >= KEPT + len(running):
            break
        kept.add(i)
    return sorted(kept)


class _Forgetting(InMemoryStorage):
    """Optuna's storage in memory, without the trials that were forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = super().create_new_trial(study_id, template_trial)
        self.seen.append(trial_id)  # ids and numbers are the same: there is one study
        return trial_id

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        with self._lock:
            found = [self.get_trial(n) for n in self.seen]
        wanted = [t for t in found if states is None or t.state in states]
        return copy.deepcopy(wanted) if deepcopy else wanted

    def get_n_trials(self, study_id: int, state: Any = None) -> int:
        states = (state,) if isinstance(state, TrialState) else state
        return len(self.get_all_trials(study_id, deepcopy=False, states=states))

    def forget(self, numbers: Sequence[int]) -> None:
        """Frees trials; the best of a single objective stays, as the base class looks it up."""
        with self._lock:
            info = self._studies[0]
            gone = set(numbers) - {info.best_trial_id}
            for number in gone:
                info.trials[number] = None  # type: ignore[call-overload]
                del self._trial_id_to_study_id_and_number[number]
            self.seen = [n for n in self.seen if n not in gone]
