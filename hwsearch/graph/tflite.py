"""A ``.tflite`` file as a Graph, with its constants and quantization; the file is not trusted.

Every offset is checked by the flatbuffers runtime or here: a damaged file ends in a
ModelFileError, never in a crash or an endless loop.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from hwsearch.errors import ModelFileError
from hwsearch.graph.graph import BITS, Graph, Op, Tensor
from hwsearch.graph.sound import check

MAX_TENSORS = 100_000
"""More tensors or operators than this and the file is taken for damaged."""

DTYPES = {
    value: name.lower()
    for name, value in vars(schema.TensorType).items()
    if isinstance(value, int) and name.lower() in BITS
}
_NUMPY = {"int4": np.int8, "bool": np.bool_}
_KINDS = {v: k.lower() for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
_OPTIONS = {v: k for k, v in vars(schema.BuiltinOptions).items() if isinstance(v, int)}
_ACTIVATIONS = {
    v: k.lower() for k, v in vars(schema.ActivationFunctionType).items() if isinstance(v, int)
}
_PADDINGS = {v: k.lower() for k, v in vars(schema.Padding).items() if isinstance(v, int)}
_DAMAGE = (struct.error, IndexError, ValueError, TypeError, OverflowError, KeyError, MemoryError)


@dataclass(frozen=True)
class Quantization:
    """How a tensor's integers stand for real numbers: ``real = scale * (q - zero_point)``.

    Attributes:
        scale: float32 [n], n is 1 (per tensor) or the size of ``axis``.
        zero_point: int64 [n].
        axis: the dimension that n runs along.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int


@dataclass(frozen=True)
class TfliteModel:
    """A parsed file: its Graph, and per tensor constants and quantization.

    Attributes:
        graph: the network.
        content: the file.
        quantization: per tensor, None where it has none.
    """

    graph: Graph
    content: bytes
    quantization: tuple[Quantization | None, ...]
    _spans: tuple[tuple[int, int], ...]

    def constant(self, index: int) -> NDArray[Any]:
        """Values of constant tensor ``index`` in its shape and dtype; int4 is unpacked to int8.

        Raises:
            ModelFileError: the tensor is not constant, or its bytes do not fill its shape.
        """
        tensor = self.graph.tensors[index]
        start, size = self._spans[index]
        if size == 0:
            raise ModelFileError(
                f"tensor {index} ({tensor.name!r}) of {self.graph.name} has no constant data"
            )
        raw = np.frombuffer(self.content, np.uint8, size, start)
        if tensor.dtype == "int4":
            # Two's-complement nibbles, low one first (portable_tensor_utils.cc).
            pairs = np.stack([raw << 4, raw & 0xF0], axis=-1).reshape(-1).view(np.int8) >> 4
            values = pairs[: tensor.elements]
        else:
            values = raw.view(_NUMPY.get(tensor.dtype, np.dtype(tensor.dtype)))
        if values.size != tensor.elements:
            raise ModelFileError(
                f"tensor {index} ({tensor.name!r}) of {self.graph.name} has {size} bytes of data, "
                f"its shape {tensor.shape} of {tensor.dtype} needs another number. The file is "
                "damaged."
            )
        return values.reshape(tensor.shape)


def read(source: str | Path | bytes, name: str = "") -> TfliteModel:
    """The model in a ``.tflite`` file.

    Args:
        source: a path, or the file's content.
        name: for messages; defaults to the path.

    Raises:
        ModelFileError: the file cannot be read, is damaged, has several subgraphs, dynamic
            shapes, or a dtype that no microcontroller runtime knows.
    """
    if isinstance(source, bytes | bytearray):
        content, name = bytes(source), name or "the model"
    else:
        try:
            content, name = Path(source).read_bytes(), name or str(source)
        except OSError as error:
            raise ModelFileError(
                f"cannot read {source}: {error.strerror}. Give the path of a .tflite file."
            ) from error
    if len(content) < 16 or content[4:8] != b"TFL3":
        raise ModelFileError(
            f"{name} is not a .tflite file: bytes 4 to 8 are {content[4:8]!r}, expected b'TFL3'."
        )
    try:
        return _parse(content, name)
    except ModelFileError:
        raise
    except _DAMAGE as error:
        raise ModelFileError(
            f"{name} is damaged: {type(error).__name__}: {error}. Convert the model again."
        ) from error


def _parse(content: bytes, name: str) -> TfliteModel:
    model = schema.Model.GetRootAsModel(content, 0)
    if model.SubgraphsLength() != 1:
        raise ModelFileError(
            f"{name} has {model.SubgraphsLength()} subgraphs, expected 1. Remove control flow "
            "(while, if) from the model."
        )
    subgraph = model.Subgraphs(0)
    for what, length in (
        ("tensors", subgraph.TensorsLength()),
        ("operators", subgraph.OperatorsLength()),
        ("buffers", model.BuffersLength()),
        ("operator codes", model.OperatorCodesLength()),
    ):
        if length > min(MAX_TENSORS, len(content)):
            raise ModelFileError(
                f"{name} is damaged: it claims {length} {what} in {len(content)} bytes."
            )
    tensors, quantization, spans = [], [], []
    for i in range(subgraph.TensorsLength()):
        raw = subgraph.Tensors(i)
        span = _span(model, raw.Buffer(), content, name)
        tensors.append(_tensor(raw, i, span, name))
        quantization.append(_quantization(raw.Quantization(), tensors[i], i, len(content), name))
        spans.append(span)
    codes = []
    for i in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(i)
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        kind = _KINDS.get(builtin, f"builtin_{builtin}")
        codes.append(f"custom:{(code.CustomCode() or b'').decode()}" if kind == "custom" else kind)
    ops = []
    for i in range(subgraph.OperatorsLength()):
        raw = subgraph.Operators(i)
        ops.append(_op(raw, codes[raw.OpcodeIndex()]))
    graph = Graph(
        tuple(tensors),
        tuple(ops),
        _indexes(subgraph.InputsAsNumpy()),
        _indexes(subgraph.OutputsAsNumpy()),
        len(content),
        name,
    )
    check(graph)
    return TfliteModel(graph, content, tuple(quantization), tuple(spans))


