"""Curves of accuracy against size, one figure a task."""

from __future__ import annotations

from pathlib import Path

from benchmarks.compression.methods import METHODS
from benchmarks.compression.results import DOCS, Point, original

PICTURES = DOCS / "images"


def draw(found: list[Point]) -> list[Path]:
    """One figure a task: the metric's difference against flash, all methods on it."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    made = []
    for task in dict.fromkeys(p.task for p in found):
        figure = Figure(figsize=(9.0, 4.6), layout="constrained")
        axes = figure.subplots()
        for i, method in enumerate(m for m in METHODS if m != "original"):
            of = [p for p in found if (p.task, p.method) == (task, method)]
            if of:
                ours = method == "differentiable"
                axes.plot(
                    [p.flash_bytes / 1024 for p in of], [100 * p.difference for p in of],
                    marker="os^"[i // 10], markersize=5, color="k" if ours else f"C{i % 10}",
                    linestyle=("-", "--", ":")[i // 10], linewidth=1.1 + ours, label=method,
                )  # fmt: skip
        whole = original(found, task)
        if whole is not None:
            axes.plot(whole.flash_bytes / 1024, 100 * whole.difference, "*", color="0.4",
                      markersize=12, label="original, int8")  # fmt: skip
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.set(xscale="log", xlabel="flash of the image, KiB (estimated)", title=task,
                 ylabel="difference to the float original, points (beyond -2: log)")  # fmt: skip
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_yscale("symlog", linthresh=2, linscale=1)  # tenths near 0, and networks broken
        ticks = [-40, -20, -10, -5, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1]
        highest = max(100 * p.difference for p in found if p.task == task)
        axes.set_ylim(top=max(highest, 0) + 0.2)
        low, high = axes.get_ylim()
        axes.set_yticks([tick for tick in ticks if low <= tick <= high])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(alpha=0.3, which="both")
        figure.legend(fontsize=8, loc="outside right center")
        path = PICTURES / f"compression-{task}.png"
        figure.savefig(path, dpi=100)
        made.append(path)
    return made
