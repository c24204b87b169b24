"""Where MLflow's page shows a search: the named view of its trials, and its address."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence

from hwsearch.address import masked
from hwsearch.pareto import Mode

EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Without it MLflow 3 opens an experiment as one of generative models."""

LOCAL = "http://127.0.0.1:5000"
"""Where ``mlflow ui`` listens by default."""

_VIEW = "mlflow.sharedViewState."
_COLUMNS = ("flash_bytes", "ram_bytes", "latency_s")


def view(study: str, metric: str, mode: Mode, objectives: Sequence[str] = ()) -> tuple[str, str]:
    """Key and value of the experiment tag by which MLflow's page keeps a named view of its runs.

    The trials of this study, flat (sorting undoes the nesting), the best by the first objective
    first; columns: the objectives, metric, flash, RAM, latency and backend. The form is that of
    MLflow 3.17's page, seen in its own tags; an older page shows its default columns.

    Args:
        study: its name.
        metric, mode: name and sense of the metric, as logged.
        objectives: ``"metric"`` and names of costs; none is the metric alone.
    """
    names = [metric if o == "metric" else o for o in objectives] or [metric]
    columns = dict.fromkeys((*names, metric, *_COLUMNS))
    trials = "tags.`hwsearch.trial` LIKE '%'"
    state = {
        "searchFilter": f"tags.`hwsearch.study` = '{quoted(study)}' and {trials}",
        "orderByKey": f"metrics.`{names[0]}`",
        "orderByAsc": mode == "min" if names[0] == metric else True,
        "selectedColumns": [*(f"metrics.`{c}`" for c in columns), "params.`backend`"],
    }
    envelope = {"name": study, "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)}
    return f"{_VIEW}{_key(study)}", json.dumps(envelope)


def views(tags: Mapping[str, str]) -> list[str]:
    """Names of the studies that have a view among an experiment's tags."""
    return sorted(
        json.loads(text)["name"]
        for key, text in tags.items()
        if key.startswith(f"{_VIEW}hwsearch-")
    )


def page(base: str, experiment_id: str, study: str) -> str:
    """The address of a study's :func:`view` on the server at ``base``."""
    address = f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs"
    return f"{address}?workflowType=machine_learning&viewStateShareKey={_key(study)}"


def link(uri: str, experiment_id: str, study: str) -> str:
    """Where the view opens: an address, for a database after the command that serves it."""
    if uri.startswith("http"):
        return page(masked(uri), experiment_id, study)
    place = uri.removeprefix("sqlite:///").removesuffix("/mlflow.db")
    own = place != uri and uri.endswith("/mlflow.db")
    where = f"--directory {shlex.quote(place)}" if own else f"--tracking-uri {masked(uri)}"
    return f"hwsearch ui {where}, then {page(LOCAL, experiment_id, study)}"


def picture(run_id: str, name: str, caption: str) -> str:
    """A picture among a run's artifacts, in its description: MLflow serves it beside the page."""
    return f"![{caption}](get-artifact?path={name}&run_uuid={run_id})"


def quoted(text: str) -> str:
    """A value inside single quotes of MLflow's search language."""
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _key(study: str) -> str:
    return "hwsearch-" + hashlib.sha256(study.encode()).hexdigest()[:12]
