"""Calibration to a device: a made-up truth comes back; an emulated core's unseen layers too."""

from __future__ import annotations

import numpy as np
import pytest

from hwsearch import calibrate_device as calibration
from hwsearch import cli, microbenchmarks
from hwsearch.backends import backend
from hwsearch.codegen import refusals
from hwsearch.cost import kernels, latency
from hwsearch.cost.coefficients import VARIABLE, Coefficients, known, merged, shipped
from hwsearch.cost.columns import Columns
from hwsearch.device import Hello
from hwsearch.errors import InputError, ModelFileError, UnknownNameError
from hwsearch.graph.tflite import read
from tests.firmware.images import require

CLASSES = tuple(name for name in kernels.CLASSES if name not in ("free", "reshape"))


def counter(layers):
    """As the backend counts them; quicker."""
    return np.array([100.0 + np.prod(layer.output) * layer.taps for layer in layers])


def made_up(seed, scatter=0.0):
    """Factors of a made-up device, and a timer that takes exactly what they say, or about."""
    rng = np.random.default_rng(seed)
    truth = dict(zip(CLASSES, np.exp(rng.normal(0.4, 0.4, len(CLASSES))), strict=True))
    timed = []

    def timer(layers):
        timed.extend(layers)
        assert len(layers) <= microbenchmarks.LAYERS_MOST
        factors = [truth[calibration._class(layer)] for layer in layers]
        return counter(layers) * factors * np.exp(rng.normal(0, scatter, len(layers)))

    return truth, timer, timed


@pytest.mark.parametrize("seed", range(3))
def test_a_made_up_truth_is_recovered_within_one_per_cent(seed):
    truth, timer, timed = made_up(seed)
    found = calibration.adaptive(timer, counter, tolerance=5e-3, scatter=1e-2)
    assert set(found.factors) == set(truth)
    for name, factor in truth.items():
        assert found.factors[name] == pytest.approx(factor, rel=0.01), name
    assert np.abs(found.errors).max() < 0.01
    assert len(timed) < 80  # of the 256 there are: it stops when it knows enough


def test_a_noisy_device_is_told_by_its_band():
    _, timer, _ = made_up(0, scatter=0.05)
    found = calibration.adaptive(timer, counter)
    known = found.coefficients("M4", "made-up", "", on_silicon=True)
    band, small = known.residuals
    assert (small.kind, small.high) == (latency.SMALL, band.high)
    assert 0.02 < band.high < 0.25
    assert known.sets[0].error == pytest.approx(np.abs(found.errors).mean())
    assert found.coefficients("M4", "made-up", "", on_silicon=False).residuals == ()


def test_it_asks_for_no_layer_twice_and_judges_by_others():
    _, timer, timed = made_up(1)
    found = calibration.adaptive(timer, counter)
    assert len(set(timed)) == len(timed) == len(found.seen) + len(found.unseen)
    assert not {t.layer for t in found.seen} & {t.layer for t in found.unseen}
    assert len(found.unseen) == calibration.UNSEEN


def test_asking_for_more_takes_more_layers():
    _, timer, rough = made_up(2)
    calibration.adaptive(timer, counter, tolerance=0.06)
    _, timer, fine = made_up(2)
    calibration.adaptive(timer, counter, tolerance=0.025)
    assert len(rough) < len(fine)


def test_classes_that_are_alike_are_told_from_few():
    """Where all kernels are slower by one factor, a class that was never timed is, too."""

    def timer(layers):
        return 1.5 * counter(layers)

    found = calibration.adaptive(timer, counter, tolerance=0.4)
    seen = {calibration._class(t.layer) for t in found.seen}
    unseen = set(CLASSES) - seen
    assert unseen
    assert all(found.factors[name] > 1.15 for name in unseen)


def test_the_backend_counts_instructions_below_its_cycles():
    layers = microbenchmarks.pool(np.random.default_rng(0), 12)
    executed = calibration.counted(layers, "M4", None, in_cycles=False)
    cycles = calibration.counted(layers, "M4", None, in_cycles=True)
    assert (executed > 100).all()
    assert (cycles > executed).all() and (cycles < 2 * executed).all()


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


def test_calibrated_factors_are_used_where_the_variable_names_them(tmp_path, monkeypatch):
    truth, timer, _ = made_up(0)
    found = calibration.adaptive(timer, counter).coefficients("M4", "mine", "", on_silicon=True)
    path = tmp_path / "mine.json"
    path.write_text(found.to_json())
    layers = microbenchmarks.pool(np.random.default_rng(0), 4)
    columns = Columns.of(read(microbenchmarks.network(layers)).graph)
    aot = backend("aot")
    known.cache_clear()
    try:
        plain = aot.cycles(columns, "M4")
        monkeypatch.setenv(VARIABLE, str(path))
        known.cache_clear()
        mine = aot.cycles(columns, "M4")
        factors = [truth[calibration._class(layer)] for layer in layers]
        assert mine[0] / plain[0] == pytest.approx(factors, rel=0.05)
        assert "calibrated" in latency.band("M4", "aot").basis
        assert latency.corrections(columns, "M0+") is None
    finally:
        monkeypatch.delenv(VARIABLE, raising=False)
        known.cache_clear()


def test_a_file_of_coefficients_that_is_none_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "mine.json"
    path.write_text("{}")
    monkeypatch.setenv(VARIABLE, str(path))
    known.cache_clear()
    try:
        with pytest.raises(ModelFileError, match="no coefficients"):
            known()
    finally:
        monkeypatch.delenv(VARIABLE)
        known.cache_clear()


def test_merged_takes_the_later_of_two():
    _, timer, _ = made_up(0)
    found = calibration.adaptive(timer, counter)
    mine = found.coefficients("M4", "mine", "", on_silicon=True)
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
    [(0, 0, 1.0), (120_000_000, 120_000_000, 1.0), (1_000_000, 133_000_000, 133.0), (5, 0, 1.0)],
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
    assert (fitted.core, fitted.runtime, fitted.version) == ("M4", "aot", latency.CALIBRATED)
    assert fitted.error < 0.02
    assert "no silicon seen" in fitted.note
    assert Coefficients.load(path).residuals == ()
