"""What generated code takes of flash, from the Graph alone: constants by layer, kernel files.

Weights are packed two channels by two values (a byte each, or a nibble), so odd sizes round up;
every output channel has a bias (4 bytes, 8 with int16), a multiplier (4) and a shift (1); a layer
has its structures (``sizeof`` on a 32-bit core). Exact but for int8 softmax, whose table of
exponentials ends where they vanish: counted as 256 entries, it has 1 to 256.
"""

from __future__ import annotations

from hwsearch.codegen.layers import BINARY, Layer, layers, patch_values
from hwsearch.graph import BITS, Graph

WINDOW_BYTES = 28
REQUANT_BYTES = 28
BINARY_BYTES = 104
MEAN_BYTES = 32
RESCALE_BYTES = 32
"""``sizeof`` of the structures of nn.h; those of int16 weighted layers are 4 smaller."""

DOT = ("nn_dot", "nn_dot_dsp")
"""Files of the inner loops of convolutions and dense layers."""

_WEIGHTED = frozenset({"conv_2d", "dense", "depthwise_conv_2d", "transpose_conv"})
_SHARED_S16 = {"logistic": 512, "tanh": 512, "softmax": 2052}
"""Tables of int16 operators, in flash once however many layers use them."""


def constant_bytes(graph: Graph) -> tuple[int, ...]:
    """Bytes of constants of each layer, in the order of :func:`hwsearch.codegen.layers.layers`.

    A table that several layers share is counted with the first.
    """
    result = []
    shared: set[int] = set()
    for layer in layers(graph):
        size = _layer_bytes(graph, layer)
        if _bits(graph, layer) == 16 and layer.kind in _SHARED_S16:
            table = _SHARED_S16[layer.kind]
            size += 0 if table in shared else table
            shared.add(table)
        result.append(size)
    return tuple(result)


def _layer_bytes(graph: Graph, layer: Layer) -> int:
    bits, kind, window = _bits(graph, layer), layer.kind, layer.window
    op = graph.ops[layer.op_index]
    if kind in _WEIGHTED:
        assert window is not None
        channels = window.channels_out + window.channels_out % 2
        weight_bits = BITS[graph.tensors[op.inputs[1]].dtype]
        if kind == "depthwise_conv_2d":
            weights = window.channels_out * window.kernel[0] * window.kernel[1]
        else:
            weights = channels * patch_values(window, weight_bits) * weight_bits // 8
        structures = (0 if kind == "dense" else WINDOW_BYTES) + REQUANT_BYTES
        return weights + channels * (13 if bits == 16 else 9) + structures - (bits == 16) * 4
    if kind in ("average_pool_2d", "max_pool_2d"):
        return WINDOW_BYTES
    if kind in BINARY or kind == "concatenation":
        constants = (
            graph.tensors[i].size_bytes for i in op.inputs if graph.tensors[i].is_constant
        )
        return sum(constants) + (BINARY_BYTES if kind in BINARY else 0)
    if kind == "mean":
        return MEAN_BYTES
    if kind == "softmax":
        return 0 if bits == 16 else 1024
    if kind == "pad":
        return 48
    if "float32" in (graph.tensors[i].dtype for i in (*layer.inputs, layer.output)):
        return 0
    if bits == 8 and graph.tensors[layer.output].dtype == "int8":
        return 256
    return 0 if kind in _SHARED_S16 else RESCALE_BYTES


def _bits(graph: Graph, layer: Layer) -> int:
    return BITS[graph.tensors[layer.inputs[0]].dtype] if layer.inputs else 8


def kernel_files(graph: Graph) -> frozenset[str]:
    """Names of the kernel sources (without ``.c``) that the generated folder holds."""
    found = {file for layer in layers(graph) for file in _files(graph, layer)}
    return frozenset(found)


def _files(graph: Graph, layer: Layer) -> tuple[str, ...]:
    suffix = "s16" if _bits(graph, layer) == 16 else "s8"
    kind, made = layer.kind, graph.tensors[layer.output].dtype
    if "float32" in (made, *(graph.tensors[i].dtype for i in layer.inputs)):
        return ("nn_float",)
    if kind == "dense":
        return ("nn_conv_s16" if suffix == "s16" else "nn_dense_s8", *DOT)
    if kind in ("conv_2d", "transpose_conv"):
        return (f"nn_{kind.removesuffix('_2d')}_{suffix}", *DOT)
    if kind in ("pad", "concatenation"):
        return ("nn_copy",)
    families = {
        "depthwise_conv_2d": "depthwise", "average_pool_2d": "pool", "max_pool_2d": "pool",
        "softmax": "softmax", "mean": "mean",
    }  # fmt: skip
    if kind in families:
        return (f"nn_{families[kind]}_{suffix}",)
    if suffix == "s16" and kind in ("logistic", "tanh"):
        return ("nn_sigmoid_s16",)
    wide = suffix == "s16" or made == "int16"
    return ("nn_elementwise_s16" if wide else "nn_elementwise_s8",)
