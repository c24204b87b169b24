"""Dead channels of a quantized network, whose value no input can change, and the rest of it.

Interval arithmetic: every channel of every activation gets the least and the largest integer that
any input can give it. A channel whose interval is one value is dead; a compiler folds it into
the next layer's bias and computes neither it nor what reads it. (MLPerf Tiny's visual-wake-words
network has half of its multiply-accumulates there.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwsearch.graph.graph import BITS, Graph, Op, Tensor
from hwsearch.graph.tflite import TfliteModel

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """What each channel may be, as the integers that are stored; float64 [channels] each."""

    low: Floats
    high: Floats

    @property
    def live(self) -> NDArray[np.bool_]:
        """bool [channels]: whether the channel can take more than one value."""
        return self.low < self.high


def without_dead_channels(model: TfliteModel) -> Graph:
    """The graph with the dead channels of its convolutions and dense layers cut out.

    A layer that is wholly dead keeps one channel; what is not int8 stays as it is.
    """
    found = intervals(model)
    graph = model.graph
    tensors = list(graph.tensors)
    for i, interval in found.items():
        if i not in graph.inputs and i not in graph.outputs and tensors[i].shape:
            tensors[i] = _narrowed(tensors[i], -1, interval)
    for op in graph.ops:
        if op.kind not in _WEIGHTED:
            continue
        weights, made = op.inputs[1], found.get(op.outputs[0])
        kept_output = op.outputs[0] in graph.outputs
        if op.kind == "depthwise_conv_2d":
            if made is not None and not kept_output:
                tensors[weights] = _narrowed(tensors[weights], -1, made)
        else:
            if made is not None and not kept_output:
                tensors[weights] = _narrowed(tensors[weights], 0, made)
            read = found.get(op.inputs[0])
            if read is not None and op.inputs[0] not in graph.inputs:
                tensors[weights] = _narrowed(tensors[weights], -1, read)
        if len(op.inputs) > 2 and op.inputs[2] >= 0 and made is not None and not kept_output:
            tensors[op.inputs[2]] = _narrowed(tensors[op.inputs[2]], -1, made)
    return replace(graph, tensors=tuple(tensors))


def _narrowed(tensor: Tensor, axis: int, interval: Interval) -> Tensor:
    """The tensor with only the live channels along an axis, at least one."""
    shape = list(tensor.shape)
    if shape[axis] != len(interval.low):
        return tensor  # shared, or already narrowed
    shape[axis] = max(int(interval.live.sum()), 1)
    narrow = replace(tensor, shape=tuple(shape))
    size = -(-narrow.elements * BITS[narrow.dtype] // 8) if tensor.constant_bytes else 0
    return replace(narrow, constant_bytes=size)


def intervals(model: TfliteModel) -> dict[int, Interval]:
    """The interval of each int8 activation's channels (its last axis), by tensor index."""
    graph = model.graph
    found: dict[int, Interval] = {}
    for i in graph.inputs:
        if graph.tensors[i].dtype == "int8":
            found[i] = _anything(graph.tensors[i])
    for op in graph.ops:
        for i in op.outputs:
            if graph.tensors[i].dtype == "int8" and graph.tensors[i].shape:
                found[i] = _anything(graph.tensors[i])
        rule = _RULES.get(op.kind)
        if rule is None or not op.outputs or op.outputs[0] not in found:
            continue
        read = [found.get(i) for i in op.inputs if i >= 0 and not graph.tensors[i].is_constant]
        known = [interval for interval in read if interval is not None]
        if known and len(known) == len(read):
            made = rule(model, op, known)
            if made is not None and len(made.low) == graph.tensors[op.outputs[0]].shape[-1]:
                found[op.outputs[0]] = made
    return found


def _anything(tensor: Tensor) -> Interval:
    channels = tensor.shape[-1]
    return Interval(np.full(channels, -128.0), np.full(channels, 127.0))


def _scale(model: TfliteModel, index: int) -> tuple[float, float]:
    """(scale, zero point) of a tensor that has one of each."""
    quantization = model.quantization[index]
    if quantization is None:
        return 1.0, 0.0
    return float(quantization.scale[0]), float(quantization.zero_point[0])


