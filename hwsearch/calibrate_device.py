"""Latency coefficients of the ``aot`` kernels on a device: layers chosen, timed, fitted.

Each round takes the layers whose times would tell most about the coefficients (D-optimal design:
greatest growth of the determinant of the posterior's precision; Fedorov 1972), times them, and
fits. It ends when every layer that a network may have is predicted as closely as asked for. Layers
that no round has used then judge the fit.
"""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hwsearch import calibrate, microbenchmarks
from hwsearch.cost.coefficients import ANY, Coefficients, CoefficientSet, Residuals
from hwsearch.cost.columns import Columns
from hwsearch.cost.fit import Cell, Floats
from hwsearch.cost.kernels import CLASSES, QUANTITIES, quantities
from hwsearch.cost.latency import CALIBRATED, EMULATED, SMALL
from hwsearch.cost.priors import AOT, spread
from hwsearch.cost.published import CYCLES_PER_INSTRUCTION, Observation
from hwsearch.device import Hello, build, flashing, port_of
from hwsearch.device import open as open_device
from hwsearch.errors import DeviceError, InputError
from hwsearch.graph.tflite import read
from hwsearch.microbenchmarks import LAYERS_MOST, Layer

SCATTER = 0.05
"""Relative standard deviation of a layer around the model: on an emulated Cortex-M4, where nothing
else scatters, unseen layers err by 5 % on average (``make bench-cost``)."""

TOLERANCE = 0.04
"""A layer's predicted time has this relative standard deviation at most when timing ends."""

CANDIDATES, UNSEEN, ROUNDS_MOST = 240, 16, 24

Timer = Callable[[Sequence[Layer]], Floats]
"""Cycles of each layer, of at most LAYERS_MOST."""


@dataclass(frozen=True)
class Calibration:
    """What a device taught.

    Attributes:
        coefficients: one set, and the band that its unseen layers give.
        seen, unseen: layers that were timed, for the fit and to judge it.
        predicted: float64 [unseen], cycles.
        uncertain: relative standard deviation of the least certain candidate layer.
    """

    coefficients: Coefficients
    seen: tuple[Observation, ...]
    unseen: tuple[Observation, ...]
    predicted: Floats
    uncertain: float

    @property
    def errors(self) -> Floats:
        """float64 [unseen]: predicted over measured, minus 1."""
        relative: Floats = self.predicted / np.array([row.cycles for row in self.unseen]) - 1
        return relative


def calibrate_device(
    url: str,
    *,
    port: str | None = None,
    flags: Sequence[str] = ("-O2",),
    toolchain: str | None = None,
    tolerance: float = TOLERANCE,
    report: Callable[[str], None] = lambda line: None,
) -> Calibration:
    """Coefficients of the ``aot`` kernels on a device.

    Args:
        url: ``"emulator:cortex-m4"``, ``"serial:///dev/ttyACM0"`` …
        port: of a board its firmware port, e.g. ``"nucleo-l4r5zi"``.
        flags, toolchain: of the compiler.
        tolerance: relative standard deviation that ends it.
        report: is told what happens, a line each.

    Returns:
        Cycles of a board; of an emulator instructions × CYCLES_PER_INSTRUCTION, whose band no
        measurement backs.

    Raises:
        InputError: a board without ``port``.
        ToolchainError, ImageError, WireError, DeviceError: as devices raise them.
    """
    bench = Bench(url, port, tuple(flags), toolchain)
    first = bench(microbenchmarks.pool(np.random.default_rng(0), 1))  # who is there?
    report(f"{bench.hello.board}, core {bench.hello.core}: {first[0]:,.0f} cycles for a layer")
    version = CALIBRATED if bench.kind == "board" else EMULATED
    cell = (bench.hello.core, "aot", version)
    found = adaptive(bench, cell, board=bench.hello.board, tolerance=tolerance, report=report)
    note = f"hwsearch.codegen, {bench.toolchain} {' '.join(flags)}"
    if bench.kind != "board":
        note += f"; instructions on {url} × {CYCLES_PER_INSTRUCTION}, no silicon seen"
    sets = tuple(replace(s, note=note) for s in found.coefficients.sets)
    residuals = found.coefficients.residuals if bench.kind == "board" else ()
    return replace(found, coefficients=Coefficients(sets, residuals))


