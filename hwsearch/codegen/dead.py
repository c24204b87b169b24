"""A network without the channels that are always zero, and without the weights that read them.

A channel is dead when all its weights are zero (or read dead channels) and its bias comes out as
the output's zero point, the real value 0; padding is 0 too, so no reader can tell. It goes when
every reader can do without: convolutions and dense layers drop the weights, depthwise convolutions
and pooling must lose their own channel with it. What is left is rounded up to a multiple of four,
which the kernels like best.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.codegen import fixed_point as fp
from hwsearch.codegen.scaling import requantization
from hwsearch.graph import BITS, Graph, Op, Tensor
from hwsearch.graph.tflite import Quantization, TfliteModel

CHUNK = 4
"""Channels are removed only down to a multiple of this."""

MIXING = frozenset({"conv_2d", "fully_connected"})
"""Operators that read all channels to make one."""

KEEPING = frozenset({"depthwise_conv_2d", "average_pool_2d", "max_pool_2d", "reshape"})
"""Operators whose output channel comes from the input channel of the same place."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Rewritten(TfliteModel):
    """A model some of whose constants are not those of its file.

    Attributes:
        constants: by tensor index.
    """

    constants: dict[int, NDArray[Any]]

    def constant(self, index: int) -> NDArray[Any]:
        """As :meth:`TfliteModel.constant`."""
        found = self.constants.get(index)
        return super().constant(index) if found is None else found


def without_dead_channels(model: TfliteModel) -> TfliteModel:
    """The same function with fewer channels; ``model`` itself where nothing is dead."""
    graph = model.graph
    gone = _removable(graph, _dead(model))
    gone = {t: mask for t, mask in gone.items() if mask.any()}
    if not gone:
        return model
    tensors, constants = list(graph.tensors), {}
    quantization = list(model.quantization)
    for tensor, mask in gone.items():
        shape = tensors[tensor].shape
        tensors[tensor] = replace(tensors[tensor], shape=(*shape[:-1], int((~mask).sum())))
    for op in graph.ops:
        if op.kind not in MIXING and op.kind != "depthwise_conv_2d":
            continue
        outs, ins = gone.get(op.outputs[0]), gone.get(op.inputs[0])
        weights, axis = model.constant(op.inputs[1]), 0
        if op.kind == "depthwise_conv_2d":
            axis = 3
        elif ins is not None:
            weights = weights[..., ~ins]
        if outs is not None:
            weights = np.compress(~outs, weights, axis)
            quantization[op.inputs[1]] = _kept(model.quantization[op.inputs[1]], ~outs)
            if len(op.inputs) > 2 and op.inputs[2] >= 0:
                constants[op.inputs[2]] = model.constant(op.inputs[2])[~outs]
        constants[op.inputs[1]] = weights
    for index, values in constants.items():
        tensors[index] = _resized(tensors[index], values)
    smaller = replace(graph, tensors=tuple(tensors))
    return Rewritten(smaller, model.content, tuple(quantization), model._spans, constants)


def _dead(model: TfliteModel) -> dict[int, Mask]:
    """Per activation tensor the channels that always hold the zero point."""
    graph = model.graph
    dead: dict[int, Mask] = {}
    for op in graph.ops:
        made = op.outputs[0]
        before = dead.get(op.inputs[0]) if op.inputs else None
        if op.kind in MIXING or (op.kind == "depthwise_conv_2d" and op.depth_multiplier == 1):
            dead[made] = _dead_outputs(model, op, before)
        elif op.kind in KEEPING and before is not None and _same_channels(graph, op):
            dead[made] = before
    return dead


