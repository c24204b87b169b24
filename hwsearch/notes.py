"""The descriptions of a search's runs in MLflow, in Markdown: the result comes first.

MLflow folds a description after about six lines, and shows it above the metrics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hwsearch.budget import UNITS, shown
from hwsearch.candidate import Trained, Verified
from hwsearch.cost.cost import COSTS, NAMES
from hwsearch.explanation import explain, verdict
from hwsearch.layout import Layout
from hwsearch.links import picture
from hwsearch.report import Report
from hwsearch.table import counts, markdown, score

MOST = 7500
"""Characters of a description; a tag of MLflow's takes 8,000."""

PICTURES = {
    "overview.png": "Every trial, the front, the limits, and the progress",
    "memory.png": "Memory over time of the chosen model",
    "operators.png": "Cycles and flash of the chosen model, by operator",
    "estimate.png": "Estimate against measurement",
}
"""Pictures of a search and their captions, in the order in which they are shown."""


def started(study: str, params: Mapping[str, object], layout: Layout | None) -> str:
    """Of a search that runs."""
    return f"**{study}** is running; its trials appear as they are scored.\n\n" + searched(
        params, layout
    )


def searched(params: Mapping[str, object], layout: Layout | None) -> str:
    """What was searched: the parent's params as a table, and what could vary."""
    rows = [("searched", "")]
    for key, value in params.items():  # of limits, numbers in B, s, J
        name = key.removeprefix("budget.")
        text = f"{value}"
        if name in UNITS and name != key and isinstance(value, int | float):
            text = shown(name, value)
        rows.append((key.replace("budget.", "limit: "), text[:300]))
    if layout is not None:
        names = ", ".join(f"{name} {width}" for name, width, _ in layout.groups[:12])
        more = ", …" if len(layout.groups) > 12 else ""
        rows.append(("channel groups", f"{len(layout.groups)}: {names}{more}"))
        rows.append(("operators with weights", f"{len(layout.ops)}"))
    return markdown(rows)


def search(
    report: Report,
    run_id: str,
    pictures: Sequence[str],
    params: Mapping[str, object],
    layout: Layout | None,
) -> str:
    """Of a search that is over.

    Args:
        report: of it.
        run_id: of the parent run, which has the pictures.
        pictures: names of those that there are, of :data:`PICTURES`.
        params, layout: as the search was started with.
    """
    first, *why = explain(report).splitlines()
    parts = [verdict(report), _models(report), first, *why, counts(report)]
    tail = [searched(params, layout), *(f"- {note}" for note in report.notes)]
    tail.append("All of it in one page: `report.html` under Artifacts.")
    shown_ = [
        f"**{caption}**\n\n{picture(run_id, name, caption)}"
        for name, caption in PICTURES.items()
        if name in pictures
    ]
    text = ""
    for part in (*parts, *shown_, *tail):  # whole parts: half a table is none
        if part and len(text) + len(part) + 2 <= MOST:
            text += part + "\n\n"
    return text.rstrip()


def _models(report: Report) -> str:
    """The verified models, a line each: a description is too narrow for the report's own table."""
    costs = [c for c in COSTS if c in {*report.objectives, *report.budget.limits}]
    rows = [("trial", report.metric, "− float", *(NAMES[c] for c in costs), "backend", "proof")]
    for model in report.shown:
        mark = "► " if report.chosen is not None and report.chosen.number == model.number else ""
        known = ((c, model.known(c)) for c in costs)
        rows.append(
            (
                f"{mark}{model.number}",
                score(model.score, " "),
                f"{model.difference.value:+.3f}",
                *("unknown" if value is None else shown(c, value) for c, value in known),
                model.configuration.backend,
                model.level,
            )
        )
    cells = [tuple(cell.replace(" ", "\u00a0") for cell in row) for row in rows]
    return markdown(cells) if len(rows) > 1 else ""


def trial(
    trained: Trained,
    excess: Mapping[str, float],
    metric: str,
    layout: Layout | None = None,
    verified: Verified | None = None,
) -> str:
    """Of a scored trial: estimate beside limit and measurement, then the configuration."""
    candidate, measured = trained.candidate, verified.measurement if verified else None
    cost = candidate.cost
    lead = f"**{metric} {score(trained.score, ' ')}** on the search half"
    if verified is not None:
        lead += f", **{score(verified.score, ' ')}** on fresh data ({verified.score.oracle})"
    rows = [("", "estimate", "90 % band", "of its limit", "measured")]
    for name in COSTS:
        estimate, band = getattr(cost, name), cost.bands.get(name)
        if estimate is None:
            continue
        edges = "" if band is None else f"{band.low:+.0%} … {band.high:+.0%}"
        share = f"{1 + excess[name]:.0%}" if name in excess else ""
        found = None if measured is None else getattr(measured, name)
        proof = "" if found is None else shown(name, found)
        arena = measured.arena_bytes if measured and name == "ram_bytes" else None
        if not proof and arena is not None:
            proof = f"{shown(name, arena)} (arena alone)"
        rows.append((NAMES[name], shown(name, estimate), edges, share, proof))
    parts = [lead, markdown(rows), f"`{candidate.configuration}`"]
    if trained.notes:
        parts.append(f"Its training says: {'; '.join(trained.notes)}.")
    if verified is not None:
        d = verified.difference
        parts.append(
            f"Against the float original {d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}] on "
            f"{d.samples:,} samples. Level of proof: {verified.level}. {verified.note}"
        )
    if layout is not None:
        parts += [_layers(trained, layout)]
    text = ""
    for part in parts:
        if len(text) + len(part) + 2 <= MOST:
            text += part + "\n\n"
    return text.rstrip()


def _layers(trained: Trained, layout: Layout) -> str:
    """Channels kept of each group, and bits of each operator."""
    c = trained.candidate.configuration
    channels = [("channel group", "kept", "of")]
    channels += [
        (name, str(kept), str(full))
        for (name, full, _), kept in zip(layout.groups, c.widths, strict=True)
    ]
    bits = [("operator", "weight bits")]
    bits += [(op, str(b)) for (op, _, _), b in zip(layout.ops, c.weight_bits, strict=True)]
    return f"{markdown(channels)}\n{markdown(bits)}"
