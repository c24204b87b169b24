"""What a device takes of the ``aot`` kernels over what its core's manual allows: timed, fitted.

The backend counts every layer's instructions and their cycles by the manual; a factor a kernel
class corrects them. Each round times the layers that would tell most about the factors (D-optimal
design: greatest growth of the determinant of the posterior's precision; Fedorov 1972), and fits.
It ends when every candidate is predicted as closely as asked for. Layers that no round has used
then judge the fit.
"""

from __future__ import annotations

import datetime
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwsearch import microbenchmarks
from hwsearch.backends.aot_cycles import instructions
from hwsearch.backends.aot_measured import target
from hwsearch.cost.coefficients import ANY, Coefficients, CoefficientSet, Residuals
from hwsearch.cost.columns import Columns
from hwsearch.cost.fit import Cell, Floats, Hierarchy, Level
from hwsearch.cost.kernels import CLASSES, quantities
from hwsearch.cost.latency import CALIBRATED, CORRECTION, SMALL
from hwsearch.device import Hello, build, flashing, port_of
from hwsearch.device import open as open_device
from hwsearch.errors import DeviceError, InputError
from hwsearch.graph.tflite import read
from hwsearch.microbenchmarks import LAYERS_MOST, Layer

SCATTER = 0.05
"""Relative standard deviation of a layer around its class' factor, before any is measured."""

TOLERANCE = 0.025
"""A layer's predicted time has this relative standard deviation at most when timing ends."""

COMMON, OWN = 0.4, 0.3
"""Widths, as natural logarithms, of what is believed of factors beforehand: of all together (flash
wait states, caches), and of each class beside that."""

CANDIDATES, UNSEEN, ROUNDS_MOST = 240, 16, 24
NORMAL_90 = 1.645

Timer = Callable[[Sequence[Layer]], Floats]
"""Cycles of each layer, of at most LAYERS_MOST."""

Counter = Callable[[Sequence[Layer]], Floats]
"""Cycles of each layer, of any number, as the backend counts them."""


@dataclass(frozen=True)
class Timed:
    """A layer that was timed.

    Attributes:
        layer: which.
        counted: cycles by the backend's count and the core's manual; of an emulator instructions.
        cycles: what the device took; of an emulator instructions.
    """

    layer: Layer
    counted: float
    cycles: float


@dataclass(frozen=True)
class Calibration:
    """What a device taught.

    Attributes:
        factors: per kernel class what the device takes over what was counted.
        seen, unseen: layers for the fit, and to judge it.
        predicted: float64 [unseen].
        uncertain: relative standard deviation of the least certain candidate layer.
    """

    factors: dict[str, float]
    seen: tuple[Timed, ...]
    unseen: tuple[Timed, ...]
    predicted: Floats
    uncertain: float

    @property
    def errors(self) -> Floats:
        """float64 [unseen]: predicted over measured, minus 1."""
        relative: Floats = self.predicted / np.array([t.cycles for t in self.unseen]) - 1
        return relative

    def coefficients(self, core: str, board: str, note: str, on_silicon: bool) -> Coefficients:
        """As a file of them holds it: one set; of a board also the band of the unseen layers."""
        cycles = {f"{name}.{CORRECTION}": value for name, value in self.factors.items()}
        classes = len({_class(t.layer) for t in self.seen})
        today = datetime.date.today().isoformat()
        error = float(np.abs(self.errors).mean())
        fitted = CoefficientSet(
            core, "aot", CALIBRATED, (board,), today, len(self.seen), classes, error, note, cycles
        )
        if not on_silicon:
            return Coefficients((fitted,), ())
        edge = NORMAL_90 * math.sqrt(float(np.mean(np.log1p(self.errors) ** 2)))
        # Layers are small networks: what holds for them holds below SMALL_CYCLES too.
        bands = tuple(
            Residuals(
                core, "aot", CALIBRATED, kind,
                math.expm1(-edge), math.expm1(edge), len(self.unseen), classes,
            )
            for kind in (ANY, SMALL)
        )  # fmt: skip
        return Coefficients((fitted,), bands)