def _stored(model: TfliteModel, op: Op, low: Floats, high: Floats) -> Interval:
    """Real values as the integers of the operator's output, rounded either way and clamped."""
    scale, zero = _scale(model, op.outputs[0])
    floor = {"relu": zero, "relu6": zero, "relu_n1_to_1": zero - round(1 / scale)}
    ceiling = {"relu6": zero + round(6 / scale), "relu_n1_to_1": zero + round(1 / scale)}
    least = max(-128.0, floor.get(op.activation, -128.0))
    most = min(127.0, ceiling.get(op.activation, 127.0))
    # Kernels differ by one in how they round; a value that is certain stays certain.
    slack = np.where(low < high, 1.0, 0.0)
    low = np.clip(np.round(low / scale + zero) - slack, least, most)
    high = np.clip(np.round(high / scale + zero) + slack, least, most)
    return Interval(low, high)


def _products(model: TfliteModel, op: Op, read: list[Interval]) -> Interval | None:
    """A convolution, depthwise convolution or dense layer."""
    graph = model.graph
    quantization = model.quantization[op.inputs[1]]
    if quantization is None or graph.tensors[op.inputs[1]].dtype not in ("int8", "int4"):
        return None
    weights = model.constant(op.inputs[1]).astype(np.float64)
    scale, zero = _scale(model, op.inputs[0])
    low, high = read[0].low - zero, read[0].high - zero
    if op.padding == "same":  # the border reads the zero point
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    if op.kind == "depthwise_conv_2d":
        weights = weights[0].reshape(-1, weights.shape[-1])
        up, down = np.maximum(weights, 0).sum(axis=0), np.minimum(weights, 0).sum(axis=0)
        low, high = (np.repeat(v, len(up) // len(v)) for v in (low, high))
        least, most = up * low + down * high, up * high + down * low
    else:
        weights = weights.reshape(weights.shape[0], -1, weights.shape[-1])
        up, down = np.maximum(weights, 0).sum(axis=1), np.minimum(weights, 0).sum(axis=1)
        if up.shape[1] != len(low):
            return None
        least, most = up @ low + down @ high, up @ high + down @ low
    if len(op.inputs) > 2 and op.inputs[2] >= 0:
        bias = model.constant(op.inputs[2]).astype(np.float64)
        least, most = least + bias, most + bias
    factor = scale * quantization.scale.astype(np.float64)
    return _stored(model, op, least * factor, most * factor)


def _rescaled(model: TfliteModel, op: Op, read: list[Interval]) -> Interval:
    """The same values in the output's scale: pools, means, quantize."""
    scale, zero = _scale(model, op.inputs[0])
    return _stored(model, op, (read[0].low - zero) * scale, (read[0].high - zero) * scale)


def _sum(model: TfliteModel, op: Op, read: list[Interval]) -> Interval | None:
    if len(read) != 2 or len(read[0].low) != len(read[1].low):
        return None
    (scale_a, zero_a), (scale_b, zero_b) = (_scale(model, i) for i in op.inputs[:2])
    low = (read[0].low - zero_a) * scale_a + (read[1].low - zero_b) * scale_b
    high = (read[0].high - zero_a) * scale_a + (read[1].high - zero_b) * scale_b
    return _stored(model, op, low, high)


def _padded(model: TfliteModel, op: Op, read: list[Interval]) -> Interval:
    _, zero = _scale(model, op.inputs[0])
    return Interval(np.minimum(read[0].low, zero), np.maximum(read[0].high, zero))


def _flattened(model: TfliteModel, op: Op, read: list[Interval]) -> Interval | None:
    """A reshape that keeps the channels innermost."""
    channels, made = len(read[0].low), model.graph.tensors[op.outputs[0]].shape[-1]
    if made % channels:
        return None
    return Interval(
        np.tile(read[0].low, made // channels), np.tile(read[0].high, made // channels)
    )


def _concatenated(model: TfliteModel, op: Op, read: list[Interval]) -> Interval | None:
    made = model.graph.tensors[op.outputs[0]].shape
    if op.axis not in (-1, len(made) - 1) or len(read) != len(op.inputs):
        return None
    parts = [
        _rescaled(model, replace(op, inputs=(i,)), [interval])
        for i, interval in zip(op.inputs, read, strict=True)
    ]
    return Interval(
        np.concatenate([p.low for p in parts]), np.concatenate([p.high for p in parts])
    )


_WEIGHTED = frozenset({"conv_2d", "depthwise_conv_2d", "fully_connected"})
_RULES: dict[str, Callable[[TfliteModel, Op, list[Interval]], Interval | None]] = {
    **dict.fromkeys(_WEIGHTED, _products),
    **dict.fromkeys(("max_pool_2d", "average_pool_2d", "mean", "quantize"), _rescaled),
    "add": _sum,
    "pad": _padded,
    "reshape": _flattened,
    "squeeze": _flattened,
    "concatenation": _concatenated,
}
