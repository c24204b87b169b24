"""Quantization: bits where they were asked for, ranges that hold, errors that say why."""

from __future__ import annotations

from functools import cache

import keras
import networks
import numpy as np
import pytest
from keras import layers as L

from hwsearch.compress import quantize as module
from hwsearch.compress.quantize import calibrate, named_by_index, quantize
from hwsearch.convert import to_float_tflite
from hwsearch.errors import ConversionError
from hwsearch.evaluate import fast
from hwsearch.graph.tflite import read


@cache
def calibration():
    model = networks.randomise(networks.cnn())
    inputs = networks.random_inputs(model, 32)
    content = to_float_tflite(model)
    return content, inputs, calibrate(content, inputs)


def weighted(graph) -> list[int]:
    kinds = ("conv_2d", "fully_connected")
    return [i for i, op in enumerate(graph.ops) if op.kind in kinds]


@pytest.mark.parametrize("bits", [8, 16])
def test_activations_have_the_bits_asked_for(bits: int) -> None:
    _, _, found = calibration()
    graph = read(quantize(found, bits, {})).graph
    tensors = [graph.tensors[i] for op in graph.ops for i in op.outputs]
    assert {t.dtype for t in tensors if not t.is_constant and t.dtype != "int32"} == {f"int{bits}"}
    assert {graph.tensors[i].dtype for i in (*graph.inputs, *graph.outputs)} == {f"int{bits}"}
    assert [op.kind for op in graph.ops] == [op.kind for op in found.model.graph.ops]


def test_each_operator_has_its_own_weight_bits() -> None:
    _, _, found = calibration()
    operators = weighted(found.model.graph)
    for low in ([], operators[:1], operators[1::2], operators):
        graph = read(quantize(found, 8, dict.fromkeys(low, 4))).graph
        for index in operators:
            weights = graph.tensors[graph.ops[index].inputs[1]]
            assert weights.dtype == ("int4" if index in low else "int8")
            dense = graph.ops[index].kind == "fully_connected"
            assert weights.scales == (1 if dense and index in low else weights.shape[0])


def test_outputs_stay_near_the_float_models() -> None:
    content, inputs, found = calibration()
    (expected,) = fast(content, inputs)
    errors = {}
    for name, activation, weight in (("a16", 16, 8), ("a8", 8, 8), ("w4", 8, 4)):
        bits = dict.fromkeys(weighted(found.model.graph), weight)
        (outputs,) = fast(quantize(found, activation, bits), inputs)
        errors[name] = float(np.abs(outputs - expected).max())
    assert errors["a16"] < 0.02 and errors["a8"] < 0.1 and errors["w4"] < 0.9
    assert errors["a16"] < errors["a8"] < errors["w4"]


def test_ranges_hold_every_calibration_sample() -> None:
    """One sample is ten times the others: nothing of it may be clipped."""
    inputs = keras.Input((4, 4, 2))
    model = keras.Model(inputs, L.Conv2D(3, 3, padding="same")(inputs))
    networks.randomise(model)
    (x,) = networks.random_inputs(model, 40)
    x[7] *= 10
    content = to_float_tflite(model)
    artefact = quantize(calibrate(content, [x]), 16, {})
    (expected,), (outputs,) = fast(content, [x]), fast(artefact, [x])
    assert np.abs(outputs - expected).max() < 1e-3 * np.abs(expected).max() * 5


def test_ranges_hold_the_end_of_sorted_data() -> None:
    """Ten times as loud at the end as at the start, and five times as many as are looked at."""
    inputs = keras.Input((4, 4, 2))
    model = keras.Model(inputs, L.Conv2D(3, 3, padding="same")(inputs))
    networks.randomise(model)
    count = 5 * module.CALIBRATION_SAMPLES
    (x,) = networks.random_inputs(model, count)
    x *= np.linspace(0.1, 1, count, dtype=np.float32).reshape(-1, 1, 1, 1)
    content = to_float_tflite(model)
    artefact = quantize(calibrate(content, [x]), 16, {})
    (expected,), (outputs,) = fast(content, [x[-50:]]), fast(artefact, [x[-50:]])
    assert np.abs(outputs - expected).max() < 0.1 * np.abs(expected).max()


