"""HardwareTuner: an existing KerasTuner script, with a budget."""

from __future__ import annotations

import json
import logging
import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import TrialStatus
from keras_tuner.errors import FailedTrialError, FatalError, FatalRuntimeError

from hwsearch.arguments import aim, check_seconds
from hwsearch.board import Board
from hwsearch.budget import Budget
from hwsearch.candidate import Trained
from hwsearch.compress.structured import cloned
from hwsearch.cost.cost import COSTS
from hwsearch.errors import BudgetError, HwsearchError, InputError, SpaceError, StudyError
from hwsearch.mlflow_client import preload
from hwsearch.report import Report
from hwsearch.search import children
from hwsearch.space import Space
from hwsearch.track import Tracker
from hwsearch.tuner import deployment
from hwsearch.tuner.architectures import Architectures, Verdict, digest
from hwsearch.tuner.goal import fit_data, fit_value
from hwsearch.tuner.proposals import Proposals, write_whole
from hwsearch.tuner.reporting import compression, logged, rejected, report_of
from hwsearch.tuner.session import Searched, check_arguments, check_same, searched

log = logging.getLogger("hwsearch")


class HardwareTuner(keras_tuner.Tuner):  # type: ignore[misc]
    """KerasTuner's tuner under a microcontroller's budget.

    Each proposal of hyperparameters is built and costed before it is fitted: one whose every
    pruned and quantized form is over budget is dropped, and is neither a trial nor a failure.
    A fitted model is pruned and fine-tuned as mildly as the budget demands, quantized, given each
    backend, and scored as the artefact that will run. The trial's score is that of its best
    artefact; :meth:`report` verifies the best of all trials.

    Args:
        hypermodel: a function of ``hp`` that gives a compiled Keras 3 model (functional or
            Sequential), or a :class:`keras_tuner.HyperModel`.
        objective: e.g. ``"val_accuracy"``, measured on the deployed artefact.
        max_trials: models to fit; those over budget are not counted.
        seed, hyperparameters, tune_new_entries, allow_new_entries, max_retries_per_trial,
            max_consecutive_failed_trials, directory, project_name, overwrite,
            executions_per_trial, tuner_id, optimizer, loss, metrics, max_model_size: as in
            KerasTuner. Of several executions the best checkpoint is deployed.
        budget: the limits; or a board's name alone.
        board: a name of the catalogue or a :class:`hwsearch.Board`.
        space: how models may be pruned and quantized, and how pruned ones are fine-tuned.
        backends: runtimes to choose from; default all whose artefacts can be proven here.
        metric: a function of (targets, outputs) or a Keras metric that scores the artefact where
            the objective's name does not tell; the objective says which way is better.
        data, validation_data: ``(x, y)``; default those given to :meth:`search`.
        test_data: to report on; default half of the validation data is kept aside.
        trial_timeout: seconds after which one fine-tune is given up.
        device: where finalists run, as in :func:`hwsearch.verify`.
        tracking: folder of MLflow's database and artifacts.
        tracking_uri: of an MLflow server; default a database in ``tracking``.

    Raises:
        InputError: one of its kinds says which argument cannot be meant and what to give.
        StudyError: the project is of another budget, board or objective.
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: Any = None,
        max_trials: int = 10,
        seed: int | None = None,
        hyperparameters: Any = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int = 3,
        *,
        budget: Budget | str | None = None,
        board: str | Board | None = None,
        space: Space | str | Path | None = None,
        backends: Sequence[str] | str | None = None,
        metric: Any = None,
        data: Any = None,
        validation_data: Any = None,
        test_data: Any = None,
        trial_timeout: float | None = 1800,
        device: str | None = None,
        tracking: str | Path = "mlruns",
        tracking_uri: str | None = None,
        directory: str | Path | None = None,
        project_name: str | None = None,
        overwrite: bool = False,
        executions_per_trial: int = 1,
        tuner_id: str | None = None,
        optimizer: Any = None,
        loss: Any = None,
        metrics: Any = None,
        max_model_size: int | None = None,
    ) -> None:
        check_arguments(hypermodel, objective, budget, board)
        check_seconds(trial_timeout=trial_timeout)
        chosen = aim(Budget() if budget is None else budget, board, device, backends, space)
        self.board, self.budget, self._device = chosen.board, chosen.budget, chosen.device
        self.space, self._backends = chosen.space or Space(), chosen.backends
        if self.space.rungs:
            raise SpaceError(
                f"rungs={self.space.rungs}: a tuner's trials are fitted once, in full. Leave "
                "Space.rungs out; optimize() of a trained model promotes."
            )
        self._metric = metric
        self._given = (data, validation_data, test_data)
        self._trial_timeout = trial_timeout
        self._tracking, self._tracking_uri = Path(tracking), tracking_uri
        self._session: Searched | None = None
        self._architectures: Architectures | None = None
        self._tracker: Tracker | None = None
        self._report: Report | None = None
        self._nearest: tuple[float, Verdict | None] = math.inf, None
        self._built: Any = None
        self._study, self._of = "", dict[str, Any]()
        oracle = Proposals(
            objective=objective,
            max_trials=max_trials,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            seed=seed,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        self._spec = {
            "budget": asdict(self.budget),
            "board": self.board.name,
            "space": asdict(self.space),
            "objective": [oracle.objective.name, oracle.objective.direction],
        }
        oracle.judge = self._excess
        super().__init__(
            oracle=oracle,
            hypermodel=hypermodel,
            max_model_size=max_model_size,
            optimizer=optimizer,
            loss=loss,
            metrics=metrics,
            directory=None if directory is None else str(directory),
            project_name=project_name,
            tuner_id=tuner_id,
            overwrite=overwrite,
            executions_per_trial=executions_per_trial,
        )
        self._study = self._study or f"{self.project_name}-{secrets.token_hex(4)}"
        self._record_builds()

    # Searching

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Searches; the arguments go to each ``fit``, as in KerasTuner.

        Raises:
            DataError: no data that artefacts can be scored on.
            StudyError: the project is of other data, or of another loss or metric.
            InputError: the objective cannot be measured on an artefact.
            BudgetError: no runtime can tell a cost that is limited.
        """
        started = time.monotonic()
        children.start()
        self._report, loading = None, preload()
        self._session = self._read(fit_args, fit_kwargs, started)
        self._of = check_same(self._of, self._session.spec(), self.project_dir)
        train = self._session.train
        self._architectures = Architectures(
            self.board,
            self.budget,
            self._backends,
            self.space,
            train.inputs,
        )
        folder = self._folder / "data"
        if not (folder / "search" / "samples.json").is_file():
            train.save(folder / "train")
            self._session.search.save(folder / "search")
        self.save()  # from here on a killed search is gone on with
        loading.join()
        self._tracker = Tracker(self._tracking_uri, "hwsearch", self._study, self._tracking)
        params = logged(self._session, self.budget, self.board, self.oracle)
        self._tracker.start(params, {"hwsearch.board": self.board.name})
        super().search(*fit_args, **fit_kwargs)

    def on_search_end(self) -> None:
        """Verifies the finalists and closes the log; a subclass that overrides it calls super."""
        self.report()
        if self.oracle.verbose and self.oracle.exhausted:
            print(f"Search ended: {self.oracle.exhausted}.")

    def on_trial_end(self, trial: Any) -> None:
        """KerasTuner's own; what was scored is logged."""
        super().on_trial_end(trial)
        if self._tracker is not None and self.oracle.get_trial(trial.trial_id).score is not None:
            for trained in deployment.load(self._trial_folder(trial.trial_id)):
                self._tracker.trial(trained, self.budget.excess(trained.candidate.cost))

    def _run_and_update_trial(self, trial: Any, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Fits, then deploys; the trial's value is the best artefact's score."""
        try:
            verdict = self._verdict(trial.hyperparameters)
        except HwsearchError as error:
            raise FailedTrialError(str(error)) from error
        if not verdict.fits:
            raise FailedTrialError("build() gave another model than before, and it does not fit.")
        self._built = None
        results = self.run_trial(trial, *fit_args, **fit_kwargs)
        try:
            made = self._deploy(trial, verdict)
        except StudyError as error:  # no later trial could be kept either
            raise FatalRuntimeError(str(error)) from error
        except HwsearchError as error:
            raise FailedTrialError(str(error)) from error
        objective = self.oracle.objective
        best = max(made, key=lambda t: t.score.value * (1 if objective.direction == "max" else -1))
        costs = asdict(replace(best.candidate.cost, ops=()))
        metrics = {name: costs[name] for name in COSTS} | {
            f"fit_{objective.name}": fit_value(results, objective),
            objective.name: best.score.value,
        }
        known = {name: float(value) for name, value in metrics.items() if value is not None}
        self.oracle.update_trial(trial.trial_id, known)

    def _deploy(self, trial: Any, verdict: Verdict) -> list[Trained]:
        """The artefacts of the fitted model; they lie in the trial's folder."""
        folder, session = self._trial_folder(trial.trial_id), self._searched()
        model = self._built
        if model is None:
            raise InputError("run_trial() built no model with self.hypermodel.build(hp).")
        checkpoint = Path(self._get_checkpoint_fname(trial.trial_id))
        if checkpoint.is_file():
            model.load_weights(checkpoint)
        task = deployment.task_of(
            model,
            verdict,
            session,
            folder=folder,
            study=self._study,
            budget=self.budget,
            trial_timeout_s=self._trial_timeout,
            seed=self.oracle.seed,
        )
        others = (t for t in self._history() if t.tflite.parents[2] != folder)
        number = 1 + max((t.candidate.number for t in others), default=-1)
        made = deployment.deploy(task, verdict, number, trial.hyperparameters.values)
        deployment.save(made, folder)
        return made

    # Judging

    def _excess(self, values: Mapping[str, Any]) -> Mapping[str, float] | None:
        """By how much the values' architecture is over budget; None where its trial must fail."""
        hyperparameters = self.oracle.get_space()
        hyperparameters.values = dict(values)
        try:
            verdict = self._verdict(hyperparameters)
        except (FatalError, BudgetError):
            raise
        except Exception as error:  # as a trial it fails with this reason, and is counted
            log.debug("cannot be judged: %s", error)
            return None
        finally:
            self.oracle.update_space(hyperparameters)
        worst = max(verdict.excess.values(), default=0.0)
        if not verdict.fits and worst < self._nearest[0]:
            self._nearest = worst, verdict
        return {} if verdict.fits else verdict.excess

    def _verdict(self, hyperparameters: Any) -> Verdict:
        assert self._architectures is not None
        return self._architectures.judge(self._try_build(hyperparameters))

    def _record_builds(self) -> None:
        """From now on ``self._built`` is the model that the hypermodel built last."""
        build: Callable[..., Any] = self.hypermodel.build

        def recorded(*args: Any, **kwargs: Any) -> Any:
            self._built = build(*args, **kwargs)
            return self._built

        self.hypermodel.build = recorded

    # What came of it

    def report(self) -> Report:
        """The verified finalists of all trials so far, the chosen one, or the nearest miss.

        Raises:
            InputError: nothing was searched yet.
        """
        path = self._folder / "report.json"
        if self._report is None and self._session is None:
            if not path.is_file():
                raise InputError("nothing was searched yet: call search() first.")
            return Report.load(path)
        if self._report is None:
            session, tracker = self._searched(), self._tracker
            report = report_of(
                session,
                study=self._study,
                board=self.board,
                budget=self.budget,
                history=self._history(),
                price=self._priced,
                nearest=self._nearest[1],
                oracle=self.oracle,
                directory=self._folder.absolute(),
                device=self._device,
            )
            if tracker is not None:
                report = replace(report, tracking=tracker.link())
                tracker.finish(report, rejected(self.oracle))
            report.save(path)
            self._report = report
        return self._report

    def results_summary(self, num_trials: int = 10) -> None:
        """KerasTuner's summary, what was over budget, and the table of :meth:`report`."""
        super().results_summary(num_trials)
        print(f"\n{len(self.oracle.rejected)} architectures over budget were not fitted.")
        if self._report is not None or (self._folder / "report.json").is_file():
            self.report().table()

    def search_space_summary(self, extended: bool = False) -> None:
        """KerasTuner's summary, the budget, and how each model may be compressed."""
        super().search_space_summary(extended)
        print(compression(self.board, self.budget, self.space, self._backends))

    # State

    def get_state(self) -> dict[str, Any]:
        """What is searched, of what data, and the study's name."""
        return super().get_state() | {"study": self._study, "spec": self._spec, "of": self._of}

    def set_state(self, state: dict[str, Any]) -> None:
        """What :meth:`get_state` gave.

        Raises:
            StudyError: of another search.
        """
        super().set_state(state)
        check_same(state["spec"], self._spec, self.project_dir)
        self._study, self._of = state["study"], state.get("of", {})

    def save(self) -> None:
        """KerasTuner's own, whole or not at all."""
        self.oracle.save()
        write_whole(Path(self._get_tuner_fname()), json.dumps(self.get_state()))

    # Parts

    @property
    def _folder(self) -> Path:
        return Path(self.project_dir)

    def _trial_folder(self, trial_id: str) -> Path:
        return Path(self.get_trial_dir(trial_id))

    def _history(self) -> list[Trained]:
        """The artefacts of all completed trials, by number."""
        done = [t for t in self.oracle.trials.values() if t.status == TrialStatus.COMPLETED]
        found = [a for t in done for a in deployment.load(self._trial_folder(t.trial_id))]
        return sorted(found, key=lambda t: t.candidate.number)

    def _searched(self) -> Searched:
        assert self._session is not None
        return self._session

    def _priced(self, model: Any) -> Verdict:
        """The verdict on a fitted model's architecture, at hand or made again."""
        assert self._architectures is not None
        known = self._architectures.known(digest(model))
        return known or self._architectures.judge(cloned(model))

    def _read(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], started: float) -> Searched:
        """The data and the metric, checked against the model of the default hyperparameters."""
        data, validation, test = self._given
        if data is None:
            data, found = fit_data(args, kwargs)
            validation = found if validation is None else validation
        model = self._try_build(self.oracle.get_space())
        data = data, validation, test
        given = self.oracle.objective, self._metric, self.loss
        return searched(model, data, *given, started, kwargs)
