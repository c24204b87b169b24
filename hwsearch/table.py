"""A Report as text: tables for terminal, notebook and Markdown, and the explanation."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from hwsearch.budget import shown
from hwsearch.candidate import Score
from hwsearch.cost.cost import COSTS, Cost
from hwsearch.objectives import METRIC
from hwsearch.pareto import inside

if TYPE_CHECKING:
    from hwsearch.report import Choice, Report

NAMES = {"flash_bytes": "flash", "ram_bytes": "RAM", "latency_s": "latency", "energy_j": "energy"}
"""What a person calls each cost."""

LEGEND = (
    "► chosen · ≤ inside its limit with the whole error band · ≲ inside by the estimate alone · "
    "> over · = measured"
)


@dataclass(frozen=True)
class Grid:
    """A table as text: ``rows[i][j]`` may have several lines; ``chosen`` is a row or -1."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    chosen: int


def grid(report: Report) -> Grid:
    """The models of a report, one a row: estimate above, measurement below it."""
    models = report.shown
    costs = [c for c in COSTS if any(m.known(c) is not None for m in models)]
    better = "↑" if report.mode == "max" else "↓"
    headers = ("trial", f"{report.metric} {better}", "− float", *(NAMES[c] for c in costs))
    headers += (".tflite", "backend, bits", "proven by")
    rows, chosen = [], -1
    for i, model in enumerate(models):
        is_chosen = report.chosen is not None and model.number == report.chosen.number
        chosen = i if is_chosen else chosen
        size = model.tflite_bytes
        rows.append(
            (
                f"{'► ' if is_chosen else ''}{model.number}",
                score(model.score),
                difference(model.difference),
                *(_cost(model, report, c) for c in costs),
                "–" if size is None else shown("flash", size),
                f"{model.configuration.backend}\n{bits(model)}",
                _proof(model),
            )
        )
    return Grid(headers, tuple(rows), chosen)


def score(s: Score) -> str:
    """E.g. ``"0.884\\n[0.872, 0.895]"``."""
    return f"{s.value:.4g}\n[{s.low:.4g}, {s.high:.4g}]"


def difference(s: Score) -> str:
    """E.g. ``"−0.006\\n[−0.010, −0.002]"``: signed."""
    return f"{s.value:+.3f}\n[{s.low:+.3f}, {s.high:+.3f}]".replace("-", "−")


def bits(model: Choice) -> str:
    """Activation and weight bits, e.g. ``"a8 w8, 3×w4"``."""
    low = [b for b in model.configuration.weight_bits if b < 8]
    return f"a{model.configuration.activation_bits} w8" + (
        f", {len(low)}×w{min(low)}" if low else ""
    )


def _cost(model: Choice, report: Report, name: str) -> str:
    estimate = getattr(model.cost, name)
    lines = []
    if estimate is not None:
        lines.append(f"{_flag(model.cost, report, name)}{shown(name, estimate)}")
        band = model.cost.bands.get(name)
        if band is not None and (band.low or band.high):
            lines.append(f"{band.low:+.0%} … {band.high:+.0%}".replace("-", "−"))
    measured = model.measurement
    if measured is not None:
        value = getattr(measured, name)
        if value is not None:
            lines.append(f"= {shown(name, value)}")
        elif name == "ram_bytes" and measured.arena_bytes is not None:
            lines.append(f"= {shown(name, measured.arena_bytes)} arena")
    return "\n".join(lines) or "unknown"


def _flag(cost: Cost, report: Report, name: str) -> str:
    limit = report.budget.limits.get(name)
    if limit is None:
        return ""
    estimate, band = float(getattr(cost, name)), cost.bands.get(name)
    if estimate > limit:
        return "> "
    return "≤ " if estimate * (1 + (band.high if band else 0.0)) <= limit else "≲ "


def _proof(model: Choice) -> str:
    lines = [model.level, f"({model.score.oracle})"]
    measured = model.measurement
    if measured is not None and measured.compared_outputs:
        lines.append(f"{measured.mismatched_outputs:,} of {measured.compared_outputs:,} differ")
    return "\n".join(lines)


def _unproven(report: Report) -> list[str]:
    """Why models are not proven further, each reason once."""
    reasons: dict[str, list[str]] = {}
    for model in report.shown:
        if model.verified.note:
            reasons.setdefault(model.verified.note, []).append(str(model.number))
    return [f"trial {', '.join(numbers)}: {reason}" for reason, numbers in reasons.items()]


