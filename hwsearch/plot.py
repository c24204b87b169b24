"""Pictures of a search: Pareto front, hypervolume, memory plan, cost by operator; no global state.

Each function returns a matplotlib Figure; :func:`save` writes one as PNG or SVG, the same bytes
every time. Colours are those of Okabe and Ito, told apart with any colour vision
("Color Universal Design", 2008); nothing is said by colour alone.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from hwsearch.backends import backends
from hwsearch.budget import shown
from hwsearch.candidate import Trained
from hwsearch.cost import memory
from hwsearch.cost.columns import Columns, Ints
from hwsearch.cost.cost import Cost, Floats
from hwsearch.cost.memory import Plan
from hwsearch.errors import InputError
from hwsearch.graph.tflite import read
from hwsearch.pareto import Mode, hypervolumes

if TYPE_CHECKING:
    from hwsearch.report import Choice, Report

BLUE, ORANGE, GREEN, RED, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9"
GREY, INK = "#9A9A9A", "#222222"

AXES = {
    "flash_bytes": ("flash", 1024.0, "KiB"),
    "ram_bytes": ("RAM", 1024.0, "KiB"),
    "latency_s": ("latency", 1e-3, "ms"),
    "energy_j": ("energy", 1e-3, "mJ"),
}
"""Per cost: name, unit's factor, unit."""

WIDTH, PANEL = 8.0, 4.2
"""Inches of a figure and of the height of one of its panels; 100 dots an inch."""

_STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.hashsalt": "hwsearch",
    "svg.fonttype": "path",
}


def pareto_figure(report: Report) -> Any:
    """The metric against each budgeted cost (flash where none is): trials, finalists, limits."""
    names = _costs(report)
    with _styled():
        figure, axes = _figure(len(names))
        for ax, name in zip(axes, names, strict=True):
            _pareto(ax, report, name)
        _legend(figure, axes[0])
    return figure


def hypervolume_figure(report: Report) -> Any:
    """Hypervolume of metric and budgeted costs over the scored trials."""
    with _styled():
        figure, axes = _figure(1)
        _hypervolume(axes[0], report)
    return figure


