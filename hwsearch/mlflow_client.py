"""MLflow's client: imported early, connected, told many things at once."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hwsearch.lock import exclusive

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger("hwsearch")

NOISE = (".*type hint is inferred as AnyType", "The ``noload`` loader strategy is deprecated")
"""Warnings of MLflow 3.17 about its own code, as it is imported or used."""


def preload() -> threading.Thread:
    """Imports MLflow and its database store in a thread, seconds that other work can hide.

    Join it before SQLAlchemy is used elsewhere: tables that are half declared when another
    thread configures its mappers break both.
    """

    def load() -> None:
        try:
            from mlflow.store.tracking import sqlalchemy_store
            from sqlalchemy.orm import configure_mappers

            assert sqlalchemy_store
            configure_mappers()
        except Exception as error:  # the tracker meets it again, and says so
            log.debug("MLflow does not load: %s", error)

    thread = threading.Thread(target=load, name="hwsearch-mlflow-import", daemon=True)
    thread.start()
    return thread


def connected(uri: str) -> MlflowClient:
    """MLflow's client of a tracking URI; makes the tables of a database that has none."""
    for message in NOISE:
        warnings.filterwarnings("ignore", message)
    from mlflow import MlflowClient  # sets the level of its own logger

    if not uri.startswith("sqlite:///"):
        return MlflowClient(uri)
    database = Path(uri.removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(database.with_name(f"{database.name}.lock")):  # made twice at once they break
        return MlflowClient(uri)


def log_batch(
    client: MlflowClient,
    run_id: str,
    params: Mapping[str, object] | None = None,
    metrics: Sequence[tuple[str, float, int]] = (),
    tags: Mapping[str, str] | None = None,
) -> None:
    """One ``log_batch``; several where there are more than its 100 params or 1,000 items."""
    from mlflow.entities import Metric, Param, RunTag

    items = [Param(k, str(v)[:6000]) for k, v in (params or {}).items()]
    rows = [Metric(k, v, 0, step) for k, v, step in metrics]
    marks = [RunTag(k, v[:8000]) for k, v in (tags or {}).items()]
    for i in range(max(-(-len(items) // 100), -(-len(rows) // 800), 1)):
        client.log_batch(
            run_id,
            rows[800 * i : 800 * (i + 1)],
            items[100 * i : 100 * (i + 1)],
            marks if i == 0 else [],
        )
