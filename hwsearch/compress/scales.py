"""Scales of channels without weights, so that their biases survive quantization.

The quantizer takes a channel's scale from its largest weight. Where all are zero, as pruning
single weights leaves them, that is 8e-12, and the bias, which counts in steps of that scale times
the input's, is clipped to 32 bits: lost. Any scale fits zeros, so such a channel gets the largest
of its layer, and its bias anew from the float model. So does one whose weights are so small beside
its bias that it is clipped too: what is left of them rounds to nearly nothing, as in the output.
With 16-bit activations biases have 64 bits, and small weights count: there the bias alone is
written anew.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from hwsearch.graph import WEIGHT_OPS, Op, flatbuffer
from hwsearch.graph.tflite import TfliteModel, read

CLIPPED = 2**30
"""A bias from here on leaves no room for the products beside it in 32 bits; the quantizer clips at
twice that, also biases of 64 bits."""

ROOM = {"int32": CLIPPED, "int64": 2**45}
"""Biases from here on leave no room for the products: requantization takes sums of 32 bits, or of
48 (TFLite Micro's ``MultiplyByQuantizedMultiplier`` of int64)."""

ROOM_INT4 = 2**26
"""The same beside int4 weights, which the generated code's kernels multiply by 16."""

LEAST = 2.0**-30
"""Steps of a sum in one of the output: below 2^-32 TFLite Micro does not requantize, and no weight
is seen: 127 times the largest input is 2^22."""

STEPS = 1024
"""Steps of a bias in one of the output, in a layer without any weight that is not zero."""


@dataclass(frozen=True)
class _Layer:
    """An operator with a bias: which tensors, and the scale of what it reads and makes."""

    weights: int
    bias: int
    read: float
    made: float


def with_room_for_biases(content: bytes, floats: TfliteModel) -> bytes:
    """The quantized ``.tflite`` with scales of channels at which their biases fit.

    Args:
        content: as the quantizer wrote it.
        floats: the model that was quantized; tensors named by their index, in both.
    """
    model = read(content)
    layers = [layer for op in model.graph.ops if (layer := _layer(model, op)) is not None]
    lost: dict[int, NDArray[np.bool_]] = {}
    wrong: dict[int, NDArray[np.bool_]] = {}
    for layer in layers:
        low = model.graph.tensors[layer.weights].dtype == "int4"
        room = ROOM_INT4 if low else ROOM[model.graph.tensors[layer.bias].dtype]
        codes = np.abs(model.constant(layer.bias).astype(np.int64))
        wrong[layer.bias] = codes >= min(room, CLIPPED)
        beyond = wrong[layer.bias]
        if beyond.any():
            steps = layer.read * _scale(model, layer.weights).astype(np.float64)
            beyond = np.abs(_exact(model, floats, layer) / steps) >= room
            beyond = (beyond | (steps / layer.made < LEAST)) & wrong[layer.bias]
        empty = np.abs(_rows(model, layer.weights)).max(axis=1, initial=0) == 0
        if len(empty) == 1:
            beyond = np.full(1, beyond.any())
        before = lost.get(layer.weights, np.zeros(len(empty), np.bool_))
        lost[layer.weights] = before | empty | beyond
    if not any(rows.any() for rows in (*lost.values(), *wrong.values())):
        return content
    edited = flatbuffer.unpack(content)
    scales: dict[int, NDArray[np.float32]] = {}
    for layer in layers:
        rows = lost[layer.weights]
        if layer.weights not in scales:
            scales[layer.weights] = _scale(model, layer.weights)
            if rows.any():
                scales[layer.weights] = _rescale(model, edited, layer, rows)
        anew = rows | wrong[layer.bias]
        if anew.any():
            steps = layer.read * scales[layer.weights].astype(np.float64)
            old = model.constant(layer.bias)
            codes = np.rint(_exact(model, floats, layer) / steps)
            _replace(edited, layer.bias, np.where(anew, codes, old).astype(old.dtype), steps)
    return flatbuffer.pack(edited)


def _exact(model: TfliteModel, floats: TfliteModel, layer: _Layer) -> NDArray[np.float64]:
    """[channels]: a layer's bias in the float model."""
    index = _float_index(model.graph.tensors[layer.bias].name)
    return floats.constant(index).reshape(-1).astype(np.float64)


def _scale(model: TfliteModel, tensor: int) -> NDArray[np.float32]:
    """[scales] of weights."""
    quantization = model.quantization[tensor]
    assert quantization is not None
    return quantization.scale


def _float_index(name: str) -> int:
    """Of a tensor in the float model: the quantizer appends to the names of copies."""
    found = re.match(r"\d+", name)
    assert found is not None, name
    return int(found[0])


def _layer(model: TfliteModel, op: Op) -> _Layer | None:
    """An operator with constant weights and bias, and one scale on either side; else None."""
    transposed = op.kind == "transpose_conv"
    place = 3 if transposed else 2
    if op.kind not in WEIGHT_OPS or len(op.inputs) <= place or op.inputs[place] < 0:
        return None
    sides = [model.quantization[i] for i in (op.inputs[2 if transposed else 0], op.outputs[0])]
    weights, bias = op.inputs[1], op.inputs[place]
    constant = all(model.graph.tensors[i].is_constant for i in (weights, bias))
    if not constant or model.quantization[weights] is None or None in sides:
        return None
    read_, made = (float(side.scale[0]) for side in sides if side is not None)
    return _Layer(weights, bias, read_, made)


def _rows(model: TfliteModel, tensor: int) -> NDArray[Any]:
    """[scales, weights]: the weights that each scale is of."""
    quantization, weights = model.quantization[tensor], model.constant(tensor)
    assert quantization is not None
    if quantization.scale.size == 1:
        return weights.reshape(1, -1)
    return np.moveaxis(weights, quantization.axis, 0).reshape(quantization.scale.size, -1)


def _rescale(
    model: TfliteModel, edited: Any, layer: _Layer, rows: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Gives the channels that have lost their biases another scale; all scales, float32."""
    quantization = model.quantization[layer.weights]
    assert quantization is not None
    old = quantization.scale
    sound = old[~rows]
    scale = sound.max() if len(sound) else np.float32(layer.made / layer.read / STEPS)
    new = np.where(rows, scale, old).astype(np.float32)
    edited.subgraphs[0].tensors[layer.weights].quantization.scale = new
    weights = model.constant(layer.weights)
    if _rows(model, layer.weights)[rows].any():
        shape = [1] * weights.ndim
        if old.size > 1:
            shape[quantization.axis] = old.size
        made = np.rint(weights * (old.astype(np.float64) / new).reshape(shape)).astype(np.int8)
        low = model.graph.tensors[layer.weights].dtype == "int4"
        _replace(edited, layer.weights, _nibbles(made) if low else made)
    return new


def _nibbles(values: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Two a byte, the first in its lower half, as a ``.tflite`` has int4."""
    flat = values.reshape(-1).view(np.uint8) & 15
    pairs = np.append(flat, np.zeros(flat.size % 2, np.uint8)).reshape(-1, 2)
    return pairs[:, 0] | pairs[:, 1] << 4


def _replace(
    edited: Any, tensor: int, values: NDArray[Any], scale: NDArray[Any] | None = None
) -> None:
    """A constant's values, in a buffer of its own."""
    table = edited.subgraphs[0].tensors[tensor]
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    table.buffer = len(edited.buffers)
    edited.buffers.append(buffer)
    if scale is not None and table.quantization is not None:
        table.quantization.scale = scale.astype(np.float32)