class Bench:
    """Times layers on a device: an image each call.

    Attributes:
        hello: what the device said last.
        kind: ``"board"``, ``"emulator"`` or ``"host"``.
        toolchain: what compiled the last image.
    """

    hello: Hello
    kind = ""
    toolchain = ""

    def __init__(
        self, url: str, port: str | None, flags: tuple[str, ...], toolchain: str | None
    ) -> None:
        self._url, self._flags, self._toolchain = url, flags, toolchain
        self._port = port_of(url) or port
        if self._port is None:
            raise InputError(
                f"{url} is a board, and which firmware port it runs is not known. Give --port, "
                "e.g. --port nucleo-l4r5zi; docs/porting.md tells how to write one."
            )
        self._rng = np.random.default_rng(0)

    def __call__(self, layers: Sequence[Layer]) -> Floats:
        """float64 [layers]: cycles; of an emulator instructions × CYCLES_PER_INSTRUCTION."""
        from hwsearch.codegen import generate

        with tempfile.TemporaryDirectory(prefix="hwsearch-") as folder:
            sources = Path(folder) / "model"
            made = generate(microbenchmarks.network(layers), sources)
            image = build(
                sources, str(self._port), Path(folder) / "image",
                flags=self._flags, toolchain=self._toolchain, layers=True,
            )  # fmt: skip
            if port_of(self._url) is None:
                flashing.flash(image)
            inputs = [
                self._rng.integers(-128, 128, layer.input, np.int8).tobytes() for layer in layers
            ]
            with open_device(self._url, image) as device:
                found = device.run([inputs])
        self.hello, self.kind, self.toolchain = found.hello, found.kind, image.toolchain
        if len(found.layer_ticks) != len(layers):
            raise DeviceError(
                f"{self._url} told the ticks of {len(found.layer_ticks)} layers, expected "
                f"{len(layers)}. Its port must count ticks."
            )
        cycles = np.zeros(len(layers))
        for layer, ticks in zip(made.layers, found.layer_ticks, strict=True):
            cycles[layer.op_index] = ticks * self._cycles_per_tick
        return cycles

    @property
    def _cycles_per_tick(self) -> float:
        hello = self.hello
        if hello.ticks_hz == 0:  # a tick is an instruction
            return CYCLES_PER_INSTRUCTION
        return hello.clock_hz / hello.ticks_hz if hello.clock_hz else 1.0


