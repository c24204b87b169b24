"""Models for ``firmware/engines/tflm``, and the TFLite Micro library that the user names.

No package registry carries TFLite Micro's sources, so a library built elsewhere is linked:
``HWSEARCH_TFLM`` names a folder with ``include/`` (the headers under ``tensorflow/`` and those of
flatbuffers, gemmlowp and ruy that they include) and ``lib/libtensorflow-microlite.a``, built for
the core.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from hwsearch.errors import ToolchainError

VARIABLE = "HWSEARCH_TFLM"
LIBRARY = "libtensorflow-microlite.a"

COMPILE = ("-std=c++17", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics")
"""How C++ is compiled in place of -std=c11."""

LINK = ("-lstdc++", "-lm", "-lc", "-lnosys")


def library() -> tuple[Path, Path]:
    """(include folder, static library) of TFLite Micro.

    Raises:
        ToolchainError: the user named none, or what is named holds none.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        raise ToolchainError(
            f"engine 'tflm' needs a TFLite Micro library, which no package registry carries: set "
            f"{VARIABLE} to a folder with include/ and lib/{LIBRARY}, built for the core."
        )
    include, archive = Path(named) / "include", Path(named) / "lib" / LIBRARY
    for path in (include, archive):
        if not path.exists():
            raise ToolchainError(f"{VARIABLE}={named} has no {path.relative_to(named)}.")
    return include, archive


def write_model(tflite: bytes, out: Path, arena_bytes: int) -> Path:
    """A model folder for the engine: ``model.h`` and ``model.c`` with the file as an array.

    Args:
        tflite: the file.
        out: the folder; made if absent.
        arena_bytes: of the interpreter's arena.

    Raises:
        ModelFileError: it is no readable ``.tflite``.
    """
    from hwsearch.graph.tflite import read  # slow to import, and an emulated board needs none

    out.mkdir(parents=True, exist_ok=True)
    ops = sorted({method_name(op.kind) for op in read(tflite).graph.ops})
    header = [
        "#ifndef MODEL_H", "#define MODEL_H",
        f"#define MODEL_DIGEST {zlib.crc32(tflite):#010x}u",
        f"#define MODEL_ARENA_BYTES {arena_bytes}",
        f"#define MODEL_OPS {len(ops)}",
        f"#define MODEL_ADD_OPS {' '.join(f'ADD({op})' for op in ops)}",
        "#ifdef __cplusplus", 'extern "C"', "#else", "extern", "#endif",
        f"const unsigned char model_tflite[{len(tflite)}];",
        "#endif",
    ]  # fmt: skip
    (out / "model.h").write_text("\n".join(header) + "\n")
    rows = [",".join(map(str, tflite[i : i + 24])) for i in range(0, len(tflite), 24)]
    source = [
        '#include "model.h"',
        f"_Alignas(16) const unsigned char model_tflite[{len(tflite)}] = {{",
        ",\n".join(rows),
        "};",
    ]
    (out / "model.c").write_text("\n".join(source) + "\n")
    return out


def method_name(kind: str) -> str:
    """The resolver's method for an operator: ``"AddDepthwiseConv2D"`` for ``"depthwise_conv_2d"``.

    Source: ``tensorflow/lite/micro/micro_mutable_op_resolver.h``.
    """
    return "Add" + "".join(part.title() for part in kind.split("_"))
