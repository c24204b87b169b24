"""One kernel call per layer: its constants, structures and arguments."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.codegen import calls16, packing, tables
from hwsearch.codegen import fixed_point as fp
from hwsearch.codegen.emit import Source, float_text
from hwsearch.codegen.layers import UNARY, Layer, Window, row_values
from hwsearch.codegen.refuse import mean_span
from hwsearch.codegen.scaling import (
    NARROW_SHIFT,
    Requantization,
    activation_range,
    params,
    requantization,
)
from hwsearch.graph import BITS, Op
from hwsearch.graph.tflite import TfliteModel


@dataclass(frozen=True)
class Site:
    """Where a call is written.

    Attributes:
        model, source: what is compiled, and into what.
        layer: the layer; ``index`` its number.
        at: gives the C expression of a tensor.
        scratch: the C expression of the layer's scratch buffer.
    """

    model: TfliteModel
    source: Source
    layer: Layer
    index: int
    at: Callable[[int], str]
    scratch: str

    @property
    def op(self) -> Op:
        """The operator that the layer computes."""
        return self.model.graph.ops[self.layer.op_index]

    @property
    def bits(self) -> int:
        """Of the activations that the layer reads."""
        return BITS[self.model.graph.tensors[self.layer.inputs[0]].dtype]

    @property
    def suffix(self) -> str:
        """Of the kernels for these activations."""
        return "s16" if self.bits == 16 else "s8"

    def call(self, kernel: str, file: str, arguments: list[str], note: str = "") -> None:
        """Append the statement."""
        made = self.model.graph.tensors[self.layer.output]
        shape = "x".join(str(n) for n in made.shape)
        comment = f"{self.index} {self.op.kind}: {shape} {made.dtype}{', ' + note if note else ''}"
        self.source.call(comment, kernel, file, arguments)


def write(site: Site) -> None:
    """Append the call of a layer, and the constants that it needs."""
    _WRITERS[site.layer.kind](site)


def _window(site: Site, window: Window) -> str:
    top, left = window.padding
    if site.layer.pad_index >= 0:
        amounts = site.model.constant(site.model.graph.ops[site.layer.pad_index].inputs[1])
        top, left = int(amounts[1][0]), int(amounts[2][0])
    return site.source.structure(
        "nn_window_t",
        f"window_{site.index}",
        {
            "in_h": window.image[0], "in_w": window.image[1], "in_c": window.channels_in,
            "out_h": window.made[0], "out_w": window.made[1], "out_c": window.channels_out,
            "kernel_h": window.kernel[0], "kernel_w": window.kernel[1],
            "stride_h": window.stride[0], "stride_w": window.stride[1],
            "dilation_h": window.dilation[0], "dilation_w": window.dilation[1],
            "pad_top": top, "pad_left": left,
        },
        28,
    )  # fmt: skip


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


def _conv(site: Site) -> None:
    window = site.layer.window
    assert window is not None
    weights, bits = _weights(site)
    read = site.layer.inputs[0]
    bias = 3 if site.op.kind == "transpose_conv" else 2
    q = requantization(site.model, site.op, read, weights, bias)
    permute = site.bits == 8 and site.op.kind != "transpose_conv"
    packed = packing.pack(weights, window.channels_in, bits, permute)
    name = site.source.array(f"weights_{site.index}", packed, "weights", 4)
    requant, zero = _requant(site, q), str(params(site.model, read)[1])
    pixels = "1x2" if site.layer.kind == "dense" else "4x2"
    dot = [f"nn_dot{'4' if bits == 4 else ''}_{pixels}", "2U" if bits == 4 else "4U"]
    places = [name, site.at(read), site.at(site.layer.output), site.scratch]
    note = "int4 weights" if bits == 4 else ""
    if site.bits == 16:
        span = [f"{_chunk(weights, len(packed))}U"]
        if site.layer.kind == "dense":
            sizes = [f"{weights.shape[1]}U", f"{weights.shape[0]}U"]
            site.call("nn_dense_s16", "nn_conv_s16", [*sizes, requant, *span, *places])
        elif site.op.kind == "transpose_conv":
            arguments = [_window(site, window), requant, *span, *places]
            site.call("nn_transpose_conv_s16", "nn_transpose_conv_s16", arguments)
        else:
            site.call(
                "nn_conv_s16", "nn_conv_s16", [_window(site, window), requant, *span, *places]
            )
        return
    if site.layer.kind == "dense":
        sizes = [f"{weights.shape[1]}U", f"{weights.shape[0]}U"]
        site.call("nn_dense_s8", "nn_dense_s8", [*sizes, requant, *dot, *places], note)
    elif site.op.kind == "transpose_conv":
        arguments = [_window(site, window), requant, zero, *places]
        site.call("nn_transpose_conv_s8", "nn_transpose_conv_s8", arguments)
    else:
        arguments = [_window(site, window), requant, *dot, zero, *places]
        site.call("nn_conv_s8", "nn_conv_s8", arguments, note)


def _chunk(weights: NDArray[Any], packed: int) -> int:
    """Groups whose sum of products with int16 activations fits 32 bits, for every channel."""
    largest = int(np.abs(weights.astype(np.int64)).max(initial=1)) * 32768 * 2
    return max(1, (2**31 - 1) // largest)


def _depthwise(site: Site) -> None:
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
        _window(site, window),
        _requant(site, q),
        *zero,
        *places,
        f"{row_values(window)}U",
    ]
    kernel = f"nn_depthwise_{site.suffix}"
    site.call(kernel, kernel, arguments)


def _pool(site: Site) -> None:
    assert site.layer.window is not None
    low, high = activation_range(site.model, site.layer.output, site.op.activation)
    name = "average" if site.op.kind.startswith("average") else "max"
    arguments = [_window(site, site.layer.window), str(low), str(high)]
    places = [site.at(site.layer.inputs[0]), site.at(site.layer.output)]
    site.call(f"nn_{name}_pool_{site.suffix}", f"nn_pool_{site.suffix}", [*arguments, *places])


def _binary(site: Site) -> None:
    op, model = site.op, site.model
    left, right = op.inputs[:2]
    if op.kind == "add" and params(model, left)[0] < params(model, right)[0]:
        left, right = right, left  # the kernel wants the larger scale first
    shapes = [model.graph.tensors[i].shape for i in (left, right)]
    made = model.graph.tensors[site.layer.output].shape
    n, steps = _broadcast(made, shapes)
    (a_scale, a_zero), (b_scale, b_zero) = params(model, left), params(model, right)
    scale, zero = params(model, site.layer.output)
    low, high = activation_range(model, site.layer.output, op.activation)
    fields: dict[str, Any] = {
        "n": n, "a_step": steps[0], "b_step": steps[1],
        "a_zero": a_zero, "b_zero": b_zero, "zero_point": zero, "min": low, "max": high,
    }  # fmt: skip
    if op.kind == "mul":
        real = float(a_scale) * float(b_scale) / float(scale)
        fields["multiplier"], fields["shift"] = fp.quantize_multiplier(real)
    else:
        left_shift = 15 if site.bits == 16 else 20
        twice = 2 * float(max(a_scale, b_scale))
        for name, real in (("a", float(a_scale) / twice), ("b", float(b_scale) / twice)):
            multiplier, shift = fp.quantize_multiplier(real)
            fields[f"{name}_multiplier"], fields[f"{name}_right"] = multiplier, -shift
        real = twice / (2**left_shift * float(scale))
        fields["multiplier"], fields["shift"] = fp.quantize_multiplier(real)
        fields["sign"] = -1 if op.kind == "sub" else 1
        if op.kind == "add" and site.bits == 8 and -NARROW_SHIFT <= fields["shift"] < 0:
            # A shift of 0 becomes one of 1 after twice the value: still exact.
            fields["b_unit"] = 2**20 if fields["b_right"] else 2**21
            fields["b_right"] = fields["b_right"] or 1
    q = site.source.structure("nn_binary_t", f"binary_{site.index}", fields, 104)
    places = [_operand(site, left, 0), _operand(site, right, 1), site.at(site.layer.output)]
    kernel = f"nn_{'mul' if op.kind == 'mul' else 'add'}_{site.suffix}"
    site.call(kernel, f"nn_elementwise_{site.suffix}", [q, *places])


def _operand(site: Site, tensor: int, position: int) -> str:
    """A tensor, or the array of a constant one."""
    if not site.model.graph.tensors[tensor].is_constant:
        return site.at(tensor)
    values = site.model.constant(tensor)
    return site.source.array(f"operand_{site.index}_{position}", values, "constants")


def _broadcast(
    made: tuple[int, ...], shapes: list[tuple[int, ...]]
) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """Four sizes and, per operand, four steps; one long row where nothing is broadcast."""
    total = math.prod(made)
    if all(math.prod(s) == total for s in shapes):
        return (1, 1, 1, total), [(0, 0, 0, 1)] * 2
    n = (1,) * (4 - len(made)) + tuple(made)
    steps = []
    for shape in shapes:
        full = (1,) * (4 - len(shape)) + tuple(shape)
        strides = [math.prod(full[d + 1 :]) for d in range(4)]
        steps.append(tuple(s if full[d] > 1 else 0 for d, s in enumerate(strides)))
    return n, steps


def _unary(site: Site) -> None:
    read, made = site.layer.inputs[0], site.layer.output
    graph = site.model.graph
    size = f"{graph.tensors[made].elements}U"
    places = [site.at(read), site.at(made)]
    if "float32" in (graph.tensors[read].dtype, graph.tensors[made].dtype):
        integer = made if site.op.kind == "quantize" else read
        scale, zero = params(site.model, integer)
        suffix = "s16" if graph.tensors[integer].dtype == "int16" else "s8"
        arguments = [size, float_text(scale), str(zero), *places]
        site.call(f"nn_{site.op.kind}_{suffix}", "nn_float", arguments)
        return
    if site.bits == 8 and graph.tensors[made].dtype == "int8":
        table = tables.lookup_s8(
            site.op.kind, params(site.model, read), params(site.model, made), site.op.alpha
        )
        name = site.source.array(f"table_{site.index}", table, "tables")
        site.call("nn_lookup_s8", "nn_elementwise_s8", [size, name, *places])
        return
    calls16.unary(site, size, places)


def _softmax(site: Site) -> None:
    read, made = site.layer.inputs[0], site.layer.output
    shape = site.model.graph.tensors[made].shape
    sizes = [f"{math.prod(shape[:-1])}U", f"{shape[-1]}U"]
    scale = params(site.model, read)[0]
    places = [site.at(read), site.at(made)]
    if site.bits == 16:
        calls16.softmax(site, sizes, scale, places)
        return
    exps = tables.exps(scale, site.op.alpha)
    name = site.source.array(f"exps_{site.index}", exps, "tables")
    arguments = [*sizes, name, f"{exps.size}U", *places]
    site.call("nn_softmax_s8", "nn_softmax_s8", arguments)


def _mean(site: Site) -> None:
    read, made = site.layer.inputs[0], site.layer.output
    outer, n, inner = mean_span(site.model.graph, site.op)
    (in_scale, in_zero), (scale, zero) = params(site.model, read), params(site.model, made)
    multiplier, shift = fp.quantize_multiplier(float(in_scale) / float(scale))
    # TFLite folds 1 / n into the multiplier, keeping as many bits as it can.
    extra = min(n.bit_length() - 1, 32, 31 + shift)
    fields = {
        "outer": outer, "n": n, "inner": inner, "in_zero": in_zero, "zero_point": zero,
        "multiplier": (multiplier << extra) // n, "shift": shift - extra,
        "plain": int(in_scale == scale and in_zero == zero),
    }  # fmt: skip
    q = site.source.structure("nn_mean_t", f"mean_{site.index}", fields, 32)
    kernel = f"nn_mean_{site.suffix}"
    site.call(kernel, kernel, [q, site.at(read), site.at(made)])


def _pad(site: Site) -> None:
    read, made = site.layer.inputs[0], site.layer.output
    tensor = site.model.graph.tensors[read]
    size = site.bits // 8
    amounts = site.model.constant(site.op.inputs[1]).astype(np.int64)
    lead = 4 - len(tensor.shape)
    rows = [(0, 0)] * lead + [(int(a), int(b)) for a, b in amounts]
    n = [1] * lead + list(tensor.shape)
    before, after = [a for a, _ in rows], [b for _, b in rows]
    for values in (n, before, after):
        values[3] *= size
    names = []
    for name, values in (("sizes", n), ("before", before), ("after", after)):
        label = f"{name}_{site.index}"
        text = ", ".join(f"{v}U" for v in values)
        site.source.constants.append(f"static const uint32_t {label}[4] = {{{text}}};")
        site.source.count("parameters", 16)
        names.append(label)
    zero = params(site.model, made)[1] if site.bits == 8 else 0
    site.call("nn_pad", "nn_copy", [*names, str(zero), site.at(read), site.at(made)])


def _concat(site: Site) -> None:
    graph, op = site.model.graph, site.op
    made = graph.tensors[site.layer.output]
    axis = op.axis % len(made.shape)
    rows = math.prod(made.shape[:axis])
    size = BITS[made.dtype] // 8
    step = math.prod(made.shape[axis:]) * size
    begin = 0
    statements = []
    for position, tensor in enumerate(op.inputs):
        row = math.prod(graph.tensors[tensor].shape[axis:]) * size
        target = f"&((uint8_t *){site.at(site.layer.output)})[{begin}]"
        source = _operand(site, tensor, position)
        statements.append(f"nn_copy_rows({rows}U, {row}U, {source}, {target}, {step}U);")
        begin += row
    shape = "x".join(str(n) for n in made.shape)
    site.source.kernels.add("nn_copy")
    site.source.calls.append(
        (f"{site.index} concatenation: {shape} {made.dtype}", "\n    ".join(statements))
    )


_WRITERS: dict[str, Callable[[Site], None]] = {
    "conv_2d": _conv, "dense": _conv, "transpose_conv": _conv, "depthwise_conv_2d": _depthwise,
    "average_pool_2d": _pool, "max_pool_2d": _pool, "add": _binary, "sub": _binary, "mul": _binary,
    "softmax": _softmax, "mean": _mean, "pad": _pad, "concatenation": _concat,
    **dict.fromkeys(
        (*UNARY, "dequantize"), _unary
    ),
}  # fmt: skip
