"""How far an output may reach into the input that dies with it.

A kernel writes its output from the first byte to the last. It may write over a byte of its input
once no later step reads it. So an output that starts ``distance`` bytes before its input (or
earlier) is safe, where distance is the largest lead, over the kernel's steps, of what has been
written over what is still to be read:

    distance = max over steps b of (end written by b - first byte read by the steps after b)

A convolution's step is a block of four output pixels, whose patch is copied before the first
write; pooling's is a pixel. A depthwise convolution works channel by channel on copied rows and
may only take its input's own place.
"""

from __future__ import annotations

import numpy as np

from hwsearch.codegen.layers import BINARY, PIXELS, UNARY, Layer, Window
from hwsearch.graph import BITS, Graph

ANYWHERE = -(2**40)
"""Distance of an output that may lie anywhere over its input."""


def distance(graph: Graph, layer: Layer, tensor: int) -> int | None:
    """How many bytes before input ``tensor`` the output must start; None: no overlap at all.

    Negative where the output may start after its input does. For a depthwise convolution only 0 is
    safe: see :func:`exact`.
    """
    made, read = graph.tensors[layer.output], graph.tensors[tensor]
    if layer.kind in UNARY or layer.kind in BINARY or layer.kind == "softmax":
        same = made.elements == read.elements and BITS[made.dtype] <= BITS[read.dtype]
        return 0 if same else None
    if layer.window is None:
        return None
    size = BITS[read.dtype] // 8
    if layer.kind == "dense":
        return ANYWHERE
    if layer.kind == "conv_2d":
        return size * _lead(layer.window, PIXELS)
    if layer.kind in ("average_pool_2d", "max_pool_2d"):
        return size * max(_lead(layer.window, 1), _own_lead(layer.window))
    if layer.kind == "depthwise_conv_2d" and _rows_keep_ahead(layer.window):
        return 0
    return None


def exact(layer: Layer) -> bool:
    """Whether the output may overlap its input only by starting where it starts."""
    return layer.kind == "depthwise_conv_2d"


def _first_reads(window: Window) -> np.ndarray:
    """int64 [output pixels]: first input value that each output pixel reads."""
    rows = np.maximum(np.arange(window.made[0]) * window.stride[0] - window.padding[0], 0)
    columns = np.maximum(np.arange(window.made[1]) * window.stride[1] - window.padding[1], 0)
    return ((rows[:, None] * window.image[1] + columns[None, :]) * window.channels_in).reshape(-1)


def _lead(window: Window, pixels: int) -> int:
    """Largest lead, in values, of the writes of a step over the reads of the steps after it."""
    reads = _first_reads(window)
    ends = np.arange(pixels, len(reads), pixels)
    if len(ends) == 0:
        return ANYWHERE
    still = np.minimum.accumulate(reads[::-1])[::-1][ends]
    return int((ends * window.channels_out - still).max())


def _own_lead(window: Window) -> int:
    """The same within a pooling step: channel c is written before channels above c are read."""
    reads = _first_reads(window)
    return int((np.arange(len(reads)) * window.channels_out - reads).max())


def _rows_keep_ahead(window: Window) -> bool:
    """Whether every output pixel of a channel lands on an input pixel already copied."""
    if window.channels_in != window.channels_out:
        return False
    rows = np.arange(window.made[0])
    copied = np.minimum(
        rows * window.stride[0] - window.padding[0] + window.reach[0], window.image[0]
    )
    return bool(((rows + 1) * window.made[1] <= np.maximum(copied, 0) * window.image[1]).all())
