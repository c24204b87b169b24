"""Training with zeros, shared values and quantized weights: they are there all the time."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from hwsearch.compress import straight_through
from hwsearch.compress.elementwise import CODES, Elementwise, kernels, project, scales
from hwsearch.compress.quantize import calibrate, quantize
from hwsearch.compress.straight_through import Plan
from hwsearch.compress.tuning import Tuning
from hwsearch.convert import to_float_tflite
from hwsearch.data import Samples
from hwsearch.graph import tflite
from tests import digits

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


@pytest.mark.slow
def test_qat_beats_quantizing_afterwards(trained) -> None:
    """Four-bit weights, the same epochs, the same data in the same order."""
    from hwsearch.evaluate import fast

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
