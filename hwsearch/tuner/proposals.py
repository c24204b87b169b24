"""Proposals: KerasTuner's oracle on an Optuna study; what is over budget never becomes a trial."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import keras_tuner
import optuna
from keras_tuner.engine.trial import TrialStatus
from optuna.trial import TrialState, create_trial

from hwsearch.search.sampler import tpe
from hwsearch.tuner import axes

PROPOSALS_A_TRIAL = 100
"""The search ends when so many proposals in a row are over budget or were tried before."""

Direction = Literal["minimize", "maximize"]

Judge = Callable[[Mapping[str, Any]], Mapping[str, float] | None]
"""Per limit the relative overshoot of the values' architecture; None where it cannot be judged."""


def write_whole(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    part = path.with_name(f"{path.name}.part{os.getpid()}")
    part.write_text(text)
    part.replace(path)


class Proposals(keras_tuner.Oracle):  # type: ignore[misc]
    """Proposes hyperparameters by multivariate TPE and drops those that are over budget.

    A proposal is judged after the model is built and before it is fitted. One over budget is told
    to the study with its overshoot, is counted, and is neither a trial nor a failure.

    KerasTuner's own files are the one truth on disk; the study is made from them.

    Attributes:
        judge: set by the tuner.
        rejected: proposals over budget: their values and overshoots.
        asked: proposals in all.
        timeout_s: seconds after which nothing more is proposed; None is none.
        exhausted: why the last search ended before ``max_trials``, or "".
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.judge: Judge = lambda values: {}
        self.rejected: list[dict[str, Any]] = []
        self.asked = 0
        self.timeout_s: float | None = None
        self.exhausted = ""
        self._began = time.monotonic()
        self._over: dict[str, Mapping[str, float]] = {}
        self._pending: dict[str, optuna.Trial] = {}
        self._made: optuna.Study | None = None

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Values for a trial whose architecture fits, else that the search is over."""
        study, over = self._study(), 0
        for _ in range(PROPOSALS_A_TRIAL):
            if self.timeout_s is not None and time.monotonic() - self._began > self.timeout_s:
                self.exhausted = f"the {self.timeout_s:g} s of timeout are over"
                return {"status": TrialStatus.STOPPED}
            asked = study.ask()
            values = axes.suggest(asked, self.hyperparameters.space)
            self.asked += 1
            key = self._compute_values_hash(values)
            if key in self._tried_so_far:
                self._repeat(asked, key)
                continue
            excess = self._over.get(key)
            if excess is None:
                excess = self.judge(values)
                if excess is not None and any(e > 0 for e in excess.values()):
                    self._over[key] = excess
                    self.rejected.append({"values": values, "excess": dict(excess)})
                    self.save()
                else:
                    self._pending[trial_id] = asked
                    return {"status": TrialStatus.RUNNING, "values": values}
            over += 1
            _reject(study, asked, excess)
        self.exhausted = (
            f"{PROPOSALS_A_TRIAL} proposals in a row were no new architecture inside the budget "
            f"({over} over budget, {PROPOSALS_A_TRIAL - over} tried before)"
        )
        return {"status": TrialStatus.STOPPED}

    def end_trial(self, trial: Any) -> None:
        """KerasTuner's own, and the study is told."""
        try:
            super().end_trial(trial)
        finally:
            kept = self.trials[trial.trial_id]
            asked = self._pending.pop(trial.trial_id, None)
            if asked is not None and kept.status == TrialStatus.COMPLETED:
                self._study().tell(asked, float(kept.score))
            elif asked is not None and kept.status == TrialStatus.FAILED:
                self._study().tell(asked, state=TrialState.FAIL)
            elif asked is not None:  # it is run again
                self._pending[trial.trial_id] = asked
            elif kept.status == TrialStatus.COMPLETED:
                _add(self._study(), kept)

    def get_state(self) -> dict[str, Any]:
        """KerasTuner's own and the rejected proposals."""
        return {**super().get_state(), "rejected": self.rejected, "asked": self.asked}

    def set_state(self, state: dict[str, Any]) -> None:
        """What :meth:`get_state` gave."""
        super().set_state(state)
        self.rejected, self.asked = list(state["rejected"]), int(state["asked"])
        self._over = {self._compute_values_hash(r["values"]): r["excess"] for r in self.rejected}
        self._made = None

    def save(self) -> None:
        """KerasTuner's own, whole or not at all: a killed search is read again."""
        write_whole(Path(self._get_oracle_fname()), json.dumps(self.get_state()))

    def reload(self) -> None:
        """KerasTuner's own; a trial that a kill left running is run again."""
        super().reload()
        for trial_id, trial in sorted(self.trials.items()):
            if trial.status == TrialStatus.RUNNING and trial_id not in self._retry_queue:
                self._retry_queue.append(trial_id)

    def _save_trial(self, trial: Any) -> None:
        directory = Path(self._get_trial_dir(trial.trial_id))
        write_whole(directory / "trial.json", json.dumps(trial.get_state()))

    def _repeat(self, asked: optuna.Trial, key: str) -> None:
        """Values that were tried: told again what came of them, so that the sampler moves on."""
        known = next((t for i, t in self.trials.items() if self._id_to_hash[i] == key), None)
        score = None if known is None else known.score
        if score is None or math.isnan(score):
            self._study().tell(asked, state=TrialState.FAIL)
        else:
            self._study().tell(asked, float(score))

    def _study(self) -> optuna.Study:
        """The study; made from KerasTuner's files where there is none."""
        if self._made is None:
            direction: Direction = "maximize" if self.objective.direction == "max" else "minimize"
            study = self._made = optuna.create_study(direction=direction)
            told = [t for t in self.trials.values() if t.status == TrialStatus.COMPLETED]
            for trial in told:
                _add(study, trial)
            space = self.hyperparameters.space
            for rejected in self.rejected:
                params, found = axes.drawn(space, rejected["values"])
                study.add_trial(
                    create_trial(
                        state=TrialState.PRUNED,
                        params=params,
                        distributions=found,
                        constraints=rejected["excess"],
                    )
                )
            study.sampler = tpe(self.seed, self.asked, conditional=True)
            if not self.asked:  # the author's own defaults come first
                params, _ = axes.drawn(space, self.get_space().values)
                study.enqueue_trial(params)
        return self._made


def _reject(study: optuna.Study, asked: optuna.Trial, excess: Mapping[str, float]) -> None:
    for name, value in excess.items():
        asked.set_constraint(name, value)
    study.tell(asked, state=TrialState.PRUNED)


def _add(study: optuna.Study, trial: Any) -> None:
    """A trial of KerasTuner's that completed, as one of the study."""
    hyperparameters = trial.hyperparameters
    params, found = axes.drawn(hyperparameters.space, hyperparameters.values)
    study.add_trial(create_trial(value=float(trial.score), params=params, distributions=found))
