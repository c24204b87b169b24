"""Calibration to a device: a made-up truth comes back; an emulated core's unseen layers too."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from hwsearch import calibrate, cli, microbenchmarks
from hwsearch import calibrate_device as calibration
from hwsearch.codegen import refusals
from hwsearch.cost import latency
from hwsearch.cost.coefficients import VARIABLE, Coefficients, known, merged, shipped
from hwsearch.cost.columns import Columns
from hwsearch.cost.priors import AOT, spread
from hwsearch.device import Hello
from hwsearch.errors import InputError, UnknownNameError
from hwsearch.graph.tflite import read
from tests.firmware.images import require

CELL = ("M4", "aot", latency.CALIBRATED)


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1):
        yield


def made_up(seed, scatter=0.0):
    """Coefficients unlike the priors, and a device whose layers take exactly what they say."""
    rng = np.random.default_rng(seed)
    truth = np.array(list(AOT.prior.values())) * np.exp(rng.normal(0, 0.5, len(AOT.prior)))
    timed = []

    def timer(layers):
        timed.extend(layers)
        assert len(layers) <= microbenchmarks.LAYERS_MOST
        rows = [calibration.observation(layer, 1.0, CELL, "made-up", 0.1) for layer in layers]
        noise = np.exp(rng.normal(0, scatter, len(rows)))
        return (calibrate.features(AOT, rows) * truth).sum(axis=1) * noise

    return dict(zip(AOT.prior, truth, strict=True)), timer, timed


@pytest.mark.parametrize("seed", range(3))
def test_a_made_up_truth_is_recovered_within_one_per_cent(seed):
    truth, timer, timed = made_up(seed)
    found = calibration.adaptive(timer, CELL, board="made-up", scatter=1e-4, tolerance=2e-4)
    cycles = found.coefficients.by_name[CELL].cycles
    for feature, value in truth.items():
        names, quantity = spread(feature)
        assert cycles[f"{names[0]}.{quantity}"] == pytest.approx(value, rel=0.01), feature
    assert np.abs(found.errors).max() < 1e-3
    assert len(timed) < 80  # of the 256 there are: it stops when it knows enough


def test_a_noisy_device_is_told_by_its_band():
    _, timer, _ = made_up(0, scatter=0.05)
    found = calibration.adaptive(timer, CELL, board="made-up")
    band, small = found.coefficients.residuals
    assert (small.kind, small.high) == (latency.SMALL, band.high)
    assert 0.02 < band.high < 0.25
    assert found.coefficients.sets[0].error == pytest.approx(np.abs(found.errors).mean())


def test_it_asks_for_no_layer_twice_and_judges_by_others():
    _, timer, timed = made_up(1)
    found = calibration.adaptive(timer, CELL, board="made-up")
    assert len(set(timed)) == len(timed) == len(found.seen) + len(found.unseen)
    seen = {row.network for row in found.seen}
    assert not seen & {row.network for row in found.unseen}
    assert len(found.unseen) == calibration.UNSEEN


def test_asking_for_more_takes_more_layers():
    _, timer, rough = made_up(2)
    calibration.adaptive(timer, CELL, board="made-up", tolerance=0.2)
    _, timer, fine = made_up(2)
    calibration.adaptive(timer, CELL, board="made-up", tolerance=0.05)
    assert len(rough) < len(fine)


def test_microbenchmarks_are_small_networks_that_the_compiler_takes():
    layers = microbenchmarks.pool(np.random.default_rng(3), 120)
    assert len(set(layers)) == 120
    kinds = set()
    for start in range(0, 120, microbenchmarks.LAYERS_MOST):
        part = layers[start : start + microbenchmarks.LAYERS_MOST]
        graph = read(microbenchmarks.network(part)).graph
        assert refusals(graph) == []
        assert [op.kind for op in graph.ops] == [layer.kind for layer in part]
        assert [graph.tensors[i].shape for i in graph.inputs] == [layer.input for layer in part]
        assert [graph.tensors[i].shape for i in graph.outputs] == [layer.output for layer in part]
        kinds |= {op.kind for op in graph.ops}
    assert {"conv_2d", "depthwise_conv_2d", "fully_connected", "average_pool_2d"} <= kinds


def test_calibrated_coefficients_are_used_where_the_variable_names_them(tmp_path, monkeypatch):
    _, timer, _ = made_up(0)
    found = calibration.adaptive(timer, CELL, board="made-up").coefficients
    path = tmp_path / "mine.json"
    path.write_text(found.to_json())
    columns = Columns.of(
        read(microbenchmarks.network(microbenchmarks.pool(np.random.default_rng(0), 4))).graph
    )
    known.cache_clear()
    try:
        assert latency.cycles(columns, "M4", "aot") is None
        monkeypatch.setenv(VARIABLE, str(path))
        known.cache_clear()
        mine = latency.cycles(columns, "M4", "aot")
        assert mine == pytest.approx(
            latency.cycles(columns, "M4", "aot", coefficients=Coefficients.load(path))
        )
        assert "calibrated" in latency.band("M4", "aot").basis
    finally:
        monkeypatch.delenv(VARIABLE, raising=False)
        known.cache_clear()


def test_merged_takes_the_later_of_two():
    _, timer, _ = made_up(0)
    mine = calibration.adaptive(timer, CELL, board="made-up").coefficients
    both = merged(shipped(), mine)
    assert len(both.sets) == len(shipped().sets) + 1
    assert merged(both, mine) == both


def test_a_board_needs_its_port(tmp_path):
    with pytest.raises(InputError, match="--port"):
        calibration.calibrate_device("serial:///dev/nowhere")
    with pytest.raises(UnknownNameError, match="emulated core"):
        calibration.calibrate_device("emulator:cortex-z9")


@pytest.mark.parametrize(
    ("ticks_hz", "clock_hz", "factor"),
    [(0, 0, 1.56), (120_000_000, 120_000_000, 1.0), (1_000_000, 133_000_000, 133.0), (5, 0, 1.0)],
)
def test_ticks_become_cycles(ticks_hz, clock_hz, factor):
    bench = calibration.Bench("emulator:cortex-m4", None, (), None)
    bench.hello = Hello(1, 1, 0, ticks_hz, clock_hz, 512, 1, (1,), (1,), "b", "M4", "aot")
    assert bench._cycles_per_tick == pytest.approx(factor)


@pytest.mark.emulator
def test_layers_on_an_emulated_core_are_counted_each_by_itself():
    """A layer takes the same alone and among others, in whatever order they run."""
    require("unicorn", "capstone", "arm-none-eabi-gcc")
    bench = calibration.Bench("emulator:cortex-m4", None, ("-O2",), None)
    layers = microbenchmarks.pool(np.random.default_rng(0), 3)
    together = bench(layers)
    assert bench(layers[1:2])[0] == pytest.approx(together[1], rel=0.01)
    assert (bench.kind, bench.hello.core) == ("emulator", "M4")


@pytest.mark.emulator
@pytest.mark.slow
def test_an_emulated_core_from_the_command_line(tmp_path, capsys):
    """Instructions of layers that no fit has seen."""
    require("unicorn", "capstone", "arm-none-eabi-gcc")
    path = tmp_path / "m4.json"
    command = ["calibrate", "--device", "emulator:cortex-m4", "--out", str(path)]
    assert cli.main(command) == 0
    said = capsys.readouterr()
    print(said.out)
    (fitted,) = Coefficients.load(path).sets
    assert (fitted.core, fitted.runtime, fitted.version) == ("M4", "aot", latency.EMULATED)
    assert fitted.error < 0.1
    assert "no silicon seen" in fitted.note
    assert Coefficients.load(path).residuals == ()