def ops_figure(cost: Cost, title: str = "") -> Any:
    """Estimated cycles and flash bytes of each operator, as bars."""
    with _styled():
        from matplotlib.figure import Figure

        height = max(3.0, 1.3 + 0.26 * len(cost.ops))
        figure = Figure(figsize=(WIDTH, height), dpi=100, layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        labels = [f"{op.index} {op.kind}" for op in cost.ops]
        at = np.arange(len(labels))
        _bars(left, at, [op.cycles for op in cost.ops], "cycles (estimate)", BLUE)
        flash = [op.flash_bytes / 1024 for op in cost.ops]
        _bars(right, at, flash, "constants in flash, KiB", ORANGE)
        left.set_yticks(at, labels)
        left.invert_yaxis()
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def memory_figure(
    plan: Plan, names: Sequence[str] = (), row: int = 0, ops: Sequence[str] = ()
) -> Any:
    """One candidate's plan of the arena: which bytes each buffer holds, operator by operator.

    Args:
        plan: of n candidates.
        names: of the buffers, for the labels of the large ones.
        row: which candidate.
        ops: names of the operators; their indexes are used where they are too many.
    """
    with _styled():
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle

        figure = Figure(figsize=(WIDTH, PANEL), dpi=100, layout="constrained")
        ax = figure.subplots()
        offsets, sizes = plan.offsets[row], plan.sizes[row]
        first, last = plan.lifetimes.first, plan.lifetimes.last
        top = float(plan.bytes[row]) / 1024
        steps = int(last.max(initial=0)) + 1
        colours = (SKY, ORANGE, GREEN, "#F0E442", "#CC79A7", BLUE)
        for i in map(int, np.flatnonzero(sizes > 0)):
            low, high = float(offsets[i]) / 1024, float(sizes[i]) / 1024
            begin, span = max(int(first[i]), 0) - 0.5, int(last[i]) - max(int(first[i]), 0) + 1
            colour = colours[i % len(colours)]
            ax.add_patch(
                Rectangle(
                    (begin, low), span, high, facecolor=colour, alpha=0.75, edgecolor=INK, lw=0.7
                )
            )
            label = _buffer_label(names[i] if i < len(names) else "", float(sizes[i]))
            if span / steps < 0.011 * len(label):
                label = label.replace(" ", "\n", 1)
            wide = span / steps > 0.011 * max(map(len, label.split("\n")))
            if wide and high > 0.06 * top * len(label.split("\n")):
                ax.text(
                    begin + span / 2, low + high / 2, label, ha="center", va="center", fontsize=8
                )
        alive = _alive(plan, row, steps)
        for step in np.flatnonzero(alive == alive.max(initial=0)):
            ax.axvspan(step - 0.5, step + 0.5, color=RED, alpha=0.10, lw=0, zorder=0)
        ax.axhline(top, color=RED, lw=1.4, ls="--")
        ax.text(steps - 0.5, top, f"arena {top:,.1f} KiB ", color=RED, ha="right", va="bottom")
        ax.set_xlim(-0.5, steps - 0.5)
        ax.set_ylim(0, top * 1.12 or 1)
        if 0 < len(ops) <= 24:
            ax.set_xticks(
                range(len(ops)), [f"{i} {o}" for i, o in enumerate(ops)], rotation=60, ha="right"
            )
        else:
            ax.set_xlabel("operator")
        ax.set_ylabel("offset in the arena, KiB")
        ax.set_title("memory over time: a box is a buffer; most is alive in the shaded columns")
        ax.grid(False)
    return figure


def deployed_memory_figure(choice: Choice) -> Any | None:
    """The plan of a model's ``.tflite`` by its own runtime; None where that tells none."""
    runtime = backends().get(choice.configuration.backend)
    if not isinstance(runtime, Planner) or not choice.tflite.is_file():
        return None
    columns = Columns.of(read(choice.tflite).graph)
    scratch = runtime.scratch(columns)
    names = memory.buffer_names(columns.graph, scratch)
    return memory_figure(
        memory.plan(columns, scratch), names, ops=[op.kind for op in columns.graph.ops]
    )


@runtime_checkable
class Planner(Protocol):
    """A backend whose arena is TFLite Micro's plan of activations and its own scratch buffers."""

    def scratch(self, columns: Columns) -> list[tuple[int, Ints]]:
        """(operator, int64 [n] bytes) of each scratch buffer."""
        ...


def overview(report: Report) -> Any:
    """The Pareto panels, and the hypervolume below them."""
    names = _costs(report)
    with _styled():
        figure, axes = _figure(len(names) + 1)
        for ax, name in zip(axes, names, strict=False):
            _pareto(ax, report, name)
        _hypervolume(axes[len(names)], report)
        _legend(figure, axes[0])
    return figure


def save(figure: Any, path: Path) -> Path:
    """Writes a figure as ``.png`` or ``.svg``; the same figure gives the same bytes.

    Raises:
        InputError: another suffix.
    """
    if path.suffix not in (".png", ".svg"):
        raise InputError(f"cannot draw {path.name!r}: the name must end in .png or .svg.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(svg(figure).encode() if path.suffix == ".svg" else png(figure))
    return path


def png(figure: Any) -> bytes:
    """A figure as PNG, without date or version."""
    buffer = io.BytesIO()
    with _styled():
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Any) -> str:
    """A figure as an ``<svg>`` element that can stand in an HTML page."""
    buffer = io.BytesIO()
    with _styled():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"^.*?(?=<svg)", "", buffer.getvalue().decode(), count=1, flags=re.DOTALL)


def _styled() -> Any:
    import matplotlib

    return matplotlib.rc_context(_STYLE)


def _figure(panels: int) -> tuple[Any, list[Any]]:
    """A figure of so many panels, two a row; its axes."""
    from matplotlib.figure import Figure

    columns = 1 if panels == 1 else 2
    rows = -(-panels // columns)
    height = PANEL if rows == 1 else rows * 3.5
    figure = Figure(figsize=(WIDTH, height), dpi=100, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for ax in axes[panels:]:
        ax.remove()
    return figure, axes[:panels]


def _legend(figure: Any, ax: Any) -> None:
    """One legend for all panels, below them."""
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5))


def _costs(report: Report) -> list[str]:
    """The budgeted costs that are known of some trial; flash where there is none."""
    known = [
        name
        for name in report.budget.limits
        if any(getattr(t.candidate.cost, name) is not None for t in report.history)
    ]
    return known or ["flash_bytes"]


def _pareto(ax: Any, report: Report, name: str) -> None:
    label, factor, unit = AXES[name]
    trials = [t for t in report.history if getattr(t.candidate.cost, name) is not None]
    ax.scatter(
        [getattr(t.candidate.cost, name) / factor for t in trials],
        [t.score.value for t in trials],
        s=16, color=GREY, alpha=0.6, lw=0, label="trial (search half)", zorder=2,
    )  # fmt: skip
    front = sorted(report.shown, key=lambda c: _or_zero(c.known(name)))
    finalists = [c for c in front if c.known(name) is not None]
    if finalists:
        x = [(_or_zero(c.known(name))) / factor for c in finalists]
        y = [c.score.value for c in finalists]
        error = [
            [max(c.score.value - c.score.low, 0.0) for c in finalists],
            [max(c.score.high - c.score.value, 0.0) for c in finalists],
        ]
        ax.errorbar(
            x, y, _error_bars(error), fmt="o", color=BLUE, ms=5, lw=1, capsize=2,
            label="front (fresh data, 95 %)", zorder=3,
        )  # fmt: skip
    chosen = report.chosen
    if chosen is not None and chosen.known(name) is not None:
        ax.plot(
            [_or_zero(chosen.known(name)) / factor], [chosen.score.value], "*", ms=16,
            color=ORANGE, mec=INK, mew=0.8, label=f"chosen: trial {chosen.number}", zorder=4,
        )  # fmt: skip
    ax.axhline(report.original.value, color=GREEN, lw=1.4, ls=":", label="original, float")
    limit = report.budget.limits.get(name)
    _limits(ax, [t / factor for t in _known(trials, name)], limit, factor)
    ax.set_xlabel(f"{label}, {unit}")
    ax.set_ylabel(report.metric)
    ax.set_title(f"{report.metric} against {label}")


