"""A pruned network computes what the original computes when nothing reads the removed channels."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from hwsearch.compress import structured
from hwsearch.graph import keras_channels
from tests import networks


def outputs(model: keras.Model, inputs: list[np.ndarray]) -> list[np.ndarray]:
    tensors = keras.tree.pack_sequence_as(keras_channels.functional(model).input, inputs)
    return [np.asarray(y, np.float64) for y in keras.tree.flatten(model(tensors, training=False))]


def relative_error(model: keras.Model, other: keras.Model) -> float:
    inputs = networks.random_inputs(model)
    return max(
        np.abs(a - b).max() / max(np.abs(b).max(), 1e-3)
        for a, b in zip(outputs(model, inputs), outputs(other, inputs), strict=True)
    )


def assert_prunes(model: keras.Model, seeds=(0, 1)) -> None:
    networks.randomise(model)
    groups = keras_channels.groups(model)
    assert groups.groups
    for seed in seeds:
        keep = networks.random_keep(groups, seed)
        pruned = structured.prune(model, groups, keep)
        zeroed = structured.zeroed(model, groups, keep)
        print(
            model.name,
            len(groups.groups),
            model.count_params(),
            pruned.count_params(),
            relative_error(pruned, zeroed),
            relative_error(pruned, model),
        )
        assert relative_error(pruned, zeroed) <= 1e-6
        assert pruned.count_params() < 0.8 * model.count_params()
        assert [path for path, _ in keras_channels.layers(pruned)] == [
            p for p, _ in keras_channels.layers(model)
        ]


@pytest.mark.parametrize("name", networks.SMALL)
def test_small(name: str) -> None:
    assert_prunes(networks.SMALL[name]())


@pytest.mark.slow
@pytest.mark.parametrize("name", networks.LARGE)
def test_large(name: str) -> None:
    assert_prunes(networks.LARGE[name](), seeds=(0,))
