"""A network's layers by the kernel that runs them, and what their shapes say but for channels.

Geometry is counted once a network, in Python; channels are columns, gathered for all layers of a
kernel at once.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsearch.backends.aot_memory import network
from hwsearch.codegen.layers import UNARY, Layer, Window, row_values
from hwsearch.codegen.refuse import mean_span
from hwsearch.cost.columns import Columns, Ints
from hwsearch.graph import BITS, WEIGHT_OPS, Graph

PAIRS = 32
"""Most pairs of taps that the depthwise kernel keeps; PAIRS in nn_depthwise_s8.c."""


@dataclass(frozen=True)
class Group:
    """The layers of a network that one kernel runs.

    Attributes:
        kernel: the C function that ``model_invoke`` calls.
        layers, ops: which of the network's.
        geometry: name to int64 [layers], what shapes other than channels say.
    """

    kernel: str
    layers: tuple[Layer, ...]
    ops: Ints
    geometry: Mapping[str, Ints]


@dataclass(frozen=True)
class Sizes:
    """What of a group varies from candidate to candidate; int64 [n, layers] each.

    Attributes:
        read, made: channels of the input and of the output.
        elements: of the output.
        bits: of the weights; 8 where there are none.
    """

    read: Ints
    made: Ints
    elements: Ints
    bits: Ints


def kernel_of(graph: Graph, layer: Layer) -> str:
    """The C function that runs a layer."""
    read, made = (graph.tensors[t].dtype for t in (layer.inputs[0], layer.output))
    suffix = "s16" if read == "int16" else "s8"
    if layer.kind in ("quantize", "dequantize") and "float32" in (read, made):
        integer = made if layer.kind == "quantize" else read
        return f"nn_{layer.kind}_{'s16' if integer == 'int16' else 's8'}"
    if layer.kind in UNARY:
        if read == made == "int8":
            return "nn_lookup_s8"
        if layer.kind in ("logistic", "tanh"):
            return f"nn_{layer.kind}_s16"
        if read != made:
            return "nn_rescale_s8_s16" if read == "int8" else "nn_rescale_s16_s8"
        return "nn_rescale_s16"
    names = {
        "conv_2d": "conv", "dense": "dense", "depthwise_conv_2d": "depthwise",
        "transpose_conv": "transpose_conv", "average_pool_2d": "average_pool",
        "max_pool_2d": "max_pool", "add": "add", "sub": "sub", "mul": "mul",
        "softmax": "softmax", "mean": "mean",
    }  # fmt: skip
    if layer.kind in names:
        return f"nn_{names[layer.kind]}_{suffix}"
    return {"pad": "nn_pad", "concatenation": "nn_copy_rows"}[layer.kind]


_groups: dict[int, tuple[Group, ...]] = {}


def groups(graph: Graph) -> tuple[Group, ...]:
    """The layers of a network by kernel, made once per Graph object and dropped with it."""
    found = _groups.get(id(graph))
    if found is None:
        by_kernel: dict[str, list[Layer]] = {}
        for layer in network(graph).layers:
            by_kernel.setdefault(kernel_of(graph, layer), []).append(layer)
        found = tuple(
            Group(
                kernel, tuple(members), np.array([m.op_index for m in members], np.int64),
                _stacked([_geometry(graph, member) for member in members]),
            )
            for kernel, members in by_kernel.items()
        )  # fmt: skip
        _groups[id(graph)] = found
        weakref.finalize(graph, _groups.pop, id(graph), None)
    return found


def _stacked(rows: list[dict[str, int]]) -> dict[str, Ints]:
    return {name: np.array([row[name] for row in rows], np.int64) for name in rows[0]}


def sizes(columns: Columns, group: Group) -> Sizes:
    """The channels of a group's layers."""
    g = group.geometry
    shapes = columns.shapes
    return Sizes(
        shapes[:, g["read_tensor"], -1],
        shapes[:, g["made_tensor"], -1],
        columns.elements[:, g["made_tensor"]],
        np.where(g["has_weights"] > 0, columns.bits[:, g["weight_tensor"]], 8),
    )


