"""Columns against the Graph itself, which counts one network at a time."""

from __future__ import annotations

import numpy as np
import pytest
from tflite_network import Network
from tflite_writer import random_network

from hwsearch.cost.columns import Columns
from hwsearch.graph import Graph, Op, Tensor
from hwsearch.graph.tflite import read


@pytest.mark.parametrize(("dtype", "bits"), [("int8", 8), ("int16", 8), ("int8", 4)])
def test_one_candidate_is_the_graph(dtype: str, bits: int) -> None:
    for seed in range(25):
        graph = read(random_network(np.random.default_rng(seed), dtype, bits)).graph
        columns = Columns.of(graph)
        assert len(columns) == 1
        assert columns.elements[0].tolist() == [t.elements for t in graph.tensors]
        assert columns.tensor_bytes[0].tolist() == [t.size_bytes for t in graph.tensors]
        assert columns.macs[0].tolist() == list(graph.macs)


def test_macs_by_hand() -> None:
    net = Network(np.random.default_rng(0))
    x = net.input((1, 8, 8, 3))
    x = net.conv(x, 5, (3, 3))  # 8·8·5 outputs of 3·3·3
    x = net.depthwise(x, 2, (3, 3), (2, 2))  # 4·4·10 outputs of 3·3
    x = net.transpose_conv(x, 4, (3, 3), (2, 2))  # every one of 4·4·10 inputs into 4·3·3
    x = net.reshape(x, (1, 8 * 8 * 4))
    graph = read(net.finish(net.dense(x, 7))).graph
    expected = [8 * 8 * 5 * 27, 4 * 4 * 10 * 9, 4 * 4 * 10 * 36, 0, 7 * 256]
    assert Columns.of(graph).macs[0].tolist() == expected == list(graph.macs)


def test_int4_packs_two_to_a_byte_and_rounds_up() -> None:
    graph = Graph((Tensor("w", (3, 3), "int4"), Tensor("s", (), "int32")), (), (), ())
    assert Columns.of(graph).tensor_bytes.tolist() == [[5, 4]]


def test_shapes_are_right_aligned_and_take_selects() -> None:
    tensors = (Tensor("a", (2, 3), "int8"), Tensor("b", (1, 2, 3, 4, 5), "int8"))
    columns = Columns.of(Graph(tensors, (Op("add", (0, 1), (1,)),), (0,), (1,)))
    assert columns.shapes.tolist() == [[[1, 1, 1, 2, 3], [1, 2, 3, 4, 5]]]
    twice = columns.take([0, 0])
    assert len(twice) == 2 and twice.elements.tolist() == [[6, 120]] * 2


def test_graph_without_tensors() -> None:
    columns = Columns.of(Graph((), (), (), ()))
    assert columns.macs.shape == (1, 0) and columns.tensor_bytes.shape == (1, 0)
