"""Post-training quantization: calibrate a float ``.tflite`` once, then any bit widths in 10 ms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from hwsearch.compress.scales import with_room_for_biases
from hwsearch.data import spaced
from hwsearch.errors import ConversionError
from hwsearch.graph import flatbuffer
from hwsearch.graph.tflite import TfliteModel, read
from hwsearch.quiet import silence

SIGNATURE = "serving_default"

CALIBRATION_SAMPLES = 100
"""Inputs that calibration runs; their largest and smallest values set the ranges."""

DEAD = 1e-6
"""An activation that stays under this on every sample is dead: its range says nothing."""

APART = 1e-6
"""Ranges are widened by this times the tensor's index, so that no two are equal by chance."""

_OPERATIONS = {"conv_2d": "CONV_2D", "fully_connected": "FULLY_CONNECTED"}


@dataclass(frozen=True)
class Calibration:
    """A float model with the value range of each of its activations.

    Attributes:
        model: the float model, tensors named by their index.
        ranges: the quantizer's own statistics.
    """

    model: TfliteModel
    ranges: Any


def named_by_index(content: bytes) -> bytes:
    """The same ``.tflite`` with each tensor's name replaced by its index.

    An operator is then named without ambiguity by its output, and the file is smaller:
    nothing at run time reads names (1.1 KB of a 20 KB MobileNet block).
    """
    model = flatbuffer.unpack(content)
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        tensor.name = str(index)
    return flatbuffer.pack(model)


def deployable(content: bytes) -> bytes:
    """The same quantized ``.tflite`` without what no runtime reads, its data aligned to 16 bytes.

    Names, metadata, and the scales of biases per channel (by definition input scale times weight
    scale, which runtimes compute themselves) go: 16 % of a 7 KB network. Outputs by TFLite Micro
    stay byte for byte the same. The quantizer writes data unaligned, which stops a Cortex-M.
    """
    model = flatbuffer.unpack(content)
    graph = model.subgraphs[0]
    model.description, model.metadata, model.metadataBuffer, graph.name = None, None, None, None
    for tensor in graph.tensors:
        tensor.name = None
    for op in graph.operators:
        for index in list(op.inputs)[2:3]:
            bias = graph.tensors[index] if index >= 0 else None
            if bias is not None and _has_data(model, bias) and _is_per_channel(bias):
                bias.quantization = None
    return flatbuffer.pack(model)


def _has_data(model: Any, tensor: Any) -> bool:
    return model.buffers[tensor.buffer].data is not None


def _is_per_channel(tensor: Any) -> bool:
    quantization = tensor.quantization
    return (
        tensor.type in (schema.TensorType.INT32, schema.TensorType.INT64)
        and quantization is not None
        and quantization.scale is not None
        and len(quantization.scale) > 1
    )


def calibrate(content: bytes, inputs: Sequence[NDArray[np.float32]]) -> Calibration:
    """The ranges that a float model's activations take on some inputs.

    Args:
        content: float ``.tflite`` with a batch of 1 and one signature.
        inputs: per network input float32 [samples, …]; :data:`CALIBRATION_SAMPLES` of them are
            used, evenly spaced.

    Raises:
        ConversionError: the quantizer failed.
    """
    from litert_quantizer.calibrator import Calibrator
    from litert_quantizer.recipe_manager import RecipeManager
    from litert_quantizer.utils.qsv_utils import min_max_update

    content = named_by_index(content)
    names = _signature_inputs(content)
    some = [spaced(values, CALIBRATION_SAMPLES) for values in inputs]
    samples = [
        {name: values[i : i + 1] for name, values in zip(names, some, strict=True)}
        for i in range(len(some[0]))
    ]
    recipe = RecipeManager()
    _add(recipe, ".*", "ALL_SUPPORTED", 8, 8, per_channel=True)
    with silence():
        try:
            # Not Quantizer.calibrate: it averages the samples' ranges, which clips every second
            # sample (squared error of a digit classifier's outputs at int16: 100 times larger).
            calibrator = Calibrator(content, num_threads=1, qsv_update_func=min_max_update)
            calibrator.calibrate({SIGNATURE: samples}, recipe)
            ranges = calibrator.get_model_qsvs()
        except Exception as error:  # the quantizer raises what it likes
            raise ConversionError(
                f"calibration failed: {type(error).__name__}: {error}"
            ) from error
    return Calibration(read(content), {name: _usable(int(name), ranges[name]) for name in ranges})


