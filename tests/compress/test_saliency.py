"""Saliency against numbers worked out by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers as L

from hwsearch.compress.saliency import (
    KINDS_OF_SALIENCY,
    Evidence,
    keep,
    ranked_together,
    saliency,
)
from hwsearch.data import Samples
from hwsearch.errors import InputError, UnknownNameError
from hwsearch.graph import keras_channels
from tests import networks


def residual() -> keras.Model:
    inputs = keras.Input((2,))
    a = L.Dense(3, name="a")(inputs)
    x = L.Add()([a, L.Dense(3, name="b")(inputs)])
    model = keras.Model(inputs, L.Dense(1)(x))
    model.get_layer("a").set_weights([np.array([[1, -2, 3], [3, 0, -1.0]]), np.full(3, 100.0)])
    model.get_layer("b").set_weights([np.array([[0, 4, 0], [2, -4, 0.0]]), np.zeros(3)])
    return model


def test_norms_sum_over_the_layers_of_a_group() -> None:
    model = residual()
    groups = keras_channels.groups(model)
    l1 = np.array([2 + 1, 1 + 4, 2 + 0])
    l2 = np.sqrt([5, 2, 5]) + np.sqrt([2, 16, 0])
    np.testing.assert_allclose(saliency(model, groups, "l1").values["a"], l1 / l1.mean())
    np.testing.assert_allclose(saliency(model, groups, "l2").values["a"], l2 / l2.mean())


def evidence(model: keras.Model, count: int = 64) -> Evidence:
    rng = np.random.default_rng(0)
    inputs = tuple(rng.normal(size=(count, *t.shape[1:])).astype(np.float32) for t in model.inputs)
    targets = tuple(
        rng.normal(size=(count, *t.shape[1:])).astype(np.float32) for t in model.outputs
    )
    return Evidence(Samples(inputs, targets), "mse", 3)


@pytest.mark.parametrize("kind", KINDS_OF_SALIENCY)
def test_every_kind_covers_every_group_with_mean_one(kind: str) -> None:
    for build in (networks.separable, networks.nested, networks.concat):
        model = networks.randomise(build())
        groups = keras_channels.groups(model)
        found = saliency(model, groups, kind, evidence(model)).values
        assert tuple(found) == groups.names
        for group in groups.groups:
            values = found[group.name]
            assert values.shape == (group.width,) and values.dtype == np.float64
            assert (values >= 0).all() and np.ptp(values) > 0
            assert values.mean() == pytest.approx(1)


def two_layers() -> keras.Model:
    inputs = keras.Input((2,))
    hidden = L.Dense(3, activation="relu", name="a")(inputs)
    model = keras.Model(inputs, L.Dense(1, name="b")(hidden))
    model.get_layer("a").set_weights([np.array([[1, -1, 2], [0, 1, 1.0]]), np.zeros(3)])
    model.get_layer("b").set_weights([np.array([[3.0], [1], [-2]]), np.zeros(1)])
    return model


def test_taylor_is_activation_times_slope() -> None:
    """One sample a batch: |hidden * dloss/dhidden|, the loss being (y - made)²."""
    model, groups = two_layers(), keras_channels.groups(two_layers())
    x = np.array([[1.0, 0.5]] * 8)
    hidden = np.maximum(x[0] @ np.array([[1, -1, 2], [0, 1, 1.0]]), 0)
    made = hidden @ [3, 1, -2]
    expected = np.abs(hidden * 2 * (made - 5.0) * [3, 1, -2])
    data = Samples((x.astype(np.float32),), (np.full((8, 1), 5.0),))
    found = saliency(model, groups, "taylor", Evidence(data, "mse")).values["a"]
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-5)


def squared(y, made):
    return (y - made) ** 2


def test_taylor_passes_over_an_output_without_a_loss() -> None:
    inputs = keras.Input((4,))
    shared = keras.layers.Dense(6, activation="relu", name="shared")(inputs)
    out = [keras.layers.Dense(1, name=name)(shared) for name in ("a", "b")]
    model = keras.Model(inputs, out)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 4)).astype(np.float32), rng.normal(size=64).astype(np.float32)
    both = Samples((x,), (y, y))
    named = saliency(model, keras_channels.groups(model), "taylor", Evidence(both, ["mse", None]))
    alone = keras.Model(inputs, out[0])
    one = Evidence(Samples((x,), (y,)), "mse")
    wanted = saliency(alone, keras_channels.groups(alone), "taylor", one)
    assert named.notes == ()
    for name, values in wanted.values.items():
        np.testing.assert_allclose(named.values[name], values, rtol=1e-5)


@pytest.mark.parametrize("loss", ["binary_crossentropy", squared])
def test_taylor_takes_targets_with_and_without_an_axis_of_one(loss) -> None:
    model, groups = two_layers(), keras_channels.groups(two_layers())
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 2)).astype(np.float32), rng.integers(0, 2, 16)
    flat, column = (
        saliency(model, groups, "taylor", Evidence(Samples((x,), (targets,)), loss))
        for targets in (y, y[:, None])
    )
    assert flat.notes == column.notes == ()
    np.testing.assert_allclose(flat.values["a"], column.values["a"], rtol=1e-5)


def test_apoz_counts_what_is_not_zero() -> None:
    model, groups = two_layers(), keras_channels.groups(two_layers())
    x = np.array([[1, 0], [-1, 0], [-1, 3], [2, 1]], np.float32)
    alive = ((x @ np.array([[1, -1, 2], [0, 1, 1.0]])) > 0).mean(axis=0)
    found = saliency(model, groups, "apoz", Evidence(Samples((x,)))).values["a"]
    np.testing.assert_allclose(found, alive / alive.mean())


def test_bn_takes_the_scales() -> None:
    inputs = keras.Input((4, 4, 1))
    x = L.BatchNormalization(name="norm")(L.Conv2D(3, 1, name="with")(inputs))
    x = L.Conv2D(2, 1, name="without")(x)
    model = keras.Model(inputs, L.Dense(1)(L.GlobalAveragePooling2D()(x)))
    model.get_layer("norm").gamma.assign([1.0, -4.0, 1.0])
    groups = keras_channels.groups(model)
    found = saliency(model, groups, "bn")
    assert found.values["with"].tolist() == [0.5, 2.0, 0.5]
    l2 = saliency(model, groups, "l2").values
    np.testing.assert_array_equal(found.values["without"], l2["without"])
    assert found.notes == ("bn says nothing of without: ranked by l2",)


def test_what_cannot_be_known_falls_back_and_says_so() -> None:
    model, groups = two_layers(), keras_channels.groups(two_layers())
    inputs = Samples((np.ones((8, 2), np.float32),))
    l2 = saliency(model, groups, "l2").values["a"]
    for kind, given, says in (
        ("taylor", Evidence(inputs), "needs targets"),
        ("taylor", Evidence(), "needs targets"),
        ("apoz", Evidence(), "needs samples"),
        ("bn", Evidence(), "bn says nothing of a"),
    ):
        found = saliency(model, groups, kind, given)
        np.testing.assert_array_equal(found.values["a"], l2)
        assert says in found.notes[0] and "l2" in found.notes[0]


def test_all_channels_in_one_list() -> None:
    values = {"a": np.array([0.1, 3.0, 0.2]), "b": np.array([1.0, 0.5, 0.6, 0.7])}
    found = ranked_together(values, (0.0, 2 / 7, 4 / 7, 6 / 7))
    assert found.tolist() == [[3, 4], [1, 4], [1, 2], [1, 0]]


def test_random_depends_on_the_seed_alone() -> None:
    model = networks.ds_cnn()
    groups = keras_channels.groups(model)
    one, same, other = (
        saliency(model, groups, "random", Evidence(seed=seed)).values for seed in (1, 1, 2)
    )
    for name in groups.names:
        assert (one[name] == same[name]).all()
        assert (one[name] != other[name]).any()


def test_a_layer_of_zeros_ranks_its_channels_equally() -> None:
    model = residual()
    for name in "ab":
        model.get_layer(name).set_weights([np.zeros((2, 3)), np.zeros(3)])
    assert saliency(model, keras_channels.groups(model), "l1").values["a"].tolist() == [1, 1, 1]


def test_keep_takes_the_best_in_the_order_of_indexes() -> None:
    values = {"a": np.array([1.0, 5.0, 3.0, 5.0, 1.0]), "b": np.array([2.0, 1.0])}
    kept = keep(values, {"a": 3})
    assert set(kept) == {"a"} and kept["a"].tolist() == [1, 2, 3]
    assert kept["a"].dtype == np.int64
    assert keep(values, {"a": 1})["a"].tolist() == [1]
    assert keep(values, {"a": 4, "b": 2})["a"].tolist() == [0, 1, 2, 3]


def test_wrong_requests_say_what_is_known() -> None:
    model = residual()
    with pytest.raises(UnknownNameError, match="Known: apoz, bn, l1, l2, random, taylor"):
        saliency(model, keras_channels.groups(model), "l3")
    with pytest.raises(UnknownNameError, match="Known: a"):
        keep({"a": np.ones(3)}, {"b": 1})
    for width in (0, 4):
        with pytest.raises(InputError, match="expected 1 to 3"):
            keep({"a": np.ones(3)}, {"a": width})
