"""Energy of an inference from a power analyser's trace, cut by the trigger pin or by a threshold.

A trace is a CSV export with a column of time and one of current. A column of a digital channel to
which the firmware's trigger pin was wired cuts it exactly; else the current itself does, where a
run draws clearly more than the wait before and after it.
"""

from __future__ import annotations

import csv
import re
import statistics
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwsearch.errors import DataError

Floats = NDArray[np.float64]

TIME = re.compile(r"time|timestamp|^t$", re.IGNORECASE)
CURRENT = re.compile(r"current|^i$|main", re.IGNORECASE)
VOLTAGE = re.compile(r"voltage|^v$", re.IGNORECASE)
TRIGGER = re.compile(r"^d?[0-7]$|trigger|gpi|digital|logic|^d[0-7]-d[0-7]$", re.IGNORECASE)
UNIT = re.compile(r"[(\[]?\b(s|ms|us|µs|ns|A|mA|uA|µA|nA|V|mV)\b[)\]]?\s*$")
SCALES = {
    "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9,
    "A": 1.0, "mA": 1e-3, "uA": 1e-6, "µA": 1e-6, "nA": 1e-9, "V": 1.0, "mV": 1e-3,
}  # fmt: skip

EXPORTS = (
    "Nordic PPK2 (Power Profiler): Timestamp(ms),Current(uA),D0-D7 or D0,D1,…",
    "Joulescope: #time,current,voltage or time (s),current (A),voltage (V),gpi0",
    "Otii: Timestamp,Main current,… or Time (s),Current (A)",
    "X-NUCLEO-LPM01A (STM32CubeMonitor-Power): Time (ms);Current (uA)",
)
"""Exports that are read; units in the header are honoured, without one seconds and amperes are."""


@dataclass(frozen=True)
class Energy:
    """Energy of the inferences in a trace.

    Attributes:
        energy_j: of one inference, median.
        latency_s: of one inference, median, as the trace shows it.
        runs: inferences found.
        spread: relative half-range of their energies: (most - least) / 2 / median.
        power_w: mean power while an inference runs.
        cut: ``"trigger"`` or ``"threshold"``.
    """

    energy_j: float
    latency_s: float
    runs: int
    spread: float
    power_w: float
    cut: str


@dataclass(frozen=True)
class Trace:
    """Samples of a power analyser.

    Attributes:
        time_s, current_a: float64 [n], time rising.
        voltage_v: float64 [n], or None where the analyser was not asked for it.
        trigger: bool [n], or None without a digital channel.
    """

    time_s: Floats
    current_a: Floats
    voltage_v: Floats | None = None
    trigger: NDArray[np.bool_] | None = None


