import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hwsearch.device.power import Trace, energy, read_trace
from hwsearch.errors import DataError

IDLE_A, BUSY_A, VOLTS = 0.002, 0.021, 3.0
RUN_S, WAIT_S, STEP_S = 0.010, 0.025, 1e-5
ENERGY_J = BUSY_A * VOLTS * RUN_S


def trace(runs=5, noise=0.0, seed=0):
    """Runs of RUN_S at BUSY_A with waits of WAIT_S at IDLE_A around them."""
    period = WAIT_S + RUN_S
    time = np.arange(0, runs * period + WAIT_S, STEP_S)
    busy = ((time % period) >= WAIT_S) & (time < runs * period)
    current = np.where(busy, BUSY_A, IDLE_A)
    current = current + noise * np.random.default_rng(seed).standard_normal(len(time))
    return Trace(time, current, None, busy)


def without_pin(t):
    return Trace(t.time_s, t.current_a)


def test_energy_between_the_edges_of_the_pin():
    found = energy(trace(), VOLTS, runs=5)
    assert found.energy_j == pytest.approx(ENERGY_J, rel=2e-3)
    assert found.latency_s == pytest.approx(RUN_S, rel=2e-3)
    assert found.power_w == pytest.approx(BUSY_A * VOLTS, rel=2e-3)
    assert (found.runs, found.cut) == (5, "trigger")
    assert found.spread < 3e-3


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.floats(0, 0.003), st.integers(0, 1000))
@example(runs=3, noise=0.0026944070695104814, seed=385)  # spikes close to each other
def test_energy_by_threshold_where_no_pin_was_recorded(runs, noise, seed):
    found = energy(without_pin(trace(runs, noise, seed)), VOLTS, runs=runs)
    assert found.cut == "threshold"
    assert found.energy_j == pytest.approx(ENERGY_J, rel=0.02)


def test_the_pin_finds_runs_that_the_current_does_not_show():
    t = trace()
    flat = Trace(t.time_s, np.full_like(t.current_a, BUSY_A), None, t.trigger)
    assert energy(flat, VOLTS, runs=5).energy_j == pytest.approx(ENERGY_J, rel=2e-3)


def test_a_voltage_that_sags_is_integrated():
    t = trace()
    sagging = Trace(t.time_s, t.current_a, np.where(t.trigger, 2.5, VOLTS), t.trigger)
    assert energy(sagging).energy_j == pytest.approx(ENERGY_J * 2.5 / VOLTS, rel=2e-3)


def test_half_a_run_at_an_edge_of_the_trace_is_left_out():
    t = trace()
    start = int((WAIT_S + RUN_S / 2) / STEP_S)
    cut = Trace(t.time_s[start:], t.current_a[start:], None, t.trigger[start:])
    assert energy(cut, VOLTS).runs == 4


def test_what_cannot_be_measured_is_an_error():
    with pytest.raises(DataError, match=r"no column of voltage: give the supply"):
        energy(trace())
    with pytest.raises(DataError, match=r"5 inferences found in the trace by trigger, expected 4"):
        energy(trace(), VOLTS, runs=4)
    t = trace()
    with pytest.raises(DataError, match=r"no whole inference found"):
        energy(Trace(t.time_s, t.current_a, None, np.zeros(len(t.time_s), bool)), VOLTS)


HEADERS = {
    "ppk2": ("Timestamp(ms),Current(uA),D0,D1", "{ms},{ua},{pin},0"),
    "ppk2 bits": ("Timestamp(ms),Current(uA),D0-D7", "{ms},{ua},{pin}0000000"),
    "joulescope": ("#time,current,voltage", "{s},{a},3.0"),
    "joulescope units": ("time (s),current (A),voltage (V),gpi0", "{s},{a},3.0,{pin}"),
    "otii": ("Timestamp,Main current (A)", "{s},{a}"),
    "lpm01a": ("Time (ms);Current (uA)", "{ms};{ua}"),
    "lpm01a comma": ("Time (ms);Current (mA)", "{ms_comma};{ma_comma}"),
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("preamble", ["", "Exported by an analyser\n\n"])
def test_exports_of_common_analysers(tmp_path, name, preamble):
    header, row = HEADERS[name]
    t = trace(runs=3)
    rows = [
        row.format(
            s=f"{s:.6f}", ms=f"{s * 1e3:.4f}", a=f"{a:.6f}", ua=f"{a * 1e6:.2f}", pin=int(p),
            ms_comma=f"{s * 1e3:.4f}".replace(".", ","),
            ma_comma=f"{a * 1e3:.4f}".replace(".", ","),
        )
        for s, a, p in zip(t.time_s, t.current_a, t.trigger, strict=True)
    ]  # fmt: skip
    path = tmp_path / "trace.csv"
    path.write_text(preamble + "\n".join([header, *rows]) + "\n")
    read = read_trace(path)
    found = energy(read, None if read.voltage_v is not None else VOLTS, runs=3)
    assert found.energy_j == pytest.approx(ENERGY_J, rel=3e-3)
    assert found.cut == ("trigger" if "pin" in row else "threshold")


def test_files_that_are_no_trace(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"no header .* Nordic PPK2"):
        read_trace(path)
    path.write_text("Timestamp(ms),Current(uA)\n1,2\n")
    with pytest.raises(DataError, match=r"holds 1 samples"):
        read_trace(path)
    path.write_text("Timestamp(ms),Current(uA)\n2,2\n1,2\n")
    with pytest.raises(DataError, match=r"does not rise"):
        read_trace(path)
    path.write_text("Timestamp(ms),Current(uA)\n2,x\n3,x\n")
    with pytest.raises(DataError, match=r"holds no numbers"):
        read_trace(path)
