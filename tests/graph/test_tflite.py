"""The ``.tflite`` reader: what was written is read, and damage ends in a ModelFileError."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_network import Network
from tflite_writer import random_network

from hwsearch.errors import ModelFileError
from hwsearch.graph.tflite import read


@pytest.mark.parametrize(("dtype", "bits"), [("int8", 8), ("int16", 8), ("int8", 4)])
def test_tensors_and_operators_are_those_written(dtype: str, bits: int) -> None:
    """Against LiteRT's own interpreter, which reads the same file."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    for seed in range(12):
        content = random_network(np.random.default_rng(seed), dtype, bits)
        model = read(content)
        interpreter = Interpreter(model_content=content, experimental_op_resolver_type=plain)
        interpreter.allocate_tensors()
        assert model.graph.file_bytes == len(content)
        for detail in interpreter.get_tensor_details():
            if detail["index"] >= len(model.graph.tensors):
                continue  # temporaries of the interpreter
            tensor = model.graph.tensors[detail["index"]]
            assert tensor.name == detail["name"] and list(tensor.shape) == list(detail["shape"])
            scales = detail["quantization_parameters"]["scales"]
            assert tensor.scales == len(scales)
            quantization = model.quantization[detail["index"]]
            if len(scales):
                assert np.array_equal(quantization.scale, scales)
                zeros = detail["quantization_parameters"]["zero_points"]
                assert np.array_equal(quantization.zero_point, zeros)
            if tensor.is_constant and tensor.dtype != "int4":
                value = interpreter.get_tensor(detail["index"])
                assert np.array_equal(model.constant(detail["index"]), value)
                assert model.constant(detail["index"]).dtype == value.dtype
        kinds = [op["op_name"].lower() for op in interpreter._get_ops_details()]
        assert [op.kind for op in model.graph.ops] == kinds
        assert model.graph.inputs == tuple(d["index"] for d in interpreter.get_input_details())
        assert model.graph.outputs == tuple(d["index"] for d in interpreter.get_output_details())


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_int4_is_unpacked(count: int) -> None:
    values = np.arange(-8, count - 8, dtype=np.int8)
    net = Network(np.random.default_rng(0))
    index = net.tensor((count,), "int4", 0.5, 0, values)
    model = read(net.finish(net.unary("relu")(net.input((1, 4)))))
    assert model.constant(index).tolist() == values.tolist()
    assert model.graph.tensors[index].constant_bytes == (count + 1) // 2


def test_options_of_operators() -> None:
    net = Network(np.random.default_rng(0))
    x = net.input((1, 9, 11, 4))
    x = net.conv(x, 6, (3, 2), (2, 1), "valid", activation="relu6")
    x = net.depthwise(x, 2, (3, 3), dilation=(2, 1), activation="relu")
    x = net.pool(x, "max", (2, 3), (1, 2), "same")
    x = net.concat([x, x], 3)
    x = net.unary("leaky_relu")(net.mean(x, keep_dims=True))
    conv, depthwise, pool, concat, mean, leaky = read(net.finish(x)).graph.ops
    assert (conv.stride, conv.padding, conv.activation) == ((2, 1), "valid", "relu6")
    assert (depthwise.dilation, depthwise.depth_multiplier) == ((2, 1), 2)
    assert (depthwise.padding, depthwise.activation) == ("same", "relu")
    assert (pool.window, pool.stride) == ((2, 3), (1, 2))
    assert concat.axis == 3 and mean.keep_dims
    assert leaky.alpha == pytest.approx(0.1)


def test_absent_bias_is_minus_one() -> None:
    net = Network(np.random.default_rng(0))
    graph = read(net.finish(net.dense(net.input((1, 4)), 3, bias=False))).graph
    assert graph.ops[0].inputs[2] == -1


# What cannot be read


def test_no_such_file(tmp_path) -> None:
    with pytest.raises(ModelFileError, match=r"cannot read .*none\.tflite.*No such file"):
        read(tmp_path / "none.tflite")
    with pytest.raises(ModelFileError, match="cannot read"):
        read(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"TFL3", b"x" * 100, b"\x00" * 4 + b"TFL2" + b"\x00" * 60]
)
def test_another_kind_of_file(content: bytes) -> None:
    with pytest.raises(ModelFileError, match=r"not a \.tflite file"):
        read(content)