def calibrate_device(
    url: str,
    *,
    port: str | None = None,
    flags: Sequence[str] = ("-O2",),
    toolchain: str | None = None,
    tolerance: float = TOLERANCE,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[Calibration, Coefficients]:
    """What a device takes of the ``aot`` kernels, and the same as coefficients.

    Args:
        url: ``"emulator:cortex-m4"``, ``"serial:///dev/ttyACM0"`` …
        port: of a board its firmware port, e.g. ``"nucleo-l4r5zi"``.
        flags, toolchain: of the compiler.
        tolerance: relative standard deviation that ends it.
        report: is told what happens, a line each.

    Returns:
        Factors on cycles, of a board; on instructions, of an emulator, which counts nothing else:
        its set has no band.

    Raises:
        InputError: a board without ``port``.
        ToolchainError, ImageError, WireError, DeviceError: as devices raise them.
    """
    bench = Bench(url, port, tuple(flags), toolchain)
    first = bench(microbenchmarks.pool(np.random.default_rng(0), 1))  # who is there?
    hello, on_silicon = bench.hello, bench.kind == "board"
    unit = "cycles" if on_silicon else "instructions"
    report(f"{hello.board}, core {hello.core}: {first[0]:,.0f} {unit} for a first layer")

    def counter(layers: Sequence[Layer]) -> Floats:
        return counted(layers, hello.core, toolchain, in_cycles=on_silicon)

    found = adaptive(bench, counter, tolerance=tolerance, report=report)
    note = f"{bench.toolchain} {' '.join(flags)}"
    if not on_silicon:
        note += f"; instructions on {url}, no silicon seen"
    return found, found.coefficients(hello.core, hello.board, note, on_silicon)


def counted(layers: Sequence[Layer], core: str, compiler: str | None, in_cycles: bool) -> Floats:
    """float64 [layers]: the ``aot`` backend's instructions, or the middle of their cycles."""
    measured = target(core, compiler)
    found = []
    for layer in layers:
        columns = Columns.of(read(microbenchmarks.network([layer])).graph)
        executed, low, high = (part.sum() for part in instructions(columns, measured))
        found.append((low + high) / 2 if in_cycles else executed)
    return np.array(found, np.float64)


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
        """float64 [layers]: cycles; of an emulator instructions."""
        from hwsearch.codegen import generate

        with tempfile.TemporaryDirectory(prefix="hwsearch-") as folder:
            sources = Path(folder) / "model"
            made = generate(microbenchmarks.network(layers), sources, formats={})
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
            return 1.0
        return hello.clock_hz / hello.ticks_hz if hello.clock_hz else 1.0


def adaptive(
    timer: Timer,
    counter: Counter,
    *,
    tolerance: float = TOLERANCE,
    scatter: float = SCATTER,
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> Calibration:
    """The factors from layers that are chosen as they are timed.

    Args:
        timer: times layers.
        counter: counts them.
        tolerance: ends it, see :data:`TOLERANCE`; at the latest ROUNDS_MOST end it.
        scatter: see :data:`SCATTER`.
        seed: of the candidate layers.
        report: is told of every round.
    """
    layers = microbenchmarks.pool(np.random.default_rng(seed), CANDIDATES + UNSEEN)
    candidates, held = layers[:CANDIDATES], layers[CANDIDATES:]
    expected, classes = counter(candidates), [_class(layer) for layer in candidates]
    names = [name for name in CLASSES if name in classes]
    shares = np.array([[float(name == c) for name in names] for c in classes])
    cell: Cell = ("", "aot", CALIBRATED)
    level = Level(lambda _: "device", COMMON, 0.0, OWN)
    hierarchy = Hierarchy(dict.fromkeys(names, 1.0), {}, (level,), [cell])
    prior = np.linalg.inv(hierarchy.covariance(cell))
    theta = hierarchy.coefficients(cell, np.zeros(hierarchy.effects))
    seen: dict[int, Timed] = {}
    uncertain = float("inf")
    for _ in range(ROUNDS_MOST):
        told = shares[list(seen)]
        covariance = np.linalg.inv(prior + told.T @ told / scatter**2)
        uncertain = float(np.sqrt(_variances(shares, covariance).max()))
        if seen:
            report(f"{len(seen)} layers timed, predictions to ±{uncertain:.1%}")
        if uncertain <= tolerance:
            break
        chosen = _most_informative(shares, covariance, set(seen), scatter)
        times = timer([candidates[i] for i in chosen])
        for i, cycles in zip(chosen, times, strict=True):
            seen[i] = Timed(candidates[i], float(expected[i]), float(cycles))
        amounts = shares[list(seen)] * np.array([[t.counted] for t in seen.values()])
        cycles_seen = np.array([t.cycles for t in seen.values()])
        sigma = np.full(len(seen), scatter)
        effects = hierarchy.fit(amounts, [cell] * len(seen), cycles_seen, sigma)
        theta = hierarchy.coefficients(cell, effects)
    factors = dict(zip(names, theta.tolist(), strict=True))
    unseen = _timed(timer, counter, held)
    predicted = np.array([t.counted * factors.get(_class(t.layer), 1.0) for t in unseen])
    return Calibration(factors, tuple(seen.values()), unseen, predicted, uncertain)


def _class(layer: Layer) -> str:
    """The kernel class of a layer."""
    kernel = quantities(Columns.of(read(microbenchmarks.network([layer])).graph))[1]
    return CLASSES[int(kernel[0, 0])]


def _timed(timer: Timer, counter: Counter, layers: Sequence[Layer]) -> tuple[Timed, ...]:
    found: list[Timed] = []
    for start in range(0, len(layers), LAYERS_MOST):
        part = layers[start : start + LAYERS_MOST]
        rows = zip(part, counter(part), timer(part), strict=True)
        found += [Timed(layer, float(n), float(cycles)) for layer, n, cycles in rows]
    return tuple(found)


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
