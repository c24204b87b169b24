"""What generated code does, counted: how often each loop of each kernel runs.

Every kernel of ``firmware/kernels`` is a nest of loops whose trip counts are functions of shapes.
A loop's body takes the same instructions every time, but for a few conditional moves, so the
instructions of a layer are the sum of trip count × instructions; the latter are fitted to exact
emulated counts (``make bench-aot-cost``), a set of them a core and compiler.

The quick paths are counted: sums proven narrow, activations that fill int8's range, as calibrated
networks have them. Other than channels nothing may differ between the candidates of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from hwsearch.backends.aot_layers import Group, Sizes, sizes
from hwsearch.backends.aot_weights import values_of
from hwsearch.codegen.layers import PIXELS
from hwsearch.cost.columns import Columns, Ints

SPAN = (2**31 - 1) // (127 * 32768 * 2)
"""Groups whose int16 products fit 32 bits with weights of up to 127; ``_chunk`` in calls.py."""

Counts = Mapping[str, Ints]
"""Loop to int64 [n, layers]: how often it runs."""


def counts(columns: Columns, group: Group, dsp: bool) -> Counts:
    """How often each loop of a group's kernel runs.

    Args:
        columns: n candidates.
        group: one of :func:`groups`.
        dsp: whether the core has the DSP extension, for which kernels take other paths.
    """
    name = group.kernel.removeprefix("nn_")
    family = name.removesuffix("_s16").removesuffix("_s8")
    found = _LOOPS.get(name) or _LOOPS.get(family) or _each
    return found(columns, group, sizes(columns, group), dsp)


def _groups_of(values: Ints, bits: Ints) -> Ints:
    """Groups of two values that a patch is made of; whole pairs of groups with int4 weights."""
    return np.where(bits == 4, 2 * -(-values // 4), -(-values // 2))


def _gathered(g: Mapping[str, Ints], s: Sizes) -> dict[str, Ints]:
    """Loops that fill a patch of int8 values."""
    words = s.read % 4 == 0
    inside_run = g["row_taps"] * s.read
    row_runs = g["inside"] * g["rows"]
    taps = g["inside"] * g["taps"] + g["copied"]
    none = np.zeros_like(s.read)
    return {
        "pixel": g["inside"] + none, "pixel_border": g["border"] + none,
        "row": row_runs + none, "run": g["runs"] + none,
        "copy_words": np.where(words, g["copies"], 0),
        "copy_bytes": np.where(words, 0, g["copies"]),
        "fill": g["fills"] + none, "filled": g["filled"] * s.read,
        "word": np.where(words, taps * s.read // 4, 0),
        "two": np.where(words, 0, row_runs * (inside_run // 2) + g["copied"] * s.read // 2),
        "one": np.where(words, 0, row_runs * (inside_run % 2)),
        "row_bytes": np.where(words, 0, row_runs),
    }  # fmt: skip


def _conv_s8(columns: Columns, group: Group, s: Sizes, dsp: bool) -> Counts:
    g = group.geometry
    groups_ = _groups_of(g["taps"] * s.read, s.bits)
    full, rest = g["total"] // PIXELS, g["total"] % PIXELS
    pairs, odd = s.made // 2, s.made % 2
    tiles = full + (rest > 0)
    found = {"call": np.ones_like(s.read), "tile": tiles + 0 * s.read, **_gathered(g, s)}
    if dsp:
        blocks = full * pairs
        found |= {
            "block": blocks, "block_fours": blocks * (groups_ // 4),
            "block_ones": blocks * (groups_ % 4), "block_tile": full * (pairs > 0),
        }  # fmt: skip
        dots = (rest > 0) * (pairs + odd) + full * odd
        stored = rest * s.made + PIXELS * full * odd
        stores = (rest > 0) * s.made + full * odd
    else:
        dots, stored, stores = tiles * (pairs + odd), g["total"] * s.made, tiles * s.made
    return found | _dots(dots, groups_) | {"stored": stored, "store": stores}


def _dots(calls: Ints, groups_: Ints) -> dict[str, Ints]:
    return {"dot": calls, "dot_fours": calls * (groups_ // 4), "dot_ones": calls * (groups_ % 4)}


def _dense_s8(columns: Columns, group: Group, s: Sizes, dsp: bool) -> Counts:
    groups_ = _groups_of(s.read, s.bits)
    words = s.read % 4 == 0
    pairs = -(-s.made // 2)
    return {
        "call": np.ones_like(s.read), "word": np.where(words, s.read // 4, 0),
        "value": np.where(words, 0, 2 * groups_), **_dots(pairs, groups_), "stored": s.made,
    }  # fmt: skip


def _sparse_conv(columns: Columns, group: Group, s: Sizes, dsp: bool) -> Counts:
    g = group.geometry
    blocks = g["total"] // PIXELS if dsp else 0 * g["total"]
    rest = -(-g["total"] // PIXELS) - blocks
    inside = g["inside"] * g["rows"]
    run, copied = g["row_taps"] * s.read, g["copied"] * s.read
    return {
        "call": np.ones_like(s.read), "tile": blocks + rest + 0 * s.read,
        "pixel": g["total"] + 0 * s.read, "row": inside + g["runs"] + 0 * s.read,
        "copy": inside + g["copies"] + 0 * s.read,
        "value_four": inside * (run // 4) + copied // 4,
        "value_one": inside * (run % 4) + np.where(s.read % 4, g["copies"], 0),
        "filled": g["filled"] * s.read, "block": blocks * s.made,
        "block_four": blocks * _fours(columns, group), "sums": rest * s.made,
        "four": rest * _fours(columns, group),
        "stored": (g["total"] - PIXELS * blocks) * s.made,
    }  # fmt: skip


def _sparse_dense(columns: Columns, group: Group, s: Sizes, dsp: bool) -> Counts:
    return {
        "call": np.ones_like(s.read), "value": s.read, "stored": s.made,
        "four": _fours(columns, group),
    }  # fmt: skip


def _fours(columns: Columns, group: Group) -> Ints:
    """int64 [n, layers]: fours of weights that are not zero."""
    values = values_of(columns)
    assert values is not None
    return values.fours[:, group.geometry["weight_tensor"]]


def _depthwise_s8(columns: Columns, group: Group, s: Sizes, dsp: bool) -> Counts:
    g, channels = group.geometry, s.made
    pixels = channels * g["total"]
    quick = g["quick"] if dsp else g["square"]
    paired = (1 - quick) * g["paired"] if dsp else 0 * quick
    other = 1 - quick - paired
    twos = g["twos"] if dsp else 0 * quick
    return {
        "call": np.ones_like(s.read), "init": g["init"] + 0 * channels, "channel": channels,
        "quick_channel": channels * quick, "load": channels * g["loaded"],
        "load_two": channels * g["loaded"] * (g["image_width"] // 2),
        "load_one": channels * g["loaded"] * (g["image_width"] % 2),
        "pad": channels * g["padded"], "padded": channels * g["padded"] * g["image_width"],
        "quick_row": channels * g["height"] * quick,
        "quick_two": channels * g["height"] * twos * quick,
        "quick_one": channels * g["height"] * (g["width"] - 2 * twos) * quick,
        "paired_tap": channels * g["rows"] * g["words"] * paired,
        "paired_row": channels * g["height"] * paired,
        "paired_pixel": pixels * paired, "paired_pixel_row": pixels * g["rows"] * paired,
        "paired_product": pixels * g["rows"] * g["words"] * paired,
        "row": channels * g["height"] * other,
        "pixel": pixels * other, "pixel_row": pixels * g["rows"] * other,
        "product": pixels * g["taps"] * other,
    }  # fmt: skip


def _conv_s16(columns: Columns, group: Group, s: Sizes, dsp: bool) -> Counts:
    g = group.geometry
    groups_ = -(-g["taps"] * s.read // 2)
    tiles = -(-g["total"] // PIXELS)
    dots = tiles * -(-s.made // 2)
    spans = -(-groups_ // SPAN)
    none = np.zeros_like(s.read)
    return {
        "call": none + 1, "tile": tiles + none, "pixel": g["total"] + none,
        "row": g["total"] * g["rows"] + none, "tap": g["total"] * g["taps"] + none,
        "value": g["total"] * g["taps"] * s.read, "sums": dots, **_dots(dots * spans, groups_),
        "stored": g["total"] * s.made,
    } | {"dot_fours": dots * (groups_ // 4), "dot_ones": dots * (groups_ % 4)}  # fmt: skip


def _dense_s16(columns: Columns, group: Group, s: Sizes, dsp: bool) -> Counts:
    groups_, pairs = -(-s.read // 2), -(-s.made // 2)
    return {
        "call": np.ones_like(s.read), "value": 2 * groups_, "sums": pairs,
        **_dots(pairs * -(-groups_ // SPAN), groups_), "stored": s.made,
    } | {"dot_fours": pairs * (groups_ // 4), "dot_ones": pairs * (groups_ % 4)}  # fmt: skip


def _depthwise_s16(columns: Columns, group: Group, s: Sizes, dsp: bool) -> Counts:
    g, channels = group.geometry, s.made
    pixels = channels * g["total"]
    rows = channels * (g["loaded"] + g["padded"])
    return {
        "call": np.ones_like(s.read), "init": g["init"] + 0 * channels, "channel": channels,
        "load": rows, "load_one": rows * g["image_width"], "row": channels * g["height"],
        "pixel": pixels, "pixel_row": pixels * g["rows"], "product": pixels * g["taps"],
    }  # fmt: skip


def _transpose_conv(columns: Columns, group: Group, s: Sizes, dsp: bool) -> Counts:
    g = group.geometry
    groups_ = -(-g["taps"] * s.read // 2)
    dots = g["total"] * -(-s.made // 2)
    none = np.zeros_like(s.read)
    return {
        "call": none + 1, "pixel": g["total"] + none, "row": g["total"] * g["rows"] + none,
        "tap": g["total"] * g["taps"] + none, "value": g["total"] * g["taps"] * s.read,
        **_dots(dots, groups_), "stored": g["total"] * s.made,
    }  # fmt: skip


def _pool(columns: Columns, group: Group, s: Sizes, dsp: bool) -> Counts:
    g = group.geometry
    return {
        "call": np.ones_like(s.made), "pixel": g["total"] + 0 * s.made,
        "value": g["total"] * s.made, "row": g["area_rows"] * s.made, "tap": g["area"] * s.made,
    }  # fmt: skip


def _binary(columns: Columns, group: Group, s: Sizes, dsp: bool) -> Counts:
    inputs = np.array([columns.graph.ops[i].inputs[:2] for i in group.ops.tolist()])
    equal = columns.elements[:, inputs[:, 0]] == columns.elements[:, inputs[:, 1]]
    rows = s.elements // s.made
    return {
        "call": np.ones_like(s.made), "value": np.where(equal, s.elements, 0),
        "row": np.where(equal, 0, rows), "row_value": np.where(equal, 0, s.elements),
    }  # fmt: skip


def _mean(columns: Columns, group: Group, s: Sizes, dsp: bool) -> Counts:
    g = group.geometry
    made = s.elements
    return {"call": np.ones_like(made), "value": made, "tap": made * g["n"]}


def _softmax(columns: Columns, group: Group, s: Sizes, dsp: bool) -> Counts:
    return {
        "call": np.ones_like(s.made), "row": group.geometry["outer"] + 0 * s.made,
        "value": s.elements,
    }  # fmt: skip


def _pad(columns: Columns, group: Group, s: Sizes, dsp: bool) -> Counts:
    g = group.geometry
    row = s.read * g["size"]
    copies, made = g["copies"] + 0 * s.read, s.elements * g["size"]
    return {
        "call": np.ones_like(s.made), "copy": copies, "fill_chunk": made // 16,
        "fill_byte": made % 16, **_copied(copies, row, row % 4 == 0),
    }  # fmt: skip


def _copied(rows: Ints, row: Ints, words: NDArray[np.bool_]) -> dict[str, Ints]:
    """Loops of memcpy (firmware/lib/memory.c): 16 bytes at a time where all is aligned."""
    return {
        "chunk": np.where(words, rows * (row // 16), 0),
        "byte": rows * np.where(words, row % 16, row),
    }


def _copy_rows(columns: Columns, group: Group, s: Sizes, dsp: bool) -> Counts:
    graph = columns.graph
    found = {name: np.zeros_like(s.made) for name in ("call", "row", "chunk", "byte")}
    for place, layer in enumerate(group.layers):
        op = graph.ops[layer.op_index]
        made = columns.shapes[:, layer.output]
        axis = op.axis % len(graph.tensors[layer.output].shape) + made.shape[1]
        axis -= len(graph.tensors[layer.output].shape)
        rows = made[:, :axis].prod(axis=1)
        begin = np.zeros(len(columns), np.int64)
        size = columns.bits[:, layer.output] // 8
        step = made[:, axis:].prod(axis=1) * size
        for tensor in op.inputs:
            row = columns.shapes[:, tensor, axis:].prod(axis=1) * size
            words = (row % 4 == 0) & (begin % 4 == 0) & (step % 4 == 0)
            found["call"][:, place] += 1
            found["row"][:, place] += rows
            for name, count in _copied(rows, row, words).items():
                found[name][:, place] += count
            begin += row
    return found


def _each(columns: Columns, group: Group, s: Sizes, dsp: bool) -> Counts:
    """Kernels that map one value to one value."""
    return {"call": np.ones_like(s.elements), "value": s.elements}


_LOOPS: dict[str, Callable[[Columns, Group, Sizes, bool], Counts]] = {
    "conv_s8": _conv_s8, "dense_s8": _dense_s8, "depthwise_s8": _depthwise_s8,
    "sparse_conv": _sparse_conv, "sparse_dense": _sparse_dense,
    "conv_s16": _conv_s16, "dense_s16": _dense_s16, "depthwise_s16": _depthwise_s16,
    "transpose_conv": _transpose_conv, "average_pool": _pool, "max_pool": _pool,
    "add": _binary, "sub": _binary, "mul": _binary, "mean": _mean, "softmax": _softmax,
    "pad": _pad, "copy_rows": _copy_rows,
}  # fmt: skip
"""By kernel, else by kernel without its dtype; a kernel that is in neither maps value to value."""
