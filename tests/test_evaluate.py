"""What an artefact computes: real values in and out, by the fast interpreter and the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from tflite_network import Network

from hwsearch import evaluate, oracle
from hwsearch.backends import backend
from hwsearch.cost.columns import Columns
from hwsearch.errors import RefusedError
from hwsearch.evaluate import dequantized, exact, fast, quantized
from hwsearch.graph.tflite import read

needs_wheel = pytest.mark.skipif(not oracle.available(), reason="no tflite-micro wheel here")


def network(dtype: str = "int8", inputs: int = 1) -> bytes:
    net = Network(np.random.default_rng(0), dtype)
    scale = 0.05 if dtype == "int8" else 0.0002
    tensors = [net.input((1, 6, 6, 3), scale) for _ in range(inputs)]
    x = tensors[0] if inputs == 1 else net.binary("add", *tensors)
    x = net.depthwise(net.conv(x, 8), stride=(2, 2), activation="relu")
    x = net.mean(x)
    return net.finish(net.dense(x, 5), x) if inputs == 2 else net.finish(net.dense(x, 5))


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_quantized_and_back(dtype: str) -> None:
    model = read(network(dtype))
    index = model.graph.inputs[0]
    q = model.quantization[index]
    limits = np.iinfo(dtype)
    levels = np.arange(limits.min, limits.max + 1, 7)
    real = (levels - q.zero_point[0]) * q.scale[0]
    assert quantized(real, model, index).dtype == dtype
    assert np.array_equal(quantized(real, model, index), levels)
    assert dequantized(levels.astype(dtype), model, index) == pytest.approx(
        real, rel=1e-5, abs=1e-6
    )
    assert quantized(np.array([1e9, -1e9]), model, index).tolist() == [limits.max, limits.min]


@needs_wheel
@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("inputs", [1, 2])
def test_fast_and_exact_agree_but_for_rounding(dtype: str, inputs: int) -> None:
    content = network(dtype, inputs)
    model = read(content)
    rng = np.random.default_rng(1)
    span = 127 * 0.05 if dtype == "int8" else 32767 * 0.0002
    given = [rng.uniform(-span, span, (20, 6, 6, 3)).astype(np.float32) for _ in range(inputs)]
    quick = fast(content, given)
    arena = int(backend("tflm").ram(Columns.of(model.graph)).arena[0])
    slow, measured, name = exact(content, given, arena)
    assert name == "tflite-micro" and measured.arena_bytes == arena and measured.repeats == 20
    assert len(quick) == len(slow) == inputs
    for a, b, index in zip(quick, slow, model.graph.outputs, strict=True):
        assert a.shape == b.shape == (20, *model.graph.tensors[index].shape[1:])
        step = float(model.quantization[index].scale[0])
        assert np.abs(a - b).max() <= (3 if dtype == "int8" else 40) * step
        assert len(np.unique(a.reshape(20, -1), axis=0)) > 10  # every sample has its own output


def test_without_the_wheel_litert_is_named(monkeypatch) -> None:
    monkeypatch.setattr(oracle, "available", lambda: False)
    content = network()
    given = [np.random.default_rng(0).uniform(-5, 5, (4, 6, 6, 3)).astype(np.float32)]
    outputs, measured, name = exact(content, given, 1000)
    assert measured is None and name == evaluate.EXACT_ELSEWHERE
    assert outputs[0].shape == (4, 5)


# The oracle


@needs_wheel
def test_the_oracle_runs_samples_one_by_one() -> None:
    content = network()
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (5, 6, 6, 3)).astype(np.int8)
    together = oracle.run(content, [x])
    assert together.outputs[0].shape == (5, 5) and together.outputs[0].dtype == np.int8
    for i in (0, 4):
        alone = oracle.run(content, [x[i : i + 1]])
        assert np.array_equal(alone.outputs[0][0], together.outputs[0][i])
        assert alone.arena_bytes == together.arena_bytes
    assert together.persistent_bytes > 0
    assert together.allocations["NodeAndRegistration struct"][2] == len(read(content).graph.ops)


@needs_wheel
def test_the_oracle_says_why_it_refuses() -> None:
    net = Network(np.random.default_rng(0), "int16")
    content = net.finish(net.unary("hard_swish")(net.input((1, 4), 0.0002)))
    with pytest.raises(
        RefusedError, match=r"Unsupported type INT16.*HARD_SWISH.*Choose another backend"
    ):
        oracle.run(content, [np.zeros((1, 4), np.int16)])


@needs_wheel
def test_the_oracle_survives_a_damaged_model_and_wrong_data() -> None:
    content = network()
    with pytest.raises(RefusedError, match="exit"):
        oracle.run(content[: len(content) // 2], [np.zeros((1, 6, 6, 3), np.int8)])
    with pytest.raises(RefusedError, match="exit"):
        oracle.run(content, [np.zeros((1, 6, 6, 3), np.float32)])


@needs_wheel
def test_the_oracle_gives_up() -> None:
    with pytest.raises(RefusedError, match=r"did not finish in 0 s\. Give fewer samples"):
        oracle.run(network(), [np.zeros((1, 6, 6, 3), np.int8)], timeout_s=0.01)
