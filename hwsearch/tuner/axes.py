"""KerasTuner's hyperparameters as Optuna's: one axis a hyperparameter, conditions kept.

A hyperparameter with finitely many ordered values is an index among them, one without order a
category, a continuous one (and whole numbers on a logarithmic scale) the position between 0 and 1
that KerasTuner itself maps to a value, so that its ``sampling`` means the same here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras_tuner
from keras_tuner.engine import hyperparameters as kinds
from optuna import Trial
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)


@dataclass(frozen=True)
class Axis:
    """One hyperparameter as Optuna draws it.

    Attributes:
        hyperparameter: KerasTuner's.
        name: its name with its conditions: KerasTuner allows one name in several branches.
        distribution: of what is drawn.
        values: what an index means; empty where a position is drawn.
    """

    hyperparameter: Any
    name: str
    distribution: BaseDistribution
    values: Sequence[Any]

    def value(self, drawn: Any) -> Any:
        """The hyperparameter's value for what Optuna drew."""
        if self.values:
            return self.values[int(drawn)]
        return self.hyperparameter.prob_to_value(drawn)

    def drawn(self, value: Any) -> Any:
        """What Optuna would have drawn for a value.

        Raises:
            ValueError: the hyperparameter does not take it.
        """
        if not self.values:
            return min(1.0, max(0.0, float(self.hyperparameter.value_to_prob(value))))
        if isinstance(self.values, range):
            return self.values.index(value)
        nearest = min(range(len(self.values)), key=lambda i: _distance(self.values[i], value))
        if _distance(self.values[nearest], value) > 1e-9:
            raise ValueError(f"{value!r} is not among {list(self.values)}")
        return nearest


def axis(hyperparameter: Any) -> Axis | None:
    """The axis of a hyperparameter; None where it has one value alone."""
    hp = hyperparameter
    name = hp.name + "".join(f"|{c.name}={c.values}" for c in hp.conditions)
    if isinstance(hp, kinds.Fixed):
        return None
    if isinstance(hp, kinds.Choice | kinds.Boolean):
        values: Sequence[Any] = tuple(hp.values)
        ordered = bool(getattr(hp, "ordered", False))
    elif hp.step is None:
        if hp.min_value == hp.max_value:
            return None
        return Axis(hp, name, FloatDistribution(0.0, 1.0), ())
    elif isinstance(hp, kinds.Int) and hp.sampling == "linear":
        values, ordered = range(hp.min_value, hp.max_value + 1, hp.step), True
    else:
        whole = isinstance(hp, kinds.Int)
        values, ordered = tuple(int(v) if whole else v for v in hp.values), True
    if len(values) == 1:
        return None
    found: BaseDistribution = IntDistribution(0, len(values) - 1)
    if not ordered:
        found = CategoricalDistribution(tuple(range(len(values))))
    return Axis(hp, name, found, values)


def suggest(trial: Trial, space: Sequence[Any]) -> dict[str, Any]:
    """Values for the hyperparameters that are active, drawn in their order.

    Args:
        trial: Optuna's.
        space: KerasTuner's hyperparameters, parents before what depends on them.
    """
    values: dict[str, Any] = {}
    for hp, found in _active(space, values):
        if found is None:
            values[hp.name] = hp.default
        elif isinstance(found.distribution, FloatDistribution):
            values[hp.name] = found.value(trial.suggest_float(found.name, 0.0, 1.0))
        elif isinstance(found.distribution, IntDistribution):
            high = found.distribution.high
            values[hp.name] = found.value(trial.suggest_int(found.name, 0, high))
        else:
            options = range(len(found.values))
            values[hp.name] = found.value(trial.suggest_categorical(found.name, tuple(options)))
    return values


def drawn(
    space: Sequence[Any], values: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """(params, distributions) with which Optuna would have drawn these values."""
    params: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    seen: dict[str, Any] = {}
    for hp, found in _active(space, seen):
        if hp.name not in values:
            continue
        seen[hp.name] = values[hp.name]
        if found is not None:
            try:
                params[found.name] = found.drawn(values[hp.name])
            except ValueError:  # the user narrowed the range since
                continue
            distributions[found.name] = found.distribution
    return params, distributions


def _active(space: Sequence[Any], values: dict[str, Any]) -> Iterator[tuple[Any, Axis | None]]:
    """Each hyperparameter whose conditions hold, as ``values`` fills up."""
    seen = keras_tuner.HyperParameters()
    for hp in space:
        seen.values = dict(values)
        seen.merge([hp])
        if seen.is_active(hp):
            yield hp, axis(hp)


def _distance(a: Any, b: Any) -> float:
    if isinstance(a, int | float) and isinstance(b, int | float):
        return abs(a - b) / max(1e-30, abs(a), abs(b)) if type(a) is not bool else float(a != b)
    return 0.0 if a == b else 1.0
