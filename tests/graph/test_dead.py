"""Intervals against what LiteRT computes; cut networks against the same network built smaller."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tflite_network import Network
from tflite_writer import random_network

from hwsearch.graph import tflite
from hwsearch.graph.dead import intervals, without_dead_channels


def dead_filters(rng, channels, dead):
    """A network whose first convolution has dead filters, before and after a depthwise one."""
    net = Network(rng)
    x = net.conv(net.input((1, 8, 8, 3)), channels, activation="relu")
    x = net.conv(net.depthwise(x, activation="relu"), 12, (1, 1))
    y = net.dense(net.mean(x), 5)
    model = net.subgraph
    weights = model.operators[0].inputs[1]
    bias = model.operators[0].inputs[2]
    for index, value in ((weights, 0), (bias, -5)):
        tensor = model.tensors[index]
        dtype = np.int8 if index == weights else np.int32
        buffer = net.model.buffers[tensor.buffer]
        data = np.frombuffer(bytes(buffer.data), dtype).reshape(tensor.shape).copy()
        data[:dead] = value
        buffer.data = np.frombuffer(data.tobytes(), np.uint8)
    # The depthwise layer's bias decides whether its dead channels are what it makes of zero.
    return net.finish(y)


def observed(content, seed=0, runs=12):
    """Per tensor the values that LiteRT's reference kernels give it, over random inputs."""
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    rng = np.random.default_rng(seed)
    seen: dict[int, list[np.ndarray]] = {}
    for run in range(runs):
        for detail in interpreter.get_input_details():
            value = rng.integers(-128, 128, detail["shape"]).astype(detail["dtype"])
            if run < 2:
                value[:] = (-128, 127)[run]
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
        for detail in interpreter.get_tensor_details():
            if detail["dtype"] == np.int8 and len(detail["shape"]):
                value = interpreter.get_tensor(detail["index"])
                seen.setdefault(detail["index"], []).append(value.reshape(-1, value.shape[-1]))
    return {i: np.concatenate(values) for i, values in seen.items()}


def runnable(seed):
    """A random network without what LiteRT's reference kernels lack in this version."""
    while True:
        content = random_network(np.random.default_rng(seed))
        model = tflite.read(content)
        if all(op.kind != "hard_swish" for op in model.graph.ops):
            return content, model
        seed += 1000


@pytest.mark.parametrize("seed", range(25))
def test_no_value_leaves_its_interval(seed):
    content, model = runnable(seed)
    seen = observed(content, seed)
    for index, interval in intervals(model).items():
        values = seen[index].astype(float)
        assert (values.min(axis=0) >= interval.low).all(), model.graph.tensors[index]
        assert (values.max(axis=0) <= interval.high).all(), model.graph.tensors[index]


@pytest.mark.parametrize("dead", [0, 3, 9])
def test_dead_filters_are_cut_through_the_depthwise_layer(dead):
    content = dead_filters(np.random.default_rng(0), 10, dead)
    model = tflite.read(content)
    made = model.graph.ops[0].outputs[0]
    assert (~intervals(model)[made].live).sum() == dead
    cut = without_dead_channels(model)
    macs = [m for m in cut.macs if m]
    assert macs[0] == 64 * (10 - dead) * 27
    assert macs[1] == 64 * (10 - dead) * 9
    assert macs[2] == 64 * 12 * (10 - dead)
    assert macs[3] == model.graph.macs[-1]
    assert cut.ops == model.graph.ops
    for before, after in zip(model.graph.tensors, cut.tensors, strict=True):
        assert (before.constant_bytes > 0) == (after.constant_bytes > 0)
        if after.constant_bytes:
            assert after.constant_bytes == after.size_bytes


def test_a_healthy_network_stays():
    model = tflite.read(dead_filters(np.random.default_rng(1), 6, 0))
    assert without_dead_channels(model) == model.graph
