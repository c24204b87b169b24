"""Small hand-written model folders, with the header that codegen writes."""

from __future__ import annotations

from pathlib import Path

HEADER = """#ifndef MODEL_H
#define MODEL_H
#define MODEL_DIGEST {digest:#010x}u
#define MODEL_ARENA_BYTES {arena}
#define MODEL_LAYERS 2
#define MODEL_INPUTS 1
#define MODEL_OUTPUTS 1
#define MODEL_INPUT_0_BYTES {inputs}
#define MODEL_OUTPUT_0_BYTES {outputs}
int model_init(void);
int model_invoke(void);
void *model_input(int i);
const void *model_output(int i);
#endif
"""

SOURCE = """#include "model.h"
#include <stdint.h>
#ifdef MODEL_LAYER_HOOK_HEADER
#include MODEL_LAYER_HOOK_HEADER
#endif
#ifndef MODEL_LAYER_HOOK
#define MODEL_LAYER_HOOK(i)
#endif
static uint8_t arena[MODEL_ARENA_BYTES];
{table}
int model_init(void) {{ return 0; }}
void *model_input(int i) {{ return i == 0 ? arena : 0; }}
const void *model_output(int i) {{ return i == 0 ? arena : 0; }}
static void dense(void)
{{
    uint8_t sums[MODEL_OUTPUT_0_BYTES];
    for (uint32_t o = 0; o < MODEL_OUTPUT_0_BYTES; o++) {{
        uint32_t sum = o;
        for (uint32_t i = 0; i < MODEL_INPUT_0_BYTES; i++) {{
            sum += arena[i] * (i + 3u * o + 1u);
        }}
        sums[o] = (uint8_t)(sum & 255u);
    }}
    for (uint32_t o = 0; o < MODEL_OUTPUT_0_BYTES; o++) {{ arena[o] = sums[o]; }}
}}
int model_invoke(void)
{{
    MODEL_LAYER_HOOK(0);
    dense();
    MODEL_LAYER_HOOK(1);
    {extra}
    MODEL_LAYER_HOOK(2);
    return 0;
}}
"""


def write_model(
    folder: Path,
    *,
    inputs: int = 700,
    outputs: int = 10,
    digest: int = 0x12345678,
    extra: str = "",
    table_bytes: int = 0,
    arena: int | None = None,
) -> Path:
    """A model folder: a dense layer modulo 256, see :func:`expected`; its input is overwritten.

    Args:
        extra: C statements of a second layer, e.g. a crash.
        table_bytes: a constant table of this size, to make the image large.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"inputs": inputs, "outputs": outputs, "digest": digest}
    header = HEADER.format(arena=arena or max(inputs, outputs), **sizes)
    table = use = ""
    if table_bytes:
        table = f"static const uint8_t model_table[{table_bytes}] = {{1}};"
        use = "volatile uint32_t first = 0; if (model_table[first] != 1u) { return 1; }"
    source = SOURCE.format(table=table, extra=use + extra)
    (folder / "model.h").write_text(header)
    (folder / "model.c").write_text(source)
    return folder


def expected(sample: bytes, outputs: int = 10) -> bytes:
    """What the dense layer makes of one input."""
    return bytes(
        (o + sum(x * (i + 3 * o + 1) for i, x in enumerate(sample))) & 255 for o in range(outputs)
    )
