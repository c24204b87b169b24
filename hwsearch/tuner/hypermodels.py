"""Hypermodels: ``optimize`` of a function that builds models, by :class:`HardwareTuner`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import keras_tuner

from hwsearch.board import Board
from hwsearch.budget import Budget
from hwsearch.errors import DataError
from hwsearch.identity import digest
from hwsearch.problem import Given, goal, parts
from hwsearch.report import Report
from hwsearch.space import Space
from hwsearch.tuner.architectures import digest as architecture
from hwsearch.tuner.hardware_tuner import HardwareTuner

FIT: Mapping[str, Any] = {"epochs": 10, "batch_size": 64}
"""How each model is fitted where the caller says nothing."""

HELD_OUT = 0.2
"""Share of the data, its last samples, kept for validation where the caller gave none."""


def is_hypermodel(model: Any) -> bool:
    """Whether this builds models: a KerasTuner HyperModel, or a function of ``hp``."""
    if isinstance(model, keras_tuner.HyperModel):
        return True
    return callable(model) and not isinstance(model, keras.Model | keras.layers.Layer)


def search_hypermodel(
    hypermodel: Any,
    board: Board,
    budget: Budget,
    given: Given,
    *,
    fit: Mapping[str, Any] | None,
    trials: int,
    timeout: float | None,
    trial_timeout: float | None,
    study: str | None,
    device: str,
    directory: Path,
    tracking_uri: str | None,
) -> Report:
    """Searches architectures, pruning, bits and runtime together.

    Args:
        hypermodel: builds compiled models.
        board, budget: with the board's own limits filled in.
        given: data, goal and space.
        fit: keyword arguments of each model's ``fit``; None is :data:`FIT`.
        trials: models to fit.
        timeout, trial_timeout, study, device, directory, tracking_uri: as in ``optimize``.

    Raises:
        DataError: no data, or a dataset without validation data.
    """
    if given.data is None:
        raise DataError("a hypermodel's models are untrained. Give data=(x, y) to fit them on.")
    arguments = {"verbose": 0, **(FIT if fit is None else fit)}
    is_dataset = hasattr(given.data, "as_numpy_iterator")
    if given.validation_data is not None:
        arguments["validation_data"] = given.validation_data
    elif is_dataset:
        raise DataError("a tf.data.Dataset cannot be split here. Give validation_data= too.")
    else:
        arguments.setdefault("validation_split", HELD_OUT)
    if is_dataset:
        arguments.pop("batch_size", None)
    build = getattr(hypermodel, "build", hypermodel)
    choices = keras_tuner.HyperParameters()
    model = build(choices)
    loss, metric, (train, search, _), _ = parts(model, given)
    spec = [
        architecture(model), choices.get_config(), train.digest, search.digest, goal(loss, metric),
        asdict(budget), board.name, asdict(given.space or Space()), given.seed,
        {k: v for k, v in arguments.items() if isinstance(v, int | float | str)},
    ]  # fmt: skip
    name = f"{getattr(hypermodel, '__name__', type(hypermodel).__name__)}-{digest(spec)}"
    tuner = HardwareTuner(
        hypermodel,
        keras_tuner.Objective(f"val_{metric.name}", metric.mode),
        max_trials=trials,
        seed=given.seed + 1,  # KerasTuner draws another for 0
        budget=budget,
        board=board,
        space=given.space,
        backends=given.backends,
        metric=given.metric or metric.name,
        test_data=given.test_data,
        trial_timeout=trial_timeout,
        device=device,
        tracking=directory,
        tracking_uri=tracking_uri,
        directory=directory / "studies",
        project_name=study or name,
        loss=given.loss,
    )
    tuner.oracle.timeout_s = timeout
    tuner.search(*((given.data,) if is_dataset else given.data), **arguments)
    return tuner.report()
