"""The goal of a tuner: KerasTuner's objective as a metric of the deployed artefact."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from hwsearch.data import Array
from hwsearch.distillation import aligned
from hwsearch.errors import DataError, InputError
from hwsearch.metric import ALIASES, PER_SAMPLE


def metric_of(objective: Any, model: Any, loss: Any) -> Any:
    """What ``metric=`` of a search would be for an objective such as ``"val_accuracy"``.

    Args:
        objective: KerasTuner's.
        model: built by the hypermodel.
        loss: as ``model.compile`` takes it, for ``"val_loss"``.

    Raises:
        InputError: the objective names no metric that an artefact can be scored by.
    """
    name = str(objective.name).removeprefix("val_")
    if name == "loss" and loss is not None and not isinstance(loss, list | tuple | dict):
        return _of_loss(loss)
    if name in {*PER_SAMPLE, "auc", *ALIASES}:
        return name
    compiled = (model.get_compile_config() or {}).get("metrics") if model.compiled else None
    known = []
    for config in compiled if isinstance(compiled, list | tuple) else ():
        found = keras.metrics.get(config)
        known.append(str(getattr(found, "name", getattr(found, "__name__", config))))
        if known[-1] == name and hasattr(found, "update_state"):
            return found
    names = sorted({"val_accuracy", "val_loss", "val_mse", "val_mae", "val_auc"})
    names += [f"val_{n}" for n in known if f"val_{n}" not in names]
    raise InputError(
        f"objective {objective.name!r} is none that a deployed artefact can be scored by. Known: "
        f"{', '.join(names)}; or give metric=, a function of (targets, outputs)."
    )


def _of_loss(given: Any) -> Any:
    def loss(targets: Array, outputs: Array) -> float:
        function = aligned(keras.losses.get(given))
        return float(np.mean(np.asarray(function(targets, outputs))))

    return loss


def fit_data(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    """(data, validation_data) among the arguments of ``Tuner.search``, named as Model.fit's.

    Raises:
        DataError: there is no training data among them.
    """
    names = [n for n in inspect.signature(keras.Model.fit).parameters if n != "self"]
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    x, y = given.get("x"), given.get("y")
    if x is None or (y is None and not hasattr(x, "as_numpy_iterator")):
        raise DataError(
            "search() got neither x and y nor a tf.data.Dataset, so artefacts cannot be scored. "
            "Give HardwareTuner(data=(x, y), validation_data=(x, y))."
        )
    data = x if y is None else (x, y)
    validation = given.get("validation_data")
    if isinstance(validation, tuple | list) and len(validation) == 3:
        validation = tuple(validation[:2])  # without sample weights
    split = float(given.get("validation_split") or 0)
    if validation is None and split > 0 and y is not None:  # Keras keeps the last samples
        first = next(iter(keras.tree.flatten(x)))
        count = int(len(first) * (1 - split))
        validation = keras.tree.map_structure(lambda a: a[count:], (x, y))
        data = keras.tree.map_structure(lambda a: a[:count], (x, y))
    return data, validation


def fit_value(results: Any, objective: Any) -> float | None:
    """The objective as the fit itself saw it: of its best epoch, the mean of several fits."""
    if isinstance(results, list):
        values = [fit_value(result, objective) for result in results]
        known = [v for v in values if v is not None]
        return float(np.mean(known)) if known else None
    if isinstance(results, int | float | np.floating):
        return float(results)
    record = results if isinstance(results, dict) else getattr(results, "history", {})
    found = record.get(objective.name)
    if found is None:
        return None
    best = max if objective.direction == "max" else min
    return float(best(found)) if isinstance(found, list) else float(found)
