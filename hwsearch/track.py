"""A search in MLflow: a parent run for the search, a child run for each scored trial.

Nothing here may hurt a search: every call to MLflow runs in one thread, in the order given, and
what fails is said once and counted. What is not logged is not kept either: the study has it, and
:meth:`Tracker.finish` or the next search of that name logs it then.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hwsearch import links, notes, runs
from hwsearch.address import masked, words
from hwsearch.budget import Budget
from hwsearch.candidate import Trained
from hwsearch.errors import StudyError
from hwsearch.layout import Layout
from hwsearch.mlflow_client import connected, log_batch
from hwsearch.mlflow_settings import HTTP, environment
from hwsearch.pareto import Mode
from hwsearch.quiet import hushed
from hwsearch.registry import register
from hwsearch.report import Report
from hwsearch.runs import NOTE, STUDY, TRIAL

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger("hwsearch")

QUEUE = 256
"""Trials that may wait to be logged; more are left to :meth:`Tracker.finish`."""

RETRY_S = 30.0
"""After a failure MLflow is left alone for so long."""

PARENT = "mlflow.parentRunId"


def pages(uri: str, base: str = links.LOCAL, experiment: str = "hwsearch") -> dict[str, str]:
    """By study the address of its trials, flat and sorted, on the MLflow server at ``base``.

    Args:
        uri: MLflow's tracking URI, e.g. ``sqlite:///mlruns/mlflow.db``.
        base: the address of the server that shows it.
        experiment: its name.

    Raises:
        StudyError: the server does not answer, or the database cannot be read.
    """
    try:
        with environment(HTTP if uri.startswith("http") else {}), hushed("mlflow", "alembic"):
            found = connected(uri).get_experiment_by_name(experiment)
    except Exception as error:  # MLflow's, its database's, or the network's
        raise StudyError(
            f"MLflow's store {masked(uri)} cannot be read ({words(error)}). Is the server up, "
            "and the database MLflow's own and whole?"
        ) from error
    if found is None:
        return {}
    return {
        study: links.page(base, found.experiment_id, study) for study in links.views(found.tags)
    }


class Tracker:
    """Logs one study.

    Args:
        uri: MLflow's tracking URI; None is ``sqlite:///<directory>/mlflow.db``.
        experiment: its name; made where it is missing.
        study: its name; a parent run that has it is gone on with.
        directory: for the default database, and for artifacts unless a server keeps them.
        wait_s: :meth:`logged`, :meth:`link` and :meth:`finish` give MLflow up when it takes
            longer over one of their trials, or five times as long in all.

    Attributes:
        unlogged: trials that could not be logged so far.
        trouble: what went wrong last, or "".
    """

    def __init__(
        self,
        uri: str | None,
        experiment: str,
        study: str,
        directory: Path = Path("mlruns"),
        wait_s: float = 60.0,
    ) -> None:
        self.directory = directory.absolute()
        self.uri = uri or f"sqlite:///{self.directory.as_posix()}/mlflow.db"
        self.experiment, self.study, self.wait_s = experiment, study, wait_s
        self.unlogged, self.trouble = 0, ""
        self._jobs: queue.Queue[Callable[[], None]] = queue.Queue(QUEUE)
        self._thread: threading.Thread | None = None
        self._failed_at: float | None = None
        self._began: float | None = None
        self._client: MlflowClient | None = None
        self._experiment_id = self._parent_id = ""
        self._runs: dict[int, tuple[str, bool]] = {}
        self._doubtful: set[int] = set()
        self._params: Mapping[str, object] = {}
        self._tags: Mapping[str, object] = {}
        self._layout: Layout | None = None

    def start(
        self,
        params: Mapping[str, object],
        tags: Mapping[str, object] | None = None,
        layout: Layout | None = None,
    ) -> None:
        """Opens the study's parent run, or goes on with it; returns at once.

        Args:
            params: of the search; ``metric`` and ``mode`` among them name and sort the metric.
            tags: of the parent run.
            layout: names the groups and operators of the trials' configurations.
        """
        self._params, self._tags, self._layout = params, tags or {}, layout
        self._thread = threading.Thread(target=self._work, name="hwsearch-mlflow", daemon=True)
        self._thread.start()
        self._submit(lambda: None)

    def trial(self, trained: Trained, excess: Mapping[str, float]) -> None:
        """Logs a scored trial as a child run, once; returns at once.

        Args:
            trained: the trial.
            excess: per limited cost its relative overshoot (``Budget.excess``).
        """
        self._submit(lambda: self._trial(trained, excess), trials=1)

    def logged(self) -> set[int]:
        """Numbers of the trials that MLflow has, also from earlier searches of this name."""
        self._flush()
        return {number for number, (_, whole) in self._runs.items() if whole}

    def link(self) -> str:
        """Where to look at the trials, or why one cannot."""
        self._flush()
        if not self._experiment_id:
            return f"not tracked: {self.trouble or 'MLflow did not answer'}"
        return links.link(self.uri, self._experiment_id, self.study)

    def catch_up(self, history: Sequence[Trained], budget: Budget) -> None:
        """Logs the trials that MLflow lacks; again as long as that gets on. Waits.

        Args:
            history: scored trials.
            budget: that they are judged by.
        """
        before = len(history) + 1
        while True:
            known = self.logged()
            missing = [t for t in history if t.candidate.number not in known]
            if len(missing) in (0, before):
                break
            before, self._failed_at, self.unlogged = len(missing), None, 0
            for trained in missing:
                if self._jobs.full():
                    self._flush()
                self.trial(trained, budget.excess(trained.candidate.cost))

    def finish(self, report: Report, rejected: Sequence[Mapping[str, object]] = ()) -> None:
        """Logs what is missing, the counts, pictures, finalists, and the chosen model; waits.

        Args:
            report: of the search.
            rejected: rows of the table of rejected configurations.
        """
        self.catch_up(report.history, report.budget)
        self._failed_at = None
        self._submit(lambda: self._finish(report, rejected))
        self._flush()
        if self.unlogged:
            log.warning("MLflow: %d trials wait for the next search of this name.", self.unlogged)

    # Below: in the thread.

    def _submit(self, job: Callable[[], None], trials: int = 0) -> None:
        def guarded() -> None:
            if self._failed_at is not None and time.monotonic() - self._failed_at < RETRY_S:
                self.unlogged += trials
                return
            try:
                with environment(HTTP if self.uri.startswith("http") else {}):
                    self._open()
                    job()
            except Exception as error:  # whatever MLflow, its database or the disk has
                self.unlogged += trials
                self._fail(error)
            else:
                self._failed_at = None

        try:
            self._jobs.put_nowait(guarded)
        except queue.Full:
            self.unlogged += trials

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            self._began = time.monotonic()
            job()
            self._began = None

    def _flush(self) -> None:
        """Waits until what was submitted is done; gives up as ``wait_s`` says."""
        done, queued, begin = threading.Event(), False, time.monotonic()
        while self._thread is not None:
            if not queued:
                with contextlib.suppress(queue.Full):
                    self._jobs.put_nowait(done.set)
                    queued = True
            if done.wait(0.02):
                return
            now = time.monotonic()
            if now - (self._began or now) > self.wait_s or now - begin > 5 * self.wait_s:
                self._fail(TimeoutError(f"no answer within {self.wait_s:g} s"))
                return

    def _fail(self, error: Exception) -> None:
        first = not self.trouble
        self.trouble = words(error)
        self._failed_at = time.monotonic()
        if first:
            log.warning("MLflow: %s. The search goes on without it.", self.trouble)

    def _open(self) -> None:
        """Client, experiment, parent run and the trials that it has; once."""
        if self._parent_id:
            return
        with hushed("mlflow", "alembic"):
            client = self._client = connected(self.uri)
            self._experiment_id = self._find_experiment(client)
        where = f"tags.`{STUDY}` = '{links.quoted(self.study)}'"
        parents = []
        oldest = ["attributes.start_time ASC", "attributes.run_id ASC"]
        most = 50_000  # that MLflow gives
        for run in client.search_runs([self._experiment_id], where, 1, most, oldest):
            number = run.data.tags.get(TRIAL)
            if number is None:
                parents.append(run)
            else:
                self._runs[int(number)] = (run.info.run_id, run.info.status == "FINISHED")
        if parents:
            run_id = parents[0].info.run_id
            client.update_run(run_id, status="RUNNING")
        else:
            note = notes.started(self.study, self._params, self._layout)
            tags = {STUDY: self.study, NOTE: note, **{k: str(v) for k, v in self._tags.items()}}
            run = client.create_run(self._experiment_id, run_name=self.study, tags=tags)
            run_id = run.info.run_id
            log_batch(client, run_id, params=self._params)
        mode: Mode = "min" if self._params.get("mode") == "min" else "max"
        metric = runs.key(str(self._params.get("metric", "metric")))
        objectives = str(self._params.get("objectives", "")).split()
        shown = links.view(self.study, metric, mode, objectives)
        client.set_experiment_tag(self._experiment_id, *shown)
        self._parent_id = run_id

    def _find_experiment(self, client: MlflowClient) -> str:
        found = client.get_experiment_by_name(self.experiment)
        if found is not None:
            return str(found.experiment_id)
        local = not self.uri.startswith(("http", "databricks"))
        folder = self.directory / "artifacts" / runs.file_name(self.experiment)
        place = folder.as_uri() if local else None
        try:
            made = client.create_experiment(self.experiment, place, tags=links.EXPERIMENT_TAGS)
        except Exception:  # a search that began at the same time may have made it
            found = client.get_experiment_by_name(self.experiment)
            if found is None:
                raise
            return str(found.experiment_id)
        return str(made)

    def _trial(self, trained: Trained, excess: Mapping[str, float]) -> None:
        client, number = self._client, trained.candidate.number
        assert client is not None
        run_id, whole = self._runs.get(number, ("", False))
        if whole:
            return
        record = runs.trial(trained, excess, self._params, self._layout)
        if not run_id and number in self._doubtful:  # the answer was lost; the run may be there
            where = (
                f"tags.`{STUDY}` = '{links.quoted(self.study)}' and tags.`{TRIAL}` = '{number}'"
            )
            found = client.search_runs([self._experiment_id], where, 1, 1)
            run_id = found[0].info.run_id if found else ""
        if not run_id:
            self._doubtful.add(number)
            now = int(time.time() * 1000)
            tags = {STUDY: self.study, TRIAL: str(number), PARENT: self._parent_id}
            run_id = client.create_run(
                self._experiment_id,
                start_time=now - int(trained.train_s * 1000),
                tags=tags | record.tags,
                run_name=record.name,
            ).info.run_id
        self._runs[number] = (run_id, False)
        self._doubtful.discard(number)
        log_batch(client, run_id, record.params, record.metrics)
        with tempfile.TemporaryDirectory() as folder:
            for name, text in record.files.items():
                (Path(folder) / name).write_text(text, encoding="utf-8")
            if trained.tflite.is_file():
                shutil.copy(trained.tflite, folder)
            client.log_artifacts(run_id, folder)
        client.set_terminated(run_id)
        self._runs[number] = (run_id, True)

    def _finish(self, report: Report, rejected: Sequence[Mapping[str, object]]) -> None:
        client = self._client
        assert client is not None
        for verified in report.finalists:
            run_id, _ = self._runs.get(verified.trained.candidate.number, ("", False))
            if run_id:
                record = runs.finalist(verified, report, self._layout)
                log_batch(client, run_id, metrics=record.metrics, tags=record.tags)
                client.update_run(run_id, name=record.name)
        record = runs.search(report, rejected)
        with tempfile.TemporaryDirectory() as folder:
            pictures = runs.write_pictures(report, Path(folder))
            note = notes.search(report, self._parent_id, pictures, self._params, self._layout)
            tags = record.tags | {NOTE: note}
            log_batch(client, self._parent_id, metrics=record.metrics, tags=tags)
            for name, text in record.files.items():
                (Path(folder) / name).write_text(text, encoding="utf-8")
            client.log_artifacts(self._parent_id, folder)
        if report.chosen is not None:
            run_id = self._runs[report.chosen.number][0]
            with hushed("mlflow", "alembic"):
                register(client, self._experiment_id, run_id, report.chosen, report)
        client.set_terminated(self._parent_id)
