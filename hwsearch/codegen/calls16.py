"""Calls of the int16 kernels that differ from int8's: unary operators and softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.codegen import fixed_point as fp
from hwsearch.codegen.scaling import params
from hwsearch.codegen.site import Site
from hwsearch.codegen.tables import limits
from hwsearch.graph.graph import BITS

POWER_OF_TWO = 1e-3
"""How near to an integer log2 of a scale must be for TFLite to call it a power of two."""


def unary(site: Site, size: str, places: list[str]) -> None:
    """Call of a unary operator that reads or makes int16."""
    if site.op.kind in ("logistic", "tanh"):
        _sigmoidal(site, size, places)
    else:
        _rescale(site, size, places)


def _rescale(site: Site, size: str, places: list[str]) -> None:
    read, made = site.layer.inputs[0], site.layer.output
    (in_scale, in_zero), (scale, zero) = params(site.model, read), params(site.model, made)
    low, high = limits(BITS[site.model.graph.tensors[made].dtype])
    kind = site.op.kind
    multiplier = fp.quantize_multiplier(float(in_scale) / float(scale))
    negative = multiplier
    if kind == "leaky_relu":
        slope = float(in_scale) * float(np.float32(site.op.alpha)) / float(scale)
        negative = fp.quantize_multiplier(slope)
    elif kind == "relu":
        low = max(low, zero)
    elif kind == "relu6":  # clamps to the input's own quantization and copies
        multiplier = negative = (2**30, 1)
        zero = in_zero
        low, high = in_zero, in_zero + fp.round_half_away(float(np.float32(6.0) / in_scale))
    fields = {
        "in_zero": in_zero, "zero_point": zero, "min": low, "max": high,
        "multiplier": multiplier[0], "shift": multiplier[1],
        "negative_multiplier": negative[0], "negative_shift": negative[1],
    }  # fmt: skip
    q = site.source.structure("nn_rescale_t", f"rescale_{site.index}", fields, 32)
    kernel = "nn_rescale_s16"
    if site.bits == 8:
        kernel = "nn_rescale_s8_s16"
    elif site.model.graph.tensors[made].dtype == "int8":
        kernel = "nn_rescale_s16_s8"
    site.call(kernel, "nn_elementwise_s16", [size, q, *places])


def _sigmoidal(site: Site, size: str, places: list[str]) -> None:
    scale = params(site.model, site.layer.inputs[0])[0]
    log2 = np.log(scale) * (np.float32(1.0) / np.log(np.float32(2.0)))
    left = 12 + round(float(log2))
    exact = (0,) if site.op.kind == "logistic" else (0, 1)
    if abs(float(log2) - round(float(log2))) < POWER_OF_TWO and left in exact:
        multiplier, right = 3 << left, 0
    else:
        real, right = float(scale) * 4096.0 * 3.0, 0
        while real <= 32767.0 / 2.0 and right <= 30:
            real, right = real * 2, right + 1
        multiplier = int(real)
    name = "sigmoid"
    if name not in site.source.arrays:
        site.source.array(name, sigmoid_table(), "tables")
    kernel = f"nn_{site.op.kind}_s16"
    site.call(kernel, "nn_sigmoid_s16", [size, name, str(multiplier), str(right), *places])


def softmax(site: Site, sizes: list[str], scale: np.float32, places: list[str]) -> None:
    """Call of softmax on int16."""
    multiplier, shift = fp.quantize_multiplier(
        float(scale) * float(np.float32(site.op.alpha)) / (10.0 / 65535.0)
    )
    if "exps16" not in site.source.arrays:
        site.source.array("exps16", steps_table(np.exp, -10.0, 0.0), "tables")
        inverse = steps_table(lambda x: np.float32(1) / (np.float32(1) + x), 0.0, 1.0)
        site.source.array("inverses16", inverse, "tables")
    arguments = [*sizes, "exps16", "inverses16", str(multiplier), str(shift), *places]
    site.call("nn_softmax_s16", "nn_softmax_s16", arguments)


def sigmoid_table() -> NDArray[np.uint16]:
    """uint16 [256]: 65536 / (1 + exp(-i / 24)) plus half of what a straight line misses midway.

    Equal to TFLite's ``sigmoid_table_uint16``, whose last entry is one; the formula is ours, found
    from its values.
    """

    def at(x: float) -> float:
        return 65536 / (1 + math.exp(-x / 24))

    values = [at(i) + (at(i + 0.5) - (at(i) + at(i + 1)) / 2) / 2 for i in range(255)]
    return np.array([*map(fp.round_half_away, values), 65535], np.uint16)


def steps_table(function: Callable[[Any], Any], low: float, high: float) -> NDArray[np.int16]:
    """int16 [513]: a function over [low, high] in Q15, shifted so that lines between err less.

    TFLite's ``gen_lut`` (tensorflow/lite/kernels/internal/common.h), in float32 as there.
    """
    one, scale = np.float32, np.float32(32768)
    step = (one(high) - one(low)) / one(512)

    def whole(x: np.float32) -> np.float32:
        return np.float32(fp.round_half_away(float(x)))

    table = []
    for i in range(512):
        at = one(low) + one(i) * step
        value = whole(function(at) * scale)
        middle = whole(function(at + step / one(2)) * scale)
        after = function(one(low) + one(i + 1) * step) * scale
        between = whole((after + value) / one(2))
        table.append(value - whole((between - middle) / one(2)))
    table.append(whole(function(one(high)) * scale))
    return np.clip(np.array(table), -32768, 32767).astype(np.int16)