def adaptive(
    timer: Timer,
    cell: Cell,
    *,
    board: str,
    tolerance: float = TOLERANCE,
    scatter: float = SCATTER,
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> Calibration:
    """The coefficients of a cell from layers that are chosen as they are timed.

    Args:
        timer: times layers.
        cell: what they hold for; its runtime must be of the ``aot`` kernels.
        board: the device's name.
        tolerance: ends it, see :data:`TOLERANCE`; at the latest ROUNDS_MOST end it.
        scatter: see :data:`SCATTER`.
        seed: of the candidate layers.
        report: is told of every round.
    """
    layers = microbenchmarks.pool(np.random.default_rng(seed), CANDIDATES + UNSEEN)
    candidates, held = layers[:CANDIDATES], layers[CANDIDATES:]
    asked = [observation(layer, 1.0, cell, board, scatter) for layer in candidates]
    amounts = calibrate.features(AOT, asked)
    hierarchy = calibrate.hierarchy_of(AOT, [cell])
    prior = np.linalg.inv(hierarchy.covariance(cell))
    theta = hierarchy.coefficients(cell, np.zeros(hierarchy.effects))
    seen: dict[int, Observation] = {}
    uncertain = float("inf")
    for _ in range(ROUNDS_MOST):
        parts = amounts * theta
        shares = parts / parts.sum(axis=1, keepdims=True)
        precision = prior + shares[list(seen)].T @ shares[list(seen)] / scatter**2
        covariance = np.linalg.inv(precision)
        uncertain = float(np.sqrt(_variances(shares, covariance).max()))
        if seen:
            report(f"{len(seen)} layers timed, predictions to ±{uncertain:.1%}")
        if uncertain <= tolerance:
            break
        chosen = _most_informative(shares, covariance, set(seen), scatter)
        cycles = timer([candidates[i] for i in chosen])
        for i, value in zip(chosen, cycles, strict=True):
            seen[i] = observation(candidates[i], float(value), cell, board, scatter)
        effects = calibrate.effects_of(AOT, hierarchy, list(seen.values()))
        theta = hierarchy.coefficients(cell, effects)
    rows = tuple(seen.values())
    unseen = tuple(_timed(timer, held, cell, board, scatter))
    predicted = (calibrate.features(AOT, unseen) * theta).sum(axis=1)
    return Calibration(
        _coefficients(cell, board, theta, rows, unseen, predicted),
        rows, unseen, predicted, uncertain,
    )  # fmt: skip


def observation(layer: Layer, cycles: float, cell: Cell, board: str, sigma: float) -> Observation:
    """A timed layer as the fit sees it."""
    graph = read(microbenchmarks.network([layer])).graph
    amounts, kernel = quantities(Columns.of(graph))
    table = np.zeros((len(CLASSES), len(QUANTITIES)))
    table[kernel[0, 0]] = amounts[0, 0]
    family = f"layers/{CLASSES[kernel[0, 0]]}"
    today = datetime.date.today().isoformat()
    return Observation(
        family, str(layer), calibrate.LAYER, cell, board, cycles, sigma, table, today
    )


def _timed(
    timer: Timer, layers: Sequence[Layer], cell: Cell, board: str, scatter: float
) -> list[Observation]:
    found = []
    for start in range(0, len(layers), LAYERS_MOST):
        part = layers[start : start + LAYERS_MOST]
        for layer, cycles in zip(part, timer(part), strict=True):
            found.append(observation(layer, float(cycles), cell, board, scatter))
    return found


def _variances(shares: Floats, covariance: Floats) -> Floats:
    """float64 [rows]: of the logarithm of each predicted time."""
    variances: Floats = np.einsum("if,fg,ig->i", shares, covariance, shares)
    return variances


def _most_informative(
    shares: Floats, covariance: Floats, used: set[int], scatter: float
) -> list[int]:
    """The next layers, one after the other the least certain one given those before it."""
    chosen: list[int] = []
    for _ in range(LAYERS_MOST):
        gain = _variances(shares, covariance)
        gain[[*used, *chosen]] = -1.0
        best = int(gain.argmax())
        chosen.append(best)
        seen = covariance @ shares[best]
        covariance = covariance - np.outer(seen, seen) / (scatter**2 + shares[best] @ seen)
    return chosen


def _coefficients(
    cell: Cell,
    board: str,
    theta: Floats,
    rows: Sequence[Observation],
    unseen: Sequence[Observation],
    predicted: Floats,
) -> Coefficients:
    cycles = {
        f"{name}.{quantity}": float(value)
        for feature, value in zip(AOT.prior, theta, strict=True)
        for names, quantity in (spread(feature),)
        for name in names
    }
    measured = np.array([row.cycles for row in unseen])
    errors = np.abs(predicted / measured - 1)
    edge = float(calibrate.NORMAL_90 * np.sqrt(np.mean(np.log(measured / predicted) ** 2)))
    core, runtime, version = cell
    date = max(row.date for row in (*rows, *unseen))
    families = len({row.family for row in rows})
    fitted = CoefficientSet(
        *cell, (board,), date, len(rows), families, float(errors.mean()), "", cycles
    )
    low, high = float(np.expm1(-edge)), float(np.expm1(edge))
    # Layers are small networks: what holds for them holds below SMALL_CYCLES too.
    bands = tuple(
        Residuals(core, runtime, version, kind, low, high, len(unseen), families)
        for kind in (ANY, SMALL)
    )
    return Coefficients((fitted,), bands)