def read_trace(path: Path) -> Trace:
    """A trace from a CSV export; see :data:`EXPORTS`.

    Raises:
        DataError: it cannot be read; no column of time and current, too few samples, or time
            that does not rise.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"the trace {path} cannot be read: {said}.") from error
    header_at = next((i for i, line in enumerate(lines) if _is_header(line)), None)
    if header_at is None:
        raise DataError(
            f"{path} has no header with a column of time and one of current. "
            f"Known exports: {'; '.join(EXPORTS)}"
        )
    delimiter = ";" if lines[header_at].count(";") > lines[header_at].count(",") else ","
    names = [name.strip().lstrip("#").strip() for name in lines[header_at].split(delimiter)]
    body = lines[header_at + 1 :]
    rows = [row for row in csv.reader(body, delimiter=delimiter) if len(row) == len(names)]
    time = _column(path, names, rows, TIME)
    current = _column(path, names, rows, CURRENT)
    if time is None or current is None or len(time) < 2:
        raise DataError(f"{path} holds {len(rows)} samples; at least 2 are needed.")
    if np.any(np.diff(time) < 0):
        raise DataError(f"the time in {path} does not rise: export it as recorded, unsorted.")
    trigger = next((i for i, name in enumerate(names) if TRIGGER.search(name)), None)
    return Trace(
        time - time[0],
        current,
        _column(path, names, rows, VOLTAGE),
        None if trigger is None else np.array([_pin(row[trigger]) for row in rows]),
    )


def energy(trace: Trace, voltage_v: float | None = None, runs: int | None = None) -> Energy:
    """Energy of each inference in a trace.

    The energy is the integral of voltage x current by the trapezoidal rule between the edges.

    Args:
        trace: with a trigger channel it is cut where the pin is high; without, where the current
            exceeds the middle between its idle level and its busy level (Otsu's threshold, 1979),
            with gaps shorter than a tenth of the longest run closed.
        voltage_v: supply; needed where the trace has no column of voltage.
        runs: how many inferences there must be; None accepts any.

    Raises:
        DataError: no voltage, no inference found, or not as many as there must be.
    """
    volts = trace.voltage_v if trace.voltage_v is not None else voltage_v
    if volts is None:
        raise DataError("the trace has no column of voltage: give the supply in volts.")
    power = trace.current_a * volts
    if trace.trigger is not None:
        spans, cut = _spans(trace.trigger), "trigger"
    else:
        spans, cut = _busy(trace.current_a > _otsu(trace.current_a)), "threshold"
    # A run that the trace begins or ends in is not whole.
    whole = [(a, b) for a, b in spans if a > 0 and b < len(power)]
    if not whole:
        raise DataError(
            f"no whole inference found in the trace by {cut}: record idle time before and after, "
            "and wire the port's trigger pin to a digital channel."
        )
    if runs is not None and len(whole) != runs:
        raise DataError(
            f"{len(whole)} inferences found in the trace by {cut}, expected {runs}: wire the "
            "port's trigger pin to a digital channel, or record exactly those runs."
        )
    joules = [float(np.trapezoid(power[a : b + 1], trace.time_s[a : b + 1])) for a, b in whole]
    seconds = [float(trace.time_s[b] - trace.time_s[a]) for a, b in whole]
    middle = statistics.median(joules)
    return Energy(
        energy_j=middle,
        latency_s=statistics.median(seconds),
        runs=len(whole),
        spread=(max(joules) - min(joules)) / 2 / middle if middle else 0.0,
        power_w=sum(joules) / sum(seconds),
        cut=cut,
    )


def _is_header(line: str) -> bool:
    names = re.split("[,;]", line)
    return any(TIME.search(n.strip(" #")) for n in names) and any(
        CURRENT.search(n.strip(" #")) for n in names
    )


def _column(
    path: Path, names: list[str], rows: list[list[str]], pattern: re.Pattern[str]
) -> Floats | None:
    """The first column whose name matches, in SI units."""
    at = next((i for i, name in enumerate(names) if pattern.search(name)), None)
    if at is None:
        return None
    unit = UNIT.search(names[at].rstrip(")] "))
    scale = SCALES[unit[1]] if unit else 1.0
    try:
        return scale * np.array([float(row[at].replace(",", ".")) for row in rows], np.float64)
    except ValueError as error:
        raise DataError(f"column {names[at]!r} of {path} holds no numbers: {error}") from error


def _pin(text: str) -> bool:
    """A digital sample: 0 or 1, or all eight channels as "00000001", channel 0 last or first."""
    return text.strip().strip("0.") not in ("", "false", "False")


def _spans(high: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(first, behind last) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], high, [False])).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _busy(high: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Spans with gaps closed that are shorter than a tenth of the longest span; without those as
    short, or mostly low: noise."""
    spans = _spans(high)
    longest = max((b - a for a, b in spans), default=0)
    closed: list[tuple[int, int]] = []
    for a, b in spans:
        if closed and a - closed[-1][1] < longest / 10:
            closed[-1] = (closed[-1][0], b)
        else:
            closed.append((a, b))
    return [(a, b) for a, b in closed if b - a > longest / 10 and high[a:b].mean() > 0.5]


def _otsu(values: Floats) -> float:
    """The threshold that parts values best in two (Otsu, IEEE Trans. SMC 9, 1979)."""
    counts, edges = np.histogram(values, bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    between[~np.isfinite(between)] = 0
    best = np.flatnonzero(between == between.max())
    return float(edges[int(best.mean()) + 1])
