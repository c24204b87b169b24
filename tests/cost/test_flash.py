"""Flash: the model's file, its constants, and kernels counted once."""

from __future__ import annotations

import numpy as np
from tflite_network import Network
from tflite_writer import random_network

from hwsearch.cost import flash
from hwsearch.cost.columns import Columns
from hwsearch.graph import Graph, Op, Tensor, flatbuffer
from hwsearch.graph.tflite import read


def test_the_unresized_network_is_its_file() -> None:
    for seed in range(20):
        content = random_network(np.random.default_rng(seed))
        columns = Columns.of(read(content).graph)
        assert flash.model_bytes(columns).tolist() == [len(content)]


def test_a_narrower_network_is_its_own_file() -> None:
    """Two networks that differ in one width: each predicts the size of the other."""

    def network(channels: int) -> Graph:
        net = Network(np.random.default_rng(0))
        x = net.conv(net.input((1, 8, 8, 4)), channels)
        x = net.depthwise(x)
        x = net.conv(x, 8, (1, 1))
        content = net.finish(net.dense(net.reshape(x, (1, 512)), 10))
        return read(flatbuffer.pack(flatbuffer.unpack(content))).graph  # aligned, as deployed

    graphs = {channels: network(channels) for channels in (4, 12, 32, 64)}
    for graph in graphs.values():
        for other in graphs.values():
            columns = Columns(graph, Columns.of(other).shapes, Columns.of(other).bits)
            assert abs(int(flash.model_bytes(columns)[0]) - other.file_bytes) <= 24


def test_int4_weights_take_half() -> None:
    net = Network(np.random.default_rng(0))
    graph = read(net.finish(net.conv(net.input((1, 4, 4, 16)), 32))).graph
    columns = Columns.of(graph)
    bits = columns.bits.copy()
    weights = graph.ops[0].inputs[1]
    bits[0, weights] = 4
    low = Columns(graph, columns.shapes, bits)
    assert (flash.model_bytes(columns) - flash.model_bytes(low)).tolist() == [32 * 9 * 16 // 2]
    saved = flash.weights_bytes(columns) - flash.weights_bytes(low)
    assert saved.tolist() == [32 * 9 * 16 // 2]


def test_without_a_file_the_constants_and_their_scales() -> None:
    tensors = (
        Tensor("x", (1, 8), "int8"),
        Tensor("w", (6, 8), "int8", 48, 6),
        Tensor("b", (6,), "int32", 24, 6),
        Tensor("y", (1, 6), "int8"),
    )
    graph = Graph(tensors, (Op("fully_connected", (0, 1, 2), (3,)),), (0,), (3,))
    assert flash.model_bytes(Columns.of(graph)).tolist() == [48 + 32 + 2 * 6 * flash.SCALE_BYTES]


def test_a_network_without_constants() -> None:
    graph = Graph((Tensor("x", (1, 8), "int8"),), (Op("relu", (0,), (0,)),), (0,), (0,), 500)
    assert flash.model_bytes(Columns.of(graph)).tolist() == [500]


def test_kernels_count_once_and_share() -> None:
    kernels = flash.Kernels(
        1000,
        {"a": 100, "b": 80},
        {"a": 30, "b": 30},
        ((frozenset("ab"), 5),),
        50,
        "a test",
    )
    sizes = {
        text: kernels.image_bytes(Graph((), tuple(Op(k, (), ()) for k in text), (), ()))
        for text in ("", "a", "aa", "ab", "abc")
    }
    assert sizes == {"": 1000, "a": 1100, "aa": 1100, "ab": 1145, "abc": 1195}