def test_a_dead_activation_does_not_saturate_what_follows() -> None:
    inputs = keras.Input((6,))
    x = L.Dense(4, activation="relu", bias_initializer=keras.initializers.Constant(-50))(inputs)
    model = keras.Model(inputs, L.Dense(3, bias_initializer="ones")(x))
    (data,) = networks.random_inputs(model, 8)
    content = to_float_tflite(model)
    artefact = quantize(calibrate(content, [data]), 8, {})
    (outputs,) = fast(artefact, [data])
    assert outputs == pytest.approx(np.ones((8, 3)), abs=0.02)
    biases = [read(artefact).constant(op.inputs[2]) for op in read(artefact).graph.ops]
    assert max(np.abs(b).max() for b in biases) < 2**30


def test_operators_that_share_weights_share_bits() -> None:
    shared = L.Conv2D(4, 1)
    inputs = keras.Input((4, 4, 4))
    model = keras.Model(inputs, shared(L.ReLU()(shared(inputs))))
    networks.randomise(model)
    found = calibrate(to_float_tflite(model), networks.random_inputs(model, 4))
    first = weighted(found.model.graph)[0]
    graph = read(quantize(found, 8, {first: 4})).graph
    assert {graph.tensors[graph.ops[i].inputs[1]].dtype for i in weighted(graph)} == {"int4"}
    assert len({graph.ops[i].inputs[1] for i in weighted(graph)}) == 1


def test_a_calibration_serves_many_recipes() -> None:
    _, _, found = calibration()
    again = [quantize(found, 8, {}) for _ in range(2)]
    quantize(found, 16, {})
    assert again[0] == again[1] == quantize(found, 8, {})


def test_large_files_keep_their_data() -> None:
    """From 256 KiB on the quantizer appends data after the flatbuffer."""
    inputs = keras.Input((64,))
    model = keras.Model(inputs, L.Dense(64)(L.Dense(4200)(inputs)))
    data = networks.random_inputs(model, 4)
    content = to_float_tflite(model)
    artefact = quantize(calibrate(content, data), 8, {})
    assert len(artefact) > 2 * 64 * 4200
    (expected,), (outputs,) = fast(content, data), fast(artefact, data)
    assert np.abs(outputs - expected).max() < 0.1 * np.abs(expected).max()


def test_names_are_indexes() -> None:
    content, _, _ = calibration()
    graph = read(named_by_index(content)).graph
    assert [t.name for t in graph.tensors] == [str(i) for i in range(len(graph.tensors))]
    assert graph.ops == read(content).graph.ops
    assert graph.file_bytes < len(content)


def test_fewer_samples_than_calibration_takes() -> None:
    content, inputs, _ = calibration()
    assert read(quantize(calibrate(content, [inputs[0][:1]]), 8, {})).graph.ops


def test_wrong_inputs_are_a_conversion_error() -> None:
    content, inputs, _ = calibration()
    with pytest.raises(ConversionError, match="calibration failed"):
        calibrate(content, [inputs[0][:, :3]])


def test_a_file_without_a_signature() -> None:
    from tflite_network import Network

    net = Network(np.random.default_rng(0))
    content = net.finish(net.unary("relu")(net.input((1, 4))))
    with pytest.raises(ConversionError, match="no signature"):
        calibrate(content, [np.zeros((1, 4), np.float32)])


def test_a_quantizer_that_fails(monkeypatch) -> None:
    _, _, found = calibration()

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr("litert_quantizer.quantizer.Quantizer.quantize", fails)
    with pytest.raises(ConversionError, match="quantization failed: RuntimeError: no such thing"):
        quantize(found, 8, {})
    assert module.CALIBRATION_SAMPLES >= 32
