"""Quantities against loops that count what a kernel does, one element at a time."""

from __future__ import annotations

import gc

import numpy as np
from architectures import Builder, small_cnn
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsearch.cost import kernels
from hwsearch.cost.columns import Columns
from hwsearch.cost.kernels import CLASSES, QUANTITIES, quantities
from hwsearch.graph.architecture import from_architecture


def of(entry):
    amounts, kernel = quantities(Columns.of(from_architecture(entry)))
    return [
        (CLASSES[c], dict(zip(QUANTITIES, row, strict=True)))
        for c, row in zip(kernel[0], amounts[0], strict=True)
    ]


def counted(height, width, cin, cout, window):
    """The loops of an im2col convolution of stride 1 with "same" padding."""
    count = dict.fromkeys(QUANTITIES, 0)
    count["one"] = 1
    for _ in range(height * width):
        count["px"] += 1
        for _ in range(window * window):
            count["patch"] += 1
            count["col"] += cin
        for _ in range(cout):
            count["out"] += 1
            for _ in range(window * window):
                count["tap"] += 1
                count["mac"] += cin
    row = window * window * cin
    count["odd"] = count["mac"] if row % 2 else 0
    count["half"] = count["mac"] if row % 4 == 2 else 0
    return count


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([1, 2, 3, 5]),
)
def test_convolution(height, width, cin, cout, window):
    net = Builder((1, height, width, cin))
    net.conv(0, cout, window)
    ((name, found),) = of(net.entry())
    assert found == counted(height, width, cin, cout, window)
    assert name == ("first" if cin <= 4 else "point" if window == 1 else "conv")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(1, 9), st.sampled_from([1, 3, 5]))
def test_depthwise(side, channels, window):
    net = Builder((1, side, side, channels))
    net.depthwise(0, window)
    ((name, found),) = of(net.entry())
    macs = side * side * channels * window * window
    assert name == "depthwise"
    assert (found["mac"], found["tap"], found["px"]) == (macs, macs, side * side)
    assert found["patch"] == side * side * window * window
    assert found["odd"] == macs * (channels % 2)


@given(st.integers(1, 600), st.integers(1, 40))
def test_dense(inputs, units):
    net = Builder((1, inputs))
    net.dense(0, units)
    ((name, found),) = of(net.entry())
    macs = inputs * units
    assert (name, found["mac"], found["out"], found["px"]) == ("dense", macs, units, 0)
    assert found["far"] == (macs if inputs % 16 > 8 else 0)
    assert found["half"] == (macs if inputs % 4 == 2 else 0)


def test_other_operators():
    found = of(small_cnn())
    assert [name for name, _ in found] == [
        "first",
        "depthwise",
        "point",
        "elementwise",
        "conv",
        "pool",
        "dense",
        "softmax",
    ]
    pool = found[5][1]
    assert (pool["out"], pool["mac"]) == (3 * 3 * 32, 3 * 3 * 32 * 4)


def test_class_follows_the_pruned_width():
    net = Builder((1, 6, 6, 8))
    net.conv(0, 4, 3)
    base = Columns.of(from_architecture(net.entry()))
    shapes = np.repeat(base.shapes, 2, axis=0)
    shapes[1, 0, -1] = shapes[1, 1, -1] = 3  # input channels of the second candidate
    _, kernel = quantities(Columns(base.graph, shapes, np.repeat(base.bits, 2, axis=0)))
    assert [CLASSES[c] for c in kernel[:, 0]] == ["conv", "first"]


def test_a_batch_is_its_candidates():
    graph = from_architecture(small_cnn())
    one = Columns.of(graph)
    rng = np.random.default_rng(0)
    shapes = np.repeat(one.shapes, 5, axis=0)
    shapes[..., -1] = rng.integers(1, 50, shapes.shape[:2])
    many = Columns(graph, shapes, np.repeat(one.bits, 5, axis=0))
    amounts, kernel = quantities(many)
    for i in range(5):
        alone, classes = quantities(many.take([i]))
        np.testing.assert_array_equal(alone[0], amounts[i])
        np.testing.assert_array_equal(classes[0], kernel[i])


def test_transpose_convolution_counts_its_input():
    entry = {
        "tensors": [
            {"shape": [4], "dtype": "int32", "constant_bytes": 16},
            {"shape": [6, 2, 2, 5], "dtype": "int8", "constant_bytes": 120},
            {"shape": [1, 3, 3, 5], "dtype": "int8"},
            {"shape": [1, 6, 6, 6], "dtype": "int8"},
        ],
        "operators": [
            {"kind": "TRANSPOSE_CONV", "inputs": [0, 1, 2], "outputs": [3], "stride": [2, 2]}
        ],
        "inputs": [2],
        "outputs": [3],
    }
    ((_, found),) = of(entry)
    assert found["mac"] == 3 * 3 * 5 * 6 * 2 * 2


def test_the_plan_goes_with_the_graph():
    gc.collect()
    before = len(kernels._plans)
    graph = from_architecture(small_cnn())
    quantities(Columns.of(graph))
    assert len(kernels._plans) == before + 1
    del graph
    gc.collect()
    assert len(kernels._plans) == before
