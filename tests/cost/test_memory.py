"""The vectorised greedy planner against the published algorithm, one buffer at a time."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_network import Network
from tflite_writer import random_network

from hwsearch.cost import memory
from hwsearch.cost.columns import Columns
from hwsearch.graph import Graph, Op, Tensor
from hwsearch.graph.tflite import read


def scalar_greedy(sizes: list[int], first: list[int], last: list[int]) -> list[int]:
    """``greedy_memory_planner.cc``: offsets by walking the placed rivals in order of offset.

    Its ``ReverseSortInPlace`` is a bubble sort that swaps only where a size is smaller than the
    next one, over buffers that were added in order; equal sizes keep the order that the planner
    documents: by falling index.
    """
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i], -i))
    offsets = [-1] * len(sizes)
    placed: list[int] = []  # by rising offset
    for buffer in order:
        candidate = 0
        for other in placed:
            if first[other] > last[buffer] or last[other] < first[buffer]:
                continue
            gap = offsets[other] - candidate
            if gap >= sizes[buffer]:
                break
            candidate = max(candidate, offsets[other] + sizes[other])
        offsets[buffer] = candidate
        placed.append(buffer)
        placed.sort(key=lambda i: offsets[i])
    return offsets


@st.composite
def problems(draw):
    buffers = draw(st.integers(1, 14))
    first = draw(st.lists(st.integers(0, 9), min_size=buffers, max_size=buffers))
    length = draw(st.lists(st.integers(0, 5), min_size=buffers, max_size=buffers))
    rows = draw(st.integers(1, 4))
    # 0 is a buffer that this candidate does not need; few sizes, so that there are ties
    size = st.sampled_from([0, 16, 16, 32, 48, 64, 160, 1024])
    sizes = draw(
        st.lists(st.lists(size, min_size=buffers, max_size=buffers), min_size=rows, max_size=rows)
    )
    return sizes, first, [f + n for f, n in zip(first, length, strict=True)]


@given(problems())
@settings(max_examples=300, deadline=None)
def test_greedy_is_the_published_algorithm(problem) -> None:
    sizes, first, last = problem
    lifetimes = memory.Lifetimes.of(np.array(first), np.array(last))
    plan = memory.greedy(np.array(sizes, np.int64), lifetimes)
    for row, expected in zip(plan.offsets, sizes, strict=True):
        used = [o if size else 0 for o, size in zip(row.tolist(), expected, strict=True)]
        scalar = scalar_greedy(expected, first, last)
        assert used == [o if size else 0 for o, size in zip(scalar, expected, strict=True)]
        alone = memory.greedy(np.array([expected], np.int64), lifetimes)  # its own way for one
        assert used == [o if s else 0 for o, s in zip(alone.offsets[0], expected, strict=True)]
    assert plan.bytes.tolist() == [
        max(o + s for o, s in zip(scalar_greedy(row, first, last), row, strict=True))
        for row in sizes
    ]


@given(problems())
@settings(max_examples=200, deadline=None)
def test_no_two_living_buffers_overlap_and_none_is_below_its_peak(problem) -> None:
    sizes, first, last = problem
    plan = memory.greedy(
        np.array(sizes, np.int64), memory.Lifetimes.of(np.array(first), np.array(last))
    )
    for offsets, row, total in zip(plan.offsets.tolist(), sizes, plan.bytes.tolist(), strict=True):
        for a in range(len(row)):
            for b in range(a):
                apart = first[a] > last[b] or first[b] > last[a] or not row[a] or not row[b]
                below = offsets[a] + row[a] <= offsets[b] or offsets[b] + row[b] <= offsets[a]
                assert apart or below
        peak = max(
            sum(s for s, f, e in zip(row, first, last, strict=True) if f <= step <= e)
            for step in range(16)
        )
        assert peak <= total <= sum(row)


def test_nothing_to_plan() -> None:
    none = np.zeros(0, np.int64)
    plan = memory.greedy(np.zeros((3, 0), np.int64), memory.Lifetimes.of(none, none))
    assert plan.bytes.tolist() == [0, 0, 0]


def test_align_rounds_up_to_sixteen() -> None:
    assert memory.align(np.array([0, 1, 15, 16, 17])).tolist() == [0, 16, 16, 16, 32]


def test_plan_of_a_chain_is_its_largest_neighbours() -> None:
    """a -> b -> c: a and b live together, then b and c."""
    sizes = {"a": 100, "b": 300, "c": 40}
    tensors = tuple(Tensor(name, (1, size), "int8") for name, size in sizes.items())
    graph = Graph(tensors, (Op("relu", (0,), (1,)), Op("relu", (1,), (2,))), (0,), (2,))
    plan = memory.plan(Columns.of(graph), [])
    assert plan.bytes.tolist() == [112 + 304]


def test_scratch_lives_during_its_operator_alone() -> None:
    tensors = tuple(Tensor(n, (1, 64), "int8") for n in "abc")
    graph = Graph(tensors, (Op("relu", (0,), (1,)), Op("relu", (1,), (2,))), (0,), (2,))
    columns = Columns.of(graph)
    both = [(0, np.array([64])), (1, np.array([64]))]
    # a, b and a scratch; then b, c and another: each finds room where the others are dead
    assert memory.plan(columns, both).bytes.tolist() == [192]
    assert memory.plan(columns, [(0, np.array([64])), (0, np.array([64]))]).bytes.tolist() == [256]


def test_plans_of_a_batch_are_those_of_its_members() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        columns = Columns.of(read(random_network(rng)).graph)
        shapes = np.repeat(columns.shapes, 9, axis=0)
        shapes[..., -1] = np.maximum(1, shapes[..., -1] * rng.integers(1, 6, (9, 1)) // 3)
        batch = Columns(columns.graph, shapes, np.repeat(columns.bits, 9, axis=0))
        scratch = [(0, rng.integers(0, 100, 9))]
        plan = memory.plan(batch, scratch)
        for row in range(9):
            alone = memory.plan(batch.take([row]), [(0, scratch[0][1][row : row + 1])])
            assert np.array_equal(alone.offsets[0], plan.offsets[row])


def test_input_that_nothing_reads_is_alive_before_the_first_operator_only() -> None:
    net = Network(np.random.default_rng(0))
    unread = net.input((1, 4096))
    x = net.input((1, 64))
    content = net.finish(net.unary("relu")(x))
    graph = read(content).graph
    assert unread in graph.inputs
    assert memory.plan(Columns.of(graph), []).bytes.tolist() == [4096 + 64]