def _usable(index: int, found: Mapping[str, Any]) -> dict[str, Any]:
    """A tensor's range, alive and unlike any other.

    A dead one would get a scale of 4e-12, with which the biases of the next layer saturate: it
    counts as 0 to 1. Equal ranges would let the quantizer leave out a requantization before a
    concatenation, for some weights and not for others; then costs could not be told beforehand.
    """
    low, high = np.minimum(found["min"], 0), np.maximum(found["max"], 0)
    if max(float(high.max()), -float(low.min())) < DEAD:
        high = np.ones_like(high)
    wider = 1 + APART * index
    return {
        **found,
        "min": (low * wider).astype(np.float32),
        "max": (high * wider).astype(np.float32),
    }


def quantize(
    calibration: Calibration, activation_bits: int, weight_bits: Mapping[int, int]
) -> bytes:
    """The quantized ``.tflite``.

    Args:
        calibration: of the float model.
        activation_bits: 8 or 16.
        weight_bits: 4 for operators (by index in the float model) whose weights are not 8 bits:
            convolutions per channel, dense layers per tensor, as TFLite Micro runs them.
            Operators that share their weights get the same bits.

    Raises:
        ConversionError: the quantizer failed.
    """
    from litert_quantizer.quantizer import Quantizer

    quantizer = Quantizer(calibration.model.content)
    _add(quantizer, ".*", "ALL_SUPPORTED", activation_bits, 8, per_channel=True)
    ops = calibration.model.graph.ops
    low = {ops[index].inputs[1]: bits for index, bits in weight_bits.items() if bits != 8}
    for op in ops:  # all that share a weight tensor: a layer that is called twice
        bits = low.get(op.inputs[1], 8) if op.kind in _OPERATIONS else 8
        if bits != 8:
            name = f"^{op.outputs[0]};?$"
            _add(
                quantizer, name, _OPERATIONS[op.kind], activation_bits, bits, op.kind == "conv_2d"
            )
    with silence():
        try:
            result = quantizer.quantize(
                calibration.ranges, enable_progress_bar=False, enable_progress_report=False
            )
        except Exception as error:
            raise ConversionError(
                f"quantization failed: {type(error).__name__}: {error}"
            ) from error
    made = with_room_for_biases(bytes(result.quantized_model), calibration.model)
    return deployable(made)


def _add(
    recipe: Any, pattern: str, operation: str, activation: int, weight: int, per_channel: bool
) -> None:
    from litert_quantizer import qtyping

    granularity = qtyping.QuantGranularity
    recipe.add_static_config(
        regex=pattern,
        operation_name=getattr(qtyping.TFLOperationName, operation),
        activation_num_bits=activation,
        weight_num_bits=weight,
        weight_granularity=granularity.CHANNELWISE if per_channel else granularity.TENSORWISE,
    )


def _signature_inputs(content: bytes) -> list[str]:
    """Names of the signature's inputs in the order of the network's inputs."""
    model = schema.Model.GetRootAsModel(content, 0)
    signature = model.SignatureDefs(0)
    if signature is None:
        raise ConversionError(
            "the float .tflite has no signature; convert it with hwsearch.convert."
        )
    names = {}
    for i in range(signature.InputsLength()):
        entry = signature.Inputs(i)
        names[entry.TensorIndex()] = entry.Name().decode()
    return [names[i] for i in read(content).graph.inputs]
