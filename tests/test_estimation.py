"""estimate() against the boards' published times, the backends themselves, and its own batches."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
from architectures import PUBLISHED, needs_published, small_cnn
from tflite_network import Network
from tflite_writer import random_network

import hwsearch
from hwsearch import Board, Budget, estimate, estimation
from hwsearch.backends import backend
from hwsearch.backends.tflm import Tflm
from hwsearch.board import board
from hwsearch.cost import latency
from hwsearch.cost.columns import Columns
from hwsearch.cost.cost import COSTS, Band, BandColumns, Cost, CostColumns
from hwsearch.errors import InputError, ModelError, ModelFileError, RefusedError, UnknownNameError
from hwsearch.graph.tflite import read
from hwsearch.source import network

BOARD = "nucleo-l4r5zi"


@pytest.fixture(scope="module")
def content() -> bytes:
    net = Network(np.random.default_rng(0))
    x = net.conv(net.input((1, 24, 24, 3)), 16, (3, 3), (1, 1), "same", (1, 1), "relu")
    x = net.conv(net.depthwise(x), 32, (1, 1))
    x = net.mean(x)
    return net.finish(net.dense(x, 10))


@pytest.fixture
def path(content, tmp_path):
    file = tmp_path / "net.tflite"
    file.write_bytes(content)
    return file


@needs_published
@pytest.mark.parametrize("runtime", ["tflm-cmsis-nn-2.3.1", "x-cube-ai-8.1", "x-cube-ai-10.2"])
def test_published_times_lie_in_the_band(runtime):
    """The fit saw these rows, so they must: a wrong board, clock, version or unit would not."""
    entry = json.loads((PUBLISHED / "architectures.json").read_text())["pretrainedResnet_quant"]
    name, _, version = runtime.rpartition("-")
    compared = 0
    with (PUBLISHED / "measured.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if (row["runtime"], row["runtime_version"]) != (name, version):
                continue
            if row["architecture"] != "pretrainedResnet_quant" or not row["latency_ms"]:
                continue
            found = estimate(entry, board=row["board"], backend=runtime)
            band = found.bands["latency_s"]
            measured = float(row["latency_ms"]) / 1e3
            assert 1 + band.low <= measured / found.latency_s <= 1 + band.high, row["board"]
            compared += 1
    assert compared >= 1


def test_parts_add_up(path):
    found = estimate(path, board=BOARD)
    assert found.macs == sum(op.macs for op in found.ops) == sum(read(path).graph.macs)
    assert found.cycles == pytest.approx(sum(op.cycles for op in found.ops))
    assert found.latency_s == pytest.approx(found.cycles / 120e6)
    assert found.energy_j == pytest.approx(found.latency_s * board(BOARD).power_w)
    assert found.ram_bytes >= max(op.live_bytes for op in found.ops)
    assert found.flash_bytes > sum(op.flash_bytes for op in found.ops)
    assert set(found.bands) == set(COSTS)


def test_sources_of_one_network_cost_the_same(path, content):
    expected = estimate(path, board=BOARD)
    for source in (str(path), content, read(path), network(path)):
        found = estimate(source, board=BOARD)
        assert (found.ram_bytes, found.cycles) == (expected.ram_bytes, expected.cycles)


def test_an_architecture_without_weights():
    found = estimate(small_cnn(), board=BOARD, backend="x-cube-ai-8.1")
    assert found.cycles > 0
    assert found.flash_bytes > 0


def test_a_board_of_a_core_and_a_clock_alone(path):
    found = estimate(path, board=Board("mine", "M4", 100e6))
    assert found.latency_s == pytest.approx(found.cycles / 100e6)
    assert found.energy_j is None
    assert "energy_j" not in found.bands
    assert estimate(path, board=Board("mine", "M4")).latency_s is None


def test_what_is_unknown_is_none_and_never_0(path):
    found = estimate(path, board=Board("mine", "M99", 100e6))
    assert (found.cycles, found.latency_s, found.energy_j) == (None, None, None)
    assert [op.cycles for op in found.ops] == [None] * len(found.ops)
    assert set(found.bands) == {"flash_bytes", "ram_bytes"}


def test_another_clock_scales_time_and_keeps_the_energy_of_a_cycle(path):
    own = estimate(path, board=BOARD)
    slow = estimate(path, board=BOARD, clock_hz=60e6)
    assert slow.cycles == own.cycles
    assert slow.latency_s == pytest.approx(2 * own.latency_s)
    assert slow.energy_j == pytest.approx(own.energy_j)
    assert slow.bands["energy_j"].high > own.bands["energy_j"].high
    assert slow.bands["latency_s"] == own.bands["latency_s"]
    with pytest.raises(InputError, match="hertz"):
        estimate(path, board=BOARD, clock_hz=0)


def test_a_version_in_the_name_or_apart(path):
    old = estimate(path, board=BOARD, backend="tflm-cmsis-nn-2.3.1")
    apart = estimate(path, board=BOARD, backend="tflm-cmsis-nn", version="2.3.1")
    new = estimate(path, board=BOARD, backend="tflm-cmsis-nn")
    assert old.cycles == apart.cycles > 1.3 * new.cycles
    assert "2.3.1" in old.bands["latency_s"].basis
    newest = estimate(path, board=BOARD, backend="x-cube-ai")
    assert newest.cycles == estimate(path, board=BOARD, backend="x-cube-ai-10.2").cycles


@pytest.mark.parametrize("name", ["x-cube-ai-7", "tflm-", "tflm-9", "nothing", ""])
def test_an_unknown_backend_lists_the_known(path, name):
    with pytest.raises(UnknownNameError, match=r"tflm-cmsis-nn-2\.3\.1"):
        estimate(path, board=BOARD, backend=name)


def test_refusals_are_listed_all():
    net = Network(np.random.default_rng(0), "int16")
    x = net.conv(net.input((1, 8, 8, 3)), 4)
    content = net.finish(net.conv(x, 4))
    with pytest.raises(RefusedError) as error:
        estimate(content, board=BOARD, backend="x-cube-ai-8.1")
    for op in range(2):
        assert f"operator {op} (conv_2d)" in str(error.value)


def test_bands_are_the_backends_own(path):
    ours = estimate(path, board=BOARD, backend="tflm").bands
    theirs = estimate(path, board=BOARD, backend="x-cube-ai-8.1").bands
    guess = estimate(path, board=BOARD, backend="microtvm-native").bands
    assert ours["ram_bytes"].high <= 0.01 < theirs["ram_bytes"].high < guess["ram_bytes"].high
    assert "ranking only" in guess["flash_bytes"].basis


@dataclass(frozen=True)
class Silent(Tflm):
    """A plugin that says nothing about its bands."""

    bands = {}  # noqa: RUF012


def test_a_backend_without_bands_is_not_taken_for_exact(path):
    target = estimation.Target(board(BOARD), Silent("tflm", False))
    found = estimation.of(network(path), target)
    assert found.bands["ram_bytes"] == estimation.UNSTATED
    assert Budget(ram=int(found.ram_bytes * 1.1)).fits(found) == "likely"


@dataclass(frozen=True)
class Outspoken(Tflm):
    """A plugin that counts cycles itself and says how well."""

    bands = {"latency_s": Band(-0.02, 0.02, "said so")}  # noqa: RUF012

    def cycles(self, columns, core):
        return np.full((len(columns), len(columns.graph.ops)), 1e6)


@pytest.mark.parametrize(("name", "basis"), [("plugin", "said so"), ("tflm", "tflm 2026")])
def test_a_stated_band_of_time_counts_where_nobody_measured(path, name, basis):
    where = Board("mine", "M4", 100e6, power_w=0.05)
    found = estimation.of(network(path), estimation.Target(where, Outspoken(name, False)))
    time, joules = found.bands["latency_s"], found.bands["energy_j"]
    assert basis in time.basis and basis in joules.basis
    assert joules.high > time.high
    assert (time.high == 0.02) == (name == "plugin")


def test_dead_channels_are_free_only_where_they_are_dropped():
    """Half of a layer's channels see weights of 0 and can take one value alone."""
    net = Network(np.random.default_rng(0))
    x = net.conv(net.input((1, 16, 16, 8)), 32, (3, 3), activation="relu")
    weights = net.subgraph.operators[0].inputs[1]
    buffer = net.model.buffers[net.subgraph.tensors[weights].buffer]
    buffer.data = np.concatenate([np.zeros(16 * 72, np.uint8), buffer.data[16 * 72 :]])
    content = net.finish(net.conv(x, 8))
    old = estimate(content, board=BOARD, backend="x-cube-ai-8.1")
    new = estimate(content, board=BOARD, backend="x-cube-ai-10.2")
    assert old.macs == sum(read(content).graph.macs)
    assert new.macs < 0.7 * old.macs
    assert new.flash_bytes < old.flash_bytes


