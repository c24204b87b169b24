from __future__ import annotations

import csv

import numpy as np
import pytest
from architectures import PUBLISHED, Builder, needs_published, small_cnn

from hwsearch.backends import backend, microtvm, x_cube_ai
from hwsearch.cost.columns import Columns
from hwsearch.cost.latency import is_float
from hwsearch.cost.published import graphs_of
from hwsearch.graph.architecture import from_architecture


def test_names():
    assert [b.name for b in x_cube_ai.BACKENDS][-1] == "x-cube-ai-10.2"
    for runtime in (*x_cube_ai.BACKENDS, *microtvm.BACKENDS):
        assert backend(runtime.name) is runtime
        assert not runtime.buildable


def test_arena_of_a_chain_is_its_largest_tensor_and_the_rows_it_still_needs():
    net = Builder((1, 8, 8, 4))
    net.pool(net.conv(0, 16, 1), 2)
    columns = Columns.of(from_architecture(net.entry()))
    largest, one_row = 8 * 8 * 16, 8 * 4
    assert x_cube_ai.arena_bytes(columns).tolist() == [largest + one_row]


def test_an_input_that_is_read_again_keeps_its_place():
    net = Builder((1, 8, 8, 8))
    x = net.conv(0, 8, 1)
    net.add(x, net.conv(x, 8, 1))
    columns = Columns.of(from_architecture(net.entry()))
    tensor, one_row = 8 * 8 * 8, 8 * 8
    assert x_cube_ai.arena_bytes(columns).tolist() == [2 * tensor + one_row]


def test_batches_and_totals():
    base = Columns.of(from_architecture(small_cnn()))
    many = Columns(base.graph, np.repeat(base.shapes, 4, 0), np.repeat(base.bits, 4, 0))
    for runtime in (backend("x-cube-ai-8.1"), backend("microtvm-native")):
        assert runtime.ram(many).total.shape == (4,)
        assert runtime.flash(many).tolist() == runtime.flash(base).tolist() * 4
        assert runtime.cycles(many, "M4").shape == (4, len(base.graph.ops))


@pytest.mark.parametrize("name", ["x-cube-ai-9.0", "microtvm-cmsis-nn"])
@pytest.mark.parametrize(("dtype", "at"), [("int4", 1), ("int16", 0)])
def test_what_they_refuse(name, dtype, at):
    entry = small_cnn()
    assert backend(name).refusals(from_architecture(entry)) == []
    entry["tensors"][at]["dtype"] = dtype
    found = backend(name).refusals(from_architecture(entry))
    assert [r.op_index for r in found] == [0]
    assert "bit" in str(found[0])


@needs_published
def test_memory_of_the_published_networks():
    graphs = graphs_of(PUBLISHED)
    runtime = backend("x-cube-ai-7.3")
    ram, flash = [], []
    with (PUBLISHED / "measured.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            graph = graphs.get(row["architecture"])
            if row["runtime"] != "x-cube-ai" or graph is None or is_float(graph):
                continue
            columns = Columns.of(graph)
            if row["total_ram_kb"]:
                ram.append(runtime.ram(columns).total[0] / 1024 / float(row["total_ram_kb"]) - 1)
            if row["total_flash_kb"]:
                flash.append(runtime.flash(columns)[0] / 1024 / float(row["total_flash_kb"]) - 1)
    assert len(ram) >= 30
    assert np.abs(ram).mean() <= 0.06
    assert np.abs(flash).mean() <= 0.03
