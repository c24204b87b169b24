"""Saliency against numbers worked out by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers as L

from hwsearch.compress.saliency import KINDS_OF_SALIENCY, keep, saliency
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
    np.testing.assert_allclose(saliency(model, groups, "l1", 0)["a"], l1 / l1.mean())
    np.testing.assert_allclose(saliency(model, groups, "l2", 0)["a"], l2 / l2.mean())


@pytest.mark.parametrize("kind", KINDS_OF_SALIENCY)
def test_every_kind_covers_every_group_with_mean_one(kind: str) -> None:
    for build in (networks.separable, networks.nested, networks.concat):
        model = networks.randomise(build())
        groups = keras_channels.groups(model)
        found = saliency(model, groups, kind, 3)
        assert tuple(found) == groups.names
        for group in groups.groups:
            values = found[group.name]
            assert values.shape == (group.width,) and values.dtype == np.float64
            assert (values >= 0).all() and np.ptp(values) > 0
            assert values.mean() == pytest.approx(1)


def test_random_depends_on_the_seed_alone() -> None:
    model = networks.ds_cnn()
    groups = keras_channels.groups(model)
    one, same, other = (saliency(model, groups, "random", seed) for seed in (1, 1, 2))
    for name in groups.names:
        assert (one[name] == same[name]).all()
        assert (one[name] != other[name]).any()


def test_a_layer_of_zeros_ranks_its_channels_equally() -> None:
    model = residual()
    for name in "ab":
        model.get_layer(name).set_weights([np.zeros((2, 3)), np.zeros(3)])
    assert saliency(model, keras_channels.groups(model), "l1", 0)["a"].tolist() == [1, 1, 1]


def test_keep_takes_the_best_in_the_order_of_indexes() -> None:
    values = {"a": np.array([1.0, 5.0, 3.0, 5.0, 1.0]), "b": np.array([2.0, 1.0])}
    kept = keep(values, {"a": 3})
    assert set(kept) == {"a"} and kept["a"].tolist() == [1, 2, 3]
    assert kept["a"].dtype == np.int64
    assert keep(values, {"a": 1})["a"].tolist() == [1]
    assert keep(values, {"a": 4, "b": 2})["a"].tolist() == [0, 1, 2, 3]


def test_wrong_requests_say_what_is_known() -> None:
    model = residual()
    with pytest.raises(UnknownNameError, match="Known: l1, l2, random"):
        saliency(model, keras_channels.groups(model), "l3", 0)
    with pytest.raises(UnknownNameError, match="Known: a"):
        keep({"a": np.ones(3)}, {"b": 1})
    for width in (0, 4):
        with pytest.raises(InputError, match="expected 1 to 3"):
            keep({"a": np.ones(3)}, {"a": width})
