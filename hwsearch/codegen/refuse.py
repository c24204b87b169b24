"""What the ``aot`` backend cannot run, and why: a rule's docstring is its message.

A rule looks at one operator and answers whether it refuses it; its docstring is the reason, the
text in brackets at its end the remedy.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from hwsearch.backends.backend import Refusal
from hwsearch.codegen.layers import ALIASES, BINARY, UNARY
from hwsearch.graph import WEIGHT_OPS, Graph, Op

SUPPORTED = (
    ALIASES | BINARY | UNARY | WEIGHT_OPS
    | {"average_pool_2d", "max_pool_2d", "softmax", "mean", "pad", "concatenation", "dequantize"}
)  # fmt: skip
"""Operators that the generated code knows, in some dtype."""


def unknown(graph: Graph, op: Op) -> bool:
    """The compiler has no kernel for this operator. [Replace the layer, or use a tflm backend.]"""
    return op.kind not in SUPPORTED or op.kind == "relu_n1_to_1"


def not_integer(graph: Graph, op: Op) -> bool:
    """Its activations are neither int8 nor int16. [Quantize the whole model: int8 or int16x8.]"""
    integer = ("int8", "int16")
    edge = {"quantize": op.inputs[0], "dequantize": op.outputs[0]}.get(op.kind, -1)
    return any(
        graph.tensors[i].dtype not in ((*integer, "float32") if i == edge else integer)
        for i in activations(graph, op)
    )


def mixed(graph: Graph, op: Op) -> bool:
    """Its inputs and output have different dtypes. [Quantize the model uniformly.]"""
    dtypes = {graph.tensors[i].dtype for i in activations(graph, op)}
    return op.kind not in ("quantize", "dequantize", *ALIASES) and len(dtypes) > 1


def weight_dtype(graph: Graph, op: Op) -> bool:
    """Its weights are not int8, or int4 beside int8. [Quantize weights to 8 bits, or 4 with
    int8.]"""
    if op.kind not in WEIGHT_OPS:
        return False
    weights = graph.tensors[op.inputs[1]]
    narrow = graph.tensors[op.outputs[0]].dtype == "int8" and op.kind != "transpose_conv"
    return (
        weights.dtype not in (("int8", "int4") if narrow else ("int8",)) or not weights.is_constant
    )


def batch(graph: Graph, op: Op) -> bool:
    """It works on more than one image. [Convert with a batch of 1.]"""
    if op.kind not in WEIGHT_OPS - {"fully_connected"} | {"average_pool_2d", "max_pool_2d"}:
        return False
    return graph.tensors[op.outputs[0]].shape[0] != 1


def rank(graph: Graph, op: Op) -> bool:
    """A tensor has more than four dimensions. [Reshape before this layer.]"""
    return op.kind not in ALIASES and any(
        len(graph.tensors[i].shape) > 4 for i in op.inputs if i >= 0
    )


def unequal_batch(graph: Graph, op: Op) -> bool:
    """Its weights do not match its input. [Convert the model again.]"""
    if op.kind != "fully_connected":
        return False
    return graph.tensors[op.inputs[0]].elements % graph.tensors[op.inputs[1]].shape[-1] != 0


def hard_swish_s16(graph: Graph, op: Op) -> bool:
    """TFLite Micro defines no int16 hard-swish. [Use int8, or another activation.]"""
    return op.kind == "hard_swish" and graph.tensors[op.inputs[0]].dtype == "int16"


def split_axes(graph: Graph, op: Op) -> bool:
    """The mean is not over neighbouring dimensions. [Use global pooling, or two means.]"""
    if op.kind != "mean":
        return False
    before, after = graph.tensors[op.inputs[0]].shape, graph.tensors[op.outputs[0]].shape
    return _reduced(before, after) is None


def mean_span(graph: Graph, op: Op) -> tuple[int, int, int]:
    """(outer, reduced, inner) sizes of a mean that :func:`split_axes` accepts."""
    before, after = graph.tensors[op.inputs[0]].shape, graph.tensors[op.outputs[0]].shape
    span = _reduced(before, after)
    assert span is not None
    return span


def _reduced(before: tuple[int, ...], after: tuple[int, ...]) -> tuple[int, int, int] | None:
    """How to cut ``before`` into outer, reduced and inner dimensions that leaves ``after``."""
    found = None
    for start in range(len(before)):
        for end in range(start + 1, len(before) + 1):
            kept = before[:start] + (1,) * (end - start) + before[end:]
            if after in (kept, before[:start] + before[end:]):
                sizes = [1, 1, 1]
                for i, n in enumerate(before):
                    sizes[0 if i < start else 1 if i < end else 2] *= n
                if found is None or sizes[1] > found[1]:
                    found = (sizes[0], sizes[1], sizes[2])
    return found


def softmax_scale(graph: Graph, op: Op) -> bool:
    """Its input's scale is below what softmax can resolve. [Calibrate on more data.]"""
    read = graph.tensors[op.inputs[0]]
    if op.kind != "softmax" or read.dtype != "int8" or not read.scale:
        return False
    return not op.alpha * read.scale * 2**26 > 1  # TFLite's own check aborts there


def refusal(index: int, op: Op, rule: str | None) -> Refusal:
    """What a rule's docstring says of an operator."""
    reason, _, remedy = inspect.cleandoc(rule or "").partition(" [")
    return Refusal(index, op.kind, reason, remedy.rstrip("]"))


def activations(graph: Graph, op: Op) -> tuple[int, ...]:
    """Data inputs and outputs: not weights, biases, or tables of sizes and axes."""
    if op.kind in WEIGHT_OPS:
        read = op.inputs[2] if op.kind == "transpose_conv" else op.inputs[0]
        return (read, *op.outputs)
    if op.kind in BINARY or op.kind == "concatenation":
        return (*op.inputs, *op.outputs)
    return (op.inputs[0], *op.outputs)


RULES: tuple[Callable[[Graph, Op], bool], ...] = (
    unknown, not_integer, mixed, weight_dtype, batch, rank, unequal_batch, hard_swish_s16,
    split_axes, softmax_scale,
)  # fmt: skip
"""In the order in which they are asked; the first that refuses speaks."""


def refusals(graph: Graph) -> list[Refusal]:
    """Every operator that the compiler cannot run; empty when it runs them all."""
    found = []
    for index, op in enumerate(graph.ops):
        for rule in RULES:
            if rule(graph, op):
                found.append(refusal(index, op, rule.__doc__))
                break
    return found
