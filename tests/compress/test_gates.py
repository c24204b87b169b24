"""Gates of 0 and 1 against the pruned network; every family."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from hwsearch.compress.gates import gates
from hwsearch.compress.structured import prune
from hwsearch.graph import keras_channels
from tests import networks

FAMILIES = ("cnn", "resnet8", "ds_cnn", "autoencoder", "separable", "nested", "concat")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_gated_network_computes_what_the_pruned_one_does(family: str) -> None:
    model = networks.randomise(getattr(networks, family)())
    groups = keras_channels.groups(model)
    rng = np.random.default_rng(1)
    keep = {
        g.name: np.sort(rng.permutation(g.width)[: max(1, g.width // 2)]) for g in groups.groups
    }
    inputs = [rng.normal(size=(2, *t.shape[1:])).astype(np.float32) for t in model.inputs]
    packed = keras.tree.pack_sequence_as(keras_channels.functional(model).input, inputs)
    gate = groups.kept(keep)[:-1].astype(np.float32)
    trained, fixed = gates(model, groups).apply(model, gate)
    gated, _ = model.stateless_call(trained, fixed, packed, training=False)
    pruned = prune(model, groups, keep)(packed, training=False)
    for one, other in zip(keras.tree.flatten(gated), keras.tree.flatten(pruned), strict=True):
        scale = np.abs(other).max() or 1
        np.testing.assert_allclose(np.asarray(one) / scale, np.asarray(other) / scale, atol=1e-5)
