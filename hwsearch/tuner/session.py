"""One call of ``search``: the data and the metric, checked against a model of the hypermodel's."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwsearch.data import Samples
from hwsearch.errors import DataError, InputError
from hwsearch.graph.keras_channels import check_model
from hwsearch.metric import Metric
from hwsearch.problem import Given, goal, parts
from hwsearch.search import study
from hwsearch.tuner.goal import metric_of

OTHERWISE = "Give overwrite=True, another project_name, or the same arguments."

WEIGHTS = ("class_weight", "sample_weight")
"""Arguments of ``fit`` by which samples count differently."""


@dataclass(frozen=True)
class Searched:
    """What one call of ``search`` was given.

    Attributes:
        loss: as ``model.compile`` takes it.
        metric: the objective, on artefacts.
        train, search, report: the data; the last is never seen by the search.
        notes: what the user should hear once.
        started: ``time.monotonic()`` at its begin.
    """

    loss: Any
    metric: Metric
    train: Samples
    search: Samples
    report: Samples
    notes: tuple[str, ...]
    started: float

    def spec(self) -> dict[str, object]:
        """Of what data and goal a project is, as JSON."""
        data = [self.train.digest, self.search.digest]
        return {"data": data, "goal": goal(self.loss, self.metric)}


def searched(
    model: Any,
    data: tuple[Any, Any, Any],
    objective: Any,
    metric: Any,
    loss: Any,
    started: float,
    fit: Mapping[str, Any],
) -> Searched:
    """Reads what a search is given.

    Args:
        model: built with the default hyperparameters.
        data: (data, validation data, test data).
        objective: KerasTuner's.
        metric: that scores artefacts; None is what the objective names.
        loss: as ``model.compile`` takes it; None is what the model was compiled with.
        started: ``time.monotonic()`` at the search's begin.
        fit: arguments of each ``fit``, by name.

    Raises:
        ModelError: a model that cannot be deployed.
        DataError: data that does not match the model, or no loss.
        InputError: the objective names no metric of an artefact.
    """
    if data[1] is None:
        raise DataError(
            "no validation data: models are fitted on all of data, and none is left to choose "
            "them by. Give search(…, validation_data=(x, y)) or validation_split=0.2."
        )
    check_model(model)
    if loss is None and model.compiled:
        loss = model.loss
    if metric is None:
        metric = metric_of(objective, model, loss)
    given = Given(*data, loss, metric, objective.direction)
    loss, chosen, (train, search, report), notes = parts(model, given)
    if weights := [name for name in WEIGHTS if fit.get(name) is not None]:
        notes.append(
            f"{' and '.join(weights)}: counts in each fit alone; what is pruned is fine-tuned "
            "with all samples alike"
        )
    return Searched(loss, chosen, train, search, report, tuple(notes), started)


def check_arguments(hypermodel: Any, objective: Any, budget: Any, board: Any) -> None:
    """Nothing, if a tuner can be made of these.

    Raises:
        InputError: what is missing, or cannot be searched.
    """
    if "KERASTUNER_ORACLE_IP" in os.environ:
        raise InputError(
            "HardwareTuner does not run as one of KerasTuner's distributed workers. Unset "
            "KERASTUNER_ORACLE_IP, KERASTUNER_ORACLE_PORT and KERASTUNER_TUNER_ID."
        )
    if hypermodel is None:
        raise InputError("hypermodel=None: a model must be built before it can be costed.")
    if objective is None or isinstance(objective, list | tuple):
        raise InputError(
            f'objective={objective!r}: give one, e.g. "val_accuracy"; costs are the budget\'s.'
        )
    if budget is None and board is None:
        raise InputError('give budget=hwsearch.Budget(flash="192 KiB", …), board= or both.')


def check_same(
    there: Mapping[str, Any], wanted: Mapping[str, Any], directory: str
) -> dict[str, Any]:
    """What is wanted, if a project on disk is of that or of nothing yet.

    Raises:
        StudyError: it is of another; says in what they differ.
    """
    now: dict[str, Any] = json.loads(json.dumps(wanted))
    if there:
        study.check_same(f"the project in {directory}", there, now, OTHERWISE)
    return now
