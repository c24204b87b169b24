"""A Report as one HTML file that opens offline: styles, figures and a sorting script inside it."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hwsearch import plot
from hwsearch.budget import shown
from hwsearch.cost.cost import COSTS, NAMES
from hwsearch.explanation import explain, miss
from hwsearch.figure import BLUE, GREEN, GREY, GRID, INK, ORANGE, RED, svg
from hwsearch.table import LEGEND, below, grid

if TYPE_CHECKING:
    from hwsearch.choice import Choice
    from hwsearch.report import Report

PANEL = 5.0
"""Inches of a figure's width: narrow enough that its text is read on a phone."""

MOST = 2000
"""Trials in the table of all of them; the best are kept."""

STYLE = """
:root{--ink:#1c1f23;--soft:#5c636b;--paper:#fff;--card:#f6f7f8;--line:#d9dde1;--grid:#e4e4e4;
--mark:rgba(0,158,115,.16);--full:#d55e00;--bar:#0072b2;color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--ink:#e6e8ea;--soft:#a3abb3;--paper:#16191c;
--card:#1f2428;--line:#3a4147;--grid:#343a40;--mark:rgba(0,158,115,.28);--full:#ff8a3d;
--bar:#56b4e9}}
*{box-sizing:border-box}body{font:15px/1.5 system-ui,sans-serif;max-width:1180px;
margin:0 auto;padding:1.2em 1em 4em;color:var(--ink);background:var(--paper)}
h1{font-size:1.6em;margin:0}h2{font-size:1.15em;margin:2em 0 .6em}.soft{color:var(--soft)}
p{margin:.5em 0;overflow-wrap:anywhere}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:.7em;margin:1em 0}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.6em .8em}
.card b{display:block;font-size:1.35em;line-height:1.3}.card small{color:var(--soft)}
.meter{height:6px;border-radius:3px;background:var(--line);margin:.4em 0 .2em;overflow:hidden}
.meter i{display:block;height:100%;background:var(--bar)}.meter i.over{background:var(--full)}
.wide{overflow-x:auto;border:1px solid var(--line);border-radius:8px}
table{border-collapse:collapse;font-size:13px;white-space:nowrap;min-width:100%}
th,td{border-bottom:1px solid var(--line);padding:5px 8px;text-align:left;vertical-align:top}
td:last-child{white-space:normal;min-width:9em}
tr:last-child td{border-bottom:0}th{background:var(--card);position:sticky;top:0}
th button{font:inherit;font-weight:600;color:inherit;background:none;border:0;padding:0;
cursor:pointer}th button::after{content:" ↕";color:var(--soft)}
th[aria-sort=ascending] button::after{content:" ↑";color:inherit}
th[aria-sort=descending] button::after{content:" ↓";color:inherit}
tr.chosen td{background:var(--mark);font-weight:600}td{font-variant-numeric:tabular-nums}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:1.2em}
figure{margin:0;min-width:0}figure.whole{grid-column:1/-1;overflow-x:auto}
svg{display:block;width:100%;height:auto}.whole svg{min-width:560px;max-width:880px}
summary{cursor:pointer;font-weight:600;margin:2em 0 .6em}.key span{margin-right:1.2em}
"""

SCRIPT = """
document.querySelectorAll("th button").forEach(button => button.addEventListener("click", () => {
  const head = button.parentNode, table = head.closest("table"), body = table.tBodies[0];
  const down = head.getAttribute("aria-sort") !== "descending";
  table.querySelectorAll("th").forEach(th => th.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = row => row.cells[head.cellIndex].dataset.sort;
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
    return down ? -order : order;
  };
  [...body.rows].sort((a, b) => compare(key(a), key(b))).forEach(row => body.append(row));
}));
"""

Cell = tuple[str, object]
"""What a cell shows, and the value that it is sorted by; None comes last."""


def page(report: Report) -> str:
    """The whole page."""
    where = f"{report.board.name} ({report.board.mcu or report.board.core})"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{_text(report.study)} · hwsearch</title><style>{STYLE}</style></head><body>",
        f"<h1>{_text(report.study)}</h1>",
        f'<p class="soft">{_text(f"{where}: {report.budget}")}</p>',
        *([] if report.chosen is None else [_cards(report, report.chosen)]),
        "<h2>Why</h2>",
        *(f"<p>{_text(line)}</p>" for line in explain(report).splitlines()),
        *_finalists(report),
        "<h2>The search</h2>",
        *(f"<p>{_text(line)}</p>" for line in below(report) if line != miss_of(report)),
        *_figures(report),
        *_trials(report),
    ]
    return "\n".join([*parts, f"<script>{SCRIPT}</script></body></html>", ""])


def miss_of(report: Report) -> str:
    """What :func:`page` says already where nothing was chosen."""
    return "" if report.chosen is not None else miss(report)


def _cards(report: Report, chosen: Choice) -> str:
    """The chosen model: its score, and each cost beside its limit."""
    s, d = chosen.score, chosen.difference
    cards = [
        f'<div class="card"><small>{_text(report.metric)}</small><b>{s.value:.4g}</b>'
        f"<small>95 % [{s.low:.4g}, {s.high:.4g}]<br>{d.value:+.4f} to the float original</small>"
        "</div>"
    ]
    for name in COSTS:
        value, limit = chosen.known(name), report.budget.limits.get(name)
        if value is None:
            continue
        measured = getattr(chosen.measurement, name, None) is not None
        meter, of = "", "no limit"
        if limit is not None:
            share = value / limit
            over = ' class="over"' if share > 1 else ""
            meter = f'<div class="meter"><i{over} style="width:{min(share, 1):.1%}"></i></div>'
            of = f"{share:.0%} of {shown(name, limit)}"
        kind = "measured" if measured else "estimated"
        cards.append(
            f'<div class="card"><small>{NAMES[name]}, {kind}</small>'
            f"<b>{shown(name, value)}</b>{meter}<small>{of}</small></div>"
        )
    number = (
        f'<p class="soft">Chosen: trial {chosen.number}, {_text(str(chosen.configuration))}</p>'
    )
    return f'{number}<div class="cards">{"".join(cards)}</div>'


