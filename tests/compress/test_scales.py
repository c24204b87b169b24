"""A channel whose weights are all zero keeps its bias through quantization."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from codegen.generated_host import build, differences, random_samples, run
from codegen.generated_host import oracle as tflm_outputs

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


def test_4_bit_weights_that_are_nothing_beside_their_bias_stay_nothing() -> None:
    if not oracle.available():
        pytest.skip("no tflite-micro wheel here")
    model = network()
    set_channels(model.layers[0], {1: 1e-8, 4: 0.0})
    set_channels(model.layers[3], {2: 1e-9})
    x = np.random.default_rng(0).random((64, 6, 6, 2)).astype(np.float32)
    calibration = calibrate(to_float_tflite(model), [x])
    ops = [i for i, op in enumerate(calibration.model.graph.ops)
           if op.kind in ("conv_2d", "fully_connected")]  # fmt: skip
    content = quantize(calibration, 8, dict.fromkeys(ops, 4))
    parsed = read(content)
    assert refusals_of(parsed) == []
    conv = next(op for op in parsed.graph.ops if op.kind == "conv_2d")
    assert parsed.graph.tensors[conv.inputs[1]].dtype == "int4"
    codes = parsed.constant(conv.inputs[1]).reshape(6, -1)
    assert not codes[[1, 4]].any() and all(np.abs(codes[i]).max() == 7 for i in (0, 2, 3, 5))
    outputs, _, _ = exact(content, [x[:8]], 100_000)
    wanted = model.predict(x[:8], verbose=0)
    assert np.abs(outputs[0] - wanted).max() < 0.15  # 4 bits; a lost bias is 0.4 at least


@pytest.mark.parametrize("least", [1e-3, 1e-5, 1e-7, 1e-10])
def test_at_16_bits_small_weights_count_beside_a_large_bias(least: float) -> None:
    if not oracle.available():
        pytest.skip("no tflite-micro wheel here")
    model = network()
    conv = model.layers[0]
    set_channels(conv, {1: 1e-3, 4: least})
    x = np.random.default_rng(0).random((64, 6, 6, 2)).astype(np.float32)
    head = keras.Model(model.inputs, conv.output)
    content = quantize(calibrate(to_float_tflite(head), [x]), 16, {})
    assert refusals_of(read(content)) == []
    outputs, _, _ = exact(content, [x[:8]], 100_000)
    wanted = head.predict(x[:8], verbose=0)
    spread = np.ptp(wanted[..., [1, 4]], axis=(0, 1, 2))
    error = np.abs(outputs[0].reshape(wanted.shape) - wanted)[..., [1, 4]].max(axis=(0, 1, 2))
    step = read(content).quantization[read(content).graph.outputs[0]].scale[0]
    assert (error < 0.2 * spread + step).all()


def test_generated_c_gives_the_same_bytes(tmp_path: Path) -> None:
    if not oracle.available():
        pytest.skip("no tflite-micro wheel here")
    contents = []
    for least in (1e-3, 1e-7):
        model = network()
        set_channels(model.layers[0], {1: 1e-3, 4: least})
        set_channels(model.layers[3], {2: least})
        x = np.random.default_rng(0).random((64, 6, 6, 2)).astype(np.float32)
        found = calibrate(to_float_tflite(model), [x])
        low = {i: 4 for i, op in enumerate(found.model.graph.ops) if op.kind == "conv_2d"}
        contents += [quantize(found, *bits) for bits in ((8, {}), (8, low), (16, {}))]
    jobs = [(c, random_samples(c, 20, np.random.default_rng(1))) for c in contents]
    program = build(contents, tmp_path, ["-fsanitize=undefined", "-fno-sanitize-recover"])
    assert differences(tflm_outputs(jobs), run(program, jobs)) == [0] * len(jobs)


def test_what_needs_no_other_scale_stays_as_it_is() -> None:
    from hwsearch.compress.scales import with_room_for_biases

    x = np.random.default_rng(0).random((8, 6, 6, 2)).astype(np.float32)
    calibration = calibrate(to_float_tflite(network()), [x])
    content = quantize(calibration, 8, {})
    assert with_room_for_biases(content, calibration.model) is content
