"""The runs of a search as MLflow shows them: names, params, metrics, notes, tables."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwsearch import plot
from hwsearch.budget import shown
from hwsearch.candidate import Score, Trained, Verified
from hwsearch.cost.cost import COSTS, Cost
from hwsearch.graph.tflite import read
from hwsearch.pareto import Mode
from hwsearch.report import Report, as_text
from hwsearch.space import Layout
from hwsearch.table import NAMES, counts, explain, markdown_table, title

NOTE, TABLES = "mlflow.note.content", "mlflow.loggedArtifacts"

EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
"""Without it MLflow 3 opens an experiment as one of generative models."""

LOCAL = "http://127.0.0.1:5000"
"""Where ``mlflow ui`` listens by default."""


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
    groups = [group[0] for group in layout.groups] if layout else range(len(c.widths))
    ops = [name for name, _, _ in layout.ops] if layout else range(len(c.weight_bits))
    params: dict[str, object] = {
        "backend": c.backend,
        "activation_bits": c.activation_bits,
        "saliency": c.saliency,
        "schedule": c.schedule,
        "structure": c.structure,
        **{key(f"width/{g}"): w for g, w in zip(groups, c.widths, strict=True)},
        **{key(f"bits/{o}"): b for o, b in zip(ops, c.weight_bits, strict=True)},
    }
    metrics = [(metric, trained.score.value, 0)]
    metrics += [(f"{metric}_low", trained.score.low, 0), (f"{metric}_high", trained.score.high, 0)]
    metrics += _costs(cost)
    metrics += [(f"excess/{name}", value, 0) for name, value in excess.items()]
    metrics += [("train_s", trained.train_s, 0)]
    for step, epoch in enumerate(trained.curve, 1):
        metrics.append(("epoch_loss", epoch.loss, step))
        if epoch.metric is not None:
            metrics.append((f"epoch_{metric}", epoch.metric, step))
    tags = {NOTE: _trial_note(trained, excess)}
    if trained.notes:
        tags["training"] = "; ".join(trained.notes)
    files = {}
    if cost.ops:
        tags[TABLES] = json.dumps([{"path": "operators.json", "type": "table"}])
        files["operators.json"] = _operators(cost)
    return Run(name(trained), params, finite(metrics), tags, files)


def name(trained: Trained, mark: str = "") -> str:
    """E.g. ``"★ .884 41K #12 tflm-cmsis-nn"``: metric and flash (KiB) come before the cut."""
    candidate, value = trained.candidate, trained.score.value
    parts = [mark, f"{value:.3f}".lstrip("0") if 0 <= value < 1 else f"{value:.4g}"]
    if candidate.cost.flash_bytes is not None:
        parts.append(f"{candidate.cost.flash_bytes / 1024:.0f}K")
    parts += [f"#{candidate.number}", candidate.configuration.backend]
    return " ".join(p for p in parts if p)


def finalist(verified: Verified, report: Report) -> Run:
    """What verification adds to a trial's run."""
    metric, measured = key(report.metric), verified.measurement
    metrics = _score(f"report_{metric}", verified.score)
    metrics += _score(f"report_{metric}_difference", verified.difference)
    if measured is not None:
        for attribute in (*COSTS, "arena_bytes", "instructions", "cycles", "spread"):
            value = getattr(measured, attribute)
            if value is not None:
                metrics.append((f"measured_{attribute}", float(value), 0))
        metrics.append(("compared_outputs", measured.compared_outputs, 0))
        metrics.append(("mismatched_outputs", measured.mismatched_outputs, 0))
    number = verified.trained.candidate.number
    chosen = report.chosen is not None and report.chosen.number == number
    on_front = any(c.number == number for c in report.front)
    mark = "★" if chosen else "◆" if on_front else ""
    tags = {
        "hwsearch.level": verified.level,
        "hwsearch.oracle": verified.score.oracle,
        "hwsearch.front": "yes" if on_front else "no",
        "hwsearch.chosen": "yes" if chosen else "no",
        NOTE: _trial_note(
            verified.trained, report.budget.excess(verified.trained.candidate.cost), verified
        ),
    }
    return Run(name(verified.trained, mark=mark), {}, finite(metrics), tags)


