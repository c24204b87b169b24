"""One kernel call per layer: its constants, structures and arguments."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hwsearch.codegen import calls16, tables, weighted
from hwsearch.codegen import fixed_point as fp
from hwsearch.codegen.emit import float_text
from hwsearch.codegen.layers import UNARY
from hwsearch.codegen.refuse import mean_span
from hwsearch.codegen.scaling import NARROW_SHIFT, activation_range, params
from hwsearch.codegen.site import Site, window_of
from hwsearch.graph import BITS


def write(site: Site) -> None:
    """Append the call of a layer, and the constants that it needs."""
    _WRITERS[site.layer.kind](site)


def _pool(site: Site) -> None:
    assert site.layer.window is not None
    low, high = activation_range(site.model, site.layer.output, site.op.activation)
    name = "average" if site.op.kind.startswith("average") else "max"
    arguments = [window_of(site, site.layer.window), str(low), str(high)]
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
    "conv_2d": weighted.conv, "dense": weighted.conv, "transpose_conv": weighted.conv,
    "depthwise_conv_2d": weighted.depthwise,
    "average_pool_2d": _pool, "max_pool_2d": _pool, "add": _binary, "sub": _binary, "mul": _binary,
    "softmax": _softmax, "mean": _mean, "pad": _pad, "concatenation": _concat,
    **dict.fromkeys(
        (*UNARY, "dequantize"), _unary
    ),
}  # fmt: skip
