"""Hyperparameters as axes of a study: every value comes back, conditions decide what is drawn."""

from __future__ import annotations

from typing import Any

import keras_tuner
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras_tuner.engine import hyperparameters as kinds

from hwsearch.tuner import axes

HYPERPARAMETERS = [
    kinds.Int("x", 8, 64, step=8),
    kinds.Int("x", 1, 7, step=2),
    kinds.Int("x", 2, 32, step=2, sampling="log"),
    kinds.Int("x", 1, 1000, sampling="log"),
    kinds.Float("x", 1e-4, 1e-1, sampling="log"),
    kinds.Float("x", -1.0, 1.0),
    kinds.Float("x", 0.0, 0.5, step=0.1),
    kinds.Float("x", 1.0, 8.0, sampling="reverse_log"),
    kinds.Choice("x", ["relu", "gelu"]),
    kinds.Choice("x", [16, 32, 512]),
    kinds.Boolean("x"),
]


@pytest.mark.parametrize("hp", HYPERPARAMETERS, ids=repr)
@settings(max_examples=30, deadline=None)
@given(prob=st.floats(0, 1 - 1e-9))
def test_a_value_that_is_drawn_comes_back(hp: Any, prob: float) -> None:
    """KerasTuner's own map from a probability to a value is the independent truth."""
    value = hp.prob_to_value(prob)
    axis = axes.axis(hp)
    assert axis is not None
    back = axis.value(axis.drawn(value))
    assert back == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value)


@pytest.mark.parametrize("hp", HYPERPARAMETERS, ids=repr)
def test_only_values_that_keras_tuner_knows(hp: Any) -> None:
    axis = axes.axis(hp)
    assert axis is not None
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = {axes.suggest(study.ask(), [hp])["x"] for _ in range(60)}
    if hasattr(hp, "min_value"):
        assert hp.min_value <= min(found) and max(found) <= hp.max_value
    if axis.values and len(axis.values) <= 8:
        assert found == set(hp.values)
    assert all(type(v) is type(hp.default) for v in found)


@pytest.mark.parametrize(
    "hp", [kinds.Fixed("x", 3), kinds.Int("x", 4, 4), kinds.Choice("x", ["a"])], ids=repr
)
def test_one_value_is_not_searched(hp: Any) -> None:
    assert axes.axis(hp) is None
    study = optuna.create_study()
    trial = study.ask()
    assert axes.suggest(trial, [hp]) == {"x": hp.default} and not trial.params


def conditional() -> keras_tuner.HyperParameters:
    """``units`` means something else in each of two branches; ``rate`` is in one alone."""
    hp = keras_tuner.HyperParameters()
    hp.Choice("kind", ["wide", "deep"])
    with hp.conditional_scope("kind", ["wide"]):
        hp.Int("units", 100, 200, step=50)
    with hp.conditional_scope("kind", ["deep"]):
        hp.Int("units", 1, 3)
        if hp.Boolean("drop"):
            hp.Fixed("never", 1)
        with hp.conditional_scope("drop", [True]):
            hp.Float("rate", 0.1, 0.5)
    return hp


def test_conditions_decide_what_is_drawn() -> None:
    space = conditional().space
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    seen = set()
    for _ in range(60):
        values = axes.suggest(study.ask(), space)
        if values["kind"] == "wide":
            assert values["units"] in (100, 150, 200) and set(values) == {"kind", "units"}
        else:
            assert values["units"] in (1, 2, 3) and "drop" in values
            assert ("rate" in values) == values["drop"]
        seen.add((values["kind"], values.get("drop")))
    assert seen == {("wide", None), ("deep", True), ("deep", False)}


def test_values_of_a_trial_are_told_as_they_would_have_been_drawn() -> None:
    """A study made from a project on disk holds what the one that was searched held."""
    space = conditional().space
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2))
    for _ in range(30):
        trial = study.ask()
        values = axes.suggest(trial, space)
        params, distributions = axes.drawn(space, values)
        assert params == pytest.approx(trial.params) and set(distributions) == set(params)
        assert distributions == trial.distributions


def test_a_value_outside_a_range_that_was_narrowed_is_left_out() -> None:
    space = [kinds.Int("units", 8, 16, step=8), kinds.Boolean("drop")]
    params, _ = axes.drawn(space, {"units": 64, "drop": True})
    assert list(params) == ["drop"]
