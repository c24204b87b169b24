"""A channel whose weights are all zero keeps its bias through quantization."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from hwsearch import oracle
from hwsearch.codegen.refuse_numbers import refusals_of
from hwsearch.compress.quantize import calibrate, quantize
from hwsearch.convert import to_float_tflite
from hwsearch.evaluate import exact
from hwsearch.graph.tflite import read


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((6, 6, 2)),
            layers.Conv2D(6, 3, activation="relu"),
            layers.DepthwiseConv2D(2),
            layers.Flatten(),
            layers.Dense(5),
        ]
    )


def set_channels(layer: keras.Layer, factor: dict[int, float], axis: int = -1) -> None:
    """Multiplies channels of a kernel; every bias becomes worth having."""
    kernel, bias = layer.get_weights()
    moved = np.moveaxis(kernel, axis, 0)
    for channel, times in factor.items():
        moved[channel] *= times
    layer.set_weights([kernel, np.linspace(0.4, 1.3, len(bias)).astype(np.float32)])


@pytest.mark.parametrize(("bits", "small"), [(8, 0.0), (8, 1e-8), (16, 0.0)])
def test_biases_of_channels_without_weights(bits: int, small: float) -> None:
    if not oracle.available():
        pytest.skip("no tflite-micro wheel here")
    model = network()
    conv, depthwise, _, dense = model.layers
    set_channels(conv, {1: small, 4: 0.0})
    set_channels(depthwise, {2: 0.0}, 2)
    set_channels(dense, dict.fromkeys(range(5), 0.0))
    x = np.random.default_rng(0).random((64, 6, 6, 2)).astype(np.float32)
    head = keras.Model(model.inputs, depthwise.output)
    for part in (head, model):
        content = quantize(calibrate(to_float_tflite(part), [x]), bits, {})
        parsed = read(content)
        assert refusals_of(parsed) == []
        outputs, _, _ = exact(content, [x[:8]], 100_000)
        wanted = part.predict(x[:8], verbose=0)
        # The least bias is 0.4: a lost one is seen.
        assert np.abs(outputs[0].reshape(wanted.shape) - wanted).max() < 0.05


def test_what_needs_no_other_scale_stays_as_it_is() -> None:
    from hwsearch.compress.scales import with_room_for_biases

    x = np.random.default_rng(0).random((8, 6, 6, 2)).astype(np.float32)
    calibration = calibrate(to_float_tflite(network()), [x])
    content = quantize(calibration, 8, {})
    assert with_room_for_biases(content, calibration.model) is content
