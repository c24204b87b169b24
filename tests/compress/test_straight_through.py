"""Training with zeros, shared values and quantized weights: they are there all the time."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from hwsearch.compress import straight_through
from hwsearch.compress.elementwise import CODES, Elementwise, kernels, project, scales
from hwsearch.compress.fake_quantize import is_rounded
from hwsearch.compress.quantize import calibrate, quantize
from hwsearch.compress.rounding import rounded
from hwsearch.compress.straight_through import Plan
from hwsearch.compress.tuning import Tuning
from hwsearch.convert import to_float_tflite
from hwsearch.data import Samples
from hwsearch.evaluate import fast
from hwsearch.graph import tflite
from hwsearch.train import estimate_statistics
from tests import digits, networks

WEIGHTED = ("conv_2d", "depthwise_conv_2d", "fully_connected", "transpose_conv")
SETTINGS = {"learning_rate": 2e-3, "batch_size": 64, "samples": 0, "seed": 0}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    train, val = digits.data()
    path = tmp_path_factory.mktemp("model") / "model.keras"
    digits.network(train, epochs=6).save(path)
    return path, Samples((train[0],), (train[1],)), Samples((val[0],), (val[1],))


def accuracy(model, data: Samples) -> float:
    return float((model.predict(data.inputs[0], verbose=0).argmax(1) == data.targets[0]).mean())


def tuned(path, data: Samples, wanted: Elementwise, schedule: str, epochs: int, low=None):
    model = keras.models.load_model(path)
    loss = "sparse_categorical_crossentropy"
    found = Tuning(data, loss, SETTINGS, wanted, schedule, epochs, low or {})(model, epochs)
    return model, found


def test_sparsity_is_regained(trained) -> None:
    path, data, val = trained
    at_once = keras.models.load_model(path)
    wanted = Elementwise(sparsity=0.9)
    project(at_once, wanted)
    model, found = tuned(path, data, wanted, "agp", 3)
    assert len(found.curve) == 3
    for _, kernel in kernels(model):
        assert (kernel.numpy() == 0).mean() == pytest.approx(0.9, abs=0.02)
    assert accuracy(model, val) > accuracy(at_once, val) + 0.05
    artefact = tflite.read(quantize(calibrate(to_float_tflite(model), data.inputs), 8, {}))
    weighted = [op for op in artefact.graph.ops if op.kind in ("conv_2d", "fully_connected")]
    for op in weighted:
        assert (artefact.constant(op.inputs[1]) == 0).mean() >= 0.88


def test_shared_codes_reach_the_artefact(trained) -> None:
    path, data, val = trained
    wanted = Elementwise(sparsity=0.5, clusters=16)
    at_once = keras.models.load_model(path)
    project(at_once, wanted)
    model, _ = tuned(path, data, wanted, "one-shot", 2)
    artefact = tflite.read(quantize(calibrate(to_float_tflite(model), data.inputs), 8, {}))
    for op in artefact.graph.ops:
        if op.kind in ("conv_2d", "fully_connected"):
            codes = artefact.constant(op.inputs[1])
            assert len(np.unique(codes)) <= 16
            assert (codes == 0).mean() >= 0.49
    assert accuracy(model, val) > accuracy(at_once, val)


def test_a_network_without_epochs_gets_them_too(trained) -> None:
    path, data, _ = trained
    model, _ = tuned(path, data, Elementwise(sparsity=0.5, pattern="2:4"), "agp", 0)
    for _, kernel in kernels(model):
        assert 0.4 < (kernel.numpy() == 0).mean() <= 0.5


def test_zeros_rise_by_the_schedule() -> None:
    def shares(schedule: str, **span: float) -> list[float]:
        plan = Plan(Elementwise(sparsity=0.8), schedule, **span)
        return [round(plan.at(t).sparsity, 3) for t in (0.0, 0.25, 0.5, 1.0)]

    assert shares("one-shot") == [0.8] * 4
    assert shares("iterative") == [0.0, 0.4, 0.8, 0.8]
    assert shares("agp") == [0.0, 0.7, 0.8, 0.8]
    assert shares("iterative", begin=0.0, end=0.25) == [0.0, 0.1, 0.2, 0.4]
    assert not Plan(Elementwise(), begin=0.5).settled(0.5)
    assert Plan(Elementwise(), begin=0.5).settled(0.6)


def test_qat_puts_weights_on_the_grid_of_their_bits(trained) -> None:
    path, data, _ = trained
    base = keras.models.load_model(path)
    graph = tflite.read(to_float_tflite(base)).graph
    ops = [i for i, op in enumerate(graph.ops) if op.kind in ("conv_2d", "fully_connected")]
    model, found = tuned(path, data, Elementwise(qat=True), "one-shot", 1, dict.fromkeys(ops, 4))
    assert found.notes == ()
    for _, kernel in kernels(model):
        values = kernel.numpy()
        if values.ndim == 2:
            steps = values / np.abs(values).max() * 7
        else:
            steps = values / scales(values) * 7
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)


def noise(model: keras.Model, count: int = 64) -> Samples:
    rng = np.random.default_rng(0)
    (made,) = (tuple(t.shape[1:]) for t in model.outputs)
    targets = (rng.normal(size=(count, *made)).astype(np.float32),)
    return Samples(tuple(networks.random_inputs(model, count)), targets)


def off_the_grid(model: keras.Model, data: Samples, low=None) -> dict[str, float]:
    """By kind of operator how far its weights are from those of the artefact at most, in steps."""
    found = calibrate(to_float_tflite(model), data.inputs)
    artefact = tflite.read(quantize(found, 8, low or {}))
    off: dict[str, float] = {}
    pairs = ([op for op in m.graph.ops if op.kind in WEIGHTED] for m in (found.model, artefact))
    for exact, op in zip(*pairs, strict=True):
        scales = artefact.quantization[op.inputs[1]]
        shape = [1] * len(artefact.graph.tensors[op.inputs[1]].shape)
        shape[scales.axis] = scales.scale.size
        steps = found.model.constant(exact.inputs[1]) / scales.scale.reshape(shape)
        worst = float(np.abs(steps - artefact.constant(op.inputs[1])).max())
        off[op.kind] = max(off.get(op.kind, 0.0), worst)
    return off


@pytest.mark.parametrize("build", [networks.separable, networks.conv1d])
def test_qat_rounds_every_kernel_that_the_artefact_rounds(build) -> None:
    """Depthwise, separable and transposed ones, and those of layers that do not train."""
    model = networks.randomise(build())
    data = noise(model)
    weighted = [x for x in model.layers if "kernel" in [w.name for w in x.weights]]
    weighted[0].trainable = False
    found = Tuning(data, "mse", SETTINGS, Elementwise(qat=True), "one-shot", 1, {})(model, 1)
    assert found.notes == ()
    off = off_the_grid(model, data)
    assert "depthwise_conv_2d" in off and max(off.values()) < 0.01


def test_zeros_leave_what_is_rounded_alone() -> None:
    layers = [
        keras.Input((6, 6, 2)),
        keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
        keras.layers.BatchNormalization(),
        keras.layers.Conv2D(3, 3),
    ]
    model = networks.randomise(keras.Sequential(layers))
    wanted = Elementwise(sparsity=0.5, clusters=16, qat=True)
    Tuning(noise(model), "mse", SETTINGS, wanted, "one-shot", 1, {})(model, 1)
    treated = {id(variable) for _, variable in kernels(model)}
    for kernel in rounded(model):
        shares = float((kernel.variable.numpy() == 0).mean())
        assert (shares > 0.4) == (id(kernel.variable) in treated)


def test_qat_says_which_weights_it_does_not_round() -> None:
    inputs = keras.Input((6,))
    x = keras.layers.Embedding(10, 4, name="words")(inputs)
    x = keras.layers.LSTM(3, name="memory", unroll=True)(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.PReLU()(x)))
    rng = np.random.default_rng(0)
    data = Samples(
        (rng.integers(0, 10, (32, 6)).astype(np.float32),),
        (rng.normal(size=(32, 2)).astype(np.float32),),
    )
    found = Tuning(data, "mse", SETTINGS, Elementwise(qat=True), "one-shot", 1, {})(model, 1)
    (note,) = found.notes
    assert "words (Embedding), memory (LSTM)" in note and "PReLU" not in note


def test_the_mean_of_a_map_has_a_range_of_its_own() -> None:
    inputs = keras.Input((6, 6, 2))
    pool = keras.layers.GlobalAveragePooling2D()
    x = pool(keras.layers.Conv2D(4, 3, activation="relu")(inputs))
    model = networks.randomise(keras.Model(inputs, keras.layers.Dense(2)(x)))
    found = calibrate(to_float_tflite(model), networks.random_inputs(model, 16))
    artefact = tflite.read(quantize(found, 8, {}))
    (mean,) = (op for op in artefact.graph.ops if op.kind == "mean")
    read, made = (artefact.quantization[i] for i in (mean.inputs[0], mean.outputs[0]))
    assert float(made.scale[0]) < 0.9 * float(read.scale[0])
    assert is_rounded(pool)


def test_a_normalisation_is_in_the_one_scale_of_a_dense_layer(monkeypatch) -> None:
    """Four bits: how far the artefact's outputs are from those that were trained."""
    keras.utils.set_random_seed(0)
    layers = [
        keras.Input((32,)), keras.layers.Dense(16), keras.layers.Dropout(0.1),
        keras.layers.BatchNormalization(name="norm"), keras.layers.ReLU(), keras.layers.Dense(3),
    ]  # fmt: skip
    original = keras.Sequential(layers)
    gamma = np.exp(np.random.default_rng(0).normal(size=16))
    gamma[3] = 0
    original.get_layer("norm").gamma.assign(gamma)
    data = noise(original, 256)
    estimate_statistics(original, data, 0)
    low = {0: 4, 1: 4}
    errors = []
    for norm in (straight_through.folded, lambda layer: None):
        monkeypatch.setattr(straight_through, "folded", norm)
        model = keras.models.clone_model(original)
        model.set_weights(original.get_weights())
        wanted = Elementwise(qat=True)
        found = Tuning(data, "mse", SETTINGS, wanted, "one-shot", 2, low)(model, 2)
        assert found.notes == ()
        (made,) = fast(
            quantize(calibrate(to_float_tflite(model), data.inputs), 8, low), data.inputs
        )
        said = model.predict(data.inputs[0], verbose=0)
        errors.append(float(((made - said) ** 2).mean() / said.var()))
    assert errors[0] < errors[1] / 5, errors


@pytest.mark.slow
def test_qat_beats_quantizing_afterwards(trained) -> None:
    """Four-bit weights, the same epochs, the same data in the same order."""
    path, data, val = trained
    base = keras.models.load_model(path)
    graph = tflite.read(to_float_tflite(base)).graph
    low = {i: 4 for i, op in enumerate(graph.ops) if op.kind in ("conv_2d", "fully_connected")}
    scores = {}
    for qat in (False, True):
        model, _ = tuned(path, data, Elementwise(qat=qat), "one-shot", 3, low)
        content = quantize(calibrate(to_float_tflite(model), data.inputs), 8, low)
        (made,) = fast(content, val.inputs)
        picked = np.take_along_axis(made, val.targets[0][:, None].astype(int), 1)
        scores[qat] = float(np.log(np.clip(picked, 1e-3, 1)).mean())
    assert scores[True] > scores[False]
    assert CODES == 127 and straight_through.RAMP < straight_through.SETTLED