def _dead_outputs(model: TfliteModel, op: Op, before: Mask | None) -> Mask:
    weights = model.constant(op.inputs[1])
    if op.kind == "depthwise_conv_2d":
        flat = weights.reshape(-1, weights.shape[-1]).T
        silent = ~flat.any(axis=1)
        if before is not None:
            silent |= before
    else:
        flat = weights.reshape(len(weights), -1)
        read = weights if before is None else weights[..., ~before]
        silent = ~read.reshape(len(weights), -1).any(axis=1)
    q = requantization(model, op, op.inputs[0], np.zeros_like(flat), 2)
    wide = BITS[model.graph.tensors[op.outputs[0]].dtype] == 16
    result = []
    for bias, multiplier, shift in zip(q.bias, q.multiplier, q.shift, strict=True):
        scale = fp.requantize64 if wide else fp.requantize
        value = scale(int(bias), int(multiplier), int(shift)) + q.zero_point
        result.append(max(q.low, min(q.high, value)) == q.zero_point)
    return silent & np.array(result)


def _same_channels(graph: Graph, op: Op) -> bool:
    """Whether channels stay in their place: pooling, or a reshape that only drops ones."""
    read, made = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
    return read.shape[-1] == made.shape[-1] and (
        op.kind != "reshape" or read.elements == read.shape[-1]
    )


def _removable(graph: Graph, dead: dict[int, Mask]) -> dict[int, Mask]:
    """Of the dead channels those that every reader can do without."""
    readers: dict[int, list[Op]] = {}
    uses: dict[int, int] = {}
    for op in graph.ops:
        for i in op.inputs:
            uses[i] = uses.get(i, 0) + 1
            readers.setdefault(i, []).append(op)
    makers = {op.outputs[0]: op for op in graph.ops}
    gone = dict(dead)
    for tensor in gone:
        maker = makers[tensor]
        shared = any(uses[i] > 1 for i in maker.inputs[1:] if i >= 0)
        weights = [
            op.inputs[1]
            for op in readers.get(tensor, [])
            if op.kind not in ("reshape",) and len(op.inputs) > 1
        ]
        shared |= any(uses[i] > 1 for i in weights)
        if shared or tensor in graph.outputs:
            gone[tensor] = np.zeros_like(gone[tensor])
    while True:
        before = {t: mask.sum() for t, mask in gone.items()}
        for tensor in gone:
            for op in readers.get(tensor, []):
                made = op.outputs[0]
                if op.kind in MIXING and op.inputs[0] == tensor and _reads_channels(graph, op):
                    continue
                if op.kind in KEEPING and op.inputs[0] == tensor and made in gone:
                    gone[tensor] = gone[tensor] & gone[made]
                else:
                    gone[tensor] = np.zeros_like(gone[tensor])
            maker = makers[tensor]
            if maker.kind in KEEPING:  # its input loses the same channels, or neither does
                source = gone.get(maker.inputs[0])
                none = np.zeros_like(gone[tensor])
                gone[tensor] = none if source is None else gone[tensor] & source
            gone[tensor] = _rounded(gone[tensor])
        if before == {t: mask.sum() for t, mask in gone.items()}:
            return gone


def _reads_channels(graph: Graph, op: Op) -> bool:
    """Whether the last dimension of the weights is the input's channels, not a flattened image."""
    return graph.tensors[op.inputs[1]].shape[-1] == graph.tensors[op.inputs[0]].shape[-1]


def _rounded(mask: Mask) -> Mask:
    """As many of these as leave a multiple of CHUNK, and at least one chunk."""
    kept = int((~mask).sum())
    wanted = max(-(-kept // CHUNK) * CHUNK, CHUNK)
    drop = max(0, len(mask) - wanted)
    result = np.zeros_like(mask)
    result[np.flatnonzero(mask)[:drop]] = True
    return result


def _kept(quantization: Quantization | None, kept: Mask) -> Quantization | None:
    if quantization is None or quantization.scale.size == 1:
        return quantization
    return Quantization(quantization.scale[kept], quantization.zero_point[kept], quantization.axis)


def _resized(tensor: Tensor, values: NDArray[Any]) -> Tensor:
    size = -(-values.size * BITS[tensor.dtype] // 8)
    return replace(tensor, shape=tuple(values.shape), constant_bytes=size)