def search(report: Report, rejected: Sequence[Mapping[str, object]]) -> Run:
    """The parent run of a search that is over."""
    metric, chosen = key(report.metric), report.chosen
    metrics: list[tuple[str, float, int]] = [
        (n, float(getattr(report, n)), 0)
        for n in ("asked", "rejected", "screened", "trained", "scored", "failed", "seconds")
    ]
    metrics += [("original_tflite_bytes", report.original_tflite_bytes, 0)]
    metrics += _score(f"original_{metric}", report.original)
    if chosen is not None:
        metrics += _score(f"report_{metric}", chosen.score)
        metrics += _costs(chosen.cost)
    files = {"report.json": as_text(report.to_dict())}
    tags = {
        NOTE: _search_note(report),
        "hwsearch.board": report.board.name,
        "hwsearch.interrupted": "yes" if report.interrupted else "no",
    }
    if rejected:
        columns = list(dict.fromkeys(k for row in rejected for k in row))
        files["rejected.json"] = table(
            columns, [[row.get(c) for c in columns] for row in rejected]
        )
        tags[TABLES] = json.dumps([{"path": "rejected.json", "type": "table"}])
    return Run(report.study, {}, finite(metrics), tags, files)


def write_pictures(report: Report, folder: Path) -> None:
    """``report.html``, ``pareto.png``, ``hypervolume.png`` … of a search."""
    save = plot.save
    save(plot.pareto_figure(report), folder / "pareto.png")
    save(plot.hypervolume_figure(report), folder / "hypervolume.png")
    if report.chosen is not None and report.chosen.cost.ops:
        save(plot.ops_figure(report.chosen.cost), folder / "operators.png")
    plan = None if report.chosen is None else plot.deployed_memory_figure(report.chosen)
    if plan is not None:
        save(plan, folder / "memory.png")
    report.html(folder / "report.html")


