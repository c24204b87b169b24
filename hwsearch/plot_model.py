"""Pictures of one model: cost by operator, and which bytes of the arena it holds when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from hwsearch.backends import backends
from hwsearch.backends.aot_formats import formats_of
from hwsearch.budget import shown
from hwsearch.codegen import memory as arena_of
from hwsearch.codegen.dead import without_dead_channels
from hwsearch.cost import memory
from hwsearch.cost.columns import Columns, Ints
from hwsearch.cost.cost import Cost
from hwsearch.cost.memory import Lifetimes, Plan
from hwsearch.figure import BLUE, GREEN, INK, ORANGE, PANEL, RED, SKY, WIDTH, blank, styled
from hwsearch.graph import Graph
from hwsearch.graph.tflite import read

if TYPE_CHECKING:
    from hwsearch.choice import Choice


def ops_figure(cost: Cost, title: str = "") -> Any:
    """Estimated cycles and flash bytes of each operator, as bars."""
    with styled():
        height = max(3.0, 1.3 + 0.26 * len(cost.ops))
        figure = blank(WIDTH, height)
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
    with styled():
        from matplotlib.patches import Rectangle

        figure = blank(WIDTH, PANEL)
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
        reach = _reach(plan, row, steps)
        for step in np.flatnonzero(reach == reach.max(initial=0)):
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
        ax.set_title("memory over time: a box is a buffer; the shaded columns set the arena")
        ax.grid(False)
    return figure


def deployed_memory_figure(choice: Choice) -> Any | None:
    """The plan of a model's ``.tflite`` by its own runtime; None where that tells none."""
    runtime = backends().get(choice.configuration.backend)
    if runtime is None or not choice.tflite.is_file():
        return None
    model = read(choice.tflite)
    if runtime.name == "aot":
        live = without_dead_channels(model)
        return _generated_memory_figure(live.graph, formats_of(live))
    if not isinstance(runtime, Planner):
        return None
    columns = Columns.of(model.graph)
    scratch = runtime.scratch(columns)
    names = memory.buffer_names(columns.graph, scratch)
    return memory_figure(
        memory.plan(columns, scratch), names, ops=[op.kind for op in columns.graph.ops]
    )


def _generated_memory_figure(graph: Graph, formats: Mapping[int, str]) -> Any:
    """The plan of generated C, in the order in which its layers run."""
    found = arena_of(graph, formats)
    boxes = [
        (graph.tensors[t].name, found.offsets[t], graph.tensors[t].size_bytes, first, last)
        for t, (first, last) in found.lives.items()
    ]
    boxes += [
        ("scratch", found.scratch[step], layer.scratch_bytes, step, step)
        for step, layer in enumerate(found.layers)
        if layer.scratch_bytes
    ]
    offsets, sizes, first, last = (np.array([b[i] for b in boxes], np.int64) for i in range(1, 5))
    plan = Plan(offsets[None], sizes[None], Lifetimes.of(first, last))
    kinds = [layer.kind for layer in found.layers]
    return memory_figure(plan, [box[0] for box in boxes], ops=kinds)


@runtime_checkable
class Planner(Protocol):
    """A backend whose arena is TFLite Micro's plan of activations and its own scratch buffers."""

    def scratch(self, columns: Columns) -> list[tuple[int, Ints]]:
        """(operator, int64 [n] bytes) of each scratch buffer."""
        ...


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


def _reach(plan: Plan, row: int, steps: int) -> Any:
    """int64 [steps]: the end of the last byte in use while each operator runs."""
    step = np.arange(steps)[:, None]
    alive = (plan.lifetimes.first <= step) & (step <= plan.lifetimes.last)
    ends = plan.offsets[row] + plan.sizes[row]
    return (alive * (plan.sizes[row] > 0) * ends).max(axis=1, initial=0)
