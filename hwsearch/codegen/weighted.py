"""Calls of the layers with weights: how they are stored, their biases and requantization."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.codegen import packing
from hwsearch.codegen.layers import row_values
from hwsearch.codegen.scaling import Requantization, params, requantization
from hwsearch.codegen.site import Site, window_of
from hwsearch.graph import BITS


def _requant(site: Site, q: Requantization) -> str:
    source, i = site.source, site.index
    bias_type = np.int64 if site.bits == 16 else np.int32
    bias = source.array(f"bias_{i}", packing.even(q.bias.astype(bias_type)), "bias")
    multiplier = source.array(
        f"multiplier_{i}", packing.even(q.multiplier.astype(np.int32)), "requantization"
    )
    shift = source.array(f"shift_{i}", packing.even(q.shift.astype(np.int8)), "requantization")
    fields = {
        "bias": bias, "multiplier": multiplier, "shift": shift, "min": q.low, "max": q.high,
    }  # fmt: skip
    if site.bits == 16:
        return source.structure("nn_requant16_t", f"requant_{i}", fields, 24)
    fields |= {"zero_point": q.zero_point, "narrow": int(q.narrow)}
    return source.structure("nn_requant_t", f"requant_{i}", fields, 28)


def _weights(site: Site) -> tuple[NDArray[Any], int]:
    """(int8 [channels, values], bits)."""
    tensor = site.op.inputs[1]
    weights = site.model.constant(tensor)
    bits = BITS[site.model.graph.tensors[tensor].dtype]
    if site.op.kind == "depthwise_conv_2d":
        return weights.reshape(-1, weights.shape[-1]).T, bits
    return weights.reshape(weights.shape[0], -1), bits


def conv(site: Site) -> None:
    """Append a convolution, dense layer or transposed convolution."""
    window = site.layer.window
    assert window is not None
    weights, bits = _weights(site)
    read = site.layer.inputs[0]
    bias = 3 if site.op.kind == "transpose_conv" else 2
    q = requantization(site.model, site.op, read, weights, bias)
    places = [site.at(read), site.at(site.layer.output), site.scratch]
    family = site.layer.kind.removesuffix("_2d")
    if family == "dense":
        sizes = [f"{weights.shape[1]}U", f"{weights.shape[0]}U", _requant(site, q)]
    else:
        sizes = [window_of(site, window), _requant(site, q)]
    zero = [] if family == "dense" or site.bits == 16 else [str(params(site.model, read)[1])]
    if site.layer.format != "dense":
        _compressed(site, weights, window.channels_in, family, [*sizes, *zero], places)
        return
    permute = site.bits == 8 and family != "transpose_conv"
    packed = packing.pack(weights, window.channels_in, bits, permute)
    name = site.source.array(f"weights_{site.index}", packed, "weights", 4)
    if site.bits == 16:
        sizes.append(f"{_chunk(weights)}U")
        file = "nn_transpose_conv_s16" if family == "transpose_conv" else "nn_conv_s16"
        site.call(f"nn_{family}_s16", file, [*sizes, name, *places])
        return
    if family != "transpose_conv":
        sizes.append(f"&nn_int{bits}{'_vector' if family == 'dense' else ''}")
    kernel = f"nn_{family}_s8"
    note = "int4 weights" if bits == 4 else ""
    site.call(kernel, kernel, [*sizes, *zero, name, *places], note)


def _compressed(
    site: Site, weights: NDArray[Any], depth: int, family: str, sizes: list[str],
    places: list[str],
) -> None:  # fmt: skip
    """Append the call for weights that are not stored one by one."""
    source, i, name = site.source, site.index, site.layer.format
    if name == "palette":
        values, indices = packing.palette(weights, depth)
        stored = [
            source.array(f"palette_{i}", values, "weights"),
            source.array(f"weights_{i}", indices, "weights", 4),
        ]
    else:
        stored = [source.array(f"weights_{i}", packing.sparse(weights), "weights", 2)]
    arguments = [*sizes, *stored, *places]
    site.call(f"nn_{name}_{family}_s8", f"nn_{name}_s8", arguments, f"{name} weights")


def _chunk(weights: NDArray[Any]) -> int:
    """Groups whose sum of products with int16 activations fits 32 bits, for every channel."""
    largest = int(np.abs(weights.astype(np.int64)).max(initial=1)) * 32768 * 2
    return max(1, (2**31 - 1) // largest)


def depthwise(site: Site) -> None:
    """Append a depthwise convolution."""
    window = site.layer.window
    assert window is not None
    weights, _ = _weights(site)
    read = site.layer.inputs[0]
    q = requantization(site.model, site.op, read, weights, 2)
    name = site.source.array(
        f"weights_{site.index}", np.ascontiguousarray(weights.astype(np.int8)), "weights"
    )
    zero = [] if site.bits == 16 else [str(params(site.model, read)[1])]
    places = [name, site.at(read), site.at(site.layer.output), site.scratch]
    arguments = [
        window_of(site, window),
        _requant(site, q),
        *zero,
        *places,
        f"{row_values(window)}U",
    ]
    kernel = f"nn_depthwise_{site.suffix}"
    site.call(kernel, kernel, arguments)
