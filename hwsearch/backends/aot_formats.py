"""The format that each layer's weights are stored in: the smallest image that is fast enough.

Greedy: of all changes of one layer's format that save bytes the one that saves most a cycle, as
long as the network stays within ``slowdown`` times its cycles with dense weights and within the
cycles that a limit of latency leaves; changes that cost no cycles come first. That is done with
palettes alone, with sparse weights alone and with both, because each brings its kernels, and the
smallest image is taken: a format that saves less than its code is not used at all. The compiler
asks this of the weights that there are, the search of weights that are still to be trained.
"""

from __future__ import annotations

import weakref

import numpy as np

from hwsearch.backends.aot_cycles import KINDS, instructions, layer_costs, variant
from hwsearch.backends.aot_flash import flash_bytes
from hwsearch.backends.aot_layers import groups, sizes
from hwsearch.backends.aot_measured import Target, target
from hwsearch.backends.aot_weights import (
    CHOICE,
    DENSE,
    PALETTED,
    SPARSE,
    values_of,
    weight_bytes,
)
from hwsearch.codegen.formats import SLOWDOWN, counted
from hwsearch.codegen.layers import FORMATS
from hwsearch.codegen.packing import PALETTE
from hwsearch.cost import latency
from hwsearch.cost.columns import Columns, Ints
from hwsearch.cost.cost import Floats
from hwsearch.errors import InputError
from hwsearch.graph.tflite import TfliteModel

FREE = 1e12
"""Score, in bytes a cycle, of a change that costs no cycles."""


def formats_of(
    model: TfliteModel, core: str = "M4", slowdown: float = SLOWDOWN, most_cycles: float = np.inf
) -> dict[int, str]:
    """By operator the format of its weights, where that is not dense.

    Args:
        model: the network with its weights.
        core: whose cycles are meant.
        slowdown: cycles allowed, as a multiple of those with dense weights.
        most_cycles: allowed at most, as corrected on a calibrated device.

    Raises:
        InputError: ``slowdown`` is below 1.
    """
    columns = Columns.of(model.graph, counted(model))
    forms = chosen(columns, target(core), slowdown, most_cycles)
    if forms is None:
        return {}
    return {op: FORMATS[f] for op, f in enumerate(forms[0].tolist()) if f != DENSE}


_chosen: dict[tuple[int, str, str, float, float], Ints | None] = {}


def chosen(
    columns: Columns, measured: Target, slowdown: float, most_cycles: float = np.inf
) -> Ints | None:
    """int64 [n, ops]: places in FORMATS; None where all weights are dense.

    Computed once per Columns object and dropped with it.
    """
    if not 1 <= slowdown < np.inf:
        raise InputError(
            f"slowdown={slowdown} is not a factor from 1 on: 1.5 is half as much more."
        )
    if values_of(columns) is None:
        return None
    key = (id(columns), measured.core, measured.compiler, slowdown, most_cycles)
    if key not in _chosen:
        _chosen[key] = _choose(columns, measured, slowdown, most_cycles)
        weakref.finalize(columns, _chosen.pop, key, None)
    return _chosen[key]


def _choose(
    columns: Columns, measured: Target, slowdown: float, most_cycles: float
) -> Ints | None:
    ops, saved, added = _changes(columns, measured)
    if not len(ops) or not (saved > 0).any():
        return None
    _, low, high = instructions(columns, measured)
    dense = (low + high) / 2
    corrections = latency.corrections(columns, measured.core)
    if corrections is not None:
        dense, added = dense * corrections, added * corrections[:, ops, None]
    total = dense.sum(axis=1)
    spare = np.minimum(slowdown * total, most_cycles) - total
    best = np.zeros((len(columns), len(columns.graph.ops)), np.int64)
    least = flash_bytes(columns, measured, None)
    for allowed in ([True, False], [False, True], [True, True]):
        some = np.where(allowed, saved, 0)
        forms = np.zeros_like(best)
        forms[:, ops] = _greedy(some, added, spare)
        size = flash_bytes(columns, measured, forms)
        better = size < least
        best[better], least[better] = forms[better], size[better]
    return best if best.any() else None


def _changes(columns: Columns, measured: Target) -> tuple[Ints, Floats, Floats]:
    """What a palette, or sparse weights, would save and add in place of dense weights.

    Returns:
        int64 [layers] operators; float64 [n, layers, 2] bytes saved, 0 where the format cannot be
        or is not known on this core; float64 [n, layers, 2] cycles added.
    """
    values = values_of(columns)
    assert values is not None
    n = len(columns)
    ops, saved, added = [np.zeros(0, np.int64)], [np.zeros((n, 0, 2))], [np.zeros((n, 0, 2))]
    for group in groups(columns.graph):
        if group.kernel not in CHOICE:
            continue
        weights = group.geometry["weight_tensor"]
        dense_bytes = weight_bytes(columns, group, values, DENSE)
        dense_cycles = layer_costs(columns, group, DENSE, measured)[..., 1:].mean(axis=-1)
        able = {PALETTED: values.distinct[:, weights] <= PALETTE, SPARSE: np.bool_(True)}
        bytes_, cycles = [], []
        for form in (PALETTED, SPARSE):
            possible = able[form] & (sizes(columns, group).bits == 8)
            possible &= variant(group.kernel, KINDS[form]) in measured.loops
            fewer = dense_bytes - weight_bytes(columns, group, values, form)
            bytes_.append(np.where(possible, np.maximum(fewer, 0), 0))
            more = layer_costs(columns, group, form, measured)[..., 1:].mean(axis=-1)
            cycles.append(more - dense_cycles)
        ops.append(group.ops)
        saved.append(np.stack(bytes_, axis=-1))
        added.append(np.stack(cycles, axis=-1))
    return np.concatenate(ops), np.concatenate(saved, axis=1), np.concatenate(added, axis=1)


def _greedy(saved: Floats, added: Floats, spare: Floats) -> Ints:
    """int64 [n, layers]: formats chosen; see the head of this file."""
    n, layers, _ = saved.shape
    forms = np.zeros((n, layers), np.int64)
    have, spent = np.zeros((n, layers)), np.zeros((n, layers))
    for _ in range(2 * layers):
        fewer, more = saved - have[..., None], added - spent[..., None]
        fits = (more <= 0) | (spent.sum(axis=1)[:, None, None] + more <= spare[:, None, None])
        score = np.where(more > 0, fewer / np.maximum(more, 1e-9), FREE + fewer)
        score = np.where((fewer > 0) & fits, score, 0.0).reshape(n, -1)
        best = score.argmax(axis=1)
        rows = np.flatnonzero(score[np.arange(n), best] > 0)
        if not len(rows):
            break
        layer, form = np.divmod(best[rows], 2)
        forms[rows, layer] = form + 1
        have[rows, layer] = saved[rows, layer, form]
        spent[rows, layer] = added[rows, layer, form]
    return forms
