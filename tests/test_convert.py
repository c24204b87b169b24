"""Models through files: what a converted network computes, its names, its order, its refusals."""

from __future__ import annotations

import logging
import warnings

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from keras import layers as L

from hwsearch import convert
from hwsearch.errors import ConversionError, ModelError, ModelFileError
from hwsearch.graph import keras_channels, tflite
from tests import networks


def run(content: bytes, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Outputs of a file in its own order, by LiteRT, for inputs in its own order."""
    graph = tflite.read(content).graph
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    for index, values in zip(graph.inputs, inputs, strict=True):
        interpreter.set_tensor(index, values)
    interpreter.invoke()
    return [interpreter.get_tensor(index) for index in graph.outputs]


def outputs(model: keras.Model, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Outputs of a model in the order of ``model.outputs``."""
    core = keras_channels.functional(model)
    made = core(keras.tree.pack_sequence_as(core.input, inputs), training=False)
    return [np.asarray(y) for y in keras.tree.flatten(made)]


@pytest.mark.parametrize("name", networks.SMALL)
def test_the_file_computes_what_the_model_computes(name: str) -> None:
    model = networks.randomise(networks.SMALL[name]())
    content = convert.to_float_tflite(model)
    inputs = networks.random_inputs(model, batch=1)
    for got, expected in zip(run(content, inputs), outputs(model, inputs), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-5)


def many_ways(as_dictionary: bool) -> keras.Model:
    """Twelve inputs and twelve outputs of one shape, whose names sort in another order."""
    order = np.random.default_rng(0).permutation(12)
    inputs = [keras.Input((3,), name=f"in{i}") for i in order]
    ends = [
        L.Rescaling(float(i + 1), name=f"out{i}")(x + 1.0)
        for i, x in zip(order, inputs, strict=True)
    ]
    if as_dictionary:
        return keras.Model(
            {x.name: x for x in inputs}, {f"key{i}": y for i, y in zip(order, ends, strict=True)}
        )
    return keras.Model(inputs, ends)


@pytest.mark.parametrize("as_dictionary", [False, True])
def test_inputs_and_outputs_keep_the_order_of_the_model(as_dictionary: bool) -> None:
    model = many_ways(as_dictionary)
    content = convert.to_float_tflite(model)
    inputs = [np.full((1, 3), i, np.float32) for i in range(12)]
    expected = outputs(model, inputs)
    for got, wanted in zip(run(content, inputs), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    names_in, names_out = convert.names(model)
    assert [x.name for x in model.inputs] == list(names_in)
    runner = Interpreter(model_content=content).get_signature_runner(convert.SIGNATURE)
    by_name = runner(**dict(zip(names_in, inputs, strict=True)))
    for name, wanted in zip(names_out, expected, strict=True):
        np.testing.assert_array_equal(by_name[name], wanted)
    if as_dictionary:
        assert set(names_out) == {f"key{i}" for i in range(12)}


def test_every_dimension_is_static_and_the_batch_is_one() -> None:
    graph = tflite.read(convert.to_float_tflite(networks.cnn())).graph
    assert graph.tensors[graph.inputs[0]].shape == (1, 12, 12, 3)
    assert not {"shape", "pack"} & {op.kind for op in graph.ops}
    batch = keras.Input(batch_shape=(16, 8, 8, 3), name="sixteen")
    fixed = networks.randomise(keras.Model(batch, L.Flatten()(L.Conv2D(4, 3)(batch))))
    content = convert.to_float_tflite(fixed)
    graph = tflite.read(content).graph
    assert graph.tensors[graph.inputs[0]].shape == (1, 8, 8, 3)
    inputs = networks.random_inputs(fixed, batch=16)
    (got,) = run(content, [inputs[0][:1]])
    np.testing.assert_allclose(got[0], outputs(fixed, inputs)[0][0], rtol=1e-4, atol=1e-5)


def test_constants_are_aligned_for_a_microcontroller() -> None:
    content = convert.to_float_tflite(networks.randomise(networks.resnet8()))
    model = schema.Model.GetRootAsModel(content, 0)
    starts = [
        b._tab.Vector(b._tab.Offset(4))
        for b in map(model.Buffers, range(model.BuffersLength()))
        if b._tab.Offset(4)
    ]
    assert len(starts) > 10
    assert not any(start % 16 for start in starts)


def test_conversion_is_silent_and_leaves_the_model_alone(capfd, caplog) -> None:
    model = networks.randomise(networks.ds_cnn())
    before = [weight.numpy().copy() for weight in model.weights]
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        convert.to_float_tflite(model)
    captured = capfd.readouterr()
    assert (captured.out, captured.err, caplog.records) == ("", "", [])
    for weight, values in zip(model.weights, before, strict=True):
        assert (weight.numpy() == values).all()


def test_equal_models_make_equal_files() -> None:
    model = networks.randomise(networks.ds_cnn())
    assert convert.to_float_tflite(model) == convert.to_float_tflite(model)


class Unconvertible(L.Layer):
    def call(self, x):
        import tensorflow as tf

        return tf.cast(tf.strings.length(tf.strings.as_string(x)), tf.float32)

    def compute_output_shape(self, shape):
        return shape


def test_failures_are_conversion_errors() -> None:
    inputs = keras.Input((4,), name="x")
    with pytest.raises(ConversionError, match="could not convert model 'odd'"):
        convert.to_float_tflite(keras.Model(inputs, Unconvertible()(inputs), name="odd"))
    with pytest.raises(ModelError, match="not built"):
        convert.to_float_tflite(keras.Sequential([L.Dense(2)]))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_saved_models_load(suffix: str, tmp_path) -> None:
    model = networks.randomise(networks.ds_cnn())
    model.compile("adam", "mse", ["mae"])
    path = tmp_path / f"model{suffix}"
    keras.saving.save_model(model, path)
    loaded = convert.load_model(path)
    inputs = networks.random_inputs(model)
    np.testing.assert_array_equal(outputs(loaded, inputs)[0], outputs(model, inputs)[0])
    if suffix == ".keras":
        assert loaded.compiled and loaded.loss == "mse"


@keras.saving.register_keras_serializable("tests")
class Known(L.Layer):
    def call(self, x):
        return x * 2.0


class Stranger(L.Layer):
    def call(self, x):
        return x * 3.0


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_files_that_cannot_be_read_say_why(suffix: str, tmp_path) -> None:
    path = tmp_path / f"model{suffix}"
    with pytest.raises(ModelFileError, match="there is no file"):
        convert.load_model(path)
    path.write_bytes(b"not a model at all")
    with pytest.raises(ModelFileError, match="cannot be read as a Keras 3 model"):
        convert.load_model(path)
    inputs = keras.Input((4,))
    keras.saving.save_model(keras.Model(inputs, L.Lambda(lambda x: x + 1)(inputs)), path)
    with pytest.raises(ModelFileError, match=r"carries Python code, in a lambda.*--trust-model"):
        convert.load_model(path)
    assert convert.load_model(path, trusted=True).count_params() == 0
    keras.saving.save_model(keras.Model(inputs, Stranger()(inputs)), path)
    with pytest.raises(ModelFileError, match="Stranger"):
        convert.load_model(path)
    keras.saving.save_model(keras.Model(inputs, Known()(inputs)), path)
    assert convert.load_model(path).count_params() == 0
    with pytest.raises(ModelFileError, match=r"not a \.keras or \.h5"):
        convert.load_model(tmp_path / "model.pt")


def test_lambdas_travel_beside_the_file_with_what_they_call(tmp_path) -> None:
    from hwsearch.problem import custom_objects
    from hwsearch.search import carried

    by = 3

    def shifted(t):
        return keras.ops.add(t, by)

    inputs = keras.Input((4,))
    x = L.Lambda(lambda t: keras.ops.multiply(t, 2))(inputs)
    x = L.Lambda(shifted, output_shape=lambda shape: shape)(x)
    model = keras.Model(inputs, L.Lambda(lambda t: t - 1)(x))
    convert.save_model(model, tmp_path / "model.keras")
    assert [layer.function.__name__ for layer in model.layers[1:]] == [
        "<lambda>",
        "shifted",
        "<lambda>",
    ]
    with keras.saving.custom_object_scope(carried.loads(carried.dumps(custom_objects(model)))):
        copy = convert.load_model(tmp_path / "model.keras", trusted=True)
    np.testing.assert_array_equal(copy(np.eye(4)), 2 * np.eye(4) + 3 - 1)
    with pytest.raises(ModelFileError):
        convert.load_model(tmp_path / "model.keras", trusted=True)
