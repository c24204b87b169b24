"""Rows of a study's trials: the statements that transactions on a study are made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.trial import FrozenTrial, TrialState, create_trial

from hwsearch.search import database
from hwsearch.search.database import searches, trials

AGAIN, DEATHS, WORKER, REASON = "again", "deaths", "worker", "reason"
"""Attributes of trials: enqueued again; workers that died over it; who has it; why it failed."""

LEAF, REPEAT = "leaf", "repeat"
"""Attributes of trials that cost no training: scored beside another; scored before."""

PROMOTED = "promoted"
"""Attribute of trials that go on with a training: its name, which no other trial has."""

RUNG = "rung"
"""The parameter of stored trials that says how far they were trained, see :attr:`Space.ladder`;
no sampler proposes it."""

_CHUNK = 500


class Rows:
    """Statements on one study, each within a transaction of the caller's.

    Args:
        study_id: the study's.
        distributions: of the parameters; ranks from 0, so that a value is its own index.
    """

    def __init__(self, study_id: int, distributions: Mapping[str, BaseDistribution]) -> None:
        self.study_id, self.distributions = study_id, dict(distributions)
        self._json = {n: distribution_to_json(d) for n, d in distributions.items()}

    def of(self, statement: Any, table: sa.Table) -> Any:
        """The statement, on this study alone."""
        return statement.where(table.c.study_id == self.study_id)

    def lock(self, c: sa.Connection) -> None:
        """Waits until no other process adds trials to the study."""
        c.execute(self.of(sa.update(searches), searches).values(begun=searches.c.begun))

    def take_slot(self, c: sa.Connection) -> bool:
        """Takes one of the trials that may begin, and the lock with it."""
        free = sa.and_(searches.c.begun < searches.c.trials, searches.c.state == "open")
        change = self.of(sa.update(searches), searches).where(free)
        return bool(c.execute(change.values(begun=searches.c.begun + 1)).rowcount)

    def free_slot(self, c: sa.Connection) -> None:
        """Gives one back."""
        change = self.of(sa.update(searches), searches).values(begun=searches.c.begun - 1)
        c.execute(change)

    def move(self, c: sa.Connection, trial_id: int, before: TrialState, to: TrialState) -> bool:
        """Changes a trial's state; False when it was not in the one before."""
        known = sa.and_(trials.c.trial_id == trial_id, trials.c.state == before)
        when = "datetime_complete" if to.is_finished() else "datetime_start"
        change = sa.update(trials).where(known).values({"state": to, when: _now()})
        return bool(c.execute(change).rowcount)

    def busy(self, c: sa.Connection) -> int:
        """Trials that run, or completed by a training of theirs."""
        marks = database.user_attributes.c
        extra = sa.select(marks.trial_id).where(
            marks.trial_id == trials.c.trial_id, marks.key.in_((LEAF, REPEAT))
        )
        completed = sa.and_(trials.c.state == TrialState.COMPLETE, ~sa.exists(extra))
        ask = self.of(sa.select(sa.func.count()).select_from(trials), trials)
        running = trials.c.state == TrialState.RUNNING
        return int(c.execute(ask.where(sa.or_(completed, running))).scalar_one())

    def has(self, c: sa.Connection, key: str, value: object) -> bool:
        """Whether some trial has this attribute."""
        marks = database.user_attributes.c
        ask = sa.select(marks.trial_id).join(trials, trials.c.trial_id == marks.trial_id)
        ask = ask.where(marks.key == key, marks.value_json == json.dumps(value)).limit(1)
        return c.execute(self.of(ask, trials)).first() is not None

    def insert(self, c: sa.Connection, trial: FrozenTrial) -> tuple[int, int]:
        """(trial id, number) of a new trial; numbers count from 0 in the order of ids."""
        last = self.of(sa.select(trials.c.number), trials).order_by(trials.c.trial_id.desc())
        number = c.execute(last.limit(1)).scalar()
        number = 0 if number is None else int(number) + 1
        row: dict[str, Any] = {"study_id": self.study_id, "number": number, "state": trial.state}
        row["datetime_start"] = None if trial.state == TrialState.WAITING else _now()
        row["datetime_complete"] = _now() if trial.state.is_finished() else None
        made = c.execute(sa.insert(trials).values(**row)).inserted_primary_key
        assert made is not None
        self.set_params(c, made[0], trial.params)
        self.set_outcome(c, made[0], trial)
        return int(made[0]), number

    def enqueue(self, c: sa.Connection, params: Mapping[str, int], deaths: int = 0) -> None:
        """A new waiting trial with these params."""
        kept = {name: int(rank) for name, rank in params.items() if name in self._json}
        attributes = {DEATHS: deaths} if deaths else {}
        waiting = create_trial(
            state=TrialState.WAITING, user_attrs=attributes, system_attrs={"fixed_params": kept}
        )
        self.insert(c, waiting)

    def set_params(self, c: sa.Connection, trial_id: int, params: Mapping[str, int]) -> None:
        """Writes the params of a trial that has none."""
        rows = [
            {"param_name": name, "param_value": float(r), "distribution_json": self._json[name]}
            for name, r in params.items()
            if name in self._json
        ]
        _insert_all(c, database.params, trial_id, rows)

    def set_outcome(self, c: sa.Connection, trial_id: int, trial: FrozenTrial) -> None:
        """Writes values, constraints and attributes of a trial that has none of these yet."""
        found = [database.VALUE(v) for v in trial.values or ()]
        rows = [
            {"objective": i, "value": value, "value_type": kind}
            for i, (value, kind) in enumerate(found)
        ]
        _insert_all(c, database.values, trial_id, rows)
        self.set_attributes(c, trial_id, trial.user_attrs)
        self.set_attributes(c, trial_id, trial.system_attrs, database.system_attributes)

    def set_attributes(
        self,
        c: sa.Connection,
        trial_id: int,
        found: Mapping[str, Any],
        table: sa.Table = database.user_attributes,
    ) -> None:
        """Writes attributes that the trial has not yet."""
        rows = [{"key": key, "value_json": json.dumps(value)} for key, value in found.items()]
        _insert_all(c, table, trial_id, rows)

    def attributes(
        self,
        c: sa.Connection,
        ids: Sequence[int],
        table: sa.Table = database.user_attributes,
        key: str | None = None,
    ) -> dict[int, dict[str, Any]]:
        """By trial id its attributes, or the one of this key."""
        found: dict[int, dict[str, Any]] = {i: {} for i in ids}
        for part in chunks(ids):
            ask = sa.select(table.c.trial_id, table.c.key, table.c.value_json)
            ask = ask.where(table.c.trial_id.in_(part))
            for trial_id, name, text in c.execute(
                ask if key is None else ask.where(table.c.key == key)
            ):
                found[trial_id][name] = json.loads(text)
        return found

    def params(self, c: sa.Connection, ids: Sequence[int]) -> dict[int, dict[str, int]]:
        """By trial id its params, those that the study still has."""
        table = database.params.c
        found: dict[int, dict[str, int]] = {i: {} for i in ids}
        ask = sa.select(table.trial_id, table.param_name, table.param_value)
        for trial_id, name, value in c.execute(ask.where(table.trial_id.in_(ids))):
            if name in self._json:
                found[trial_id][name] = int(value)
        return found

    def frozen(
        self, c: sa.Connection, told: Mapping[int, tuple[int, TrialState]]
    ) -> Iterator[FrozenTrial]:
        """Told trials as Optuna has them, by id; ``told`` has their numbers and states."""
        for ids in chunks(sorted(told)):
            params, rows = self.params(c, ids), database.values.c
            values: dict[int, dict[int, float]] = {i: {} for i in ids}
            ask = sa.select(rows.trial_id, rows.objective, rows.value, rows.value_type)
            for trial_id, objective, value, kind in c.execute(ask.where(rows.trial_id.in_(ids))):
                values[trial_id][objective] = database.NUMBER(value, kind)
            user = self.attributes(c, ids)
            system = self.attributes(c, ids, database.system_attributes)
            for trial_id in ids:
                number, state = told[trial_id]
                trial = create_trial(
                    state=state,
                    params=params[trial_id],
                    distributions={n: self.distributions[n] for n in params[trial_id]},
                    values=[value for _, value in sorted(values[trial_id].items())] or None,
                    user_attrs=user[trial_id],
                    system_attrs=system[trial_id],
                )
                trial.number, trial._trial_id = number, trial_id
                yield trial


def chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """Parts of a list that one statement takes."""
    for i in range(0, len(ids), _CHUNK):
        yield ids[i : i + _CHUNK]


def _insert_all(
    c: sa.Connection, table: sa.Table, trial_id: int, rows: Sequence[dict[str, Any]]
) -> None:
    if rows:
        c.execute(sa.insert(table), [{"trial_id": trial_id, **row} for row in rows])


def _now() -> datetime:
    """As Optuna's schema keeps it: UTC, without saying so."""
    return datetime.now(UTC).replace(tzinfo=None)