def _error_bars(error: list[list[float]]) -> list[list[float]] | None:
    """Error bars, or none where an interval is not finite."""
    return error if np.isfinite(error).all() else None


def _known(trials: Sequence[Trained], name: str) -> list[float]:
    return [float(getattr(t.candidate.cost, name)) for t in trials]


def _limits(ax: Any, used: Sequence[float], limit: float | None, factor: float) -> None:
    """Draws the limit where it lies near the trials; says where it lies when it is far off."""
    if limit is None:
        return
    at, most = limit / factor, max(used, default=0.0)
    if not used or at <= 2.5 * most:
        ax.axvline(at, color=RED, lw=1.4, ls="--", label="limit")
        ax.axvspan(at, max(at, most) * 1.06, color=RED, alpha=0.07, lw=0)
        ax.set_xlim(right=max(at, most) * 1.06)
    else:
        ax.text(
            0.99, 0.02, f"limit {at:,.0f} →", transform=ax.transAxes, color=RED, ha="right",
            va="bottom",
        )  # fmt: skip


def progress(report: Report) -> Floats:
    """float64 [trials]: the hypervolume after each scored trial, as a share of the final one.

    Over the metric and the budgeted costs; the reference point is the worst metric seen and the
    limits (the largest cost seen where there is none). See :func:`hwsearch.pareto.hypervolumes`.
    """
    names = _costs(report)
    rows = [
        [t.score.value, *(_or_zero(getattr(t.candidate.cost, n)) for n in names)]
        for t in report.history
    ]
    if not rows:
        return np.zeros(0)
    values = np.array(rows, np.float64)
    worst = np.nanmin(values[:, 0]) if report.mode == "max" else np.nanmax(values[:, 0])
    limits = report.budget.limits
    corner = [worst, *(limits.get(n, values[:, 1 + i].max()) for i, n in enumerate(names))]
    directions: list[Mode] = [report.mode]
    directions += ["min"] * len(names)
    shares = hypervolumes(values, corner, directions)
    return shares / shares[-1] if shares[-1] > 0 else shares


def _hypervolume(ax: Any, report: Report) -> None:
    share = progress(report)
    ax.step(np.arange(1, len(share) + 1), share, where="post", color=BLUE, lw=1.8)
    ax.set_ylim(0, 1.05)
    ax.set_xlim(left=0)
    ax.set_xlabel("scored trials")
    ax.set_ylabel("share of the final hypervolume")
    ax.set_title("progress of the search")


def _bars(ax: Any, at: Any, values: Sequence[float | None], label: str, colour: str) -> None:
    known = [0.0 if v is None else float(v) for v in values]
    ax.barh(at, known, color=colour, height=0.7)
    most = max(known, default=0.0) or 1.0
    for y, value in zip(at, values, strict=True):
        text = "unknown" if value is None else _short(float(value))
        if value is None or value > 0:
            ax.text((value or 0.0) + most * 0.015, y, text, va="center", fontsize=8)
    ax.set_xlim(0, most * 1.22)
    ax.set_xlabel(label)
    ax.locator_params(axis="x", nbins=5)
    ax.xaxis.set_major_formatter(lambda v, _: _short(v))
    ax.grid(axis="y", visible=False)


def _short(value: float) -> str:
    """E.g. ``"1.2 M"``, ``"640"``."""
    for factor, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= factor:
            return f"{value / factor:.3g}{prefix}"
    return f"{value:.3g}"


def _buffer_label(name: str, size: float) -> str:
    short = name.split("/")[-1].split(";")[0][:18]
    return f"{short} {shown('ram', size)}".strip()


def _or_zero(value: float | None) -> float:
    return 0.0 if value is None else float(value)


def _alive(plan: Plan, row: int, steps: int) -> Any:
    step = np.arange(steps)[:, None]
    alive = (plan.lifetimes.first <= step) & (step <= plan.lifetimes.last)
    return (alive * plan.sizes[row]).sum(axis=1)