def view(study: str, metric: str, mode: Mode) -> tuple[str, str]:
    """Key and value of the experiment tag by which MLflow's page keeps a named view of its runs.

    The trials of this study, flat (sorting undoes the nesting), best first, the columns of metric,
    costs and backend in view. The form is that of MLflow 3.17's page, seen in its own tags; an
    older page shows its default columns.
    """
    columns = [f"metrics.`{c}`" for c in (metric, "flash_bytes", "ram_bytes", "latency_s")]
    trials = "tags.`hwsearch.trial` LIKE '%'"
    state = {
        "searchFilter": f"tags.`hwsearch.study` = '{quoted(study)}' and {trials}",
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": mode == "min",
        "selectedColumns": [*columns, "params.`backend`"],
    }
    envelope = {"name": study, "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)}
    return f"mlflow.sharedViewState.{_view_key(study)}", json.dumps(envelope)


def link(uri: str, experiment_id: str, study: str) -> str:
    """Where :func:`view` opens: an address, for a database after the command that serves it."""
    base = masked(uri).rstrip("/") if uri.startswith("http") else LOCAL
    page = f"{base}/#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    page += f"&viewStateShareKey={_view_key(study)}"
    if uri.startswith("http"):
        return page
    return f"mlflow ui --backend-store-uri {masked(uri)}, then {page}"


def masked(uri: str) -> str:
    """The address without its password."""
    return re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", uri)


def _view_key(study: str) -> str:
    return "hwsearch-" + hashlib.sha256(study.encode()).hexdigest()[:12]


def model_tags(report: Report) -> dict[str, str]:
    """Of the registered model: what it was made for, and the digest of its artefact."""
    chosen = report.chosen
    assert chosen is not None
    return {
        "hwsearch.study": report.study,
        "hwsearch.trial": str(chosen.number),
        "board": report.board.name,
        "backend": chosen.configuration.backend,
        "level": chosen.level,
        "hwsearch.sha256": hashlib.sha256(chosen.tflite.read_bytes()).hexdigest(),
    }


def model_description(report: Report) -> str:
    """Markdown."""
    return f"{title(report)}\n\n{explain(report)}\n"


def signature(tflite: Path) -> dict[str, str]:
    """MLflow's signature of a ``.tflite``: any number of samples, real numbers in and out."""
    network = read(tflite).graph

    def schema(indexes: Sequence[int]) -> str:
        tensors = [network.tensors[i] for i in indexes]
        specs: list[dict[str, object]] = [
            {
                "type": "tensor",
                "tensor-spec": {"dtype": "float32", "shape": [-1, *t.shape[1:]]},
                **({"name": t.name} if len(tensors) > 1 else {}),
            }
            for t in tensors
        ]
        return json.dumps(specs)

    return {"inputs": schema(network.inputs), "outputs": schema(network.outputs)}


def example(tflite: Path) -> NDArray[np.float32] | dict[str, NDArray[np.float32]]:
    """One sample of zeros: what the network's input looks like; by name where it has several."""
    network = read(tflite).graph
    tensors = [network.tensors[i] for i in network.inputs]
    samples = {t.name: np.zeros((1, *t.shape[1:]), np.float32) for t in tensors}
    return samples if len(samples) > 1 else next(iter(samples.values()))


def requirements() -> list[str]:
    """What serving the deployed model needs, pinned to what is installed here."""
    return [f"{p}=={version(p)}" for p in ("mlflow", "ai-edge-litert", "numpy")]


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


def _trial_note(
    trained: Trained, excess: Mapping[str, float], verified: Verified | None = None
) -> str:
    """Markdown: estimate beside limit and measurement."""
    cost = trained.candidate.cost
    measured = verified.measurement if verified else None
    lines = [f"`{trained.candidate.configuration}`", ""]
    lines += ["| cost | estimate | 90 % band | of its limit | measured |", "|---|---|---|---|---|"]
    for cost_name in COSTS:
        estimate, band = getattr(cost, cost_name), cost.bands.get(cost_name)
        if estimate is None:
            continue
        edges = "" if band is None else f"{band.low:+.0%} … {band.high:+.0%}"
        share = f"{1 + excess[cost_name]:.0%}" if cost_name in excess else ""
        found = None if measured is None else getattr(measured, cost_name)
        proof = "" if found is None else shown(cost_name, found)
        if (
            not proof
            and measured
            and cost_name == "ram_bytes"
            and measured.arena_bytes is not None
        ):
            proof = f"{shown(cost_name, measured.arena_bytes)} (arena alone)"
        lines.append(
            f"| {NAMES[cost_name]} | {shown(cost_name, estimate)} | {edges} | {share} | {proof} |"
        )
    if verified is not None:
        s, d = verified.score, verified.difference
        lines += [
            "",
            f"On fresh data ({s.samples:,} samples, run by {s.oracle}): **{s.value:.4g}** "
            f"[{s.low:.4g}, {s.high:.4g}], against the float original {d.value:+.4f} "
            f"[{d.low:+.4f}, {d.high:+.4f}]. Level: {verified.level}. {verified.note}",
        ]
    return "\n".join(lines)


def _search_note(report: Report) -> str:
    parts = [f"### {title(report)}", explain(report).replace("\n", "\n\n"), markdown_table(report)]
    parts.append(counts(report))
    parts += [f"- {note}" for note in report.notes]
    parts.append("Pictures: `report.html`, `pareto.png` … under Artifacts.")
    return "\n\n".join(p for p in parts if p)


def quoted(text: str) -> str:
    """A value inside single quotes of MLflow's search language."""
    return text.replace("\\", "\\\\").replace("'", "\\'")
