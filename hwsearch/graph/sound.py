"""What must hold of a network in a file before anything computes with it; files are not trusted.

A rule looks at one operator and answers whether it holds; its docstring is what is expected. Costs
and generated code rely on these: a kernel reads where shapes say that there is data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from hwsearch.errors import ModelFileError
from hwsearch.graph.graph import Graph, Op

MAX_RANK = 8
"""Dimensions of a tensor; no TFLite kernel takes more."""

MAX_BYTES = 64 << 20
"""Of one activation: more than any Cortex-M has. It bounds the work that one file can ask for."""

MAX_REACH = 1 << 16
"""Rows or columns from the first to the last tap of a window."""

SOURCES = frozenset({"var_handle", "call_once", "assign_variable"})
"""Operators that may lack an input or an output."""

Shape = tuple[int, ...]
Rule = Callable[[Graph, Op], bool]


def check(graph: Graph) -> None:
    """Raises a ModelFileError at the first thing that cannot be: which tensor or operator, why."""
    if not (graph.ops and graph.inputs and graph.outputs):
        raise _damaged(graph, "it has no operator, no input or no output")
    for i, tensor in enumerate(graph.tensors):
        if len(tensor.shape) > MAX_RANK:
            raise _damaged(graph, f"tensor {i} ({tensor.name!r}) has the shape {tensor.shape}")
        if tensor.size_bytes > max(MAX_BYTES, tensor.constant_bytes):
            raise ModelFileError(
                f"tensor {i} ({tensor.name!r}) of {graph.name} has the shape {tensor.shape}, "
                f"{tensor.size_bytes:,} B; no microcontroller holds more than {MAX_BYTES:,} B. "
                "Use smaller inputs."
            )
    for where, indexes, least in _indexes(graph):
        if any(not least <= i < len(graph.tensors) for i in indexes):
            raise _damaged(graph, f"{where} of the network name a tensor that does not exist")
    _check_order(graph)
    for index, op in enumerate(graph.ops):
        for rule in (whole, *RULES.get(op.kind, ())):
            if not rule(graph, op):
                expected = " ".join((rule.__doc__ or "").split()).rstrip(".")
                raise _damaged(graph, f"operator {index} ({op.kind}): expected {expected}")


def _damaged(graph: Graph, what: str) -> ModelFileError:
    return ModelFileError(f"{graph.name} is damaged: {what}. Convert the model again.")


def _indexes(graph: Graph) -> Iterator[tuple[str, tuple[int, ...], int]]:
    yield "inputs", graph.inputs, 0
    yield "outputs", graph.outputs, 0
    for i, op in enumerate(graph.ops):
        yield f"inputs of operator {i} ({op.kind})", op.inputs, -1
        yield f"outputs of operator {i} ({op.kind})", op.outputs, 0


def _check_order(graph: Graph) -> None:
    """Every value is made once, by one operator, before it is read."""
    tensors = graph.tensors
    made = {i for i, t in enumerate(tensors) if t.is_constant or t.variable or not t.elements}
    empty = next((i for i in graph.inputs if i in made and not tensors[i].variable), None)
    if empty is not None or len(set(graph.inputs)) != len(graph.inputs):
        raise _damaged(graph, "its inputs are not distinct tensors to be filled")
    made |= set(graph.inputs)
    for index, op in enumerate(graph.ops):
        if any(i not in made for i in op.inputs if i >= 0):
            raise _damaged(graph, f"operator {index} ({op.kind}) reads what nothing has made")
        for i in op.outputs:
            if i in made and not tensors[i].variable:
                raise _damaged(graph, f"operator {index} ({op.kind}) writes what is made already")
            made.add(i)
    if any(i not in made for i in graph.outputs):
        raise _damaged(graph, "nothing makes one of its outputs")


def whole(graph: Graph, op: Op) -> bool:
    """an input and an output."""
    least = 2 if op.kind in _TWO else 1
    present = len(op.inputs) >= least and min(op.inputs[:least]) >= 0
    return op.kind in SOURCES or (present and bool(op.outputs))


def _shape(graph: Graph, index: int) -> Shape:
    return graph.tensors[index].shape


def _made(graph: Graph, op: Op) -> Shape:
    return _shape(graph, op.outputs[0])


def images(graph: Graph, op: Op) -> bool:
    """images of four dimensions in and out, as many out as in."""
    read, made = _shape(graph, op.inputs[0]), _made(graph, op)
    return len(read) == len(made) == 4 and read[0] == made[0]


def window(graph: Graph, op: Op) -> bool:
    """a window whose strides and padding give the output's height and width."""
    weights = op.inputs[1] if op.kind in _WEIGHTED else None
    size = op.window if weights is None else _shape(graph, weights)[1:3]
    read, made = _shape(graph, op.inputs[0])[1:3], _made(graph, op)[1:3]
    steps = (*op.stride, *op.dilation, *size)
    if min(steps) < 1 or max(steps) > MAX_REACH:
        return False
    for n, m, k, stride, dilation in zip(read, made, size, op.stride, op.dilation, strict=True):
        if (k - 1) * dilation >= MAX_REACH:
            return False
        room = n if op.padding == "same" else n - (k - 1) * dilation
        if m < 1 or m != -(-room // stride):
            return False
    return True


def kernels(graph: Graph, op: Op) -> bool:
    """weights [channels out, height, width, channels in] that fit its input and output."""
    weights, read, made = (_shape(graph, i) for i in (op.inputs[1], op.inputs[0], op.outputs[0]))
    return (
        len(weights) == 4 and min(weights) > 0
        and weights[0] == made[3] and read[3] > 0 and read[3] % weights[3] == 0
    )  # fmt: skip


def depthwise(graph: Graph, op: Op) -> bool:
    """weights [1, height, width, channels out], a multiple of its input's channels."""
    weights, read, made = (_shape(graph, i) for i in (op.inputs[1], op.inputs[0], op.outputs[0]))
    return (
        len(weights) == 4 and min(weights) > 0
        and weights[0] == 1 and weights[3] == made[3]
        and read[3] > 0 and made[3] % read[3] == 0
    )  # fmt: skip


def units(graph: Graph, op: Op) -> bool:
    """weights [units, inputs] that fit its input and output."""
    weights, read, made = (_shape(graph, i) for i in (op.inputs[1], op.inputs[0], op.outputs[0]))
    return (
        len(weights) == 2 and min(weights) > 0
        and math.prod(read) * weights[0] == math.prod(made) * weights[1]
    )  # fmt: skip


def transposed(graph: Graph, op: Op) -> bool:
    """an output shape, weights [channels out, height, width, channels in] and images."""
    if len(op.inputs) < 3 or op.inputs[2] < 0:
        return False
    weights, read, made = (_shape(graph, i) for i in (op.inputs[1], op.inputs[2], op.outputs[0]))
    return (
        len(weights) == len(read) == len(made) == 4 and min(weights) > 0
        and weights[0] == made[3] and weights[3] == read[3] and read[0] == made[0]
        and min(op.stride) >= 1 and min(made) > 0 and min(read) > 0
        and all(-(-m // s) >= n or (n - 1) * s + k >= m for m, s, n, k in
                zip(made[1:3], op.stride, read[1:3], weights[1:3], strict=True))
    )  # fmt: skip


def bias(graph: Graph, op: Op) -> bool:
    """a bias of one number a channel, or none."""
    at = 3 if op.kind == "transpose_conv" else 2
    if len(op.inputs) <= at or op.inputs[at] < 0:
        return True
    return (
        graph.tensors[op.inputs[at]].elements
        == _shape(graph, op.inputs[1])[3 if op.kind == "depthwise_conv_2d" else 0]
    )


def same_channels(graph: Graph, op: Op) -> bool:
    """as many channels out as in."""
    return _shape(graph, op.inputs[0])[3] == _made(graph, op)[3] > 0


def same_shape(graph: Graph, op: Op) -> bool:
    """an output of its input's shape."""
    return _shape(graph, op.inputs[0]) == _made(graph, op) and 0 not in _made(graph, op)


def to_float(graph: Graph, op: Op) -> bool:
    """a float output."""
    return graph.tensors[op.outputs[0]].dtype.startswith("float")


def to_integer(graph: Graph, op: Op) -> bool:
    """an integer output."""
    return not graph.tensors[op.outputs[0]].dtype.startswith("float")


def same_elements(graph: Graph, op: Op) -> bool:
    """an output of as many elements as its input."""
    return graph.tensors[op.inputs[0]].elements == graph.tensors[op.outputs[0]].elements > 0


def broadcast(graph: Graph, op: Op) -> bool:
    """an output of the shape to which its two inputs broadcast."""
    try:
        shape = np.broadcast_shapes(*(_shape(graph, i) for i in op.inputs[:2]))
    except ValueError:
        return False
    return shape == _made(graph, op) and 0 not in shape


def joined(graph: Graph, op: Op) -> bool:
    """inputs that make up its output along its axis."""
    made = _made(graph, op)
    if min(op.inputs) < 0 or not -len(made) <= op.axis < len(made):
        return False
    axis = op.axis % len(made)
    parts = [_shape(graph, i) for i in op.inputs]
    return (
        all(len(p) == len(made) and p[:axis] + p[axis + 1 :] == made[:axis] + made[axis + 1 :]
            for p in parts)
        and sum(p[axis] for p in parts) == made[axis] > 0
    )  # fmt: skip


def padded(graph: Graph, op: Op) -> bool:
    """an output at least as large as its input in each of its dimensions."""
    read, made = _shape(graph, op.inputs[0]), _made(graph, op)
    return len(read) == len(made) and all(0 < n <= m for n, m in zip(read, made, strict=True))


def reduced(graph: Graph, op: Op) -> bool:
    """an output of fewer elements than its input, a divisor of them."""
    read, made = (graph.tensors[i].elements for i in (op.inputs[0], op.outputs[0]))
    return read > 0 and made > 0 and read % made == 0


_WEIGHTED = frozenset({"conv_2d", "depthwise_conv_2d", "fully_connected", "transpose_conv"})
_BINARY = ("add", "sub", "mul", "div", "maximum", "minimum", "squared_difference", "floor_div",
           "pow", "prelu")  # fmt: skip
_REDUCED = ("mean", "sum", "reduce_max", "reduce_min", "reduce_prod")
_TWO = _WEIGHTED | {*_BINARY, *_REDUCED, "pad", "padv2", "mirror_pad"}
_UNARY = (
    "relu", "relu6", "relu_n1_to_1", "leaky_relu", "elu", "gelu", "hard_swish", "logistic", "tanh",
    "quantize", "dequantize", "cast", "softmax", "log_softmax", "abs", "neg", "exp", "log", "sqrt",
    "rsqrt", "square", "sin", "cos", "floor", "ceil", "round",
)  # fmt: skip

RULES: dict[str, tuple[Rule, ...]] = {
    "conv_2d": (images, kernels, window, bias),
    "depthwise_conv_2d": (images, depthwise, window, bias),
    "transpose_conv": (transposed, bias),
    "fully_connected": (units, bias),
    **dict.fromkeys(("average_pool_2d", "max_pool_2d"), (images, same_channels, window)),
    **dict.fromkeys(_UNARY, (same_shape,)),
    "quantize": (same_shape, to_integer),
    "dequantize": (same_shape, to_float),
    **dict.fromkeys(_BINARY, (broadcast,)),
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), (same_elements,)),
    **dict.fromkeys(_REDUCED, (reduced,)),
    **dict.fromkeys(("pad", "padv2", "mirror_pad"), (padded,)),
    "concatenation": (joined,),
}
"""By kind what is asked beside :func:`whole`, in this order; later rules rely on earlier ones."""
