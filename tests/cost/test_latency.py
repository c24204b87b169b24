from __future__ import annotations

import numpy as np
import pytest
from architectures import Builder, small_cnn

from hwsearch.cost import latency
from hwsearch.cost.coefficients import ANY, Coefficients, CoefficientSet, Residuals, shipped
from hwsearch.cost.columns import Columns
from hwsearch.graph.architecture import from_architecture


def coefficients(**cycles):
    one = CoefficientSet("M4", "tflm", "2026", (), "", 1, 1, None, "", cycles)
    return Coefficients((one,), (Residuals("M4", "tflm", "2026", ANY, -0.1, 0.2, 3, 2),))


def test_cycles_are_amounts_times_coefficients():
    net = Builder((1, 4, 4, 8))
    net.conv(0, 6, 3)
    columns = Columns.of(from_architecture(net.entry()))
    known = coefficients(**{"conv.mac": 2.0, "conv.out": 10.0, "conv.one": 100.0})
    found = latency.cycles(columns, "M4", "tflm", coefficients=known)
    macs = 4 * 4 * 6 * 3 * 3 * 8
    assert found.tolist() == [[2 * macs + 10 * 96 + 100]]


def test_one_row_a_candidate_and_a_column_an_operator():
    base = Columns.of(from_architecture(small_cnn()))
    many = Columns(base.graph, np.repeat(base.shapes, 3, 0), np.repeat(base.bits, 3, 0))
    found = latency.cycles(many, "M4", "tflm-cmsis-nn")
    assert found.shape == (3, len(base.graph.ops))
    assert found.dtype == np.float64
    assert (found > 0).all()


def test_a_wider_network_takes_longer_on_every_set():
    narrow, wide = (Columns.of(from_architecture(small_cnn(width=width))) for width in (16, 32))
    for known in shipped().sets:
        less = latency.cycles(narrow, known.core, known.runtime, known.version)
        more = latency.cycles(wide, known.core, known.runtime, known.version)
        assert more.sum() > 1.5 * less.sum(), (known.core, known.runtime, known.version)


def test_float_networks_and_unknown_runtimes_are_unknown():
    columns = Columns.of(from_architecture(small_cnn("float32")))
    assert latency.cycles(columns, "M4", "tflm") is None
    columns = Columns.of(from_architecture(small_cnn()))
    assert latency.cycles(columns, "M4", "no such runtime") is None
    assert latency.cycles(columns, "M4", "x-cube-ai-99.0") is None
    assert latency.cycles(columns, "Z80", "tflm") is None


@pytest.mark.parametrize(
    ("runtime", "cores"),
    [
        *((f"x-cube-ai-{v}", ("M4", "M7", "M33")) for v in ("7.3", "8.1", "9.0", "10.2")),
        ("tflm", ("M0+", "M4", "M7", "M33", "M85")),
        ("tflm-cmsis-nn", ("M0+", "M4", "M7", "M33", "M85", "M55", "M3", "M33+MVP")),
        ("microtvm-native", ("M4", "M7", "M33")),
        ("microtvm-cmsis-nn", ("M4", "M7", "M33")),
    ],
)
def test_every_named_runtime_has_cycles_on_every_core_of_the_data(runtime, cores):
    columns = Columns.of(from_architecture(small_cnn()))
    for core in cores:
        assert latency.cycles(columns, core, runtime) is not None, core


def test_the_bare_name_is_the_newest_version():
    columns = Columns.of(from_architecture(small_cnn()))
    newest = latency.cycles(columns, "M4", "tflm-cmsis-nn", "2026")
    np.testing.assert_array_equal(latency.cycles(columns, "M4", "tflm-cmsis-nn"), newest)
    of_its_core = latency.cycles(columns, "M85", "tflm-cmsis-nn", "mlperf-v1.2")
    np.testing.assert_array_equal(latency.cycles(columns, "M85", "tflm-cmsis-nn"), of_its_core)
    old = latency.cycles(columns, "M4", "tflm-cmsis-nn-2020")
    assert old.sum() > newest.sum()


def test_band_of_a_measured_group():
    known = coefficients()
    found = latency.band("M4", "tflm", coefficients=known)
    assert (found.low, found.high) == (-0.1, 0.2)
    assert "3 measured, of 2 network families" in found.basis
    assert "not seen" in found.basis


@pytest.mark.parametrize(
    ("core", "runtime"),
    [("M0+", "tflm"), ("M55", "tflm-cmsis-nn"), ("M33+MVP", "tflm"), ("M4", "nothing")],
)
def test_where_nobody_measured_it_says_ranking_only(core, runtime):
    found = latency.band(core, runtime)
    assert found.basis.startswith("ranking only")
    assert found.low <= -0.3
    assert found.high >= 0.3


def test_small_networks_have_a_band_of_their_own():
    large = latency.band("M7", "x-cube-ai-7.3", kind="depthwise")
    small = latency.band("M7", "x-cube-ai-7.3", kind=latency.SMALL)
    assert small.high > large.high


def test_kinds():
    assert latency.kind_of(from_architecture(small_cnn())) == "depthwise"
    net = Builder((1, 8))
    net.dense(0, 4)
    assert latency.kind_of(from_architecture(net.entry())) == "dense"
    net = Builder((1, 4, 4, 2))
    net.conv(0, 4, 3)
    assert latency.kind_of(from_architecture(net.entry())) == "conv"