def widened(columns: Columns, factors: list[int]) -> Columns:
    """The first factor is the network as it is; the others have that many times the channels."""
    shapes = np.repeat(columns.shapes, len(factors), axis=0)
    first = columns.graph.inputs[0]
    for i, tensor in enumerate(columns.graph.tensors):
        if i == first or len(tensor.shape) < 4 or tensor.is_constant:
            continue
        shapes[:, i, -3] = shapes[:, i, -3] * factors  # taller images: same weights
    return Columns(columns.graph, shapes, np.repeat(columns.bits, len(factors), axis=0))


def test_a_batch_is_its_members_bands_and_all():
    """One of the candidates is small, the others are not: each has its own band."""
    net = Network(np.random.default_rng(0))
    x = net.conv(net.input((1, 8, 8, 8)), 16)
    columns = Columns.of(read(net.finish(net.conv(x, 16))).graph)
    batch = widened(columns, [1, 4, 16])
    runtime, where = backend("tflm-cmsis-nn"), board(BOARD)
    found = estimation.costs(batch, runtime, where)
    small = found.cycles < latency.SMALL_CYCLES
    assert small.any() and not small.all()
    for row in range(3):
        alone = estimation.cost(batch.take([row]), runtime, where)
        for name in COSTS:
            assert getattr(found, name)[row] == pytest.approx(getattr(alone, name))
            band = alone.bands[name]
            edges = found.bands[name]
            assert (edges.low[row], edges.high[row]) == (band.low, band.high), name
    assert found.bands["latency_s"].high[0] > found.bands["latency_s"].high[2]


