"""Generated networks compiled for this host and run, and the oracle that they are compared with."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwsearch import codegen
from hwsearch.graph import tflite

FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

_MAIN = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
{includes}
typedef struct {{
    int (*init)(void); int (*invoke)(void);
    void *(*input)(int); const void *(*output)(int);
    size_t in, out;
}} network_t;
static const network_t networks[] = {{
{rows}
}};
/* stdin: per network the number of inputs (u32), then the inputs; stdout: the outputs. */
int main(void)
{{
    for (size_t n = 0; n < sizeof networks / sizeof networks[0]; n++) {{
        const network_t *net = &networks[n];
        unsigned count = 0;
        if (fread(&count, sizeof count, 1, stdin) != 1 || net->init() != 0) return 1;
        for (unsigned i = 0; i < count; i++) {{
            if (fread(net->input(0), 1, net->in, stdin) != net->in) return 2;
            if (net->invoke() != 0) return 3;
            if (fwrite(net->output(0), 1, net->out, stdout) != net->out) return 4;
        }}
    }}
    return 0;
}}
"""

_ORACLE = """
import pickle, sys
import tflite_micro
for content, inputs in pickle.load(sys.stdin.buffer):
    runtime = tflite_micro.runtime.Interpreter.from_bytes(content, arena_size=len(content) * 10 + 400_000)
    made = []
    for x in inputs:
        runtime.set_input(x, 0)
        runtime.invoke()
        made.append(runtime.get_output(0).copy())
    pickle.dump(made, sys.stdout.buffer)
    sys.stdout.flush()
"""

Arrays = list[NDArray[np.generic]]


def random_inputs(content: bytes, count: int, rng: np.random.Generator) -> Arrays:
    """Inputs for a network of one input: noise over the whole range, and the two extremes."""
    graph = tflite.read(content).graph
    tensor = graph.tensors[graph.inputs[0]]
    info = np.iinfo(tensor.dtype)
    made = [
        rng.integers(info.min, info.max + 1, tensor.shape).astype(tensor.dtype)
        for _ in range(count)
    ]
    for i, value in enumerate((info.min, info.max)[: max(0, count - 1)]):
        made[i] = np.full(tensor.shape, value, tensor.dtype)
    return made


def oracle(jobs: Sequence[tuple[bytes, Arrays]]) -> list[Arrays]:
    """Outputs of TFLite Micro, per network, per input; run in a child process, which it may crash."""
    done = subprocess.run(
        [sys.executable, "-c", _ORACLE], input=pickle.dumps(list(jobs)), capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    stream = io.BytesIO(done.stdout)
    return [pickle.load(stream) for _ in jobs]


def build(contents: Sequence[bytes], folder: Path, flags: Sequence[str]) -> Path:
    """An executable that runs these networks one after another."""
    includes, rows, sources = [], [], set()
    for i, content in enumerate(contents):
        made = codegen.generate(content, folder, f"net{i}")
        sources |= {str(p) for p in made.files if p.suffix == ".c"}
        includes.append(f'#include "net{i}.h"')
        rows.append(
            f"    {{net{i}_init, net{i}_invoke, net{i}_input, net{i}_output, "
            f"NET{i}_INPUT_0_BYTES, NET{i}_OUTPUT_0_BYTES}},"
        )
    main = folder / "main.c"
    main.write_text(_MAIN.format(includes="\n".join(includes), rows="\n".join(rows)))
    program = folder / "run"
    subprocess.run(
        ["gcc", *FLAGS, *flags, "-o", str(program), str(main), *sorted(sources)], check=True
    )
    return program


def run(program: Path, jobs: Sequence[tuple[bytes, Arrays]]) -> list[Arrays]:
    """Outputs of a program made by :func:`build`, per network, per input."""
    stdin = b"".join(
        np.uint32(len(inputs)).tobytes() + b"".join(x.tobytes() for x in inputs)
        for _, inputs in jobs
    )
    done = subprocess.run([str(program)], input=stdin, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    outputs, at = [], 0
    for content, inputs in jobs:
        graph = tflite.read(content).graph
        tensor = graph.tensors[graph.outputs[0]]
        made: Arrays = []
        for _ in inputs:
            raw = done.stdout[at : at + tensor.size_bytes]
            made.append(np.frombuffer(raw, tensor.dtype).reshape(tensor.shape))
            at += tensor.size_bytes
        outputs.append(made)
    assert at == len(done.stdout)
    return outputs
