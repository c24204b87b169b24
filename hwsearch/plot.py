"""Pictures of a search: Pareto fronts, hypervolume, estimate against measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsearch.candidate import Trained, Verified
from hwsearch.cost.cost import COSTS, Floats
from hwsearch.errors import UnknownNameError
from hwsearch.figure import (
    AXES,
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    RED,
    WIDTH,
    legend,
    panels,
    styled,
)
from hwsearch.pareto import Mode, hypervolumes
from hwsearch.plot_model import deployed_memory_figure, ops_figure

if TYPE_CHECKING:
    from hwsearch.choice import Choice
    from hwsearch.report import Report

Pair = tuple[str, str]
"""What lies along x and along y: names of costs, or ``"metric"``."""


def draw(report: Report, name: str) -> Any | None:
    """A figure of a report by name; None where there is nothing to draw.

    Raises:
        UnknownNameError: no figure of :data:`FIGURES` has this name.
    """
    if name not in FIGURES:
        raise UnknownNameError("figure", name, FIGURES)
    return FIGURES[name](report)


def pairs(report: Report) -> list[Pair]:
    """Pairs of objectives, the metric against each cost first; flash where there is no cost."""
    costs = costs_of(report)
    return [(c, "metric") for c in costs] + list(combinations(costs, 2))


def costs_of(report: Report) -> list[str]:
    """The costs among the objectives that are known of some trial; flash where there is none."""
    known = [
        name
        for name in report.objectives
        if name != "metric"
        and any(getattr(t.candidate.cost, name) is not None for t in report.history)
    ]
    return known or ["flash_bytes"]


def pareto_figure(
    report: Report, of: Sequence[Pair] = (), width: float = WIDTH, legends: bool = True
) -> Any:
    """Trials, finalists, the chosen one and the limits: a panel a pair of objectives.

    Args:
        report: of the search.
        of: pairs; none are all.
        width: inches.
        legends: whether to say below what is what.
    """
    drawn = list(of) or pairs(report)
    with styled():
        figure, axes = panels(len(drawn), width)
        for ax, (x, y) in zip(axes, drawn, strict=True):
            _pareto(ax, report, x, y)
        if legends:
            legend(figure, axes)
    return figure


def hypervolume_figure(report: Report, width: float = WIDTH) -> Any:
    """Hypervolume of the objectives over the scored trials."""
    with styled():
        figure, axes = panels(1, width)
        _hypervolume(axes[0], report)
    return figure


def overview(report: Report) -> Any:
    """The metric against each cost, and the hypervolume."""
    drawn = [(c, "metric") for c in costs_of(report)]
    with styled():
        figure, axes = panels(len(drawn) + 1)
        for ax, (x, y) in zip(axes, drawn, strict=False):
            _pareto(ax, report, x, y)
        _hypervolume(axes[len(drawn)], report)
        legend(figure, axes[:-1])
    return figure


def estimate_figure(report: Report, width: float = WIDTH) -> Any | None:
    """How far each measurement lies from its estimate, beside the 90 % band of the estimate.

    None where no finalist has a quantity that was both estimated and measured.
    """
    rows = [
        (verified, name)
        for name in (*COSTS, "cycles")
        for verified in sorted(report.finalists, key=lambda v: v.trained.candidate.number)
        if deviation(verified, name) is not None
    ]
    if not rows:
        return None
    with styled():
        figure, (ax,) = panels(1, width)
        figure.set_figheight(1.5 + 0.24 * len(rows))
        for at, (verified, name) in enumerate(rows):
            band = verified.trained.candidate.cost.bands.get(name)
            if band is not None:
                ax.barh(
                    at, 100 * (band.high - band.low), left=100 * band.low, height=0.55,
                    color=GREY, alpha=0.35, lw=0, label="90 % band of the estimate",
                )  # fmt: skip
            found = 100 * (deviation(verified, name) or 0.0)
            ax.plot(found, at, "D", color=BLUE, ms=5, label="measured", ls="none")
            ax.annotate(
                f"{found:+.1f} %", (found, at), (7, 0), textcoords="offset points", va="center",
                fontsize=8,
            )  # fmt: skip
        labels = [
            f"{AXES[n][0] if n in AXES else n} of trial {v.trained.candidate.number}"
            for v, n in rows
        ]
        ax.set_yticks(range(len(rows)), labels)
        ax.invert_yaxis()
        ax.axvline(0, color=INK, lw=1)
        ax.use_sticky_edges = False
        ax.margins(x=0.2)
        ax.set_xlabel("measured less estimated, % of the estimate")
        ax.set_title("estimate against measurement")
        ax.grid(axis="y", visible=False)
        legend(figure, [ax])
    return figure


def deviation(verified: Verified, name: str) -> float | None:
    """Measured over estimated, less 1; None where one of them is unknown."""
    estimate = getattr(verified.trained.candidate.cost, name)
    measured = getattr(verified.measurement, name, None)
    return None if not estimate or measured is None else float(measured) / float(estimate) - 1


def _operators(report: Report) -> Any | None:
    chosen = report.chosen
    return None if chosen is None or not chosen.cost.ops else ops_figure(chosen.cost)


def _memory(report: Report) -> Any | None:
    return None if report.chosen is None else deployed_memory_figure(report.chosen)


FIGURES: dict[str, Callable[[Report], Any | None]] = {
    "overview": overview,
    "pareto": pareto_figure,
    "hypervolume": hypervolume_figure,
    "memory": _memory,
    "operators": _operators,
    "estimate": estimate_figure,
}
"""The figures of a report by name; the last three are of the chosen model and the finalists."""


def _pareto(ax: Any, report: Report, x: str, y: str) -> None:
    known = [t for t in report.history if _trial(t, x) is not None and _trial(t, y) is not None]
    scale = {name: AXES[name][1] if name in AXES else 1.0 for name in (x, y)}
    ax.scatter(
        [_or_zero(_trial(t, x)) / scale[x] for t in known],
        [_or_zero(_trial(t, y)) / scale[y] for t in known],
        s=16, color=GREY, alpha=0.6, lw=0, label="trial (search half)", zorder=2,
    )  # fmt: skip
    front = [c for c in report.front if _choice(c, x) is not None and _choice(c, y) is not None]
    if front:
        error = None
        if y == "metric":
            error = [
                [max(c.score.value - c.score.low, 0.0) for c in front],
                [max(c.score.high - c.score.value, 0.0) for c in front],
            ]
        ax.errorbar(
            [_or_zero(_choice(c, x)) / scale[x] for c in front],
            [_or_zero(_choice(c, y)) / scale[y] for c in front],
            error if error is not None and np.isfinite(error).all() else None,
            fmt="o", color=BLUE, ms=5, lw=1, capsize=2, label="front (fresh data, 95 %)", zorder=3,
        )  # fmt: skip
    chosen = report.chosen
    if chosen is not None and _choice(chosen, x) is not None and _choice(chosen, y) is not None:
        ax.plot(
            [_or_zero(_choice(chosen, x)) / scale[x]], [_or_zero(_choice(chosen, y)) / scale[y]],
            "*", ms=16, color=ORANGE, mec=INK, mew=0.8, label=f"chosen: trial {chosen.number}",
            zorder=4,
        )  # fmt: skip
    if y == "metric":
        ax.axhline(report.original.value, color=GREEN, lw=1.4, ls=":", label="original, float")
    for name, is_x in ((x, True), (y, False)):
        if name != "metric":
            used = [_or_zero(_trial(t, name)) / scale[name] for t in known]
            _limit(ax, used, report.budget.limits.get(name), scale[name], is_x)
    ax.set_xlabel(_label(report, x))
    ax.set_ylabel(_label(report, y))
    ax.set_title(f"{_word(report, y)} against {_word(report, x)}")


def _trial(trained: Trained, name: str) -> float | None:
    cost = trained.candidate.cost
    value = trained.score.value if name == "metric" else getattr(cost, name)
    return None if value is None else float(value)


def _choice(choice: Choice, name: str) -> float | None:
    return choice.score.value if name == "metric" else choice.known(name)


def _word(report: Report, name: str) -> str:
    return report.metric if name == "metric" else AXES[name][0]


def _label(report: Report, name: str) -> str:
    return report.metric if name == "metric" else f"{AXES[name][0]}, {AXES[name][2]}"


def _limit(ax: Any, used: Sequence[float], limit: float | None, factor: float, is_x: bool) -> None:
    """Draws a limit where it lies near the trials; says where it lies when it is far off."""
    if limit is None:
        return
    at, most = limit / factor, max(used, default=0.0)
    line, span, edge = (
        (ax.axvline, ax.axvspan, ax.set_xlim) if is_x else (ax.axhline, ax.axhspan, ax.set_ylim)
    )
    if not used or at <= 2.5 * most:
        top = max(at, most) * 1.06
        line(at, color=RED, lw=1.4, ls="--", label="limit")
        span(at, top, color=RED, alpha=0.07, lw=0)
        edge(None, top)
        return
    place = (0.99, 0.02, "right", "bottom") if is_x else (0.01, 0.98, "left", "top")
    ax.text(
        *place[:2], f"limit {at:,.0f} {'→' if is_x else '↑'}", transform=ax.transAxes, color=RED,
        ha=place[2], va=place[3],
    )  # fmt: skip


def progress(report: Report) -> Floats:
    """float64 [trials]: the hypervolume after each scored trial, as a share of the final one.

    Over the metric and the costs among the objectives; the reference point is the worst metric
    seen and the limits (the largest cost seen where there is none). See
    :func:`hwsearch.pareto.hypervolumes`.
    """
    names = costs_of(report)
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


def _or_zero(value: float | None) -> float:
    return 0.0 if value is None else float(value)
