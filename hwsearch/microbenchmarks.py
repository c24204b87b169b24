"""Microbenchmarks: layers to time alone, and networks of a few that share nothing, as ``.tflite``.

A layer of a network has an input and an output of its own, so layers neither feed nor wait for
each other, and one image times them all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from hwsearch.graph.flatbuffer import pack

LAYERS_MOST = 4
"""Of one network: the firmware takes as many inputs (``engines/aot/engine.c``)."""

BYTES_MOST = 6_000
"""Of input, output and weights of a layer: four of them fit the smallest boards."""

MACS_MOST = 400_000

_INPUT_SCALE, _LOGIT_SCALE, _WEIGHT_SCALE, _SPREAD = 0.05, 0.17, 0.01, 64.0
"""Plausible numbers: activations spread over 64 of 256 steps, so that sums requantize as they do
in trained networks."""


@dataclass(frozen=True)
class Layer:
    """One layer.

    Attributes:
        kind: of the operator, as in a Graph.
        height, width, channels: of its input; dense layers and softmax take ``channels`` values.
        made: output channels, where the kind chooses them.
        window, stride: (height, width), where the kind has them.
    """

    kind: str
    height: int
    width: int
    channels: int
    made: int = 0
    window: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)

    @property
    def output(self) -> tuple[int, ...]:
        """The output's shape; windows are padded (``same``)."""
        if self.kind in ("fully_connected", "softmax"):
            return (1, self.made or self.channels)
        if self.kind == "mean":
            return (1, self.channels)
        if self.kind == "pad":
            return (1, self.height + 1, self.width + 2, self.channels)
        rows, columns = (
            -(-size // step)
            for size, step in zip((self.height, self.width), self.stride, strict=True)
        )
        return (1, rows, columns, self.made or self.channels)

    @property
    def input(self) -> tuple[int, ...]:
        """The input's shape."""
        if self.kind in ("fully_connected", "softmax"):
            return (1, self.channels)
        return (1, self.height, self.width, self.channels)

    @property
    def taps(self) -> int:
        """Products of one output."""
        area = self.window[0] * self.window[1]
        return {"conv_2d": area * self.channels, "fully_connected": self.channels}.get(
            self.kind, area
        )

    @property
    def fits(self) -> bool:
        """Whether it is small enough for any board."""
        made = math.prod(self.output)
        weights = {"conv_2d": self.taps * self.made, "fully_connected": self.taps * self.made}
        total = math.prod(self.input) + made + weights.get(self.kind, 0)
        return total <= BYTES_MOST and made * self.taps <= MACS_MOST


def pool(rng: np.random.Generator, count: int) -> list[Layer]:
    """Different layers of sizes and windows that networks have, weighted kinds most often."""
    found: dict[Layer, None] = {}
    while len(found) < count:
        layer = _random(rng)
        if layer.fits:
            found[layer] = None
    return list(found)


_KINDS = (
    ("conv_2d", 6), ("pointwise", 4), ("first", 3), ("depthwise_conv_2d", 5),
    ("fully_connected", 4), ("average_pool_2d", 1), ("max_pool_2d", 1), ("mean", 1), ("add", 1),
    ("logistic", 1), ("softmax", 1), ("pad", 1), ("quantize", 1),
)  # fmt: skip


def _random(rng: np.random.Generator) -> Layer:
    names, weights = zip(*_KINDS, strict=True)
    kind = str(rng.choice(names, p=np.array(weights) / sum(weights)))
    height, width = (int(n) for n in rng.integers(3, 17, 2))
    wide = int(rng.choice([5, 6, 7, 8, 10, 12, 15, 16, 20, 24, 31, 32, 48, 64]))
    made = int(rng.choice([4, 6, 8, 11, 12, 16, 24, 32, 40]))
    side = int(rng.choice([3, 3, 3, 5]))
    stride = (2, 2) if rng.random() < 0.25 else (1, 1)
    if kind == "pointwise":
        return Layer("conv_2d", height, width, wide, made)
    if kind == "first":
        window = (side, int(rng.choice([3, 4, 5])))
        return Layer("conv_2d", height, width, int(rng.integers(1, 5)), made, window, stride)
    if kind == "conv_2d":
        return Layer(kind, height, width, wide, made, (side, side), stride)
    if kind == "depthwise_conv_2d":
        other = (int(rng.choice([1, 3, 5])), int(rng.choice([3, 5, 7])))
        return Layer(kind, height, width, wide, 0, (3, 3) if side == 3 else other, stride)
    if kind == "fully_connected":
        return Layer(kind, 1, 1, int(rng.integers(8, 400)), int(rng.integers(2, 64)))
    if kind == "softmax":
        return Layer(kind, 1, 1, int(rng.integers(2, 200)))
    if kind in ("average_pool_2d", "max_pool_2d"):
        window = (2, 2) if rng.random() < 0.6 else (3, 3)
        return Layer(kind, height, width, wide, 0, window, (2, 2))
    return Layer(kind, height, width, wide)


def network(layers: Sequence[Layer], seed: int = 0) -> bytes:
    """The int8 ``.tflite`` whose operator i is layer i, its weights random.

    Input and output i are the layer's own.
    """
    return _Writer(np.random.default_rng(seed)).write(layers)


class _Writer:
    """Collects the tables of a ``.tflite``."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.codes: list[Any] = []
        self.buffers: list[Any] = [schema.BufferT()]
        self.tensors: list[Any] = []
        self.operators: list[Any] = []

    def write(self, layers: Sequence[Layer]) -> bytes:
        inputs, outputs = [], []
        for layer in layers:
            scale = _LOGIT_SCALE if layer.kind == "softmax" else _INPUT_SCALE
            read = self.tensor(layer.input, schema.TensorType.INT8, [scale], 3)
            inputs.append(read)
            outputs.append(self.layer(layer, read))
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = inputs, outputs
        model = schema.ModelT()
        model.version, model.operatorCodes, model.buffers = 3, self.codes, self.buffers
        model.subgraphs = [graph]
        return pack(model)

    def layer(self, layer: Layer, read: int) -> int:
        """Append it; its output tensor."""
        kind = layer.kind
        if kind in ("conv_2d", "depthwise_conv_2d", "fully_connected"):
            return self.weighted(layer, read)
        scale, zero = (1 / 256, -128) if kind in ("softmax", "logistic") else (_INPUT_SCALE, 3)
        read_too = [read]
        if kind == "add":
            read_too, scale = [read, self.constant(layer.input)], 1.4 * _INPUT_SCALE
        elif kind == "mean":
            read_too, scale = [read, self.integers([1, 2])], _INPUT_SCALE / 2
        elif kind == "pad":
            read_too = [read, self.integers([[0, 0], [1, 0], [1, 1], [0, 0]])]
        elif kind == "quantize":
            scale = 1.3 * _INPUT_SCALE
        made = self.tensor(layer.output, schema.TensorType.INT8, [scale], zero)
        options: Any = None
        if kind in ("average_pool_2d", "max_pool_2d"):
            options = schema.Pool2DOptionsT()
            options.filterHeight, options.filterWidth = layer.window
            options.strideH, options.strideW = layer.stride
        elif kind == "pad":
            options = schema.PadOptionsT()
        elif kind == "quantize":
            options = schema.QuantizeOptionsT()
        elif kind == "softmax":
            options = schema.SoftmaxOptionsT()
            options.beta = 1.0
        elif kind == "add":
            options = schema.AddOptionsT()
        elif kind == "mean":
            options = schema.ReducerOptionsT()
        return self.operator(kind, read_too, made, options)

    def weighted(self, layer: Layer, read: int) -> int:
        """A convolution, depthwise convolution or dense layer."""
        kind, depth = layer.kind, layer.output[-1]
        shape = {
            "conv_2d": (depth, *layer.window, layer.channels),
            "depthwise_conv_2d": (1, *layer.window, depth),
            "fully_connected": (depth, layer.channels),
        }[kind]
        axis = 3 if kind == "depthwise_conv_2d" else 0
        scales = [_WEIGHT_SCALE] * (1 if kind == "fully_connected" else depth)
        values = self.rng.integers(-127, 128, shape).astype(np.int8)
        weights = self.tensor(shape, schema.TensorType.INT8, scales, 0, values, axis)
        bias = self.rng.integers(-500, 500, depth).astype(np.int32)
        bias_scales = [_INPUT_SCALE * scale for scale in scales]
        biases = self.tensor((depth,), schema.TensorType.INT32, bias_scales, 0, bias)
        # Products of values that spread by 64 steps and weights that are uniform over theirs.
        spread = _INPUT_SCALE * _WEIGHT_SCALE * _SPREAD * 127 / math.sqrt(3) * layer.taps**0.5
        made = self.tensor(layer.output, schema.TensorType.INT8, [spread / _SPREAD], -128)
        if kind == "fully_connected":
            options: Any = schema.FullyConnectedOptionsT()
        else:
            conv = kind == "conv_2d"
            options = schema.Conv2DOptionsT() if conv else schema.DepthwiseConv2DOptionsT()
            options.strideH, options.strideW = layer.stride
            options.dilationHFactor = options.dilationWFactor = 1
            if not conv:
                options.depthMultiplier = 1
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        return self.operator(kind, [read, weights, biases], made, options)

    def constant(self, shape: tuple[int, ...]) -> int:
        values = self.rng.integers(-128, 128, shape).astype(np.int8)
        return self.tensor(shape, schema.TensorType.INT8, [_INPUT_SCALE], 3, values)

    def integers(self, values: Sequence[Any]) -> int:
        array = np.array(values, np.int32)
        return self.tensor(array.shape, schema.TensorType.INT32, [], 0, array)

    def tensor(
        self,
        shape: tuple[int, ...],
        dtype: int,
        scales: Sequence[float],
        zero: int,
        values: NDArray[Any] | None = None,
        axis: int = 0,
    ) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.name = list(shape), dtype, f"t{len(self.tensors)}"
        tensor.buffer = 0
        if scales:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.array(scales, np.float32)
            tensor.quantization.zeroPoint = np.full(len(scales), zero, np.int64)
            tensor.quantization.quantizedDimension = axis
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            tensor.buffer = len(self.buffers)
            self.buffers.append(buffer)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def operator(self, kind: str, inputs: list[int], output: int, options: Any) -> int:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind.upper())
        code.deprecatedBuiltinCode, code.version = code.builtinCode, 3
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.codes)
        self.codes.append(code)
        operator.inputs, operator.outputs = inputs, [output]
        if options is not None:
            operator.builtinOptions = options
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        self.operators.append(operator)
        return output
