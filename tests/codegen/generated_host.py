"""Generated networks compiled for this host and run, and the oracle that they are compared
with."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwsearch import codegen as compiler
from hwsearch.graph import tflite

FLAGS = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

_MAIN = """
#include <stdio.h>
{includes}
typedef struct {{
    int (*init)(void);
    int (*invoke)(void);
    void *(*input)(int);
    const void *(*output)(int);
    int inputs, outputs;
    const size_t *in, *out;
}} network_t;
{sizes}
static const network_t networks[] = {{
{rows}
}};
/* stdin: per network the number of samples (u32), then their inputs; stdout: their outputs. */
int main(void)
{{
    for (size_t n = 0; n < sizeof networks / sizeof networks[0]; n++) {{
        const network_t *net = &networks[n];
        unsigned count = 0;
        if (fread(&count, sizeof count, 1, stdin) != 1 || net->init() != 0) return 1;
        for (unsigned sample = 0; sample < count; sample++) {{
            for (int i = 0; i < net->inputs; i++)
                if (fread(net->input(i), 1, net->in[i], stdin) != net->in[i]) return 2;
            if (net->invoke() != 0) return 3;
            for (int i = 0; i < net->outputs; i++)
                if (fwrite(net->output(i), 1, net->out[i], stdout) != net->out[i]) return 4;
        }}
    }}
    return 0;
}}
"""

_ORACLE = """
import pickle, sys
import tflite_micro
for content, samples in pickle.load(sys.stdin.buffer):
    runtime = tflite_micro.runtime.Interpreter.from_bytes(
        content, arena_size=len(content) * 10 + 400_000
    )
    made = []
    for sample in samples:
        for i, x in enumerate(sample):
            runtime.set_input(x, i)
        runtime.invoke()
        made.append([runtime.get_output(i).copy() for i in range(int(sys.argv[1]))])
    pickle.dump(made, sys.stdout.buffer)
"""

Sample = list[NDArray[np.generic]]
"""One array per input, or per output, of a network."""

Job = tuple[bytes, list[Sample]]
"""A network and what to run it on."""


def random_samples(content: bytes, count: int, rng: np.random.Generator) -> list[Sample]:
    """Noise over the whole range of every input; the first two samples are the extremes."""
    graph = tflite.read(content).graph
    samples = []
    for n in range(count):
        sample: Sample = []
        for index in graph.inputs:
            tensor = graph.tensors[index]
            if tensor.dtype == "float32":
                sample.append(rng.normal(0, 3, tensor.shape).astype(np.float32))
                continue
            info = np.iinfo(tensor.dtype)
            noise = rng.integers(info.min, info.max + 1, tensor.shape)
            extreme = {0: info.min, 1: info.max}.get(n)
            made = noise if extreme is None else np.full(tensor.shape, extreme)
            sample.append(made.astype(tensor.dtype))
        samples.append(sample)
    return samples


def oracle(jobs: Sequence[Job]) -> list[list[Sample]]:
    """Outputs of TFLite Micro, per network and sample; run in a child, which it may crash."""
    outputs = {len(tflite.read(content).graph.outputs) for content, _ in jobs}
    assert len(outputs) == 1, "networks with as many outputs as each other, please"
    done = subprocess.run(
        [sys.executable, "-c", _ORACLE, str(outputs.pop())],
        input=pickle.dumps(list(jobs)),
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    stream = io.BytesIO(done.stdout)
    return [pickle.load(stream) for _ in jobs]


def build(
    contents: Sequence[bytes],
    folder: Path,
    flags: Sequence[str],
    formats: Sequence[Mapping[int, str]] | None = None,
) -> Path:
    """An executable that runs these networks one after another; their formats, where given."""
    includes, sizes, rows, sources = [], [], [], set()
    for n, content in enumerate(contents):
        made = compiler.generate(
            content, folder, f"net{n}", formats=formats[n] if formats else None
        )
        graph = tflite.read(content).graph
        sources |= {str(p) for p in made.files if p.suffix == ".c"}
        includes.append(f'#include "net{n}.h"')
        for side, count in (("INPUT", len(graph.inputs)), ("OUTPUT", len(graph.outputs))):
            listed = ", ".join(f"NET{n}_{side}_{i}_BYTES" for i in range(count))
            sizes.append(f"static const size_t net{n}_{side}[] = {{{listed}}};")
        functions = ", ".join(f"net{n}_{f}" for f in ("init", "invoke", "input", "output"))
        rows.append(
            f"    {{{functions}, NET{n}_INPUTS, NET{n}_OUTPUTS, net{n}_INPUT, net{n}_OUTPUT}},"
        )
    main = folder / "main.c"
    main.write_text(
        _MAIN.format(includes="\n".join(includes), sizes="\n".join(sizes), rows="\n".join(rows))
    )
    program = folder / "run"
    command = ["gcc", *FLAGS, *flags, "-o", str(program), str(main), *sorted(sources)]
    subprocess.run(command, check=True)
    return program


def run(program: Path, jobs: Sequence[Job]) -> list[list[Sample]]:
    """Outputs of a program made by :func:`build`, per network and sample."""
    stdin = b"".join(
        np.uint32(len(samples)).tobytes() + b"".join(x.tobytes() for s in samples for x in s)
        for _, samples in jobs
    )
    done = subprocess.run([str(program)], input=stdin, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    outputs, at = [], 0
    for content, samples in jobs:
        graph = tflite.read(content).graph
        made: list[Sample] = []
        for _ in samples:
            sample: Sample = []
            for index in graph.outputs:
                tensor = graph.tensors[index]
                raw = done.stdout[at : at + tensor.size_bytes]
                sample.append(np.frombuffer(raw, tensor.dtype).reshape(tensor.shape))
                at += tensor.size_bytes
            made.append(sample)
        outputs.append(made)
    assert at == len(done.stdout)
    return outputs


def differences(want: list[list[Sample]], got: list[list[Sample]]) -> list[int]:
    """Per network the number of output values that differ, over all samples."""
    return [
        sum(
            int((a.reshape(-1) != b.reshape(-1)).sum())
            for one, other in zip(w, g, strict=True)
            for a, b in zip(one, other, strict=True)
        )
        for w, g in zip(want, got, strict=True)
    ]
