"""Building blocks of quantized ``.tflite`` networks, written directly as flatbuffers.

No converter is involved, so a test gets odd shapes, paddings and scales in under a millisecond.
Scales are plausible: each layer's output scale is what fills the range for inputs that fill
theirs, so outputs neither saturate nor die however deep the network.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

LIMITS = {"int8": (-128, 127), "int16": (-32768, 32767)}
_TYPES = {
    name: getattr(schema.TensorType, name.upper())
    for name in ("bool", "int4", "int8", "int16", "int32", "int64", "float32")
}
_FIXED = {  # (scale, zero point) that TFLite prescribes for the output of these operators
    ("logistic", "int8"): (1 / 256, -128), ("logistic", "int16"): (1 / 32768, 0),
    ("tanh", "int8"): (1 / 128, 0), ("tanh", "int16"): (1 / 32768, 0),
    ("softmax", "int8"): (1 / 256, -128), ("softmax", "int16"): (1 / 32768, 0),
}  # fmt: skip


class Network:
    """A network under construction; a method appends one operator and gives its output's index.

    Args:
        rng: weights, biases and scales are drawn from it.
        dtype: of activations, ``"int8"`` or ``"int16"``.
        weight_bits: 8 or 4; 4 is honoured by conv, depthwise and dense.
    """

    def __init__(
        self, rng: np.random.Generator, dtype: str = "int8", weight_bits: int = 8
    ) -> None:
        self.rng, self.dtype, self.weight_bits = rng, dtype, weight_bits
        self.model = schema.ModelT(version=3, operatorCodes=[], buffers=[schema.BufferT()])
        self.subgraph = schema.SubGraphT(tensors=[], inputs=[], outputs=[], operators=[])
        self.model.subgraphs = [self.subgraph]
        self._codes: dict[str, int] = {}

    # Tensors

    def shape(self, index: int) -> tuple[int, ...]:
        return tuple(self.subgraph.tensors[index].shape)

    def scale(self, index: int) -> float:
        return float(self.subgraph.tensors[index].quantization.scale[0])

    def quantization(self, index: int) -> tuple[float, int]:
        return self.scale(index), int(self.subgraph.tensors[index].quantization.zeroPoint[0])

    def tensor(
        self,
        shape: tuple[int, ...],
        dtype: str,
        scale: float | NDArray[Any] | None = None,
        zero_point: int = 0,
        data: NDArray[Any] | None = None,
        axis: int = 0,
    ) -> int:
        """A tensor; constant where ``data`` is given (int4 values in int8)."""
        quantization = None
        if scale is not None:
            scales = np.atleast_1d(np.asarray(scale, np.float32))
            zeros = np.full(scales.size, zero_point, np.int64)
            quantization = schema.QuantizationParametersT(
                scale=scales, zeroPoint=zeros, quantizedDimension=axis
            )
        buffer = 0
        if data is not None:
            if dtype == "int4":
                flat = np.append(data.reshape(-1), [0] * (data.size % 2)).astype(np.uint8) & 15
                raw = flat[0::2] | flat[1::2] << 4
            else:
                raw = np.frombuffer(np.ascontiguousarray(data, dtype).tobytes(), np.uint8)
            buffer = len(self.model.buffers)
            self.model.buffers.append(schema.BufferT(data=raw.astype(np.uint8)))
        index = len(self.subgraph.tensors)
        self.subgraph.tensors.append(
            schema.TensorT(list(shape), _TYPES[dtype], buffer, f"t{index}", quantization)
        )
        return index

    def input(
        self, shape: tuple[int, ...], scale: float = 0.05, zero_point: int | None = None
    ) -> int:
        """A network input."""
        if zero_point is None:
            zero_point = self._zero_point()
        index = self.tensor(shape, self.dtype, scale, zero_point)
        self.subgraph.inputs.append(index)
        return index

    def activation(
        self, shape: tuple[int, ...], scale: float, zero_point: int | None = None, dtype: str = ""
    ) -> int:
        """An intermediate tensor; the zero point is drawn where it is None."""
        zero_point = self._zero_point() if zero_point is None else zero_point
        return self.tensor(shape, dtype or self.dtype, scale, zero_point)

    def _zero_point(self) -> int:
        return 0 if self.dtype == "int16" else int(self.rng.integers(-128, 100))

    def _spread(self) -> float:
        """Standard deviation, in steps, of an activation that fills its range."""
        return 16000.0 if self.dtype == "int16" else 64.0

    # Operators

    def op(
        self,
        kind: str,
        inputs: list[int],
        output: int,
        options: str = "",
        version: int = 1,
        **fields: Any,
    ) -> int:
        """Any operator by its lower-case name; ``options`` is the schema's table."""
        if kind not in self._codes:
            code = getattr(schema.BuiltinOperator, kind.upper())
            self._codes[kind] = len(self.model.operatorCodes)
            self.model.operatorCodes.append(
                schema.OperatorCodeT(min(code, 127), None, version, code)
            )
        operator = schema.OperatorT(self._codes[kind], inputs, [output])
        if options:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(schema, f"{options}T")()
            for field, value in fields.items():
                assert hasattr(operator.builtinOptions, field), field
                setattr(operator.builtinOptions, field, value)
        self.subgraph.operators.append(operator)
        return output

    def _weights(
        self, shape: tuple[int, ...], axis: int, fan_in: int, per_channel: bool, bits: int = 0
    ) -> tuple[int, NDArray[Any], float]:
        """(tensor, its scales, deviation of the sum of products for inputs of deviation 1)."""
        bits = bits or self.weight_bits
        top = 2 ** (bits - 1) - 1
        count = shape[axis] if per_channel else 1
        scales = (self.rng.uniform(0.3, 1.0, count) * 0.02).astype(np.float32)
        data = self.rng.integers(-top, top + 1, shape).astype(np.int8)
        index = self.tensor(shape, "int4" if bits == 4 else "int8", scales, 0, data, axis)
        return index, scales, float(scales.max()) * top / 1.7 * fan_in**0.5

    def _bias(
        self, channels: int, input_scale: float, scales: NDArray[Any], deviation: float
    ) -> int:
        wide = self.dtype == "int16"
        bias_scales = np.broadcast_to(np.float32(input_scale) * scales, (channels,))
        real = self.rng.normal(0, deviation, channels)
        data = np.clip(np.round(real / bias_scales), -(2**30), 2**30)
        stored = bias_scales if scales.size > 1 else bias_scales[:1]
        return self.tensor((channels,), "int64" if wide else "int32", stored, 0, data)

    def _made(self, shape: tuple[int, ...], deviation: float, activation: str) -> int:
        """Output tensor of a weighted layer whose real values spread by ``deviation``."""
        scale = deviation / self._spread() * float(self.rng.uniform(0.6, 1.5))
        zero_point = -128 if activation.startswith("relu") and self.dtype == "int8" else None
        return self.activation(shape, scale, zero_point)

    @staticmethod
    def _activation(name: str) -> int:
        return int(getattr(schema.ActivationFunctionType, name.upper()))

    @staticmethod
    def _extent(size: int, kernel: int, stride: int, dilation: int, padding: str) -> int:
        reach = (kernel - 1) * dilation + 1
        return -(-size // stride) if padding == "same" else (size - reach) // stride + 1

    def conv(
        self, x: int, channels: int, kernel: tuple[int, int] = (3, 3),
        stride: tuple[int, int] = (1, 1), padding: str = "same",
        dilation: tuple[int, int] = (1, 1), activation: str = "none",
        per_channel: bool = True, bias: bool = True,
    ) -> int:  # fmt: skip
        _, height, width, depth = self.shape(x)
        fan_in = kernel[0] * kernel[1] * depth
        w, scales, gain = self._weights((channels, *kernel, depth), 0, fan_in, per_channel)
        deviation = gain * self.scale(x) * self._spread()
        b = self._bias(channels, self.scale(x), scales, deviation / 3) if bias else -1
        rows, columns = (
            self._extent(n, k, s, d, padding)
            for n, k, s, d in zip((height, width), kernel, stride, dilation, strict=True)
        )
        y = self._made((1, rows, columns, channels), deviation, activation)
        return self.op(
            "conv_2d", [x, w, b] if bias else [x, w], y, "Conv2DOptions", 3,
            padding=getattr(schema.Padding, padding.upper()), strideH=stride[0], strideW=stride[1],
            dilationHFactor=dilation[0], dilationWFactor=dilation[1],
            fusedActivationFunction=self._activation(activation),
        )  # fmt: skip

    def depthwise(
        self, x: int, multiplier: int = 1, kernel: tuple[int, int] = (3, 3),
        stride: tuple[int, int] = (1, 1), padding: str = "same",
        dilation: tuple[int, int] = (1, 1), activation: str = "none",
        per_channel: bool = True,
    ) -> int:  # fmt: skip
        _, height, width, depth = self.shape(x)
        channels = depth * multiplier
        w, scales, gain = self._weights(
            (1, *kernel, channels), 3, kernel[0] * kernel[1], per_channel
        )
        deviation = gain * self.scale(x) * self._spread()
        b = self._bias(channels, self.scale(x), scales, deviation / 3)
        rows, columns = (
            self._extent(n, k, s, d, padding)
            for n, k, s, d in zip((height, width), kernel, stride, dilation, strict=True)
        )
        y = self._made((1, rows, columns, channels), deviation, activation)
        return self.op(
            "depthwise_conv_2d", [x, w, b], y, "DepthwiseConv2DOptions", 3,
            padding=getattr(schema.Padding, padding.upper()), strideH=stride[0], strideW=stride[1],
            dilationHFactor=dilation[0], dilationWFactor=dilation[1], depthMultiplier=multiplier,
            fusedActivationFunction=self._activation(activation),
        )  # fmt: skip

    def transpose_conv(
        self, x: int, channels: int, kernel: tuple[int, int] = (3, 3),
        stride: tuple[int, int] = (2, 2), padding: str = "same", bias: bool = True,
    ) -> int:  # fmt: skip
        _, height, width, depth = self.shape(x)
        fan_in = max(1, kernel[0] * kernel[1] * depth // (stride[0] * stride[1]))
        w, scales, gain = self._weights((channels, *kernel, depth), 0, fan_in, True, 8)
        deviation = gain * self.scale(x) * self._spread()
        rows, columns = (
            n * s if padding == "same" else (n - 1) * s + max(k, s)
            for n, s, k in zip((height, width), stride, kernel, strict=True)
        )
        shape = (1, rows, columns, channels)
        sizes = self.tensor((4,), "int32", data=np.array(shape))
        b = [self._bias(channels, self.scale(x), scales, deviation / 3)] if bias else []
        y = self._made(shape, deviation, "none")
        return self.op(
            "transpose_conv", [sizes, w, x, *b], y, "TransposeConvOptions", 3,
            padding=getattr(schema.Padding, padding.upper()), strideH=stride[0], strideW=stride[1],
        )  # fmt: skip

    def dense(
        self,
        x: int,
        units: int,
        activation: str = "none",
        per_channel: bool = False,
        bias: bool = True,
    ) -> int:
        """On a [batch, features] tensor; reshape first."""
        batch, features = self.shape(x)
        w, scales, gain = self._weights((units, features), 0, features, per_channel)
        deviation = gain * self.scale(x) * self._spread()
        b = self._bias(units, self.scale(x), scales, deviation / 3) if bias else -1
        y = self._made((batch, units), deviation, activation)
        return self.op(
            "fully_connected", [x, w, b], y, "FullyConnectedOptions", 4,
            fusedActivationFunction=self._activation(activation),
        )  # fmt: skip

    def pool(
        self, x: int, kind: str = "average", window: tuple[int, int] = (2, 2),
        stride: tuple[int, int] = (2, 2), padding: str = "valid", activation: str = "none",
    ) -> int:  # fmt: skip
        _, height, width, depth = self.shape(x)
        rows, columns = (
            self._extent(n, k, s, 1, padding)
            for n, k, s in zip((height, width), window, stride, strict=True)
        )
        y = self.activation((1, rows, columns, depth), *self.quantization(x))
        return self.op(
            f"{kind}_pool_2d", [x], y, "Pool2DOptions", 2,
            padding=getattr(schema.Padding, padding.upper()), strideH=stride[0], strideW=stride[1],
            filterHeight=window[0], filterWidth=window[1],
            fusedActivationFunction=self._activation(activation),
        )  # fmt: skip

    def binary(self, kind: str, x: int, y: int, activation: str = "none") -> int:
        """``add``, ``sub`` or ``mul``; the smaller one is broadcast."""
        a, b = (self.scale(i) * self._spread() for i in (x, y))
        deviation = a * b if kind == "mul" else (a * a + b * b) ** 0.5
        shape = np.broadcast_shapes(self.shape(x), self.shape(y))
        z = self._made(shape, deviation, activation)
        options = {"add": "AddOptions", "sub": "SubOptions", "mul": "MulOptions"}[kind]
        return self.op(
            kind, [x, y], z, options, 2, fusedActivationFunction=self._activation(activation)
        )

    def constant(self, shape: tuple[int, ...], scale: float) -> int:
        """A constant operand in the network's activation dtype."""
        low, high = LIMITS[self.dtype]
        data = self.rng.integers(low, high + 1, shape)
        return self.tensor(shape, self.dtype, scale, self._zero_point(), data)

    def pad(self, x: int, amounts: list[tuple[int, int]]) -> int:
        """Zero padding (of the real value 0) before and after each dimension."""
        shape = tuple(n + a + b for n, (a, b) in zip(self.shape(x), amounts, strict=True))
        table = self.tensor((len(amounts), 2), "int32", data=np.array(amounts))
        return self.op(
            "pad", [x, table], self.activation(shape, *self.quantization(x)), "PadOptions", 2
        )

    def concat(self, tensors: list[int], axis: int = 3) -> int:
        """Inputs of another scale are requantized first, as the converter does."""
        scale, zero_point = self.quantization(tensors[0])
        same = [
            t
            if self.quantization(t) == (scale, zero_point)
            else self.quantize(t, scale, zero_point)
            for t in tensors
        ]
        shape = list(self.shape(tensors[0]))
        shape[axis] = sum(self.shape(t)[axis] for t in tensors)
        y = self.activation(tuple(shape), scale, zero_point)
        return self.op("concatenation", same, y, "ConcatenationOptions", 2, axis=axis)

    def reshape(self, x: int, shape: tuple[int, ...]) -> int:
        table = self.tensor((len(shape),), "int32", data=np.array(shape))
        y = self.activation(shape, *self.quantization(x))
        return self.op("reshape", [x, table], y, "ReshapeOptions", newShape=list(shape))

    def unary(self, kind: str) -> Any:
        """The method for relu, relu6, logistic, tanh, hard_swish, leaky_relu or softmax."""

        def build(x: int) -> int:
            shape, scale = self.shape(x), self.scale(x)
            if (kind, self.dtype) in _FIXED:
                y = self.activation(shape, *_FIXED[kind, self.dtype])
            elif kind in ("relu", "relu6"):
                y = self.activation(shape, scale * float(self.rng.uniform(0.5, 1)))
            else:
                y = self.activation(shape, scale * float(self.rng.uniform(0.7, 1.2)))
            if kind == "softmax":
                return self.op(kind, [x], y, "SoftmaxOptions", 2, beta=1.0)
            if kind == "leaky_relu":
                return self.op(kind, [x], y, "LeakyReluOptions", 2, alpha=0.1)
            if kind == "hard_swish":
                return self.op(kind, [x], y, "HardSwishOptions")
            return self.op(kind, [x], y, "", 2)

        return build

    def mean(self, x: int, axes: tuple[int, ...] = (1, 2), keep_dims: bool = False) -> int:
        table = self.tensor((len(axes),), "int32", data=np.array(axes))
        shape = tuple(
            1 if i in axes else n
            for i, n in enumerate(self.shape(x))
            if keep_dims or i not in axes
        )
        y = self.activation(shape, self.scale(x) * float(self.rng.uniform(0.3, 1)))
        return self.op("mean", [x, table], y, "ReducerOptions", 2, keepDims=keep_dims)

    def quantize(self, x: int, scale: float, zero_point: int, dtype: str = "") -> int:
        """To another scale or integer dtype."""
        y = self.tensor(self.shape(x), dtype or self.dtype, scale, zero_point)
        return self.op("quantize", [x], y, "QuantizeOptions", 2)

    def finish(self, *outputs: int) -> bytes:
        """The file; the last tensor made is the output where none is named."""
        self.subgraph.outputs = list(outputs) or [len(self.subgraph.tensors) - 1]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
