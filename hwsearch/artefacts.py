"""The artefact store that the machines of a search share: the search's own run in MLflow.

Model, data and what trainings give lie below ``search/`` in the parent run; a worker fetches and
stores them through the MLflow server, so it needs no disk of the owner's.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hwsearch.address import masked, words
from hwsearch.errors import StudyError
from hwsearch.links import quoted
from hwsearch.mlflow_client import connected
from hwsearch.mlflow_settings import environment
from hwsearch.runs import STUDY
from hwsearch.track import PARENT

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

FOLDER = "search"
"""Of the parent run's artefacts."""

HTTP = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "30", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
"""MLflow's own settings while one of our calls runs: it is tried again here, not there."""

PATIENCE_S = 120.0
"""An MLflow server that does not answer is waited for so long."""


class RunArtefacts:
    """Files of one search in MLflow.

    Args:
        uri: MLflow's tracking URI, ``http://…``.
        study: the search's name; its parent run must be there.
        experiment: that the run is of.
        patience_s: how long a server that does not answer is waited for.
    """

    def __init__(
        self,
        uri: str,
        study: str,
        experiment: str = "hwsearch",
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._uri, self._study, self._experiment = uri, study, experiment
        self._patience_s = patience_s
        self._run_id = ""

    @property
    def address(self) -> str:
        """The tracking URI, without a password."""
        return masked(self._uri)

    def get(self, path: str, directory: Path) -> None:
        """Fetches a file or folder to the same path below a directory, whole or not at all.

        Raises:
            StudyError: it is not there, or the server does not answer.
        """
        directory.mkdir(parents=True, exist_ok=True)

        def attempt() -> None:
            with tempfile.TemporaryDirectory(dir=directory, prefix=".fetched-") as folder:
                remote = f"{FOLDER}/{path}"  # a file comes without the folders above it
                found = self._client().download_artifacts(self._run(), remote, folder)
                target = directory / path
                target.parent.mkdir(parents=True, exist_ok=True)
                if target.is_dir():
                    shutil.rmtree(target)
                Path(found).replace(target)

        self._insist(attempt, f"{path} cannot be fetched")

    def put(self, path: str, directory: Path) -> None:
        """Stores a file or folder that lies at that path below a directory.

        Raises:
            StudyError: the server does not answer.
        """
        source, parent = directory / path, str(Path(FOLDER) / Path(path).parent)

        def attempt() -> None:
            if source.is_dir():
                self._client().log_artifacts(self._run(), str(source), f"{FOLDER}/{path}")
            else:
                self._client().log_artifact(self._run(), str(source), parent)

        self._insist(attempt, f"{path} cannot be stored")

    def _client(self) -> MlflowClient:
        return connected(self._uri)

    def _run(self) -> str:
        """Id of the search's parent run: the oldest that has its name and is no trial's."""
        if not self._run_id:
            client = self._client()
            found = client.get_experiment_by_name(self._experiment)
            where = f"tags.`{STUDY}` = '{quoted(self._study)}'"
            oldest = ["attributes.start_time ASC", "attributes.run_id ASC"]
            ids = [] if found is None else [found.experiment_id]
            runs = client.search_runs(ids, where, 1, 100, oldest) if ids else []
            parents = [run for run in runs if PARENT not in run.data.tags]
            if not parents:
                raise StudyError(f"MLflow at {self.address} has no run of study {self._study!r}.")
            self._run_id = parents[0].info.run_id
        return self._run_id

    def _insist(self, attempt: Callable[[], T], what: str) -> T:
        """Does it; again while the server may come back."""
        end, pause = time.monotonic() + self._patience_s, 0.2
        while True:
            try:
                with environment(HTTP):
                    return attempt()
            except StudyError:
                raise
            except Exception as error:  # requests', MLflow's, the disk's
                if time.monotonic() > end or _is_missing(error):
                    raise StudyError(
                        f"{what} in MLflow at {self.address} ({words(error)}). "
                        "Is the server up, and does it keep artefacts?"
                    ) from None
            time.sleep(pause)
            pause = min(2 * pause, 3.0)


def _is_missing(error: Exception) -> bool:
    """Whether the server answered that there is no such thing."""
    return getattr(error, "error_code", "") in (
        "RESOURCE_DOES_NOT_EXIST",
        "INVALID_PARAMETER_VALUE",
    )
