"""What the kept cells say: the table, the claims and the page of them."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

import hwsearch
from benchmarks.compression.bench import BOARD
from benchmarks.compression.cells import Cell, Outcome
from benchmarks.compression.measure import digest_of
from benchmarks.compression.methods import METHODS, cells
from benchmarks.compression.tasks import TASKS
from hwsearch.compress.quantize import calibrate, quantize
from hwsearch.convert import to_float_tflite
from hwsearch.cost.cost import Cost

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "compression-benchmark.md"
TEMPLATE = Path(__file__).parent / "page.md"

LEFT = {"anomaly": 0.2, "lenet5": 0.1, "ds_cnn": 0.2, "lenet_large": 0.03, "resnet8": 0.3,
        "vgg": 0.1}  # fmt: skip
"""Share of parameters that is to be left at a drop of at most :data:`DROP`."""

DROP = 0.005

DENSE = {
    "int4": {"int4": "original", "int4-qat": "original", "l2+int4": "l2", "l2+int4-qat": "l2"},
    "zeros or shared values": {
        "zeros": "original", "values": "original", "l2+zeros": "l2", "l2+values": "l2",
    },
}  # fmt: skip
"""What is compared with which dense int8 network of the same widths."""

ALLOWED = {"int4": 0.005, "zeros or shared values": 0.001}
"""Drops against that."""

SAVED = {"int4": 0.7, "zeros or shared values": 0.65}
"""What is to be left of its flash."""

SEEDS = 3
"""Of a point that a claim can rest on while another that was measured less often looks better:
the best of many single measurements is rather a lucky one."""

FLOOR = 28 * 28 + 10
"""Bytes of a classifier's int8 input and output."""


@dataclass(frozen=True)
class Point:
    """One method at one level: means over its seeds.

    Attributes:
        task, method, level: which.
        seeds: how many.
        spread: standard deviation of the difference over them; 0 of one.
        difference: of the metric to the float original.
        difference_low, difference_high: 95 % interval of it over the data, not over seeds.
        parameters_left: share.
        flash_bytes, ram_bytes, latency_s, energy_j, train_s: as in :class:`Outcome`.
    """

    task: str
    method: str
    level: float
    seeds: int
    spread: float
    difference: float
    difference_low: float
    difference_high: float
    parameters_left: float
    flash_bytes: float
    ram_bytes: float
    latency_s: float
    energy_j: float
    train_s: float

    @property
    def sure(self) -> bool:
        """Whether it was measured with all seeds; the original is trained but once."""
        return self.seeds >= SEEDS or self.method == "original"

    @property
    def confirmed(self) -> str:
        """Seeds and what they spread by, in points."""
        return f"{self.seeds} (± {100 * self.spread:.2f})" if self.seeds > 1 else "1"

    @property
    def interval(self) -> str:
        """Of the difference, in points."""
        return f"{100 * self.difference_low:+.2f} to {100 * self.difference_high:+.2f}"


