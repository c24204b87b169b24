"""Estimates of the ``aot`` backend against the compiler itself, and against linked images."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tflite_writer import Network, random_network

from benchmarks.aot_networks import unseen, varied
from hwsearch.backends import aot_layers, aot_measured, backend, backends
from hwsearch.backends.aot import Aot
from hwsearch.backends.aot_cycles import instructions
from hwsearch.backends.aot_flash import code_bytes, constant_bytes
from hwsearch.backends.aot_memory import arena
from hwsearch.codegen import constant_bytes as bytes_by_layer
from hwsearch.codegen import generate, memory, refusals
from hwsearch.codegen.layers import Window
from hwsearch.cost.columns import Columns
from hwsearch.graph import Graph
from hwsearch.graph.tflite import read
from tests.firmware.images import require

DTYPES = (("int8", 8), ("int16", 8), ("int8", 4))


def random_graphs(count: int, start: int = 0) -> list[Graph]:
    found = []
    for seed in range(start, start + count):
        dtype, bits = DTYPES[seed % 3]
        layers = 12 if seed % 4 == 0 else None
        with np.errstate(over="ignore"):
            content = random_network(np.random.default_rng(seed), dtype, bits, layers)
        graph = read(content).graph
        if not refusals(graph):
            found.append(graph)
    return found


def plain(index: int) -> Graph:
    _, content = next(itertools.islice(unseen(index + 1), index, None))
    return read(content).graph


def resized(columns: Columns, row: int) -> Graph:
    """One candidate as a Graph, which is what the compiler plans."""
    names = {4: "int4", 8: "int8"}
    tensors = []
    for i, tensor in enumerate(columns.graph.tensors):
        shape = columns.shapes[row, i]
        dtype = tensor.dtype
        if tensor.is_constant and dtype in ("int8", "int4"):
            dtype = names[int(columns.bits[row, i])]
        last = tuple(int(n) for n in shape[len(shape) - len(tensor.shape) :])
        tensors.append(replace(tensor, shape=last, dtype=dtype))
    return replace(columns.graph, tensors=tuple(tensors))


def mixed(columns: Columns, seed: int) -> Columns:
    """The same candidates, every convolution's and dense layer's weights int8 or int4."""
    bits = columns.bits.copy()
    rng = np.random.default_rng(seed)
    for op in columns.graph.ops:
        if op.kind in ("conv_2d", "fully_connected"):
            bits[:, op.inputs[1]] = rng.choice([4, 8], len(columns))
    return Columns(columns.graph, columns.shapes, bits)


def test_it_is_the_default():
    assert next(iter(backends())) == "aot"
    assert backend("aot").buildable


def test_the_arena_is_the_compilers_on_random_networks():
    graphs = random_graphs(150)
    assert len(graphs) > 100
    wrong = [
        (i, int(arena(Columns.of(g))[0]), memory(g).arena_bytes) for i, g in enumerate(graphs)
    ]
    assert [w for w in wrong if w[1] != w[2]] == []


@pytest.mark.slow
def test_the_arena_is_the_compilers_on_thousands_of_networks():
    for graph in random_graphs(3000, 1000):
        assert arena(Columns.of(graph))[0] == memory(graph).arena_bytes


@pytest.mark.parametrize("index", [0, 1, 2, 14])  # residual, separable, plain; residual in int16
def test_the_arena_of_a_batch_is_the_compilers_for_every_width(index):
    columns = varied(Columns.of(plain(index)), 40, seed=index)
    if index != 14:
        columns = mixed(columns, index)
    planned = arena(columns)
    assert len(set(planned.tolist())) > 10
    assert planned.tolist() == [memory(resized(columns, row)).arena_bytes for row in range(40)]


def test_flash_of_constants_is_what_the_compiler_writes(tmp_path: Path):
    for i, graph in enumerate(random_graphs(60, 300)):
        softmax = sum(op.kind == "softmax" for op in graph.ops) * (1024 - 4)
        written = sum(bytes_by_layer(graph))
        found = int(constant_bytes(Columns.of(graph))[0])
        arrays = 4 * len(graph.ops) + 8  # each rounded up to words
        assert written - softmax - 8 <= found <= written + 3 * arrays, i
    for index, (_, content) in enumerate(unseen(5)):
        made = generate(content, tmp_path / str(index))
        found = int(constant_bytes(Columns.of(read(content).graph))[0])
        assert abs(found - sum(made.flash_bytes.values())) <= 16


@pytest.mark.parametrize("index", [0, 1, 4])
def test_a_batch_is_its_candidates(index):
    columns = mixed(varied(Columns.of(plain(index)), 6), 1) if index != 4 else Columns.of(plain(4))
    runtime = Aot()
    flash, ram, cycles = (
        runtime.flash(columns),
        runtime.ram(columns),
        runtime.cycles(columns, "M4"),
    )
    assert cycles.shape == (len(columns), len(columns.graph.ops))
    assert (cycles >= 0).all() and (cycles.sum(axis=1) > 1000).all()
    for row in range(len(columns)):
        alone = columns.take([row])
        assert runtime.flash(alone)[0] == flash[row]
        assert runtime.ram(alone).total[0] == ram.total[row]
        assert np.allclose(runtime.cycles(alone, "M4")[0], cycles[row])


def test_int4_weights_take_half_the_flash_and_more_time():
    columns = Columns.of(plain(0))
    bits = columns.bits.copy()
    weights = [op.inputs[1] for op in columns.graph.ops if op.kind == "conv_2d"]
    bits[:, weights] = 4
    narrow = Columns(columns.graph, columns.shapes, bits)
    saved = constant_bytes(columns)[0] - constant_bytes(narrow)[0]
    assert saved == pytest.approx(columns.tensor_bytes[0, weights].sum() / 2, rel=0.05)
    assert Aot().cycles(narrow, "M4").sum() > 1.02 * Aot().cycles(columns, "M4").sum()


WINDOWS = [
    Window((7, 9), (7, 9), (3, 3), (1, 1), (1, 1), (1, 1), 4, 4),
    Window((8, 8), (4, 4), (5, 3), (2, 2), (1, 1), (1, 0), 3, 4),
    Window((6, 6), (6, 6), (2, 2), (1, 1), (2, 2), (1, 1), 3, 4),
    Window((1, 24), (1, 12), (1, 5), (1, 2), (1, 1), (0, 1), 2, 4),
    Window((3, 2), (3, 2), (4, 4), (1, 1), (1, 1), (1, 1), 1, 4),
]


@pytest.mark.parametrize("w", WINDOWS)
def test_patches_are_counted_as_the_kernel_gathers_them(w):
    """``gather`` of nn_conv_s8.c, pixel by pixel."""
    inside = border = runs = copies = copied = fills = filled = 0
    run = w.kernel[1] if w.dilation[1] == 1 else 1
    for oy, ox in itertools.product(range(w.made[0]), range(w.made[1])):
        top, left = (o * s - p for o, s, p in zip((oy, ox), w.stride, w.padding, strict=True))
        whole = top >= 0 and left >= 0 and left + run <= w.image[1] and run == w.kernel[1]
        if whole and top + (w.kernel[0] - 1) * w.dilation[0] < w.image[0]:
            inside += 1
            continue
        border += 1
        for ky, kx in itertools.product(range(w.kernel[0]), range(0, w.kernel[1], run)):
            runs += 1
            y, xs = top + ky * w.dilation[0], range(left + kx * w.dilation[1], w.image[1] + 99)
            if not 0 <= y < w.image[0]:
                fills, filled = fills + 1, filled + run
                continue
            taps = list(xs)[:run]
            before = sum(x < 0 for x in taps)
            after = sum(x >= w.image[1] for x in taps)
            fills += (before > 0) + (after > 0)
            filled += before + after
            copies += run - before - after > 0
            copied += run - before - after
    assert aot_layers.patches(w) == {
        "inside": inside, "border": border, "runs": runs, "copies": copies, "copied": copied,
        "fills": fills, "filled": filled, "row_taps": w.kernel[1],
    }  # fmt: skip


def test_a_core_without_an_emulator_has_one_that_stands_in_and_says_so():
    board = Aot().on_core("M33+MVP")
    assert board.measured.core == "M33" or "stands in" in board.bands["flash_bytes"].basis
    assert Aot().on_core("M4") == Aot()
    far = Aot(core="M85", compiler="gcc").bands["latency_s"]
    near = Aot(core="M4", compiler="gcc").bands["latency_s"]
    assert "stands in for M85" in far.basis and "silicon" in near.basis
    assert far.low <= -0.15 and near.low < 0 < near.high < 0.3


def test_targets_say_where_they_are_from():
    known = aot_measured.shipped()
    assert aot_measured.parse(aot_measured.to_json(known)) == known
    assert {("M4", "gcc")} <= {(t.core, t.compiler) for t in known}
    for target in known:
        assert target.version and target.date and target.judged >= 10 and target.layers > 1000
        assert target.error < 0.03
        assert max(map(abs, target.bands["instructions"])) < 0.10
        assert max(map(abs, target.bands["flash_bytes"])) < 0.02
    with pytest.raises(ValueError, match="format 9"):
        aot_measured.parse('{"format": 9}')


def test_what_the_compiler_refuses():
    net = Network(np.random.default_rng(0))
    x = net.input((1, 4, 4, 2))
    y = net.conv(x, 3)
    graph = read(net.finish(y)).graph
    assert Aot().refusals(graph) == []
    ops = (replace(graph.ops[0], kind="svdf"),)
    assert [r.op_index for r in Aot().refusals(replace(graph, ops=ops))] == [0]


@pytest.mark.emulator
@pytest.mark.parametrize("core", ["M4", "M0"])
def test_estimates_are_what_is_linked_and_run(core):
    """Networks that neither fit nor bands have seen; fails when kernels changed: then measure."""
    require("arm-none-eabi-gcc", "unicorn", "capstone")
    from benchmarks.aot_fit import observe

    fresh = itertools.islice(unseen(205), 200, None)
    for observed in observe(fresh, core, "gcc"):
        columns, runtime = observed.columns, Aot(core=core, compiler="gcc")
        ram = runtime.ram(columns)
        assert ram.arena[0] == observed.arena_bytes
        measured = observed.image.ram_bytes + observed.stack_bytes
        # The compiler decides which registers model_invoke saves: a few words either way.
        assert abs(ram.total[0] - measured) <= 24, observed.name
        flash = code_bytes(columns, runtime.measured) + constant_bytes(columns)
        assert flash[0] == pytest.approx(observed.image.flash_bytes, rel=0.02), observed.name
        counted = instructions(columns, runtime.measured)[0].sum()
        assert counted == pytest.approx(observed.instructions, rel=0.05), observed.name
