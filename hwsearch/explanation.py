"""Why a model was chosen, which limit binds, what more room would buy: a Report in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsearch.budget import shown
from hwsearch.candidate import Trained
from hwsearch.cost.cost import COSTS, NAMES
from hwsearch.objectives import METRIC
from hwsearch.pareto import inside

if TYPE_CHECKING:
    from hwsearch.choice import Choice
    from hwsearch.report import Report

STEPS = {
    "flash_bytes": (1024, "KiB"),
    "ram_bytes": (1024, "KiB"),
    "latency_s": (1e-3, "ms"),
    "energy_j": (1e-3, "mJ"),
}
"""The step of each cost by which a gain is divided, and its unit."""


def verdict(report: Report) -> str:
    """One paragraph of Markdown: the chosen model's figures beside their limits, or what lacks."""
    chosen = report.chosen
    if chosen is None:
        first, _, rest = miss(report).splitlines()[0].partition(". ")
        return f"**{first}.** {rest}"
    s, d = chosen.score, chosen.difference
    takes = []
    for name in COSTS:
        value, limit = chosen.known(name), report.budget.limits.get(name)
        if value is not None:
            of = "" if limit is None else f" ({value / limit:.0%} of {shown(name, limit)})"
            takes.append(f"{NAMES[name]} {shown(name, value)}{of}")
    return (
        f"**Trial {chosen.number}: {report.metric} {s.value:.4g}** [{s.low:.4g}, {s.high:.4g}] on "
        f"{s.samples:,} fresh samples, {d.value:+.4f} to the float original; {', '.join(takes)}; "
        f"`{chosen.configuration.backend}` on {report.board.name}, proven by {chosen.level}."
    )


def explain(report: Report) -> str:
    """See :meth:`hwsearch.report.Report.explain`."""
    chosen = report.chosen
    if chosen is None:
        return miss(report)
    lines = [_why(report, chosen), _fresh(report, chosen)]
    if said := chosen.verified.trained.notes:
        lines.append(f"Its training says: {'; '.join(said)}.")
    used = {c: e + 1 for c, e in report.budget.excess(chosen.cost).items() if e > -1}
    if used:
        binding = max(used, key=lambda c: used[c])
        lines.append(
            f"The limit that binds is {NAMES[binding]}: {used[binding]:.0%} of "
            f"{shown(binding, report.budget.limits[binding])} is used{_where(chosen, binding)}."
        )
    buys = _buys(report, chosen)
    if buys:
        lines.append(buys)
    return "\n".join([*lines, *_smallest(report)])


def _why(report: Report, chosen: Choice) -> str:
    sign = 1 if report.mode == "max" else -1
    rivals = [t for t in report.history if inside(t, report.budget, report.mode)]
    own = chosen.verified.trained
    best = max(rivals, key=lambda t: sign * t.score.value, default=own)
    text = f"Trial {chosen.number} ({own.candidate.configuration}) was chosen: "
    if best.candidate.number == chosen.number:
        return text + (
            f"of {len(rivals)} scored trials inside the budget it has the best {report.metric} on "
            f"the search half, {own.score.value:.4g}."
        )
    return text + (
        f"its {report.metric} on the search half, {own.score.value:.4g}, lies within the 95 % "
        f"interval [{best.score.low:.4g}, {best.score.high:.4g}] of the best inside the budget "
        f"(trial {best.candidate.number}, {best.score.value:.4g}), and of the verified trials in "
        f"that interval it takes the least of its tightest limit."
    )


def _fresh(report: Report, chosen: Choice) -> str:
    d, s = chosen.difference, chosen.score
    told = d.low > 0 or d.high < 0
    verdict = (
        "a difference that the data can tell" if told else "no difference that the data can tell"
    )
    return (
        f"On {s.samples:,} samples that the search never saw, run by {s.oracle}: {report.metric} "
        f"{s.value:.4g} [{s.low:.4g}, {s.high:.4g}], {d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}] "
        f"against the float original: {verdict}."
    )


def _where(chosen: Choice, name: str) -> str:
    op = chosen.heaviest(name)
    if op is None:
        return ""
    if name == "flash_bytes":
        size = shown("flash", op.flash_bytes)
        return f"; the largest constants are those of operator {op.index} ({op.kind}), {size}"
    if name == "ram_bytes":
        return f"; most is alive at operator {op.index} ({op.kind}), {shown('ram', op.live_bytes)}"
    total = sum(o.cycles or 0.0 for o in chosen.cost.ops)
    return (
        f"; operator {op.index} ({op.kind}) takes {(op.cycles or 0) / total:.0%} of the cycles"
        if total
        else ""
    )


