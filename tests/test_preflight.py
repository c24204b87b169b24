"""What to mend of a model, and that the gain told is the one that mending brings."""

from __future__ import annotations

import numpy as np
import pytest
from tflite_network import Network

from hwsearch.board import boards
from hwsearch.preflight import preflight

BOARD = boards()["nucleo-l4r5zi"]


def small(wide: int = 8) -> bytes:
    """Two convolutions and a dense layer."""
    net = Network(np.random.default_rng(0))
    y = net.conv(net.conv(net.input((1, 8, 8, 4)), wide, (3, 3)), 8, (3, 3))
    return net.finish(net.dense(net.mean(y), 3))


def two_samples() -> bytes:
    net = Network(np.random.default_rng(0))
    return net.finish(net.unary("logistic")(net.input((2, 8, 8, 4))))


def saved(tmp_path, content: bytes) -> str:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    return str(path)


def test_nothing_to_mend(tmp_path) -> None:
    found = preflight(saved(tmp_path, small()), BOARD)
    assert found.findings == ()
    assert all(s.runs for s in found.support)
    assert found.runs_on(["aot", "tflm"]) and found.runs_on([])


@pytest.mark.parametrize(
    ("content", "said"),
    [(two_samples(), "more than one sample"), (small(wide=6), "no multiple of 4")],
)
def test_what_is_told_without_a_gain(tmp_path, content: bytes, said: str) -> None:
    (found,) = preflight(saved(tmp_path, content), BOARD).findings
    assert said in found.problem and found.flash_bytes is None


def test_an_int16_model_is_refused_where_no_kernel_is(tmp_path) -> None:
    net = Network(np.random.default_rng(0), "int16")
    path = saved(tmp_path, net.finish(net.conv(net.input((1, 8, 8, 3)), 4)))
    found = preflight(path, BOARD, ["tflm", "x-cube-ai-8.1"])
    runs = {s.backend: s.runs for s in found.support}
    assert runs == {"tflm": True, "x-cube-ai-8.1": False}
    assert found.runs_on(["tflm"]) and not found.runs_on(["tflm", "x-cube-ai-8.1"])


@pytest.fixture(scope="module")
def keras_model():
    import keras

    layers = keras.layers
    inputs = keras.Input((6,))
    x = layers.Flatten()(layers.Reshape((2, 4))(layers.Dense(8)(inputs)))
    return keras.Model(inputs, layers.Dense(2)(x))


def converted(model, batch: int | None, integer: bool) -> bytes:
    """By TensorFlow's own converter, as a newcomer calls it."""
    import keras
    import tensorflow as tf

    from hwsearch.quiet import silence

    with silence():
        if batch:
            inputs = keras.Input(batch_shape=(batch, 6))
            model = keras.Model(inputs, model(inputs))
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        rng = np.random.default_rng(0)
        converter.representative_dataset = lambda: (
            [rng.random((1, 6), np.float32)] for _ in range(8)
        )
        if integer:
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        return bytes(converter.convert())


def test_the_gain_is_what_the_converter_saves_when_told_so(tmp_path, keras_model) -> None:
    """The batch fixed in Keras and converted again: RAM falls by what was told, or more:
    the converter then joins reshapes, too."""
    from hwsearch import estimate

    path = saved(tmp_path, converted(keras_model, None, integer=True))
    findings = preflight(path, BOARD, ["tflm"]).findings
    (found,) = [f for f in findings if "batch is open" in f.problem]
    assert {"pack", "shape", "strided_slice"} <= set(found.kernels)
    before = estimate(path, board=BOARD, backend="tflm")
    after = estimate(
        saved(tmp_path, converted(keras_model, 1, integer=True)), board=BOARD, backend="tflm"
    )
    saved_bytes = before.ram_bytes - after.ram_bytes
    assert 0.6 * saved_bytes <= found.ram_bytes <= saved_bytes + 64
    assert found.flash_bytes is not None and found.flash_bytes >= 0 and found.gain


def test_float_ends(tmp_path, keras_model) -> None:
    from hwsearch import estimate

    path = saved(tmp_path, converted(keras_model, 1, integer=False))
    findings = preflight(path, BOARD, ["tflm"]).findings
    (found,) = [f for f in findings if "are float" in f.problem]
    assert found.kernels == ("dequantize", "quantize")
    before = estimate(path, board=BOARD, backend="tflm")
    after = estimate(
        saved(tmp_path, converted(keras_model, 1, integer=True)), board=BOARD, backend="tflm"
    )
    assert found.ram_bytes == pytest.approx(before.ram_bytes - after.ram_bytes, abs=64)
    saving = before.flash_bytes - after.flash_bytes
    assert found.flash_bytes == pytest.approx(saving, abs=600)  # the file's own tables


def test_a_keras_file_at_each_precision(tmp_path, keras_model) -> None:
    keras_model.save(tmp_path / "m.keras")
    found = preflight(tmp_path / "m.keras", BOARD, ["tflm", "x-cube-ai-8.1"])
    assert {(s.backend, s.precision): s.runs for s in found.support} == {
        ("tflm", "a8 w8"): True, ("tflm", "a8 w4"): True, ("tflm", "a16 w8"): True,
        ("x-cube-ai-8.1", "a8 w8"): True, ("x-cube-ai-8.1", "a8 w4"): False,
        ("x-cube-ai-8.1", "a16 w8"): False,
    }  # fmt: skip
