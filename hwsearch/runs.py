"""The runs of a search as MLflow shows them: names, params, metrics, notes, tables."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from hwsearch import notes, plot
from hwsearch.candidate import Score, Trained, Verified
from hwsearch.configuration import Configuration
from hwsearch.cost.cost import COSTS, Cost
from hwsearch.figure import save
from hwsearch.layout import Layout
from hwsearch.report import Report, as_text

STUDY, TRIAL = "hwsearch.study", "hwsearch.trial"
"""Tags of every run of a search, and of its trials."""

NOTE, TABLES = "mlflow.note.content", "mlflow.loggedArtifacts"


@dataclass(frozen=True)
class Run:
    """What one run shows.

    Attributes:
        name: the list shows about 17 characters of it: the result comes first.
        params, tags: text.
        metrics: (name, value, step).
        files: text by file name.
    """

    name: str
    params: dict[str, object] = field(default_factory=dict)
    metrics: tuple[tuple[str, float, int], ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def trial(
    trained: Trained,
    excess: Mapping[str, float],
    search: Mapping[str, object],
    layout: Layout | None = None,
) -> Run:
    """A scored trial.

    Args:
        trained: it.
        excess: per limited cost its relative overshoot.
        search: the parent's params; ``metric`` among them names the metric.
        layout: names of groups and operators.
    """
    candidate, metric = trained.candidate, key(str(search.get("metric", "metric")))
    c, cost = candidate.configuration, candidate.cost
    layout = layout or _nameless(c)
    params: dict[str, object] = {
        f.name: getattr(c, f.name)
        for f in fields(c)
        if f.name not in ("widths", "weight_bits", "asked")
    }
    params["structure"] = c.structure
    names = [group for group, _, _ in layout.groups]
    params |= {key(f"width/{g}"): w for g, w in zip(names, c.widths, strict=True)}
    ops = [op for op, _, _ in layout.ops]
    params |= {key(f"bits/{o}"): b for o, b in zip(ops, c.weight_bits, strict=True)}
    params |= {key(f"hp/{name}"): value for name, value in candidate.hyperparameters}
    metrics = _score(metric, trained.score)
    if trained.plain is not None:
        metrics.append((f"{metric}_without_qat", trained.plain.value, 0))
    metrics += _costs(cost)
    metrics += [(f"excess/{name}", value, 0) for name, value in excess.items()]
    metrics += [("train_s", trained.train_s, 0), ("epochs", len(trained.curve), 0)]
    for step, epoch in enumerate(trained.curve, 1):
        metrics.append(("epoch/loss", epoch.loss, step))
    files = {"layers.json": _layers(c, layout)}
    if cost.ops:
        files["operators.json"] = _operators(cost)
    tags = {NOTE: notes.trial(trained, excess, metric, layout), TABLES: _tables(files)}
    if trained.notes:
        tags["training"] = "; ".join(trained.notes)
    if trained.diverged:
        tags["diverged"] = "true"
    return Run(name(trained), params, finite(metrics), tags, files)


def name(trained: Trained, mark: str = "") -> str:
    """E.g. ``"★ .884 41K #12 tflm-cmsis-nn"``: metric and flash (KiB) come before the cut."""
    candidate, value = trained.candidate, trained.score.value
    parts = [mark, f"{value:.3f}".lstrip("0") if 0 <= value < 1 else f"{value:.4g}"]
    if candidate.cost.flash_bytes is not None:
        parts.append(f"{candidate.cost.flash_bytes / 1024:.0f}K")
    parts += [f"#{candidate.number}", candidate.configuration.backend]
    return " ".join(p for p in parts if p)


def finalist(verified: Verified, report: Report, layout: Layout | None = None) -> Run:
    """What verification adds to a trial's run."""
    trained, measured, metric = verified.trained, verified.measurement, key(report.metric)
    metrics = _score(f"report_{metric}", verified.score)
    metrics += _score(f"report_{metric}_difference", verified.difference)
    metrics += [*_score(metric, trained.score), ("epochs", len(trained.curve), 1)]
    if measured is not None:
        for attribute in (*COSTS, "arena_bytes", "instructions", "cycles", "spread"):
            value = getattr(measured, attribute)
            if value is not None:
                metrics.append((f"measured_{attribute}", float(value), 0))
        metrics.append(("compared_outputs", measured.compared_outputs, 0))
        metrics.append(("mismatched_outputs", measured.mismatched_outputs, 0))
    number = trained.candidate.number
    chosen = report.chosen is not None and report.chosen.number == number
    on_front = any(c.number == number for c in report.front)
    mark = "★" if chosen else "◆" if on_front else ""
    excess = report.budget.excess(trained.candidate.cost)
    tags = {
        "hwsearch.level": verified.level,
        "hwsearch.oracle": verified.score.oracle,
        "hwsearch.front": "yes" if on_front else "no",
        "hwsearch.chosen": "yes" if chosen else "no",
        NOTE: notes.trial(trained, excess, metric, layout, verified),
    }
    return Run(name(trained, mark=mark), {}, finite(metrics), tags)


