"""How weights can be stored: what their values allow, and the bytes that each format takes.

A network that is still to be trained is taken to have its zeros at random places, each row of a
tensor as many, and rows of a random remainder of four; one that there is has been counted.
"""

from __future__ import annotations

import numpy as np

from hwsearch.backends.aot_layers import Group, sizes
from hwsearch.codegen.formats import KINDS
from hwsearch.codegen.packing import PALETTE, STEP
from hwsearch.cost.columns import Columns, Ints, Values
from hwsearch.cost.cost import Floats

CHOICE = ("nn_conv_s8", "nn_dense_s8")
"""Kernels that there are for every format."""

DENSE, PALETTED, SPARSE = range(3)
"""Formats as columns have them: places in :data:`hwsearch.codegen.layers.FORMATS`."""


def values_of(columns: Columns) -> Values | None:
    """What is known of the weights of n candidates; None where nothing is special about them."""
    if columns.values is not None:
        return columns.values
    shape = (len(columns), len(columns.graph.tensors))
    sparsity = np.zeros(shape) if columns.sparsity is None else columns.sparsity
    clusters = np.zeros(shape, np.int64) if columns.clusters is None else columns.clusters
    if not sparsity.any() and not clusters.any():
        return None
    graph = columns.graph
    fours = np.zeros((len(columns), len(graph.tensors)), np.int64)
    for op in graph.ops:
        if op.kind in KINDS:
            tensor = op.inputs[1]
            rows = columns.shapes[:, tensor, -2 if op.kind == "fully_connected" else -4]
            found = rows * _fours(columns.elements[:, tensor] / rows, sparsity[:, tensor])
            fours[:, tensor] = np.rint(found)
    return Values(fours, np.where(clusters > 0, clusters, 256))


def _fours(values: Floats, sparsity: Floats) -> Floats:
    """float64 [n]: expected fours of a row of so many values.

    A weight at place j (from 1) of a row follows a run of 15 m zeros with probability q^(15 m),
    where j > 15 m; each such run is one bridge. A row of e entries has (e + 1.5) / 4 fours, if
    what is over four is anything.
    """
    kept = 1 - sparsity
    bridge = sparsity**STEP
    runs = np.floor((values - 1) / STEP)
    with np.errstate(divide="ignore", invalid="ignore"):
        power = bridge**runs
        total = bridge * (1 - power) / (1 - bridge)
        weighted = bridge * (1 - (runs + 1) * power + runs * power * bridge) / (1 - bridge) ** 2
    total, weighted = (np.where(kept > 0, v, 0.0) for v in (total, weighted))
    entries = kept * (values + values * total - STEP * weighted)
    return np.where(entries > 0, (entries + 1.5 * -np.expm1(-entries)) / 4, 0.0)


def weight_bytes(columns: Columns, group: Group, values: Values | None, form: int) -> Ints:
    """int64 [n, layers]: weights as codegen/packing.py packs them, in words.

    Args:
        columns: n candidates.
        group: of convolutions or dense layers.
        values: what is known of weights; of no use for the dense format.
        form: DENSE, PALETTED or SPARSE.
    """
    g, s = group.geometry, sizes(columns, group)
    pairs, taps = -(-s.made // 2), g["taps"] * s.read
    if form == SPARSE:
        assert values is not None
        packed = 2 * s.made + 6 * values.fours[:, g["weight_tensor"]]
    elif form == PALETTED:
        packed = PALETTE + 2 * pairs * -(-taps // 2)
    else:
        packed = pairs * np.where(s.bits == 4, 4 * -(-taps // 4), 4 * -(-taps // 2))
    return np.asarray(-(-packed // 4) * 4, np.int64)
