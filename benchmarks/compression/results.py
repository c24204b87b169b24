"""What the kept cells say: curves of accuracy against size, and the claims."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from benchmarks.compression.cells import Outcome
from benchmarks.compression.methods import METHODS
from benchmarks.compression.tasks import TASKS

PICTURES = Path(__file__).parents[2] / "docs" / "images"

LEFT = {"anomaly": 0.2, "lenet5": 0.1, "ds_cnn": 0.2, "lenet_large": 0.03, "resnet8": 0.3,
        "vgg": 0.1}  # fmt: skip
"""Share of parameters that is to be left at a drop of at most :data:`DROP`."""

DROP = 0.005


@dataclass(frozen=True)
class Point:
    """One method at one level: means over its seeds.

    Attributes:
        task, method, level: which.
        seeds: how many.
        difference: of the metric to the float original.
        parameters_left: share.
        flash_bytes, ram_bytes, latency_s, energy_j, train_s: as in :class:`Outcome`.
    """

    task: str
    method: str
    level: float
    seeds: int
    difference: float
    parameters_left: float
    flash_bytes: float
    ram_bytes: float
    latency_s: float
    energy_j: float
    train_s: float


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

        names = ("difference", "parameters_left", "flash_bytes", "ram_bytes", "latency_s",
                 "energy_j", "train_s")  # fmt: skip
        found.append(Point(task, method, level, len(of), *map(average, names)))
    tasks, methods = list(TASKS), list(METHODS)
    return sorted(found, key=lambda p: (tasks.index(p.task), methods.index(p.method), p.level))


def table(found: list[Point]) -> str:
    """Markdown: a row a point."""
    lines = [
        "| task | method | level | seeds | difference, points | parameters left | flash, bytes | "
        "RAM, bytes | latency, ms | energy, µJ | training, s |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for p in found:
        lines.append(
            f"| {p.task} | {p.method} | {p.level:g} | {p.seeds} | {100 * p.difference:+.2f} | "
            f"{p.parameters_left:.1%} | {p.flash_bytes:,.0f} | {p.ram_bytes:,.0f} | "
            f"{1e3 * p.latency_s:.2f} | {1e6 * p.energy_j:.0f} | {p.train_s:.0f} |"
        )
    return "\n".join(lines)


def claims(found: list[Point]) -> str:
    """Markdown: what was to be reached, and what was."""
    lines = ["| claim | to reach | measured | by |", "|---|---|---|---|"]

    def row(claim: str, goal: str, measured: str, by: str = "") -> None:
        lines.append(f"| {claim} | {goal} | {measured} | {by} |")

    for task, goal in LEFT.items():
        best = _least(found, task, lambda p: p.parameters_left, DROP)
        if best is not None:
            row(
                f"{task}: parameters left at ≤ 0.5 points",
                f"≤ {goal:.0%}",
                f"{best.parameters_left:.1%} at {100 * best.difference:+.2f}",
                _name(best),
            )
    best = _least(found, "lenet5", lambda p: p.energy_j, 0.015)
    whole = _original(found, "lenet5")
    if best is not None and whole is not None:
        row("lenet5: estimated energy at ≤ 1.5 points", "≤ -70 %",
            f"{best.energy_j / whole.energy_j - 1:+.0%} at {100 * best.difference:+.2f}",
            _name(best))  # fmt: skip
    for task in TASKS:
        for mine, other in _pairs(found, task):
            row(f"{task}: gates against magnitude + TPE, level {mine.level:g}",
                "better, or the same in half the time",
                f"{100 * (mine.difference - other.difference):+.2f} points in "
                f"{mine.train_s / other.train_s:.2f} × the time", "differentiable")  # fmt: skip
    best, whole = _least(found, "vgg", lambda p: p.flash_bytes, 0.01), _original(found, "vgg")
    if best is not None and whole is not None:
        row("vgg: flash at ≤ 1 point, of the int8 original's", "1/80",
            f"1/{whole.flash_bytes / best.flash_bytes:.1f}", _name(best))  # fmt: skip
        best = _least(found, "vgg", lambda p: p.ram_bytes, 0.01) or best
        row("vgg: RAM at ≤ 1 point, of the int8 original's", "1/8",
            f"1/{whole.ram_bytes / best.ram_bytes:.1f}", _name(best))  # fmt: skip
    return "\n".join(lines)


def draw(found: list[Point]) -> list[Path]:
    """One figure a task: the metric's difference against flash, all methods on it."""
    from matplotlib.figure import Figure

    made = []
    for task in dict.fromkeys(p.task for p in found):
        figure = Figure(figsize=(7.5, 4.6), layout="constrained")
        axes = figure.subplots()
        for i, method in enumerate(m for m in METHODS if m != "original"):
            of = [p for p in found if (p.task, p.method) == (task, method)]
            if of:
                ours = method == "differentiable"
                axes.plot(
                    [p.flash_bytes / 1024 for p in of], [100 * p.difference for p in of],
                    marker="o", markersize=4, color="k" if ours else f"C{i % 10}",
                    linestyle="-" if i < 10 else "--", linewidth=2 if ours else 1.1, label=method,
                )  # fmt: skip
        whole = _original(found, task)
        if whole is not None:
            axes.plot(whole.flash_bytes / 1024, 100 * whole.difference, "*", color="0.4",
                      markersize=12, label="original, int8")  # fmt: skip
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.set(xscale="log", xlabel="flash of the image, KiB (estimated)", title=task,
                 ylabel="difference to the float original, points")  # fmt: skip
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower right")
        path = PICTURES / f"compression-{task}.png"
        figure.savefig(path, dpi=100)
        made.append(path)
    return made


def _least(
    found: list[Point], task: str, key: Callable[[Point], float], drop: float
) -> Point | None:
    """The best by a cost of those that lose at most so much."""
    inside = [p for p in found if p.task == task and p.difference >= -drop]
    return min(inside, key=key, default=None)


def _original(found: list[Point], task: str) -> Point | None:
    return next((p for p in found if (p.task, p.method) == (task, "original")), None)


def _pairs(found: list[Point], task: str) -> list[tuple[Point, Point]]:
    """Gates and the searched baseline at one level."""
    of = {(p.method, p.level): p for p in found if p.task == task}
    pairs = [(p, of.get(("magnitude+tpe", level))) for (m, level), p in of.items()
             if m == "differentiable"]  # fmt: skip
    return [(mine, other) for mine, other in pairs if other is not None]


def _name(point: Point) -> str:
    return f"{point.method}, level {point.level:g}, {point.seeds} seed(s)"
