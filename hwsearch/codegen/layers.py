"""A Graph as the layers that generated code runs: shapes and storage only, no weights.

Reshapes cost nothing (their output is their input's storage), explicit padding before a
convolution becomes that convolution's own. What is decided here depends on the Graph alone, so
memory can be planned for an estimate before any weight exists.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from hwsearch.graph import BITS, Graph, Op

ALIASES = frozenset({"reshape", "squeeze", "expand_dims"})
"""Operators that only rename storage."""

UNARY = frozenset(
    {"relu", "relu6", "relu_n1_to_1", "leaky_relu", "hard_swish", "logistic", "tanh", "quantize"}
)
"""Operators that map one value to one value."""

BINARY = frozenset({"add", "sub", "mul"})
"""Elementwise operators of two inputs."""

FORMATS = ("dense", "palette", "sparse")
"""How weights are stored: one by one; as places in a list of at most 16; without the zeros."""

PALETTE_BYTES = 1024
"""Working memory for the pairs of a palette; NN_PALETTE_VALUES in nn.h."""

PIXELS = 4
"""Output pixels that a convolution kernel computes together; NN_PIXELS in nn.h."""


@dataclass(frozen=True)
class Window:
    """Geometry of a sliding window over one image; (height, width) pairs.

    Attributes:
        image, made: size of the input and of the output.
        kernel, stride, dilation: of the window.
        padding: rows and columns of padding before the image.
        channels_in, channels_out: last dimensions.
    """

    image: tuple[int, int]
    made: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int]
    channels_in: int
    channels_out: int

    @property
    def reach(self) -> tuple[int, int]:
        """Rows and columns from the first to the last tap, both included."""
        (kh, kw), (dh, dw) = self.kernel, self.dilation
        return (kh - 1) * dh + 1, (kw - 1) * dw + 1


@dataclass(frozen=True)
class Layer:
    """One call of a kernel.

    Attributes:
        kind: the operator's kind; ``"dense"`` and ``"conv_2d"`` tell the two kernels of a weighted
            layer apart.
        op_index: which operator of the graph it computes.
        pad_index: the explicit padding folded into it, -1 without.
        inputs: activation tensors it reads, in the operator's order.
        output: the tensor it writes.
        window: of windowed kinds, else None.
        scratch_bytes: working memory while it runs.
        format: how its weights are stored, one of :data:`FORMATS`.
    """

    kind: str
    op_index: int
    pad_index: int
    inputs: tuple[int, ...]
    output: int
    window: Window | None
    scratch_bytes: int
    format: str = "dense"


def storage(graph: Graph) -> tuple[int, ...]:
    """Per tensor the tensor whose storage it shares: itself, or what its reshapes began with."""
    root = list(range(len(graph.tensors)))
    for op in graph.ops:
        if op.kind in ALIASES:
            root[op.outputs[0]] = root[op.inputs[0]]
    return tuple(root)


def layers(graph: Graph, formats: Mapping[int, str] | None = None) -> tuple[Layer, ...]:
    """The kernel calls of a network, in the graph's order.

    Args:
        graph: the network.
        formats: by operator how its weights are stored, where that is not dense.
    """
    reads = Counter(i for op in graph.ops for i in op.inputs if i >= 0)
    folded: dict[int, int] = {}  # output of a folded PAD -> index of the PAD
    result = []
    for index, op in enumerate(graph.ops):
        if op.kind in ALIASES:
            continue
        if op.kind == "pad" and _folds(graph, index, reads):
            folded[op.outputs[0]] = index
            continue
        pad = folded.get(op.inputs[0], -1)
        inputs = tuple(i for i in op.inputs if i >= 0 and not graph.tensors[i].is_constant)
        if pad >= 0:
            inputs = (graph.ops[pad].inputs[0], *inputs[1:])
        window = window_of(graph, op, graph.ops[pad] if pad >= 0 else None)
        kind = op.kind
        if kind == "fully_connected":
            kind = "conv_2d" if window is not None and math.prod(window.made) > 1 else "dense"
        elif kind == "conv_2d" and window is not None and window.image == window.kernel == (1, 1):
            kind = "dense"
        stored = (formats or {}).get(index, "dense")
        scratch = scratch_bytes(graph, op, kind, window) + PALETTE_BYTES * (stored == "palette")
        result.append(Layer(kind, index, pad, inputs, op.outputs[0], window, scratch, stored))
    return tuple(result)


def _folds(graph: Graph, index: int, reads: Counter[int]) -> bool:
    """Whether a PAD of rows and columns feeds one convolution that pads nothing itself."""
    pad = graph.ops[index]
    made = pad.outputs[0]
    before, after = graph.tensors[pad.inputs[0]].shape, graph.tensors[made].shape
    if len(after) != 4 or before[0] != after[0] or before[3] != after[3]:
        return False
    if reads[made] != 1 or made in graph.outputs:
        return False
    reader = next(op for op in graph.ops if made in op.inputs)
    return (
        reader.kind in ("conv_2d", "depthwise_conv_2d")
        and reader.inputs[0] == made
        and reader.padding == "valid"
    )


def window_of(graph: Graph, op: Op, pad: Op | None = None) -> Window | None:
    """Geometry of a windowed operator; a dense layer is a 1x1 convolution; None of others.

    With a folded ``pad`` the padding is all there is to share out before and after: an upper
    bound, which the emitted code replaces by the PAD's own amounts.
    """
    if op.kind == "fully_connected":
        units, depth = graph.tensors[op.inputs[1]].shape
        rows = graph.tensors[op.outputs[0]].elements // units
        one = (1, 1)
        return Window((1, rows), (1, rows), one, one, one, (0, 0), depth, units)
    if op.kind not in (
        "conv_2d",
        "depthwise_conv_2d",
        "average_pool_2d",
        "max_pool_2d",
        "transpose_conv",
    ):
        return None
    transposed = op.kind == "transpose_conv"
    image = graph.tensors[op.inputs[2 if transposed else 0]].shape
    made = graph.tensors[op.outputs[0]].shape
    if len(image) != 4 or len(made) != 4:
        return None
    kernel = op.window
    if not op.kind.endswith("pool_2d"):
        kernel = _rows_columns(graph.tensors[op.inputs[1]].shape)
    # A transposed convolution pads as the convolution that it is the transpose of.
    sizes, outs = (made, image) if transposed else (image, made)
    top, left = (
        max(
            (outs[d + 1] - 1) * op.stride[d] + (kernel[d] - 1) * op.dilation[d] + 1 - sizes[d + 1],
            0,
        )
        if op.padding == "same"
        else 0
        for d in (0, 1)
    )
    padding = (top // 2, left // 2)
    size = _rows_columns(image)
    if pad is not None:
        size = _rows_columns(graph.tensors[pad.inputs[0]].shape)
        padding = (image[1] - size[0], image[2] - size[1])
    return Window(
        size, _rows_columns(made), kernel, op.stride, op.dilation, padding, image[3], made[3]
    )


def _rows_columns(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[1], shape[2]


def patch_values(window: Window, weight_bits: int) -> int:
    """Values of one output pixel's patch: the taps of all channels, rounded up to whole groups."""
    taps = math.prod(window.kernel) * window.channels_in
    whole = 4 if weight_bits == 4 else 2
    return -(-taps // whole) * whole


def row_values(window: Window) -> int:
    """Values of one ring row of a depthwise convolution: image, padding, what pairs overread."""
    pairs = -(-window.made[1] // 2) * 2
    needed = max(
        window.padding[1] + window.image[1],
        (pairs - 1) * window.stride[1] + window.reach[1],
        (window.made[1] - 1) * window.stride[1] + -(-window.kernel[1] // 2) * 2,
    )
    return -(-needed // 2) * 2


def scratch_bytes(graph: Graph, op: Op, kind: str, window: Window | None) -> int:
    """Working memory of a layer: a patch of four pixels, of one, or a ring of rows; in int16."""
    if window is None or kind in ("average_pool_2d", "max_pool_2d"):
        return 0
    if kind == "depthwise_conv_2d":
        return 2 * window.reach[0] * row_values(window)
    bits = BITS[graph.tensors[op.inputs[1]].dtype]
    pixels = PIXELS if kind == "conv_2d" else 1
    return 2 * pixels * patch_values(window, bits)
