"""Fuzz what reads and judges a ``.tflite`` that nobody trusts: ``make fuzz-tflite``.

``python -m tests.fuzz_tflite SECONDS [RUNS]`` runs libFuzzer, by atheris, on :func:`survives`: the
reader, every constant, the costs of three backends, and of one file in eight the generated C. Half
of the mutations are libFuzzer's of bytes, half change a field and write a whole file again. It
ends after SECONDS or RUNS, or at the first input that ends in anything but an error of ours, takes
20 s or 4 GiB.
"""

from __future__ import annotations

import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CORPUS = HERE / "graph" / "corpus"
MAX_BYTES = 4096
BACKENDS = ("tflm-cmsis-nn", "aot", "x-cube-ai-8.1")


def seeds() -> list[bytes]:
    """Networks that the corpus starts from: every operator that the tests' writer knows."""
    import numpy as np
    from tflite_writer import random_network

    found = []
    for seed in range(24):
        dtype = "int16" if seed % 3 == 2 else "int8"
        content = random_network(np.random.default_rng(seed), dtype=dtype, layers=1 + seed % 3)
        if len(content) <= MAX_BYTES:
            found.append(content)
    return found


def survives(content: bytes) -> None:
    """A file is read, its constants with it, and costed; or it ends in an error of ours."""
    from hwsearch import estimation
    from hwsearch.backends import backend
    from hwsearch.board import board
    from hwsearch.codegen import generate
    from hwsearch.errors import HwsearchError
    from hwsearch.graph.tflite import read
    from hwsearch.source import Network

    try:
        model = read(content, "fuzzed")
        for index, tensor in enumerate(model.graph.tensors):
            if tensor.is_constant:
                model.constant(index)
        assert len(model.graph.lifetimes) == len(model.graph.tensors)
        assert len(model.graph.macs) == len(model.graph.ops)
    except HwsearchError:
        return
    for name in BACKENDS:
        target = estimation.Target(board("nucleo-l4r5zi"), backend(name))
        try:
            cost = estimation.of(Network(model.graph, model), target)
        except HwsearchError:
            continue
        assert cost.ram_bytes is not None and cost.ram_bytes >= 0
        assert cost.flash_bytes is not None and cost.flash_bytes >= 0
    if zlib.crc32(content) % 8 == 0:
        with tempfile.TemporaryDirectory(prefix="hwsearch-fuzz-") as folder:
            try:
                generate(model, Path(folder))
            except HwsearchError:
                return


def rewritten(content: bytes, rng: random.Random) -> bytes:
    """A whole file with a field or a few changed: what flipped bytes seldom reach."""
    from hwsearch.graph import flatbuffer

    model = flatbuffer.unpack(content)
    graph = model.subgraphs[0]
    for _ in range(rng.randint(1, 3)):
        tensor, op = rng.choice(graph.tensors), rng.choice(graph.operators)
        kind = rng.randrange(9)
        if kind == 0:
            tensor.type = rng.randrange(20)
        elif kind == 1:
            tensor.shape = [rng.choice((0, 1, 2, 3, 8, 1 << 16, n)) for n in tensor.shape]
        elif kind == 2:
            tensor.shape = rng.choice(([], [1], [*tensor.shape, 1], [1, *tensor.shape]))
        elif kind == 3 and tensor.quantization is not None:
            count = rng.choice((0, 1, 2, 8))
            tensor.quantization.scale = [rng.choice((0.0, 1e-30, 0.5, 1e30)) for _ in range(count)]
            tensor.quantization.zeroPoint = [rng.choice((0, -128, 1 << 40)) for _ in range(count)]
        elif kind == 4:
            tensor.buffer = rng.randrange(len(model.buffers))
        elif kind == 5:
            code = rng.choice(model.operatorCodes)
            code.builtinCode = rng.choice((rng.randrange(210), code.builtinCode))
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        elif kind == 6:
            op.inputs = [rng.randrange(-1, len(graph.tensors)) for _ in range(rng.randrange(4))]
        elif kind == 7:
            names = (
                [n for n, v in vars(op.builtinOptions).items() if isinstance(v, int)]
                if op.builtinOptions is not None
                else []
            )
            if names:
                setattr(op.builtinOptions, rng.choice(names), rng.choice((0, 1, 2, 3)))
        else:
            data = rng.choice(model.buffers)
            data.data = None if data.data is None else bytes(rng.randbytes(len(data.data)))
    return flatbuffer.pack(model)


def mutated(content: bytes, most: int, seed: int) -> bytes:
    """libFuzzer's hook: another content of at most so many bytes."""
    import atheris

    rng = random.Random(seed)
    if rng.random() < 0.5:
        try:
            made = rewritten(content, rng)
        except Exception:  # it is no file, or no longer one
            made = b""
        if 0 < len(made) <= most:
            return made
    found: Any = atheris.Mutate(content, most)
    return bytes(found)


def _child(program: str, arguments: list[str]) -> None:
    """libFuzzer, in a process that it ends itself; it starts ``program`` for a merge."""
    import atheris

    warnings.simplefilter("error")
    with atheris.instrument_imports(include=["hwsearch", "ai_edge_litert.schema_py_generated"]):
        survives(b"")
        for content in seeds():  # whatever loads late, loads now
            survives(content)
    atheris.Setup([program, *arguments], survives, custom_mutator=mutated)
    atheris.Fuzz()


def main() -> None:
    """Fuzz for so many seconds or runs; the corpus keeps what reached new code."""
    seconds, runs = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "-1"
    CORPUS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hwsearch-fuzz-") as name:
        new, merged = Path(name) / "new", Path(name) / "merged"
        new.mkdir()
        merged.mkdir()
        for i, content in enumerate(seeds()):
            (new / f"seed-{i}").write_bytes(content)
        program = Path(name) / "fuzz"
        command = shlex.join([sys.executable, "-m", "tests.fuzz_tflite", "child", str(program)])
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        program.chmod(0o700)
        limits = ["-timeout=20", "-rss_limit_mb=4096", f"-max_len={MAX_BYTES}",
                  f"-artifact_prefix={HERE.parent}/"]  # fmt: skip
        amount = [f"-max_total_time={seconds}", f"-runs={runs}", "-print_final_stats=1"]
        subprocess.run([program, *limits, *amount, new, CORPUS], check=True)
        subprocess.run([program, *limits, "-merge=1", merged, CORPUS, new], check=True)
        for path in CORPUS.iterdir():
            path.unlink()
        for path in merged.iterdir():
            shutil.copy(path, CORPUS / path.name)
    files = list(CORPUS.iterdir())
    print(f"corpus: {len(files)} files, {sum(p.stat().st_size for p in files):,} B")


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    _child(sys.argv[2], sys.argv[3:]) if sys.argv[1] == "child" else main()