def _finalists(report: Report) -> list[str]:
    cells = grid(report)
    if not cells.rows:
        return []
    rows = [
        list(zip(row, keys, strict=True)) for row, keys in zip(cells.rows, cells.keys, strict=True)
    ]
    return [
        "<h2>Verified models</h2>",
        _table([h.rstrip(" ↑↓") for h in cells.headers], rows, cells.chosen),
        f'<p class="soft"><small>{_text(LEGEND)}</small></p>',
    ]


def _trials(report: Report) -> list[str]:
    """All scored trials, the best first; folded."""
    if not report.history:
        return []
    sign = -1 if report.mode == "max" else 1
    best = sorted(report.history, key=lambda t: (sign * t.score.value, t.candidate.number))[:MOST]
    costs = [c for c in COSTS if any(getattr(t.candidate.cost, c) is not None for t in best)]
    headers = ["trial", f"{report.metric} (search half)", *(NAMES[c] for c in costs)]
    headers += ["inside", "configuration"]
    number = None if report.chosen is None else report.chosen.number
    rows: list[list[Cell]] = []
    for trained in best:
        cost = trained.candidate.cost
        worst = max(report.budget.excess(cost).values(), default=-1.0)
        row: list[Cell] = [(str(trained.candidate.number), trained.candidate.number)]
        row.append((f"{trained.score.value:.4f}", trained.score.value))
        for name in costs:
            value = getattr(cost, name)
            row.append(("unknown" if value is None else shown(name, value), value))
        row.append(("yes" if worst <= 0 else f"over by {worst:.1%}", worst))
        row.append((str(trained.candidate.configuration), str(trained.candidate.configuration)))
        rows.append(row)
    chosen = next((i for i, t in enumerate(best) if t.candidate.number == number), -1)
    kept = "" if len(best) == len(report.history) else f", the best {MOST:,} of them"
    return [
        f"<details><summary>All {len(report.history):,} scored trials{kept}</summary>",
        f"{_table(headers, rows, chosen)}</details>",
    ]


def _table(headers: Sequence[str], rows: Sequence[Sequence[Cell]], chosen: int) -> str:
    parts = ['<div class="wide"><table><thead><tr>']
    parts += [f"<th><button>{_text(h)}</button></th>" for h in headers]
    parts.append("</tr></thead><tbody>")
    for i, row in enumerate(rows):
        parts.append('<tr class="chosen">' if i == chosen else "<tr>")
        for text, value in row:
            sort = "" if value is None else _text(f"{value}")
            parts.append(f'<td data-sort="{sort}">{_text(text).replace(chr(10), "<br>")}</td>')
        parts.append("</tr>")
    return "".join([*parts, "</tbody></table></div>"])


def _figures(report: Report) -> list[str]:
    parts = ["<h2>Figures</h2>", _KEY, '<div class="figures">']
    for x, y in plot.pairs(report) if report.history else ():
        figure = plot.pareto_figure(report, [(x, y)], PANEL, legends=False)
        parts.append(_figure(figure, f"{y} against {x}"))
    if report.history:
        parts.append(_figure(plot.hypervolume_figure(report, PANEL), "hypervolume"))
    estimate = plot.estimate_figure(report, PANEL)
    if estimate is not None:
        parts.append(_figure(estimate, "estimate against measurement"))
    for name, title in (
        ("operators", "cycles and flash of the chosen model by operator"),
        ("memory", "memory over time of the chosen model"),
    ):
        figure = plot.draw(report, name)
        if figure is not None:
            parts.append(_figure(figure, title, whole=True))
    return [*parts, "</div>"] if len(parts) > 3 else []


_KEY = (
    '<p class="key soft">'
    f'<span><b style="color:{GREY}">●</b> trial, on the search half</span>'
    f'<span><b style="color:{BLUE}">●</b> front, on fresh data with its 95 % interval</span>'
    f'<span><b style="color:{ORANGE}">★</b> chosen</span>'
    f'<span><b style="color:{GREEN}">┄</b> original, float</span>'
    f'<span><b style="color:{RED}">┆</b> limit</span></p>'
)


def _figure(figure: Any, title: str, whole: bool = False) -> str:
    kind = ' class="whole"' if whole else ""
    return f"<figure{kind}>{themed(figure, title)}</figure>"


def themed(figure: Any, title: str) -> str:
    """A figure as SVG whose ink, grid and paper follow the page's light or dark."""
    for ax in figure.axes:
        ax.set_facecolor("none")
    figure.set_facecolor("none")
    text = re.sub(r"<metadata>.*?</metadata>", "", svg(figure), flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    text = re.sub(INK, "currentColor", text, flags=re.IGNORECASE)
    text = re.sub(GRID, "var(--grid)", text, flags=re.IGNORECASE)
    text = re.sub("#666666", "var(--soft)", text)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    return text.replace("<svg ", f'<svg role="img" aria-label="{_text(title)}" ', 1)


def _text(text: str) -> str:
    return html.escape(text)