def search(report: Report, rejected: Sequence[Mapping[str, object]]) -> Run:
    """The parent run of a search that is over; its description is of ``notes.search``.

    Charts of it are ``front/hypervolume`` over the scored trials, and of the chosen model
    ``operator/cycles``, ``operator/flash_bytes`` and ``operator/live_bytes`` over its operators.
    """
    metric, chosen = key(report.metric), report.chosen
    metrics: list[tuple[str, float, int]] = [
        (n, float(getattr(report, n)), 0)
        for n in ("asked", "rejected", "screened", "trained", "scored", "failed", "seconds")
    ]
    metrics += [("original_tflite_bytes", report.original_tflite_bytes, 0)]
    metrics += _score(f"original_{metric}", report.original)
    shares = enumerate(map(float, plot.progress(report)), 1)
    metrics += [("front/hypervolume", share, step) for step, share in shares]
    files = {"report.json": as_text(report.to_dict())}
    if chosen is not None:
        metrics += _score(f"report_{metric}", chosen.score)
        metrics += _costs(chosen.cost)
        for op in chosen.cost.ops:
            for attribute in ("cycles", "flash_bytes", "live_bytes"):
                value = getattr(op, attribute)
                if value is not None:
                    metrics.append((f"operator/{attribute}", float(value), op.index))
        files["operators.json"] = _operators(chosen.cost)
    if rejected:
        columns = list(dict.fromkeys(k for row in rejected for k in row))
        files["rejected.json"] = table(
            columns, [[row.get(c) for c in columns] for row in rejected]
        )
    tags = {
        "hwsearch.board": report.board.name,
        "hwsearch.interrupted": "yes" if report.interrupted else "no",
        TABLES: _tables(files),
    }
    return Run(report.study, {}, finite(metrics), tags, files)


def write_pictures(report: Report, folder: Path) -> list[str]:
    """``overview.png``, ``pareto.png`` … and ``report.html`` of a search; their names."""
    for what in plot.FIGURES:
        figure = plot.draw(report, what)
        if figure is not None:
            save(figure, folder / f"{what}.png")
    report.html(folder / "report.html")
    return sorted(path.name for path in folder.iterdir())


def key(text: str) -> str:
    """A name that MLflow takes for a metric or param."""
    return re.sub(r"[^\w\-./ ]", "_", text)[:250]


def file_name(text: str) -> str:
    """A name without what file systems and MLflow's registry refuse."""
    return re.sub(r"[^\w\-. ]", "_", text).strip(". ") or "search"


def finite(metrics: Sequence[tuple[str, float, int]]) -> tuple[tuple[str, float, int], ...]:
    """Without what MLflow's charts cannot draw."""
    return tuple((n, float(v), s) for n, v, s in metrics if math.isfinite(v))


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table as MLflow's page shows one: JSON split into columns and data."""
    return json.dumps({"columns": list(columns), "data": [list(r) for r in rows]}) + "\n"


def _costs(cost: Cost) -> list[tuple[str, float, int]]:
    names = (*COSTS, "macs", "cycles", "instructions")
    return [(n, float(v), 0) for n in names if (v := getattr(cost, n)) is not None]


def _score(name: str, s: Score) -> list[tuple[str, float, int]]:
    return [(name, s.value, 0), (f"{name}_low", s.low, 0), (f"{name}_high", s.high, 0)]


def _operators(cost: Cost) -> str:
    columns = ("index", "kind", "macs", "cycles", "flash_bytes", "live_bytes")
    return table(columns, [[getattr(op, c) for c in columns] for op in cost.ops])


def _layers(configuration: Configuration, layout: Layout) -> str:
    """Channels kept of each group, then weight bits of each operator."""
    rows: list[list[object]] = [
        [name, "channels", kept, full, 1 - kept / full]
        for (name, full, _), kept in zip(layout.groups, configuration.widths, strict=True)
    ]
    rows += [
        [name, "weight bits", bits, 8, 0.0]
        for (name, _, _), bits in zip(layout.ops, configuration.weight_bits, strict=True)
    ]
    return table(("layer", "what", "chosen", "of", "pruned"), rows)


def _nameless(configuration: Configuration) -> Layout:
    """Numbers in the place of names, where a layout is not known."""
    widths, bits = configuration.widths, configuration.weight_bits
    return Layout(
        tuple((str(i), max(w, 1), 1) for i, w in enumerate(widths)),
        tuple((str(i), "", 0) for i in range(len(bits))),
    )


def _tables(files: Mapping[str, str]) -> str:
    """The tag by which MLflow's page offers artifacts as tables."""
    names = [name for name in files if name != "report.json"]
    return json.dumps([{"path": name, "type": "table"} for name in names])