def test_dynamic_shapes_say_what_to_do() -> None:
    net = Network(np.random.default_rng(0))
    x = net.input((1, 4, 4, 2))
    net.subgraph.tensors[x].shapeSignature = [1, -1, 4, 2]
    with pytest.raises(ModelFileError, match=r"dynamic shape .*batch_shape"):
        read(net.finish(net.unary("relu")(x)))


def test_open_batch_is_read_as_one() -> None:
    net = Network(np.random.default_rng(0))
    x = net.input((1, 4, 4, 2))
    net.subgraph.tensors[x].shapeSignature = [-1, 4, 4, 2]
    assert read(net.finish(net.unary("relu")(x))).graph.tensors[x].shape == (1, 4, 4, 2)


def test_constant_of_an_activation() -> None:
    net = Network(np.random.default_rng(0))
    x = net.input((1, 4))
    model = read(net.finish(net.unary("relu")(x)))
    with pytest.raises(ModelFileError, match="no constant data"):
        model.constant(x)


def test_wrong_number_of_bytes() -> None:
    net = Network(np.random.default_rng(0))
    net.tensor((3, 5), "int8", 0.5, 0, np.zeros((3, 4), np.int8))
    with pytest.raises(ModelFileError, match=r"12 bytes of data, shape .* needs 15"):
        read(net.finish(net.unary("relu")(net.input((1, 4)))))


def test_tensor_that_does_not_exist() -> None:
    net = Network(np.random.default_rng(0))
    x = net.input((1, 4))
    net.unary("relu")(x)
    net.subgraph.operators[0].inputs = [77]
    with pytest.raises(ModelFileError, match=r"operator 0 \(relu\).* does not exist"):
        read(net.finish())


def test_weights_that_are_missing() -> None:
    net = Network(np.random.default_rng(0))
    net.dense(net.input((1, 4)), 3)
    net.subgraph.operators[0].inputs = []
    with pytest.raises(
        ModelFileError, match=r"operator 0 \(fully_connected\).* an input and an output"
    ):
        read(net.finish())


_CONTENTS = [random_network(np.random.default_rng(seed), layers=3) for seed in range(4)]


def _survives(content: bytes) -> None:
    """Read, and every constant with it; or a ModelFileError; nothing else."""
    try:
        model = read(content)
        for index, tensor in enumerate(model.graph.tensors):
            if tensor.is_constant:
                model.constant(index)
        assert len(model.graph.lifetimes) == len(model.graph.tensors)
        assert len(model.graph.macs) == len(model.graph.ops)
    except ModelFileError as error:
        assert str(error)


@given(st.sampled_from(_CONTENTS), st.integers(0, 5000))
@settings(max_examples=150, deadline=None)
def test_truncated(content: bytes, length: int) -> None:
    _survives(content[: length % len(content)])


@given(
    st.sampled_from(_CONTENTS),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=8),
)
@settings(max_examples=400, deadline=None)
def test_overwritten_bytes(content: bytes, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(content)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    damaged[4:8] = b"TFL3"
    _survives(bytes(damaged))


@pytest.mark.slow
def test_ten_thousand_mutations() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10_000):
        damaged = bytearray(_CONTENTS[rng.integers(len(_CONTENTS))])
        for _ in range(rng.integers(1, 6)):
            place = int(rng.integers(len(damaged) - 4))
            kind = rng.integers(3)
            if kind == 0:
                damaged[place] ^= 1 << int(rng.integers(8))
            elif kind == 1:  # an offset or a length that leads anywhere
                value = rng.integers(-(1 << 31), 1 << 31).astype(np.int32)
                damaged[place : place + 4] = value.tobytes()
            else:
                damaged[place : place + 4] = b"\xff\xff\xff\x7f"
        damaged[4:8] = b"TFL3"
        _survives(bytes(damaged))
