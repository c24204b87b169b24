"""From a ``.tflite`` to a folder of C11: model.c, model.h, model_weights.h and their kernels."""

from __future__ import annotations

import math
import shutil
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hwsearch.codegen.calls import write
from hwsearch.codegen.dead import without_dead_channels
from hwsearch.codegen.emit import C_TYPES, Source, float_text, number
from hwsearch.codegen.formats import SLOWDOWN, checked
from hwsearch.codegen.memory import Memory, memory
from hwsearch.codegen.refuse_numbers import refusals_of
from hwsearch.codegen.site import Site
from hwsearch.errors import RefusedError
from hwsearch.graph.tflite import TfliteModel, read

KERNELS = Path(__file__).parents[1] / "firmware" / "kernels"
"""Where the kernel sources lie."""

_DOT = {"nn_dot", "nn_dot_dsp"}
NEEDS = {
    "nn_conv_s8": _DOT, "nn_dense_s8": _DOT, "nn_transpose_conv_s8": _DOT,
    "nn_conv_s16": _DOT, "nn_transpose_conv_s16": _DOT,
    "nn_palette_s8": {"nn_conv_s8", "nn_dense_s8", *_DOT},
}  # fmt: skip
"""Kernel files that a kernel file calls."""


@dataclass(frozen=True)
class LayerPlan:
    """One line of the table of what will run.

    Attributes:
        index, kind: the layer; ``kind`` is the operator's.
        op_index: which operator of the ``.tflite``.
        macs: multiply-accumulates.
        offset, size: of its output in the arena, bytes.
        scratch_offset, scratch_bytes: of its working memory; -1 and 0 without.
        format: how its weights are stored: dense, palette or sparse.
    """

    index: int
    kind: str
    op_index: int
    macs: int
    offset: int
    size: int
    scratch_offset: int
    scratch_bytes: int
    format: str


@dataclass(frozen=True)
class Generated:
    """A generated network.

    Attributes:
        files: paths written: model.h, model.c, kernels.
        arena_bytes: RAM of activations and scratch.
        flash_bytes: constants by part: weights, bias, requantization, tables …
        layers: the plan, in execution order.
        digest: CRC-32 of the ``.tflite``.
    """

    files: tuple[Path, ...]
    arena_bytes: int
    flash_bytes: dict[str, int]
    layers: tuple[LayerPlan, ...]
    digest: int


def generate(
    model: TfliteModel | str | Path | bytes,
    out: Path,
    name: str = "model",
    *,
    core: str = "M4",
    slowdown: float = SLOWDOWN,
    most_cycles: float = math.inf,
    formats: Mapping[int, str] | None = None,
) -> Generated:
    """Write the C sources of a network into folder ``out``, made where it is missing.

    Weights are stored in the formats that make the smallest image: see
    :mod:`hwsearch.backends.aot_formats`.

    Args:
        model: a parsed ``.tflite``, its path or its content.
        out: the folder.
        name: prefix of files, functions and macros.
        core: whose cycles the choice of formats is made by.
        slowdown: cycles that a network may take as a multiple of those with dense weights, from 1.
        most_cycles: that it may take, where formats can do something for that.
        formats: instead of a choice, by operator ``"dense"``, ``"palette"`` or ``"sparse"``;
            operators that are missing are dense.

    Raises:
        RefusedError: an operator that the compiler cannot run; lists every one, with what would
            help.
        ModelFileError: ``model`` cannot be read.
        InputError: a format that an operator's weights cannot have, or a slowdown below 1.
    """
    parsed = model if isinstance(model, TfliteModel) else read(model)
    refused = refusals_of(parsed)
    if refused:
        raise RefusedError("\n".join(str(r) for r in refused))
    parsed = without_dead_channels(parsed)
    if formats is None:
        from hwsearch.backends.aot_formats import formats_of

        formats = formats_of(parsed, core, slowdown, most_cycles)
    plan = memory(parsed.graph, checked(parsed, formats))
    source = Source()
    for index, layer in enumerate(plan.layers):
        scratch = f"AT(int16_t, {plan.scratch[index]})" if layer.scratch_bytes else "NULL"
        write(Site(parsed, source, layer, index, _places(parsed, plan), scratch))
    digest = zlib.crc32(parsed.content)
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.h").write_text(_header(parsed, plan, digest, name))
    (out / f"{name}.c").write_text(_program(parsed, plan, source, name))
    (out / f"{name}_weights.h").write_text(_constants(parsed, source, name))
    files = [out / f"{name}.h", out / f"{name}.c", out / f"{name}_weights.h"]
    kernels = source.kernels | {k for used in source.kernels for k in NEEDS.get(used, ())}
    for file in ["nn.h", *sorted(f"{k}.c" for k in kernels)]:
        shutil.copyfile(KERNELS / file, out / file)
        files.append(out / file)
    return Generated(
        tuple(files), plan.arena_bytes, dict(source.weight_bytes), _table(parsed, plan), digest
    )


def _places(model: TfliteModel, plan: Memory) -> Callable[[int], str]:
    """Gives the C expression of a tensor's place."""

    def at(tensor: int) -> str:
        return f"AT({C_TYPES[model.graph.tensors[tensor].dtype]}, {plan.offsets[tensor]})"

    return at