def _buys(report: Report, chosen: Choice) -> str:
    """What the next better trial takes more, by the search half, and what a step of it buys."""
    sign = 1 if report.mode == "max" else -1
    own = chosen.verified.trained
    better = [t for t in report.history if sign * (t.score.value - own.score.value) > 0]
    limits = list(report.budget.limits)
    if not limits:
        return ""
    if not better:
        return f"No scored trial has a better {report.metric}: more room buys nothing known."
    following = min(
        better,
        key=lambda t: (max(report.budget.excess(t.candidate.cost).values()), t.candidate.number),
    )
    gain = abs(following.score.value - own.score.value)
    more, per = [], ""
    for name in limits:
        mine, theirs = getattr(own.candidate.cost, name), getattr(following.candidate.cost, name)
        if mine is not None and theirs is not None and theirs > mine:
            more.append(f"{shown(name, theirs - mine)} more {NAMES[name]}")
            step, unit = STEPS[name]
            if not per and theirs - mine >= step:
                per = f", {gain / ((theirs - mine) / step):.2g} a {unit} of {NAMES[name]}"
    return (
        f"The cheapest better one is trial {following.candidate.number}: {report.metric} better "
        f"by {gain:.4f} on the search half for {' and '.join(more) or 'no more of any limit'}"
        f"{per}{_doubt(report, own, following)}."
    )


def _doubt(report: Report, own: Trained, following: Trained) -> str:
    """What speaks against the better one: over a limit, or a gain within the noise."""
    over = [
        f"{NAMES[name]} would be {excess:.1%} over its limit"
        for name, excess in report.budget.excess(following.candidate.cost).items()
        if excess > 0
    ]
    if following.score.low <= own.score.value <= following.score.high:
        over.append("the search half cannot tell that gain from chance")
    return f"; {' and '.join(over)}" if over else ""


def miss(report: Report) -> str:
    """Why nothing was chosen: the nearest miss, or the floor that none reached."""
    nearest = report.nearest_miss
    if nearest is None or nearest.limit == METRIC:
        return "\n".join([_floor(report), *_room(report)])
    limit = report.budget.limits.get(nearest.limit)
    takes = getattr(nearest.candidate.cost, nearest.limit, None)
    name = NAMES.get(nearest.limit, nearest.limit)
    figures = (
        f", {shown(nearest.limit, takes)} of {shown(nearest.limit, limit)}"
        if takes is not None and limit is not None
        else ""
    )
    share = shown(nearest.limit, nearest.op_share)
    op = (
        f"; operator {nearest.op_index} ({nearest.op_kind}) takes {share} of it"
        if nearest.op_kind
        else ""
    )
    return (
        f"Nothing fits. The nearest miss ({nearest.candidate.configuration}): {name} over by "
        f"{nearest.excess:.1%}{figures}{op}. Raise the limit, allow more pruning (pruning_ratio) "
        f"of that layer, or name another board or backend."
        + "".join(f"\n{line}" for line in _room(report))
    )


def _room(report: Report) -> list[str]:
    """What a tenth more of each limit would buy, and the smallest board that has room."""
    lines = []
    for relief in report.nearest_miss.reliefs if report.nearest_miss else ():
        to = f"{NAMES[relief.limit]} raised by a tenth to {shown(relief.limit, relief.value)}"
        if relief.candidate is None:
            lines.append(f"With {to} still nothing fits: over by {relief.excess:.1%}.")
        elif relief.metric is not None:
            lines.append(
                f"With {to} {report.metric} {relief.metric:.4g} is expected, of "
                f"{relief.candidate.configuration}."
            )
        else:
            lines.append(f"With {to} models fit, up to {relief.candidate.configuration}.")
    return [*lines, *_smallest(report)]


def _smallest(report: Report) -> list[str]:
    fit = report.smallest_board()
    if fit is None:
        return []
    return [
        f"The smallest board of the catalogue with room, by estimate: {fit.board.name} "
        f"({fit.candidate.configuration})."
    ]


def _floor(report: Report) -> str:
    """When no cost is over: none was good enough, or none was scored."""
    if not report.history:
        return "Nothing was scored; the notes say why."
    fits = [
        t
        for t in report.history
        if all(e <= 0 for e in report.budget.excess(t.candidate.cost).values())
    ]
    pick = max if report.mode == "max" else min
    best = pick(fits or report.history, key=lambda t: t.score.value)
    asked = "" if report.budget.accuracy is None else f"; {report.budget.accuracy:g} was asked for"
    return (
        f"Models fit, but none is good enough: the best is trial {best.candidate.number} with "
        f"{report.metric} {best.score.value:.4g}{asked}. Lower the floor (accuracy), raise a "
        f"limit, or train longer (more trials; epochs of the space)."
    )
