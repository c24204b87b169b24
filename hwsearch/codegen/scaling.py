"""How sums become activations: multipliers, folded biases, activation ranges.

Sources: TFLite's kernel_util.cc (``PopulateConvolutionQuantizationParams``, activation ranges) and
the ``Prepare`` steps of TFLite Micro's add, mul and mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.codegen import fixed_point as fp
from hwsearch.codegen.tables import Params, limits
from hwsearch.graph.graph import BITS
from hwsearch.graph.tflite import TfliteModel

NARROW_SHIFT = 22
"""Largest right shift for the kernels' shortened rounding: 128 << 22 fits beside a sum."""


def params(model: TfliteModel, tensor: int) -> Params:
    """(scale, zero point) of a tensor quantized per tensor."""
    quantization = model.quantization[tensor]
    assert quantization is not None  # refused before
    return quantization.scale[0], int(quantization.zero_point[0])


def activation_range(model: TfliteModel, tensor: int, activation: str) -> tuple[int, int]:
    """The fused activation as smallest and largest output value."""
    scale, zero = params(model, tensor)
    low, high = limits(BITS[model.graph.tensors[tensor].dtype])

    def quantized(real: float) -> int:
        return zero + fp.round_half_away(float(np.float32(real) / scale))

    bounds = {"relu": (0.0, math.inf), "relu6": (0.0, 6.0), "relu_n1_to_1": (-1.0, 1.0)}
    bottom, top = bounds.get(activation, (-math.inf, math.inf))
    return (
        low if math.isinf(bottom) else max(low, quantized(bottom)),
        high if math.isinf(top) else min(high, quantized(top)),
    )


@dataclass(frozen=True)
class Requantization:
    """Per output channel: bias (with the input's zero point), multiplier, shift; and the range.

    Attributes:
        bias: int64 [channels].
        multiplier, shift: int64 [channels].
        zero_point, low, high: of the output.
        sum_bound: no sum is larger in magnitude.
        narrow: whether the kernels' shortened rounding is exact.
    """

    bias: NDArray[np.int64]
    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]
    zero_point: int
    low: int
    high: int
    sum_bound: int
    narrow: bool


def requantization(
    model: TfliteModel, op: Any, read: int, weights: NDArray[Any], bias_index: int
) -> Requantization:
    """Of a weighted layer.

    Args:
        model: the network.
        op: its operator.
        read: its activation input.
        weights: int [channels, values]: the weights of each output channel.
        bias_index: position of the bias among the operator's inputs; absent is fine.
    """
    channels = len(weights)
    made = op.outputs[0]
    in_scale, in_zero = params(model, read)
    out_scale, out_zero = params(model, made)
    filters = model.quantization[op.inputs[1]]
    assert filters is not None
    scales = np.broadcast_to(filters.scale, (channels,))
    pairs = [fp.quantize_multiplier(float(in_scale) * float(s) / float(out_scale)) for s in scales]
    multiplier, shift = (np.array(v, np.int64) for v in zip(*pairs, strict=True))
    has_bias = len(op.inputs) > bias_index and op.inputs[bias_index] >= 0
    bias = np.zeros(channels, np.int64)
    if has_bias:
        bias = model.constant(op.inputs[bias_index]).astype(np.int64).reshape(-1)
    flat = weights.astype(np.int64)
    folded = bias - in_zero * flat.sum(axis=1)
    magnitude = 2 ** (BITS[model.graph.tensors[read].dtype] - 1)
    bound = int((np.abs(folded) + np.abs(flat).sum(axis=1) * magnitude).max())
    low, high = activation_range(model, made, op.activation)
    narrow = bound < 2**30 and bool(((shift < 0) & (shift >= -NARROW_SHIFT)).all())
    return Requantization(folded, multiplier, shift, out_zero, low, high, bound, narrow)
