"""Sensitivity: which operator suffers from 4-bit weights, where that is so by construction."""

from __future__ import annotations

import keras
import networks
import numpy as np
from keras import layers as L

from hwsearch.compress.quantize import calibrate
from hwsearch.compress.sensitivity import sensitivity
from hwsearch.convert import to_float_tflite


def test_the_operator_whose_weights_need_their_bits_is_the_most_sensitive() -> None:
    """The first two have weights that 4 bits hold exactly; the third has one giant weight."""
    inputs = keras.Input((6, 6, 4))
    x = L.ReLU()(L.Conv2D(8, 3, name="exact")(inputs))
    x = L.Flatten()(L.ReLU()(L.Conv2D(8, 1, name="too")(x)))
    model = keras.Model(inputs, L.Dense(5, name="giant")(x))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            grid = rng.integers(-7, 8, kernel.shape).astype(np.float32)
            grid[..., :1] = 7
            grid.reshape(-1, kernel.shape[-1])[0] = 7
            layer.set_weights([grid / 70, bias])
    kernel, bias = model.get_layer("giant").get_weights()
    kernel = rng.normal(size=kernel.shape).astype(np.float32) / 10
    kernel[0, 0] = 20
    model.get_layer("giant").set_weights([kernel, bias])
    (data,) = networks.random_inputs(model, 32)
    calibration = calibrate(to_float_tflite(model), [data])
    kinds = ("conv_2d", "fully_connected")
    graph = calibration.model.graph
    ops = [i for i, op in enumerate(graph.ops) if op.kind in kinds]
    exact, too, giant = sensitivity(calibration, [data], ops)
    assert 0 <= exact < 0.01 and 0 <= too < 0.01
    assert giant > 10 * max(exact, too)
