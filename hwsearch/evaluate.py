"""What the deployed artefact really computes: the ``.tflite`` run on data, never a proxy of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch import oracle
from hwsearch.candidate import Measurement
from hwsearch.data import Array
from hwsearch.graph.tflite import TfliteModel, read
from hwsearch.quiet import silence

FAST = "LiteRT XNNPACK"
"""Fast: 10,000 images in about a second; argmax as the oracle's on 99.7 %, bytes on only 75 %."""

EXACT_ELSEWHERE = "LiteRT reference kernels"
"""Where there is no ``tflite-micro`` wheel: single rounding, 3 of 5,120 outputs differ."""


def quantized(values: Array, model: TfliteModel, index: int) -> NDArray[Any]:
    """Real values as network tensor ``index`` takes them: its dtype, its scale and zero point."""
    tensor, q = model.graph.tensors[index], model.quantization[index]
    if q is None or tensor.dtype == "float32":
        return np.asarray(values, np.dtype(tensor.dtype))
    limits = np.iinfo(tensor.dtype)
    scaled = np.rint(np.asarray(values, np.float32) / q.scale[0]) + q.zero_point[0]
    return np.clip(scaled, limits.min, limits.max).astype(tensor.dtype)


def dequantized(values: Array, model: TfliteModel, index: int) -> NDArray[np.float32]:
    """A network tensor's integers as real values."""
    q = model.quantization[index]
    if q is None or values.dtype.kind == "f":
        return np.asarray(values, np.float32)
    return ((values.astype(np.float32) - q.zero_point[0]) * q.scale[0]).astype(np.float32)


def fast(content: bytes, inputs: Sequence[Array]) -> tuple[NDArray[np.float32], ...]:
    """Outputs of a ``.tflite`` by LiteRT with XNNPACK, as real values.

    Args:
        content: the model, batch 1.
        inputs: per network input real values [samples, …].
    """
    return _litert(content, inputs, reference=False)


def exact(
    content: bytes, inputs: Sequence[Array], arena_bytes: int
) -> tuple[tuple[NDArray[np.float32], ...], Measurement | None, str]:
    """Outputs by the oracle, what it measured, and which oracle it was.

    Args:
        content: the model, batch 1.
        inputs: per network input real values [samples, …].
        arena_bytes: the arena that is expected.

    Raises:
        RefusedError: TFLite Micro refuses the model.
    """
    if not oracle.available():
        return _litert(content, inputs, reference=True), None, EXACT_ELSEWHERE
    model = read(content)
    given = [quantized(x, model, i) for x, i in zip(inputs, model.graph.inputs, strict=True)]
    run = oracle.run(content, given, arena_bytes)
    outputs = tuple(
        dequantized(y, model, i) for y, i in zip(run.outputs, model.graph.outputs, strict=True)
    )
    measured = Measurement(
        "tflite-micro wheel, x86-64", "host", arena_bytes=run.arena_bytes, repeats=len(given[0])
    )
    return outputs, measured, oracle.NAME


def _litert(
    content: bytes, inputs: Sequence[Array], reference: bool
) -> tuple[NDArray[np.float32], ...]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
    model = read(content)
    with silence():
        interpreter = Interpreter(
            model_content=content, num_threads=1, experimental_op_resolver_type=resolver
        )
        interpreter.allocate_tensors()
    graph = model.graph
    given = [quantized(x, model, i) for x, i in zip(inputs, graph.inputs, strict=True)]
    shapes = [graph.tensors[i].shape for i in graph.inputs]
    made: list[list[Array]] = [[] for _ in graph.outputs]
    for sample in range(len(inputs[0])):
        for values, index, shape in zip(given, graph.inputs, shapes, strict=True):
            interpreter.set_tensor(index, values[sample].reshape(shape))
        interpreter.invoke()
        for column, index in zip(made, graph.outputs, strict=True):
            column.append(interpreter.get_tensor(index))
    return tuple(
        dequantized(np.concatenate(column), model, i)
        for column, i in zip(made, graph.outputs, strict=True)
    )
