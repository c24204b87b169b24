"""A Report as one HTML file that opens offline: inline styles and SVG, no script, no link."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from hwsearch.plot import (
    deployed_memory_figure,
    hypervolume_figure,
    ops_figure,
    pareto_figure,
    svg,
)
from hwsearch.table import explain, html_table, title

if TYPE_CHECKING:
    from hwsearch.report import Report

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;font-size:13px}th,td{border:1px solid #ddd;padding:4px 8px;
text-align:left;vertical-align:top}th{background:#f5f5f5}svg{max-width:100%;height:auto}
h2{margin-top:2em}"""


def page(report: Report) -> str:
    """The whole page."""
    figures = [("Pareto front", pareto_figure(report)), ("Progress", hypervolume_figure(report))]
    if report.chosen is not None and report.chosen.cost.ops:
        name = f"Trial {report.chosen.number} by operator"
        figures.append((name, ops_figure(report.chosen.cost)))
    plan = None if report.chosen is None else deployed_memory_figure(report.chosen)
    if plan is not None:
        figures.append(("Memory", plan))
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f"<title>{html.escape(title(report))}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{html.escape(report.study)}</h1>",
        f'<div style="overflow-x:auto">{html_table(report)}</div>',
        "<h2>Why</h2>",
        *(f"<p>{html.escape(line)}</p>" for line in explain(report).splitlines()),
    ]
    for heading, figure in figures:
        parts.append(f"<h2>{html.escape(heading)}</h2>{svg(figure)}")
    return "\n".join([*parts, "</body></html>", ""])
