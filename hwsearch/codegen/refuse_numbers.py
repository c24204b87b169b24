"""What the compiler refuses for its numbers: quantization parameters, sums too large, odd biases.

As in refuse.py a rule's docstring is its message; these need the file, not the Graph alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwsearch.backends.backend import Refusal
from hwsearch.codegen import refuse
from hwsearch.codegen.layers import ALIASES
from hwsearch.codegen.scaling import requantization
from hwsearch.graph import BITS, WEIGHT_OPS, Op
from hwsearch.graph.tflite import TfliteModel

FIXED_SCALES = {
    ("logistic", 8): (1 / 256, -128), ("logistic", 16): (1 / 32768, 0), ("tanh", 8): (1 / 128, 0),
    ("tanh", 16): (1 / 32768, 0), ("softmax", 8): (1 / 256, -128), ("softmax", 16): (1 / 32768, 0),
}  # fmt: skip
"""(scale, zero point) that TFLite's int8 and int16 specification fixes for these outputs."""


def unquantized(model: TfliteModel, op: Op) -> bool:
    """A tensor has no quantization parameters. [Convert with full integer quantization.]"""
    return any(
        model.quantization[i] is None and model.graph.tensors[i].dtype != "float32"
        for i in (*refuse.activations(model.graph, op), *_weights(op))
    )


def asymmetric(model: TfliteModel, op: Op) -> bool:
    """Its weights, or int16 activations, have a zero point. [Quantize them symmetrically.]"""
    tensors = [*_weights(op)]
    if op.kind != "quantize":
        found = refuse.activations(model.graph, op)
        tensors += [i for i in found if model.graph.tensors[i].dtype == "int16"]
    quantizations = [model.quantization[i] for i in tensors]
    return any(q is not None and bool(np.any(q.zero_point != 0)) for q in quantizations)


def per_channel_axis(model: TfliteModel, op: Op) -> bool:
    """Its scales do not belong to output channels. [Quantize per tensor or per output channel.]"""
    for i in _weights(op):
        quantization, shape = model.quantization[i], model.graph.tensors[i].shape
        axis = 3 if op.kind == "depthwise_conv_2d" else 0
        if quantization is not None and quantization.scale.size not in (1, shape[axis]):
            return True
    return False


def bias_dtype(model: TfliteModel, op: Op) -> bool:
    """Its bias is not int32 (int64 with int16). [Convert again with the default bias type.]"""
    index = _bias(op)
    if index < 0:
        return False
    wide = model.graph.tensors[op.outputs[0]].dtype == "int16"
    return model.graph.tensors[index].dtype != ("int64" if wide else "int32")


def fixed_scale(model: TfliteModel, op: Op) -> bool:
    """Its output does not have the scale that TFLite fixes. [Convert the model again.]"""
    bits = BITS[model.graph.tensors[op.outputs[0]].dtype]
    wanted = FIXED_SCALES.get((op.kind, bits))
    made = model.quantization[op.outputs[0]]
    if wanted is None or made is None:
        return False
    near = abs(float(made.scale[0]) / wanted[0] - 1) < 1e-3
    return not near or int(made.zero_point[0]) != wanted[1]


def fine_hard_swish(model: TfliteModel, op: Op) -> bool:
    """Its output scale is finer than 1/128 of its input's. [Calibrate on more data.]"""
    read, made = model.quantization[op.inputs[0]], model.quantization[op.outputs[0]]
    if op.kind != "hard_swish" or read is None or made is None:
        return False
    return float(np.float32(1 / 128) * read.scale[0] / made.scale[0]) > 1.0


def steep(model: TfliteModel, op: Op) -> bool:
    """Its output's scale is too fine for TFLite's 64-bit sums. [Calibrate on more data.]"""
    if op.kind not in WEIGHT_OPS or model.graph.tensors[op.outputs[0]].dtype != "int16":
        return False
    read = model.quantization[op.inputs[2 if op.kind == "transpose_conv" else 0]]
    weights, made = model.quantization[op.inputs[1]], model.quantization[op.outputs[0]]
    if read is None or weights is None or made is None:
        return False
    # Above this TFLite's own check (shift < 8) aborts.
    return float(read.scale[0]) * float(weights.scale.max()) / float(made.scale[0]) >= 2**7


def overflow(model: TfliteModel, op: Op) -> bool:
    """A sum of products could exceed 32 bits. [Use fewer input channels or smaller biases.]"""
    tensor = model.graph.tensors[op.outputs[0]]
    if op.kind not in WEIGHT_OPS or tensor.dtype != "int8":
        return False
    weights = model.constant(op.inputs[1])
    axis = 3 if op.kind == "depthwise_conv_2d" else 0
    flat = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)
    transposed = op.kind == "transpose_conv"
    read = op.inputs[2 if transposed else 0]
    bound = requantization(model, op, read, flat, 3 if transposed else 2).sum_bound
    # The int4 kernels carry sums of 16 times the value.
    return bound >= (2**27 if model.graph.tensors[op.inputs[1]].dtype == "int4" else 2**31)


def _weights(op: Op) -> tuple[int, ...]:
    return (op.inputs[1],) if op.kind in WEIGHT_OPS else ()


def _bias(op: Op) -> int:
    place = 3 if op.kind == "transpose_conv" else 2
    return op.inputs[place] if op.kind in WEIGHT_OPS and len(op.inputs) > place else -1


RULES: tuple[Callable[[TfliteModel, Op], bool], ...] = (
    unquantized, asymmetric, per_channel_axis, bias_dtype, fixed_scale, fine_hard_swish, steep,
    overflow,
)  # fmt: skip
"""In the order in which they are asked; the first that refuses speaks."""


def refusals_of(model: TfliteModel) -> list[Refusal]:
    """Every operator of a file that the compiler cannot run, for its shape or for its numbers."""
    found = {r.op_index: r for r in refuse.refusals(model.graph)}
    for index, op in enumerate(model.graph.ops):
        if index in found or op.kind in ALIASES:
            continue
        for rule in RULES:
            if rule(model, op):
                found[index] = refuse.refusal(index, op, rule.__doc__)
                break
    return [found[i] for i in sorted(found)]