def counts(report: Report) -> str:
    """One line: what was asked, rejected, trained, scored, and how long it took."""
    parts = [
        f"{report.asked:,} asked",
        f"{report.rejected:,} rejected without training",
        f"{report.screened:,} screened",
        f"{report.trained:,} trained",
        f"{report.scored:,} scored",
    ]
    if report.failed:
        parts.append(f"{report.failed:,} failed")
    if report.disqualified:
        parts.append(f"{len(report.disqualified):,} disqualified")
    parts.append(duration(report.seconds) + (", interrupted" if report.interrupted else ""))
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """E.g. ``"7 min 12 s"``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"


def title(report: Report) -> str:
    """One line: study, board and budget."""
    return f"{report.study} on {report.board.name}: {report.budget}"


def below(report: Report) -> list[str]:
    """The lines under the table."""
    o = report.original
    lines = [
        f"original: {report.metric} {o.value:.4g} [{o.low:.4g}, {o.high:.4g}] as float on "
        f"{o.samples:,} samples, {shown('flash', report.original_tflite_bytes)} as int8 .tflite",
        counts(report),
    ]
    lines += [
        f"disqualified: trial {v.trained.candidate.number}: {reason}"
        for v, reason in report.disqualified
    ]
    if report.chosen is None:
        lines.append(_miss(report))
    lines += [f"note: {note}" for note in (*report.notes, *_unproven(report))]
    if report.tracking:
        lines.append(f"MLflow: {report.tracking}")
    return lines


def print_table(report: Report, console: Console | None = None) -> str:
    """Prints the report; returns what was printed, without colour."""
    console = console or Console()
    width = console.width if console.is_terminal else max(console.width, 132)
    console = Console(file=console.file, width=width, record=True, highlight=False)
    console.print(title(report), style="bold")
    cells = grid(report)
    if cells.rows:
        table = Table(show_lines=True)
        for i, header in enumerate(cells.headers):
            table.add_column(header, no_wrap=i < 2 or i > len(cells.headers) - 3)
        for i, row in enumerate(cells.rows):
            table.add_row(*row, style="bold green" if i == cells.chosen else "")
        console.print(table)
        console.print(LEGEND, style="dim")
    for line in below(report):
        console.print(line, markup=False)
    return console.export_text()


def html_table(report: Report) -> str:
    """The report as an HTML fragment without scripts, for notebooks and pages."""
    cells = grid(report)
    parts = [f"<p><strong>{html.escape(title(report))}</strong></p>"]
    if cells.rows:
        parts.append('<table class="hwsearch" style="white-space:nowrap"><thead><tr>')
        parts += [f"<th>{html.escape(h)}</th>" for h in cells.headers]
        parts.append("</tr></thead><tbody>")
        for i, row in enumerate(cells.rows):
            style = ' style="font-weight:bold;background:#e6f4ea"' if i == cells.chosen else ""
            parts.append(f"<tr{style}>")
            parts += [f"<td>{html.escape(c).replace(chr(10), '<br>')}</td>" for c in row]
            parts.append("</tr>")
        parts.append(f"</tbody></table><p><small>{html.escape(LEGEND)}</small></p>")
    parts += [f"<p>{html.escape(line)}</p>" for line in below(report)]
    return "".join(parts)


def markdown_table(report: Report) -> str:
    """The models as a Markdown table, for the model card and MLflow's description."""
    cells = grid(report)
    return _markdown([cells.headers, *cells.rows]) if cells.rows else ""


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [
        "| " + " | ".join(c.replace("|", "\\|").replace("\n", "<br>") for c in row) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines) + "\n"


def explain(report: Report) -> str:
    """See :meth:`hwsearch.report.Report.explain`."""
    chosen = report.chosen
    if chosen is None:
        return _miss(report)
    lines = [_why(report, chosen), _fresh(report, chosen)]
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
    return "\n".join(lines)


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
    """What the next better trial takes more, by the search half."""
    sign = 1 if report.mode == "max" else -1
    own = chosen.verified.trained
    better = [t for t in report.history if sign * (t.score.value - own.score.value) > 0]
    limits = list(report.budget.limits)
    if not better or not limits:
        return ""
    following = min(
        better,
        key=lambda t: (max(report.budget.excess(t.candidate.cost).values()), t.candidate.number),
    )
    more = []
    for name in limits:
        mine, theirs = getattr(own.candidate.cost, name), getattr(following.candidate.cost, name)
        if mine is not None and theirs is not None and theirs > mine:
            more.append(f"{shown(name, theirs - mine)} more {NAMES[name]}")
    gain = abs(following.score.value - own.score.value)
    return (
        f"The cheapest better one is trial {following.candidate.number}: {report.metric} better "
        f"by {gain:.4f} on the search half for {' and '.join(more) or 'no more of any limit'}."
    )


def _miss(report: Report) -> str:
    miss = report.nearest_miss
    if miss is None or miss.limit == METRIC:
        return "\n".join([_floor(report), *_room(report)])
    limit = report.budget.limits.get(miss.limit)
    takes = getattr(miss.candidate.cost, miss.limit, None)
    name = NAMES.get(miss.limit, miss.limit)
    figures = (
        f", {shown(miss.limit, takes)} of {shown(miss.limit, limit)}"
        if takes is not None and limit is not None
        else ""
    )
    share = shown(miss.limit, miss.op_share)
    op = f"; operator {miss.op_index} ({miss.op_kind}) takes {share} of it" if miss.op_kind else ""
    return (
        f"Nothing fits. The nearest miss ({miss.candidate.configuration}): {name} over by "
        f"{miss.excess:.1%}{figures}{op}. Raise the limit, allow more pruning (pruning_ratio) of "
        f"that layer, or name another board or backend."
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
    fit = report.smallest_board()
    if fit is not None:
        lines.append(
            f"The smallest board of the catalogue with room, by estimate: {fit.board.name} "
            f"({fit.candidate.configuration})."
        )
    return lines


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
