"""What each operator asks of a kernel library, counted: the quantities that latency is linear in.

An operator belongs to one kernel class (how the library computes it) and has ten quantities.
A class's cycles are the sum of quantity × coefficient; coefficients are fitted
(``calibrate.py``), quantities are exact. They follow the loops of the kernels themselves
(CMSIS-NN ``arm_convolve_s8``, ``arm_nn_mat_mult_nt_t_s8``, ``arm_depthwise_conv_s8_opt``,
``arm_nn_vec_mat_mult_t_s8``; TensorFlow Lite's ``reference_ops``):

============  =====================================================================================
quantity      what it counts
============  =====================================================================================
``one``       1: dispatch, set-up, prologue
``out``       elements made: requantization, clamp, store
``mac``       multiply-accumulates (pools and means: elements read)
``px``        output pixels: bounds of the window, calls
``patch``     output pixels × window positions: one copy call of im2col each
``col``       im2col elements: input values copied and widened
``tap``       elements made × window positions: the reference kernels' inner-loop set-up
``odd``       ``mac`` where the row length is odd: unaligned loads, scalar tail
``half``      ``mac`` where the row length is 2 mod 4: half of the rows are unaligned
``far``       ``mac`` of dense rows whose pair stride leaves more than half a 32-byte flash line
              (row length mod 16 > 8): the flash prefetcher misses
============  =====================================================================================

The row is what one dot product runs over: window × input channels for a convolution, inputs
for a dense layer; for a depthwise convolution it is the channels.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsearch.cost.columns import Columns, Ints
from hwsearch.graph import WEIGHT_OPS, Graph

QUANTITIES = ("one", "out", "mac", "px", "patch", "col", "tap", "odd", "half", "far")
"""The last axis of :func:`quantities`."""

CLASSES = (
    "conv", "first", "point", "depthwise", "dense", "pool", "mean", "elementwise", "copy",
    "reshape", "softmax", "cast", "activation", "free",
)  # fmt: skip
"""Kernel classes: ``first`` is a convolution of 1 to 4 input channels, ``point`` a 1x1 of stride
1, ``free`` what a planner resolves before the first inference."""

FIRST_CHANNELS = 4
"""A convolution of at most so many input channels is ``first``: too short for the SIMD loop."""

_KIND_CLASS = {
    **dict.fromkeys(("conv_2d", "transpose_conv"), "conv"),
    "depthwise_conv_2d": "depthwise",
    "fully_connected": "dense",
    **dict.fromkeys(
        ("max_pool_2d", "average_pool_2d"), "pool"
    ),
    **dict.fromkeys(("mean", "reduce_max", "reduce_min", "sum"), "mean"),
    **dict.fromkeys(
        (
            "add", "sub", "mul", "maximum", "minimum", "squared_difference", "prelu", "abs", "neg",
            "select_v2", "div",
        ),
        "elementwise",
    ),
    **dict.fromkeys(
        (
            "pad", "padv2", "mirror_pad", "concatenation", "transpose", "strided_slice", "slice",
            "split", "split_v", "gather", "pack", "unpack", "tile", "resize_nearest_neighbor",
            "resize_bilinear", "space_to_depth", "depth_to_space", "space_to_batch_nd",
            "batch_to_space_nd",
        ),
        "copy",
    ),
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), "reshape"),
    **dict.fromkeys(("softmax", "log_softmax"), "softmax"),
    **dict.fromkeys(("quantize", "dequantize", "cast"), "cast"),
    **dict.fromkeys(
        (
            "logistic", "tanh", "hard_swish", "relu", "relu6", "relu_n1_to_1", "leaky_relu", "elu",
            "gelu", "exp", "log", "sqrt", "rsqrt", "square",
        ),
        "activation",
    ),
    **dict.fromkeys(
        ("shape", "var_handle", "read_variable", "assign_variable", "call_once"), "free"
    ),
}  # fmt: skip
_READS = frozenset({"mean", "reduce_max", "reduce_min", "sum", "split", "split_v", "unpack"})
"""Kinds whose work goes by the elements read, not those made."""
_CLASS = {name: i for i, name in enumerate(CLASSES)}


@dataclass(frozen=True)
class _Plan:
    """What of a graph does not change with its widths, as arrays over its operators."""

    made: Ints  # tensor whose elements count as made
    weights: Ints  # weight tensor; 0 where there is none
    kernel: Ints  # class index
    window: NDArray[np.float64]  # elements read per element made, of a pool
    is_conv: NDArray[np.bool_]
    is_depthwise: NDArray[np.bool_]
    is_dense: NDArray[np.bool_]
    is_transposed: Ints  # operators
    transposed_read: Ints  # their input tensors


_plans: dict[int, _Plan] = {}


def _plan(graph: Graph) -> _Plan:
    """The plan of a graph, made once per Graph object and dropped with it."""
    plan = _plans.get(id(graph))
    if plan is None:
        plan = _plans[id(graph)] = _planned(graph)
        weakref.finalize(graph, _plans.pop, id(graph), None)
    return plan


def _planned(graph: Graph) -> _Plan:
    ops, tensors = graph.ops, graph.tensors
    kernel, made, weights, window = [], [], [], []
    for op in ops:
        name = _KIND_CLASS.get(op.kind, "elementwise")
        weight = op.inputs[1] if op.kind in WEIGHT_OPS else 0
        constant = all(i < 0 or tensors[i].is_constant for i in op.inputs)
        integers = bool(op.outputs) and tensors[op.outputs[0]].dtype in ("int32", "int64", "bool")
        if op.kind not in WEIGHT_OPS and (constant or integers):
            name = "free"  # shape arithmetic
        if op.kind == "conv_2d" and op.stride == (1, 1) and tensors[weight].shape[1:3] == (1, 1):
            name = "point"
        kernel.append(_CLASS[name])
        reads = op.kind in _READS or not op.outputs
        made.append((*(op.inputs if reads else op.outputs), 0)[0])  # 0: it has no tensors, is free
        weights.append(weight)
        pooled = op.kind in ("max_pool_2d", "average_pool_2d")
        window.append(float(op.window[0] * op.window[1]) if pooled else float(name == "mean"))
    kinds = np.array([op.kind for op in ops], dtype=object)
    transposed = [i for i, op in enumerate(ops) if op.kind == "transpose_conv"]
    return _Plan(
        np.array(made, np.int64),
        np.array(weights, np.int64),
        np.array(kernel, np.int64),
        np.array(window, np.float64),
        (kinds == "conv_2d") | (kinds == "transpose_conv"),
        kinds == "depthwise_conv_2d",
        kinds == "fully_connected",
        np.array(transposed, np.int64),
        np.array([ops[i].inputs[2] for i in transposed], np.int64),
    )


def quantities(columns: Columns) -> tuple[NDArray[np.float64], Ints]:
    """The quantities and the kernel class of every operator of every candidate.

    Returns:
        float64 [n, ops, len(QUANTITIES)], and int64 [n, ops] of indexes into CLASSES. The class
        depends on the candidate only where pruning leaves a convolution at most
        FIRST_CHANNELS input channels.
    """
    plan = _plan(columns.graph)
    shape = columns.shapes[:, plan.weights, -4:]
    rows, height, width, depth = (shape[..., i] for i in range(4))
    taps = np.where(plan.is_dense, 1, height * width)
    made = columns.elements[:, plan.made]
    length = np.where(plan.is_depthwise, taps, taps * depth)  # of one dot product
    weighted = plan.is_conv | plan.is_depthwise | plan.is_dense
    q = np.zeros((*made.shape, len(QUANTITIES)))
    q[..., 0] = 1
    q[..., 1] = made
    mac = made * np.where(weighted, length, plan.window)
    if len(plan.is_transposed):
        spread = columns.elements[:, plan.transposed_read] * (rows * taps)[:, plan.is_transposed]
        mac[:, plan.is_transposed] = spread
    q[..., 2] = mac
    windowed = plan.is_conv | plan.is_depthwise
    pixels = np.where(windowed, made / np.where(plan.is_conv, rows, depth), 0)
    q[..., 3] = pixels
    q[..., 4] = pixels * taps
    q[..., 5] = pixels * (taps * depth)
    q[..., 6] = np.where(windowed, made * taps, 0)
    row = np.where(plan.is_depthwise, depth, length)
    q[..., 7] = np.where(weighted & (row % 2 == 1), mac, 0)
    q[..., 8] = np.where(weighted & (row % 4 == 2), mac, 0)
    q[..., 9] = np.where(plan.is_dense & (row % 16 > 8), mac, 0)
    first = plan.is_conv & (depth <= FIRST_CHANNELS)
    return q, np.where(first, _CLASS["first"], plan.kernel)