def test_three_ways_to_judge_one_and_many():
    """Over, inside by the estimate, inside with the whole band; in a batch, each by its own."""
    bands = {"latency_s": Band(-0.1, 0.5, "")}
    cost = Cost(1, 1, 1.0, None, 1, bands=bands)
    assert Budget(latency=0.9).fits(cost) == "no"
    assert Budget(latency=1.2).fits(cost) == "likely"
    assert Budget(latency=1.6).fits(cost) == "sure"
    ones = np.ones(2, np.int64)
    edges = {"latency_s": BandColumns(np.array([-0.1, -0.1]), np.array([0.1, 0.5]))}
    many = CostColumns(ones, ones, np.ones(2), None, None, edges)
    likely = Budget(latency=1.2).excesses(many)[:, 0]
    sure = Budget(latency=1.2, strictness="sure").excesses(many)[:, 0]
    assert (likely <= 0).tolist() == [True, True]
    assert (sure <= 0).tolist() == [True, False]
    for strictness in ("likely", "sure"):
        budget = Budget(latency=1.2, strictness=strictness)
        single = budget.excess(replace(cost, bands=bands))["latency_s"]
        assert single == pytest.approx(budget.excesses(many)[1, 0])


def test_random_networks_of_every_kind_have_an_estimate_or_a_refusal():
    answered = 0
    for seed in range(40):
        content = random_network(np.random.default_rng(seed))
        for name in ("tflm-cmsis-nn", "x-cube-ai-9.0", "microtvm-native"):
            try:
                found = estimate(content, board=BOARD, backend=name)
            except RefusedError:
                continue
            answered += 1
            assert found.ram_bytes > 0 and found.flash_bytes > 0
            assert found.cycles is None or found.cycles > 0
    assert answered > 80


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ("no/such/file.tflite", ModelFileError, "cannot read"),
        (b"nothing", ModelFileError, "not a .tflite"),
        ({"tensors": []}, ModelFileError, "operators"),
        (42, ModelError, "int is not a network"),
    ],
)
def test_what_is_no_network(source, error, said):
    with pytest.raises(error, match=said):
        estimate(source, board=BOARD)


def test_without_keras_no_tensorflow(path):
    code = (
        "import sys, hwsearch; "
        f"hwsearch.estimate({str(path)!r}, board={BOARD!r}); "
        "print([m for m in ('tensorflow', 'keras', 'mlflow', 'optuna') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_keras_model_and_its_file(tmp_path):
    import networks

    model = networks.ds_cnn()
    found = estimate(model, board=BOARD)
    model.save(tmp_path / "model.keras")
    again = estimate(tmp_path / "model.keras", board=BOARD)
    assert (found.macs, found.ram_bytes, found.cycles) == (
        again.macs, again.ram_bytes, again.cycles,
    )  # fmt: skip
    # Weights are int8: the model's parameters, and 8 bytes or less a channel for bias and scale.
    constants = sum(op.flash_bytes for op in found.ops)
    assert model.count_params() * 0.9 < constants < model.count_params() * 1.6


def test_it_is_public():
    assert hwsearch.estimate is estimate