def points(outcomes: Iterable[Outcome]) -> list[Point]:
    """Means over seeds, in the order of tasks, methods, levels."""
    grouped: dict[tuple[str, str, float], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        cell = outcome.cell
        grouped[cell.task, cell.method, cell.level].append(outcome)
    found = []
    for (task, method, level), of in grouped.items():

        def average(name: str, of: list[Outcome] = of) -> float:
            return mean(float(getattr(o, name)) for o in of)

        names = ("difference", "difference_low", "difference_high", "parameters_left",
                 "flash_bytes", "ram_bytes", "latency_s", "energy_j", "train_s")  # fmt: skip
        spread = stdev(o.difference for o in of) if len(of) > 1 else 0.0
        found.append(Point(task, method, level, len(of), spread, *map(average, names)))
    tasks, methods = list(TASKS), list(METHODS)
    return sorted(found, key=lambda p: (tasks.index(p.task), methods.index(p.method), p.level))


def table(found: list[Point]) -> str:
    """Markdown: a row a point."""
    lines = [
        "| task | method | level | seeds | difference, points | 95 % interval | parameters left | "
        "flash, bytes | RAM, bytes | latency, ms | energy, µJ | training, s |",
        "|---|---|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for p in found:
        lines.append(
            f"| {p.task} | {p.method} | {p.level:g} | {p.confirmed} | {100 * p.difference:+.2f} | "
            f"{p.interval} | "
            f"{p.parameters_left:.1%} | {p.flash_bytes:,.0f} | {p.ram_bytes:,.0f} | "
            f"{1e3 * p.latency_s:.2f} | {1e6 * p.energy_j:.0f} | {p.train_s:.0f} |"
        )
    return "\n".join(lines)


@dataclass(frozen=True)
class Row:
    """A claim.

    Attributes:
        claim, goal, measured: as text.
        reached: whether it was; None where there is no goal.
        points: what it rests on, the best first.
        against: whether the measured difference is that of the first to the second point; else
            it is that of the first to the float original.
    """

    claim: str
    goal: str
    measured: str
    reached: bool | None
    points: tuple[Point, ...]
    against: bool = False

    @property
    def interval(self) -> str:
        """95 % interval of the measured difference over the data, in points."""
        if not self.against:
            return self.points[0].interval
        low, high = between(*self.points)
        return f"{100 * low:+.2f} to {100 * high:+.2f}"


def between(one: Point, other: Point) -> tuple[float, float]:
    """95 % interval of a difference between two points, from theirs to the original.

    The half widths add as squares: what both lose of the original on the same samples is no
    less likely than not to be alike, so the interval is rather too wide than too narrow.
    """
    half = 0.5 * sum((p.difference_high - p.difference_low) ** 2 for p in (one, other)) ** 0.5
    found = one.difference - other.difference
    return found - half, found + half


def claims(found: list[Point]) -> str:
    """Markdown: what was to be reached, and what was."""
    lines = [
        "| claim | to reach | measured | reached | by | seeds | 95 % interval of the difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows(found):
        by = " against ".join(
            f"{p.method}, level {p.level:g}" for p in row.points[: 1 + row.against]
        )
        seeds = " / ".join(p.confirmed for p in row.points[: 1 + row.against])
        reached = {True: "yes", False: "**no**", None: ""}[row.reached]
        lines.append(
            f"| {row.claim} | {row.goal} | {row.measured} | {reached} | {by} | {seeds} | "
            f"{row.interval} |"
        )
    return "\n".join(lines)


def rows(found: list[Point]) -> list[Row]:
    """The claims that the points say something of."""
    made = []
    for task, goal in LEFT.items():
        for drop, share in ((DROP, goal), *(((0.02, 0.1),) if task == "resnet8" else ())):
            best = _least(found, task, lambda p: p.parameters_left, drop, share)
            if best is not None:
                measured = f"{best.parameters_left:.1%} at {100 * best.difference:+.2f}"
                small = [p for p in found if p.task == task and p.parameters_left <= share]
                if best.parameters_left > share and small:
                    near = max(small, key=lambda p: p.difference)
                    measured += f"; {near.parameters_left:.1%} at {100 * near.difference:+.2f}"
                claim = f"{task}: parameters left at ≤ {100 * drop:g} points"
                reached = best.parameters_left <= share
                made.append(Row(claim, f"≤ {share:.0%}", measured, reached, (best,)))
    for task in ("lenet5", "lenet_large"):
        whole = original(found, task)
        if whole is None:
            continue
        best = _least(found, task, lambda p: p.energy_j, 0.015, 0.3 * whole.energy_j)
        if best is not None:
            common = _costs(_quantized(TASKS[task].build()), "tflm-cmsis-nn").energy_j
            assert common is not None
            less = best.energy_j / whole.energy_j - 1
            measured = (
                f"{less:+.0%} at {100 * best.difference:+.2f}; of "
                f"the original on TFLite Micro with CMSIS-NN {best.energy_j / common - 1:+.0%}"
            )
            claim = f"{task}: estimated energy at ≤ 1.5 points"
            made.append(Row(claim, "≤ -70 %", measured, less <= -0.7, (best,)))
    for task in TASKS:
        for mine, other in _pairs(found, task):
            better, time = mine.difference - other.difference, mine.train_s / other.train_s
            measured = f"{100 * better:+.2f} points in {time:.2f} × the time"
            claim = f"{task}: gates against magnitude + TPE, level {mine.level:g}"
            goal = "better, or the same in half the time"
            reached = better > 0 or (time <= 0.5 and between(mine, other)[1] >= 0)
            made.append(Row(claim, goal, measured, reached, (mine, other), True))
    made += _smallest(found)
    for task in TASKS:
        made += _formats(found, task)
    return made


def _smallest(found: list[Point]) -> list[Row]:
    """How far the VGG-like network shrinks at a drop of at most a point."""
    whole = original(found, "vgg")
    if whole is None:
        return []
    big = _costs(to_float_tflite(TASKS["vgg"].build()), "tflm")
    assert big.flash_bytes and big.ram_bytes
    flash, ram = big.flash_bytes, big.ram_bytes
    small = _least(found, "vgg", lambda p: p.flash_bytes, 0.01, flash / 80)
    low = _least(found, "vgg", lambda p: p.ram_bytes, 0.01, ram / 8)
    if small is None or low is None:
        return []
    smaller, lower = flash / small.flash_bytes, ram / low.ram_bytes
    shares = f"1/{smaller:.0f} at {100 * small.difference:+.2f}"
    lows = (
        f"1/{lower:.1f} at {100 * low.difference:+.2f} "
        f"(input and output alone: 1/{ram / FLOOR:.0f})"
    )
    both = (
        f"1/{whole.flash_bytes / small.flash_bytes:.0f}, 1/{whole.ram_bytes / low.ram_bytes:.1f}"
    )
    ones = "vgg, ≤ 1 point:"
    return [
        Row(f"{ones} flash, of float32 on TFLite Micro", "1/80", shares, smaller >= 80, (small,)),
        Row(f"{ones} RAM, of the same", "1/8, stretch 1/20", lows, lower >= 8, (low,)),
        Row(f"{ones} flash and RAM, of the int8 original", "", both, None, (small, low)),
    ]


def _formats(found: list[Point], task: str) -> list[Row]:
    """What 4 bits, zeros and shared values save of a network's flash: the best of each."""
    of, made = {(p.method, p.level): p for p in found if p.task == task}, []
    for kind, dense_of in DENSE.items():
        pairs = []
        for (method, level), point in of.items():
            other = dense_of.get(method, "")
            dense = of.get((other, 0.0 if other == "original" else level))
            if dense is not None and point.latency_s <= 1.5 * dense.latency_s:
                share, sure = point.flash_bytes / dense.flash_bytes, point.sure and dense.sure
                lost = max(0.0, dense.difference - point.difference - ALLOWED[kind])
                order = lost, *_order(share, SAVED[kind], sure, point.difference)
                pairs.append((order, share, point, dense))
        if pairs:  # what loses more than is allowed only where nothing else is
            (lost, *_), share, point, dense = min(pairs, key=lambda pair: pair[0])
            measured = (
                f"{share - 1:+.0%} at {100 * (point.difference - dense.difference):+.2f}, "
                f"{point.latency_s / dense.latency_s:.2f} × latency"
            )
            goal = "≤ -30 % on two tasks" if kind == "int4" else "≤ -35 % at ≤ 1.5 × latency"
            claim = f"{task}: {kind} against int8, ≤ {100 * ALLOWED[kind]:g} points: flash"
            reached = lost == 0 and share <= SAVED[kind]
            made.append(Row(claim, goal, measured, reached, (point, dense), True))
    return made


def _costs(content: bytes, backend: str) -> Cost:
    """Of a ``.tflite`` on the board, as estimated."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.tflite")
        path.write_bytes(content)
        return hwsearch.estimate(path, board=BOARD, backend=backend)


def _quantized(model: Any) -> bytes:
    """A network in int8, on random inputs: costs of dense weights do not depend on values."""
    x = np.random.default_rng(0).normal(size=(32, *model.input_shape[1:])).astype(np.float32)
    return quantize(calibrate(to_float_tflite(model), [x]), 8, {})


def page(outcomes: Sequence[Outcome], pictures: Iterable[Path], machine: str) -> str:
    """The page of the docs."""
    found = points(outcomes)
    return (
        TEMPLATE.read_text()
        .replace("{state}", state(outcomes))
        .replace("{claims}", claims(found))
        .replace("{table}", table(found))
        .replace("{machine}", machine)
        .replace("{figures}", "\n\n".join(f"![{p.stem}](images/{p.name})" for p in pictures))
    )


def state(outcomes: Sequence[Outcome]) -> str:
    """How much of what is to be measured was, and in what time; each method that has no cell."""
    measured = {outcome.cell for outcome in outcomes}
    wanted = cells(TASKS, list(METHODS), ())
    core_hours = sum(outcome.train_s for outcome in outcomes) / 3600
    text = f"{len(measured & set(wanted))} of {len(wanted)} cells with the first seed"
    text += f", {sum(cell.seed > 0 for cell in measured)} with others: "
    text += f"{core_hours:.1f} hours of one core."
    origins: dict[str, set[str]] = defaultdict(set)
    for outcome in outcomes:
        origins[outcome.cell.task].add(outcome.origin)
    if mixed := [task for task, of in origins.items() if len(of) > 1]:
        text += f" **Of several originals or versions of packages**: {', '.join(mixed)}."
    old = {replace(o.cell, seed=0) for o in outcomes if o.digest != digest_of(o.cell)}
    text += _listed("Not measured yet", [cell for cell in wanted if cell not in measured])
    return text + _listed(
        "Measured with settings that have changed since", [cell for cell in wanted if cell in old]
    )


def _listed(words: str, some: list[Cell]) -> str:
    """Markdown: cells by task and method, with their levels."""
    tasks: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for cell in some:
        tasks[cell.task][cell.method].append(f"{cell.level:g}")
    lines = [
        f"\n- {task}: " + ", ".join(f"{m} ({' '.join(at)})" for m, at in of.items())
        for task, of in tasks.items()
    ]
    return f"\n\n**{words}** (levels):\n" + "".join(lines) if lines else ""


def _order(cost: float, goal: float, sure: bool, difference: float) -> tuple[bool, float, float]:
    """The key to sort by what claims could rest on: first what reaches the goal with all seeds,
    then by cost; of equals, what loses least."""
    return not (sure and cost <= goal), cost, -difference


def _least(
    found: list[Point], task: str, key: Callable[[Point], float], drop: float, goal: float
) -> Point | None:
    """The best by a cost of those that lose at most so much."""
    inside = [p for p in found if p.task == task and p.difference >= -drop]
    return min(inside, key=lambda p: _order(key(p), goal, p.sure, p.difference), default=None)


def original(found: list[Point], task: str) -> Point | None:
    """The network as it is, in int8."""
    return next((p for p in found if (p.task, p.method) == (task, "original")), None)


def _pairs(found: list[Point], task: str) -> list[tuple[Point, Point]]:
    """Gates and the searched baseline at one level."""
    of = {(p.method, p.level): p for p in found if p.task == task}
    pairs = [(p, of.get(("magnitude+tpe", level))) for (m, level), p in of.items()
             if m == "differentiable"]  # fmt: skip
    return [(mine, other) for mine, other in pairs if other is not None]