def _geometry(graph: Graph, layer: Layer) -> dict[str, int]:
    op = graph.ops[layer.op_index]
    weighted = op.kind in WEIGHT_OPS
    found = {
        "made_tensor": layer.output,
        "read_tensor": op.inputs[1] if op.kind == "fully_connected" else layer.inputs[0],
        "weight_tensor": op.inputs[1] if weighted else 0,
        "has_weights": int(weighted),
    }
    window = layer.window
    if window is not None:
        found |= {
            "total": math.prod(window.made), "height": window.made[0], "width": window.made[1],
            "rows": window.kernel[0], "taps": math.prod(window.kernel),
            "image_width": window.image[1],
        }  # fmt: skip
    if window is not None and layer.kind in ("conv_2d", "dense"):
        found |= patches(window)
    elif window is not None and layer.kind == "depthwise_conv_2d":
        found |= _ring(window)
    elif window is not None and layer.kind.endswith("pool_2d"):
        found |= _areas(window)
    elif layer.kind == "mean":
        outer, n, inner = mean_span(graph, op)
        found |= {"outer": outer, "n": n, "inner_is_channels": int(inner > 1)}
    elif layer.kind == "pad":
        shape = graph.tensors[layer.inputs[0]].shape
        found |= {"copies": math.prod(shape[:-1]), "size": BITS[_dtype(graph, layer)] // 8}
    elif layer.kind == "softmax":
        found |= {"outer": math.prod(graph.tensors[layer.output].shape[:-1])}
    return found


def _dtype(graph: Graph, layer: Layer) -> str:
    return graph.tensors[layer.output].dtype


def patches(w: Window) -> dict[str, int]:
    """How a convolution gathers its patches: pixels, runs and taps, inside and at the border."""
    tops = np.arange(w.made[0]) * w.stride[0] - w.padding[0]
    lefts = np.arange(w.made[1]) * w.stride[1] - w.padding[1]
    run = w.kernel[1] if w.dilation[1] == 1 else 1
    ys = tops[:, None] + np.arange(w.kernel[0]) * w.dilation[0]
    valid = ((ys >= 0) & (ys < w.image[0])).sum(axis=1)  # rows of the window inside the image
    xs = lefts[:, None] + np.arange(0, w.kernel[1], run) * w.dilation[1]
    before = np.clip(-xs, 0, run)
    after = np.clip(xs + run - w.image[1], 0, run - before)
    inside = run - before - after
    whole_rows = (valid == w.kernel[0]) & (tops >= 0)
    whole_columns = (lefts >= 0) & (lefts + run <= w.image[1]) & (run == w.kernel[1])
    border = ~(whole_rows[:, None] & whole_columns[None, :])

    def over_border(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> int:
        return int((border * rows[:, None] * columns[None, :]).sum())

    ones = np.ones(len(lefts), np.int64)
    outside = w.kernel[0] - valid
    return {
        "inside": int((~border).sum()), "border": int(border.sum()),
        "runs": int(border.sum()) * w.kernel[0] * xs.shape[1],
        "copies": over_border(valid, (inside > 0).sum(axis=1)),
        "copied": over_border(valid, inside.sum(axis=1)),
        "fills": over_border(outside, ones * xs.shape[1])
        + over_border(valid, (before > 0).sum(axis=1) + (after > 0).sum(axis=1)),
        "filled": over_border(outside, ones * w.kernel[1])
        + over_border(valid, (before + after).sum(axis=1)),
        "row_taps": w.kernel[1],
    }  # fmt: skip


def _ring(w: Window) -> dict[str, int]:
    """How a depthwise convolution fills its ring of rows, for one channel."""
    following, loaded, padded = -w.padding[0], 0, 0
    for oy in range(w.made[0]):
        first = oy * w.stride[0] - w.padding[0]
        for y in range(following, first + w.reach[0]):
            if y >= first:
                loaded += 0 <= y < w.image[0]
                padded += not 0 <= y < w.image[0]
        following = max(following, first + w.reach[0])
    words = -(-w.kernel[1] // 2)
    square = w.kernel == (3, 3) and w.dilation == (1, 1)
    return {
        "init": w.reach[0] * row_values(w), "loaded": loaded, "padded": padded,
        "quick": int(square and w.stride[1] <= 2), "square": int(square),
        "paired": int(w.dilation[1] == 1 and words * w.kernel[0] <= PAIRS), "words": words,
        "twos": w.made[1] // 2 if w.stride[1] == 1 else 0,
    }  # fmt: skip


def _areas(w: Window) -> dict[str, int]:
    """Rows and values that the windows of a pooling read inside the image, for one channel."""
    tops = np.arange(w.made[0]) * w.stride[0] - w.padding[0]
    lefts = np.arange(w.made[1]) * w.stride[1] - w.padding[1]
    rows = np.minimum(tops + w.kernel[0], w.image[0]) - np.maximum(tops, 0)
    columns = np.minimum(lefts + w.kernel[1], w.image[1]) - np.maximum(lefts, 0)
    return {"area_rows": int(rows.sum()) * len(lefts), "area": int(rows.sum() * columns.sum())}
