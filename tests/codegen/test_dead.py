"""Dead channels disappear, and no output byte changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from codegen.generated_host import build, differences, oracle, random_samples, run
from tflite_writer import Network

from hwsearch.codegen.dead import without_dead_channels
from hwsearch.graph import tflite


def kill(net: Network, output: int, share: float) -> None:
    """Zero the weights of some channels and make their biases negative, so that ReLU gives 0."""
    op = next(o for o in net.subgraph.operators if o.outputs == [output])
    weights, bias = (net.subgraph.tensors[i] for i in op.inputs[1:3])
    channels = bias.shape[0]
    dead = net.rng.random(channels) < share
    data = np.array(net.model.buffers[weights.buffer].data, np.uint8).reshape(weights.shape)
    data[dead if weights.shape[0] == channels else (..., dead)] = 0
    net.model.buffers[weights.buffer].data = data.reshape(-1)
    dtype = np.int64 if net.dtype == "int16" else np.int32
    values = np.array(net.model.buffers[bias.buffer].data, np.uint8).view(dtype).copy()
    values[dead] = -abs(values[dead])
    net.model.buffers[bias.buffer].data = values.view(np.uint8)


def network(seed: int, dtype: str) -> bytes:
    net = Network(np.random.default_rng(seed), dtype)
    x = net.conv(net.input((1, 9, 8, 3)), 17, (3, 3), (1, 1), "same", (1, 1), "relu")
    kill(net, x, 0.6)
    x = net.depthwise(x, 1, activation="relu")
    kill(net, x, 0.3)
    x = net.pool(x, "max")
    y = net.conv(x, 16, (1, 1), activation="relu")
    kill(net, y, 0.7)
    x = net.binary("add", y, y) if seed % 3 == 0 else y
    x = net.pool(x, "average", net.shape(x)[1:3], (1, 1))
    x = net.dense(net.reshape(x, (1, 16)), 12, "relu")
    kill(net, x, 0.5)
    return net.finish(net.dense(x, 5))


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_no_output_byte_changes(dtype: str, tmp_path: Path) -> None:
    contents = [network(seed, dtype) for seed in range(6)]
    smaller = [without_dead_channels(tflite.read(c)) for c in contents]
    before = [sum(tflite.read(c).graph.macs) for c in contents]
    after = [sum(m.graph.macs) for m in smaller]
    assert all(a < b for a, b in zip(after, before, strict=True))
    assert sum(after) < 0.8 * sum(before)
    rng = np.random.default_rng(0)
    jobs = [(c, random_samples(c, 4, rng)) for c in contents]
    got = run(build(contents, tmp_path, ["-O1"]), jobs)
    assert differences(oracle(jobs), got) == [0] * len(contents)


def test_a_living_network_is_left_alone() -> None:
    net = Network(np.random.default_rng(0))
    net.dense(net.dense(net.input((1, 8)), 8), 8)
    model = tflite.read(net.finish())
    assert without_dead_channels(model) is model


def test_channels_that_an_output_shows_stay() -> None:
    net = Network(np.random.default_rng(0))
    x = net.conv(net.input((1, 4, 4, 3)), 16, activation="relu")
    kill(net, x, 0.9)
    model = tflite.read(net.finish(x))
    assert without_dead_channels(model) is model


def test_channels_round_up_to_fours() -> None:
    net = Network(np.random.default_rng(0))
    x = net.conv(net.input((1, 4, 4, 3)), 16, activation="relu")
    kill(net, x, 1.0)
    model = without_dead_channels(tflite.read(net.finish(net.conv(x, 8))))
    assert model.graph.tensors[x].shape == (1, 4, 4, 4)
