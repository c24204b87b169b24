"""A Report as tables: for terminal, notebook and Markdown."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from hwsearch.budget import shown
from hwsearch.candidate import Score
from hwsearch.cost.cost import COSTS, NAMES, Cost
from hwsearch.explanation import miss

if TYPE_CHECKING:
    from hwsearch.choice import Choice
    from hwsearch.report import Report

LEGEND = (
    "► chosen · ≤ inside its limit with the whole error band · ≲ inside by the estimate alone · "
    "> over · = measured"
)

WIDE = 130
"""Columns of a terminal that shows metric and three costs without a line break."""


@dataclass(frozen=True)
class Grid:
    """A table as text.

    Attributes:
        headers: of the columns.
        rows: ``rows[i][j]`` may have several lines.
        keys: what each cell is sorted by: a number, or text; None is unknown.
        chosen: a row, or -1.
    """

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    keys: tuple[tuple[float | str | None, ...], ...]
    chosen: int


def grid(report: Report, costs: Sequence[str] = COSTS) -> Grid:
    """The models of a report, one a row: estimate above, measurement below it."""
    models = report.shown
    costs = [c for c in costs if any(m.known(c) is not None for m in models)]
    better = "↑" if report.mode == "max" else "↓"
    headers = ("trial", f"{report.metric} {better}", "− float", *(NAMES[c] for c in costs))
    headers += (".tflite", "backend, bits", "proven by")
    rows, keys, chosen = [], [], -1
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
        values = (model.number, model.score.value, model.difference.value)
        known = (*(model.known(c) for c in costs), size)
        keys.append((*values, *known, model.configuration.backend, model.level))
    return Grid(headers, tuple(rows), tuple(keys), chosen)


def score(s: Score, between: str = "\n") -> str:
    """E.g. ``"0.884\\n[0.872, 0.895]"``."""
    return f"{s.value:.4g}{between}[{s.low:.4g}, {s.high:.4g}]"


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
        lines.append(miss(report))
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
    wanted = {*report.objectives, *report.budget.limits}
    cells = grid(report, [c for c in COSTS if c in wanted])
    if cells.rows:
        table = Table(show_lines=True, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for header in cells.headers:
            table.add_column(header, no_wrap=width >= WIDE, overflow="fold")
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
            style = (
                ' style="font-weight:bold;background:rgba(0,158,115,.18)"'
                if i == cells.chosen
                else ""
            )
            parts.append(f"<tr{style}>")
            parts += [f"<td>{html.escape(c).replace(chr(10), '<br>')}</td>" for c in row]
            parts.append("</tr>")
        parts.append(f"</tbody></table><p><small>{html.escape(LEGEND)}</small></p>")
    parts += [f"<p>{html.escape(line)}</p>" for line in below(report)]
    return "".join(parts)


def markdown_table(report: Report) -> str:
    """The models as a Markdown table, for the model card and MLflow's description."""
    cells = grid(report)
    return markdown([cells.headers, *cells.rows]) if cells.rows else ""


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head."""
    lines = [
        "| " + " | ".join(c.replace("|", "\\|").replace("\n", "<br>") for c in row) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines) + "\n"