def _table(model: TfliteModel, plan: Memory) -> tuple[LayerPlan, ...]:
    graph = model.graph
    return tuple(
        LayerPlan(
            index, graph.ops[layer.op_index].kind, layer.op_index, graph.macs[layer.op_index],
            plan.offsets[layer.output], graph.tensors[layer.output].size_bytes,
            plan.scratch[index], layer.scratch_bytes, layer.format,
        )
        for index, layer in enumerate(plan.layers)
    )  # fmt: skip


def _header(model: TfliteModel, plan: Memory, digest: int, name: str) -> str:
    graph, upper = model.graph, name.upper()
    lines = [
        f"/* Generated by hwsearch from {Path(graph.name).name}: do not edit. */",
        f"#ifndef {upper}_H", f"#define {upper}_H", "", "#include <stdint.h>", "",
        f"#define {upper}_DIGEST 0x{digest:08x}u /* CRC-32 of the .tflite */",
        f"#define {upper}_ARENA_BYTES {max(plan.arena_bytes, 8)}",
        f"#define {upper}_LAYERS {len(plan.layers)}",
        f"#define {upper}_INPUTS {len(graph.inputs)}",
        f"#define {upper}_OUTPUTS {len(graph.outputs)}",
    ]  # fmt: skip
    for side, tensors in (("INPUT", graph.inputs), ("OUTPUT", graph.outputs)):
        total = sum(graph.tensors[t].size_bytes for t in tensors)
        lines.append(f"#define {upper}_{side}_BYTES {total}")
        for i, index in enumerate(tensors):
            tensor, quantization = graph.tensors[index], model.quantization[index]
            prefix = f"#define {upper}_{side}_{i}"
            lines.append(f"{prefix}_BYTES {tensor.size_bytes}")
            lines.append(f"{prefix}_TYPE {C_TYPES[tensor.dtype]}")
            if quantization is not None:
                zero = int(quantization.zero_point[0])
                lines.append(f"{prefix}_SCALE {float_text(quantization.scale[0])}")
                text = f"({number(zero)})" if zero < 0 else number(zero)
                lines.append(f"{prefix}_ZERO_POINT {text}")
    lines += [
        "",
        f"int {name}_init(void);             /* 0; call once before the first invoke */",
        f"int {name}_invoke(void);           /* 0; overwrites the inputs, makes the outputs */",
        f"void *{name}_input(int i);         /* where to write input i; NULL without one */",
        f"const void *{name}_output(int i);  /* where to read output i */",
        f"const char *{name}_layer_name(int index);",
        "", "#endif", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _constants(model: TfliteModel, source: Source, name: str) -> str:
    upper = name.upper()
    arrays = "\n\n".join(source.arrays.values())
    return f"""/* Generated by hwsearch from {Path(model.graph.name).name}: do not edit.
 * Constants of {name}.c, in the order in which its kernels read them. */
#ifndef {upper}_WEIGHTS_H
#define {upper}_WEIGHTS_H

#include <stdint.h>

{arrays}

#endif
"""


def _program(model: TfliteModel, plan: Memory, source: Source, name: str) -> str:
    graph, upper = model.graph, name.upper()
    calls = []
    for index, (comment, statement) in enumerate(source.calls):
        calls.append(f"    /* {comment} */\n    {upper}_LAYER_HOOK({index});\n    {statement}")
    inputs, outputs = (
        ", ".join(f"{plan.offsets[t]}" for t in tensors)
        for tensors in (graph.inputs, graph.outputs)
    )
    names = ", ".join(f'"{comment.split(":")[0]}"' for comment, _ in source.calls) or '""'
    constants = "\n".join(source.constants)
    return f"""/* Generated by hwsearch from {Path(graph.name).name}: do not edit. */
#include "{name}.h"
#include "nn.h"
#include "{name}_weights.h"

#ifdef {upper}_LAYER_HOOK_HEADER
#include {upper}_LAYER_HOOK_HEADER
#endif
#ifndef {upper}_LAYER_HOOK
#define {upper}_LAYER_HOOK(index) ((void)(index))
#endif

/* All activations and scratch. AT gives what lies at an offset that the plan chose. */
_Alignas(8) static uint8_t arena[{upper}_ARENA_BYTES];
#define AT(type, offset) ((type *)(void *)&arena[offset])

{constants}

int {name}_init(void)
{{
    return 0;
}}

int {name}_invoke(void)
{{
{chr(10).join(calls)}
    {upper}_LAYER_HOOK({upper}_LAYERS);
    return 0;
}}

void *{name}_input(int i)
{{
    static const uint32_t offsets[{upper}_INPUTS] = {{{inputs}}};
    return ((i >= 0) && (i < {upper}_INPUTS)) ? &arena[offsets[i]] : NULL;
}}

const void *{name}_output(int i)
{{
    static const uint32_t offsets[{upper}_OUTPUTS] = {{{outputs}}};
    return ((i >= 0) && (i < {upper}_OUTPUTS)) ? &arena[offsets[i]] : NULL;
}}

#ifdef {upper}_LAYER_NAMES
const char *{name}_layer_name(int index)
{{
    static const char *const names[] = {{{names}}};
    return ((index >= 0) && (index < {upper}_LAYERS)) ? names[index] : "";
}}
#endif
"""