def _span(model: Any, buffer_index: int, content: bytes, name: str) -> tuple[int, int]:
    """(start, size) of a buffer's data in the file; (0, 0) where it has none."""
    buffer = model.Buffers(buffer_index) if buffer_index < model.BuffersLength() else None
    if buffer is None:
        raise ModelFileError(f"{name} is damaged: buffer {buffer_index} does not exist.")
    if buffer.Size() > 1:  # data appended after the flatbuffer (files over 2 GB)
        start, size = buffer.Offset(), buffer.Size()
    else:
        field = buffer._tab.Offset(4)
        if not field:
            return 0, 0
        start, size = buffer._tab.Vector(field), buffer._tab.VectorLen(field)
    if start < 0 or start + size > len(content):
        raise ModelFileError(
            f"{name} is damaged: buffer {buffer_index} reaches beyond the end of the file."
        )
    return start, size


def _tensor(raw: Any, index: int, span: tuple[int, int], name: str) -> Tensor:
    label = (raw.Name() or b"").decode("utf-8", "replace")
    if raw.Type() not in DTYPES:
        raise ModelFileError(
            f"tensor {index} ({label!r}) of {name} has a dtype (code {raw.Type()}) that no "
            f"microcontroller runtime knows. Expected one of {', '.join(BITS)}."
        )
    shape = _indexes(raw.ShapeAsNumpy())
    signature = _indexes(raw.ShapeSignatureAsNumpy())
    if -1 in signature[1:] or any(
        d < 0 for d in shape
    ):  # an open batch is written as 1 in the shape
        raise ModelFileError(
            f"tensor {index} ({label!r}) of {name} has a dynamic shape {signature or shape}. "
            "Convert with every dimension known: Input(batch_shape=(1, height, width, channels))."
        )
    dtype = DTYPES[raw.Type()]
    quantization = raw.Quantization()
    scales = quantization.ScaleLength() if quantization else 0
    scale = float(quantization.Scale(0)) if scales == 1 else 0.0
    tensor = Tensor(label, shape, dtype, span[1], scales, raw.IsVariable(), scale)
    if span[1] and span[1] != tensor.size_bytes:
        raise ModelFileError(
            f"tensor {index} ({label!r}) of {name} has {span[1]} bytes of data, shape {shape} of "
            f"{dtype} needs {tensor.size_bytes}. The file is damaged."
        )
    return tensor


def _quantization(
    raw: Any, tensor: Tensor, index: int, limit: int, name: str
) -> Quantization | None:
    if raw is None or raw.ScaleLength() == 0:
        return None
    count = raw.ScaleLength()
    if count > limit:
        raise ModelFileError(f"{name} is damaged: it claims {count} scales.")
    zero_point = raw.ZeroPointAsNumpy() if raw.ZeroPointLength() else np.zeros(count, np.int64)
    scale, axis = np.array(raw.ScaleAsNumpy()), raw.QuantizedDimension()
    along = tensor.shape[axis] if 0 <= axis < len(tensor.shape) else 1
    fits = count in (1, along) and len(zero_point) == count
    if not fits or not np.isfinite(scale).all() or (scale <= 0).any():
        raise ModelFileError(
            f"tensor {index} ({tensor.name!r}) of {name} has {count} scales and "
            f"{len(zero_point)} zero points along axis {axis} of {tensor.shape}, expected "
            "positive scales, one in all or one a channel. Convert the model again."
        )
    return Quantization(scale, np.array(zero_point), axis)


def _indexes(vector: Any) -> tuple[int, ...]:
    """A flatbuffers integer vector as a tuple; the runtime says 0 where there is none."""
    return () if isinstance(vector, int) else tuple(vector.tolist())


def _pair(options: Any, height: str, width: str) -> tuple[int, int]:
    return getattr(options, height)(), getattr(options, width)()


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "stride": lambda o: _pair(o, "StrideH", "StrideW"),
    "dilation": lambda o: _pair(o, "DilationHFactor", "DilationWFactor"),
    "window": lambda o: _pair(o, "FilterHeight", "FilterWidth"),
    "padding": lambda o: _PADDINGS[o.Padding()],
    "activation": lambda o: _ACTIVATIONS[o.FusedActivationFunction()],
    "depth_multiplier": lambda o: o.DepthMultiplier(),
    "axis": lambda o: o.Axis(),
    "keep_dims": lambda o: bool(o.KeepDims()),
    "alpha": lambda o: o.Beta() if hasattr(o, "Beta") else o.Alpha(),
}


def _op(raw: Any, kind: str) -> Op:
    inputs, outputs = _indexes(raw.InputsAsNumpy()), _indexes(raw.OutputsAsNumpy())
    options_kind = _OPTIONS.get(raw.BuiltinOptionsType(), "NONE")
    table = raw.BuiltinOptions()
    if options_kind == "NONE" or table is None or kind.startswith("custom:"):
        return Op(kind, inputs, outputs)
    options = getattr(schema, options_kind)()
    options.Init(table.Bytes, table.Pos)
    fields = {}
    for field, get in _FIELDS.items():
        try:
            fields[field] = get(options)
        except AttributeError:  # this kind has no such option
            continue
    return Op(kind, inputs, outputs, **fields)
