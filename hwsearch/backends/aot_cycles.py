"""Instructions and cycles of every layer: trip counts × what a turn takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hwsearch.backends.aot_layers import Group, groups, sizes
from hwsearch.backends.aot_loops import counts
from hwsearch.backends.aot_measured import Target
from hwsearch.backends.aot_weights import CHOICE, DENSE, SPARSE
from hwsearch.codegen.layers import FORMATS
from hwsearch.cost.columns import Columns, Ints
from hwsearch.cost.cost import Floats

DSP = frozenset({"M4", "M7", "M33", "M35P", "M55", "M85"})
"""Cores whose kernels use dual multiply-accumulates (``__ARM_FEATURE_DSP``)."""

INT4 = len(FORMATS)
"""Beside the formats of int8 weights: what a layer's kind is where its weights have 4 bits."""

KINDS = (*FORMATS, "int4")
"""How a layer stores its weights, by its number."""


def variant(kernel: str, kind: str) -> str:
    """The key of a kernel in a Target: what runs where weights are stored so."""
    if kernel not in CHOICE or kind == "dense":
        return kernel
    return f"{kernel} int4" if kind == "int4" else kernel.replace("nn_", f"nn_{kind}_")


def kinds(columns: Columns, group: Group, forms: Ints | None) -> Ints:
    """int64 [n, layers]: places in :data:`KINDS`.

    Args:
        columns: n candidates.
        group: some of their layers.
        forms: int64 [n, ops], places in FORMATS; None is dense.
    """
    if group.kernel not in CHOICE:
        return np.full((len(columns), len(group.ops)), DENSE)
    bits = sizes(columns, group).bits
    chosen = np.zeros_like(bits) if forms is None else forms[:, group.ops]
    return np.where(bits == 4, INT4, chosen)


def turns(columns: Columns, group: Group, kind: int, dsp: bool) -> dict[str, Ints]:
    """How often each loop runs if all layers of a group stored their weights so: [n, layers]."""
    if kind == SPARSE:
        group = replace(group, kernel=variant(group.kernel, KINDS[kind]))
    return dict(counts(columns, group, dsp))


def layer_costs(
    columns: Columns, group: Group, kind: int, measured: Target
) -> NDArray[np.float64]:
    """float64 [n, layers, 3]: instructions, cycles at least, cycles at most."""
    found = turns(columns, group, kind, measured.core in DSP)
    loops = measured.loops.get(variant(group.kernel, KINDS[kind]), {})
    table = np.array([loops.get(name, (0.0, 0.0, 0.0)) for name in found])
    wide = np.stack(list(np.broadcast_arrays(*found.values())), axis=-1).astype(np.float64)
    return np.asarray(wide @ table)


def instructions(
    columns: Columns, measured: Target, forms: Ints | None = None
) -> tuple[Floats, Floats, Floats]:
    """float64 [n, ops] each: instructions, and cycles at least and at most, of every operator."""
    result = np.zeros((3, len(columns), len(columns.graph.ops)))
    for group in groups(columns.graph):
        stored = kinds(columns, group, forms)
        per_layer = np.zeros((*stored.shape, 3))
        for kind in np.unique(stored).tolist():
            costs = layer_costs(columns, group, kind, measured)
            per_layer = np.where((stored == kind)[..., None], costs, per_layer)
        result[:, :, group.ops] += per_layer.transpose(2, 0, 1)
    return result[0], result[1], result[2]
