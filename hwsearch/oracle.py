"""The host oracle: what TFLite Micro computes and what its arena takes, by its own wheel.

The wheel runs in a child process, as an arena too small can crash it, and it prints its
allocations and the reason of a refusal on stderr alone.
"""

from __future__ import annotations

import importlib.util
import io
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.errors import RefusedError

NAME = "tflite-micro"
ARENA_MARGIN = 4
"""The child's arena is so many times the model and its activations: it never runs out."""

_HEAD = re.compile(r"Arena allocation head (\d+) bytes")
_TAIL = re.compile(r"Arena allocation tail (\d+) bytes")
_REQUESTED = re.compile(
    r"'([^']+)' used (\d+) bytes with alignment overhead \(requested (\d+) bytes for (\d+)"
)


@dataclass(frozen=True)
class OracleRun:
    """What the oracle said of one model.

    Attributes:
        outputs: per network output an integer or float array [samples, …].
        arena_bytes: the non-persistent part of the arena, exact for any target.
        persistent_bytes: the persistent part, of a 64-bit host: more than on a Cortex-M.
        allocations: per kind of persistent allocation (bytes used, bytes requested, how many).
    """

    outputs: tuple[NDArray[Any], ...]
    arena_bytes: int
    persistent_bytes: int
    allocations: dict[str, tuple[int, int, int]]


def available() -> bool:
    """Whether the ``tflite-micro`` wheel is installed (Linux x86-64 only)."""
    return importlib.util.find_spec("tflite_micro") is not None


def run(
    content: bytes,
    inputs: Sequence[NDArray[Any]],
    arena_bytes: int = 1 << 20,
    timeout_s: float = 600,
) -> OracleRun:
    """Runs a ``.tflite`` through TFLite Micro's reference kernels.

    Args:
        content: the model.
        inputs: per network input an array [samples, …] in the model's own dtype; the batch
            dimension of 1 may be left out.
        arena_bytes: at least what activations are expected to take.
        timeout_s: after which the run is given up.

    Raises:
        RefusedError: TFLite Micro refuses or fails on the model; carries what it printed.
    """
    buffer = io.BytesIO()
    arena = (ARENA_MARGIN * (arena_bytes + len(content)) + (1 << 20)) & -16
    np.savez(
        buffer,
        model=np.frombuffer(content, np.uint8),
        arena=arena,
        **{f"in{i}": x for i, x in enumerate(inputs)},  # type: ignore[arg-type]
    )
    try:
        child = subprocess.run(
            [sys.executable, "-m", "hwsearch.oracle"],
            input=buffer.getvalue(),
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RefusedError(
            f"TFLite Micro did not finish in {timeout_s:.0f} s. Give fewer samples."
        ) from error
    said = child.stderr.decode(errors="replace")
    if child.returncode != 0:
        lines = [line for line in said.splitlines() if line and "Arena" not in line]
        reason = [line.strip() for line in lines if not line.startswith(("  ", "["))][-4:]
        raise RefusedError(
            f"TFLite Micro does not run it (exit {child.returncode}): {' | '.join(reason)}. "
            "Choose another backend, or replace the operator that it names."
        )
    head, tail = _HEAD.search(said), _TAIL.search(said)
    if head is None or tail is None:
        raise RefusedError(f"TFLite Micro printed no allocations: {said[-400:]}")
    with np.load(io.BytesIO(child.stdout)) as found:
        outputs = tuple(found[f"out{i}"] for i in range(len(found.files)))
    allocations = {m[1]: (int(m[2]), int(m[3]), int(m[4])) for m in _REQUESTED.finditer(said)}
    return OracleRun(outputs, int(head[1]), int(tail[1]), allocations)


def _child() -> None:
    """Runs in the child: .npz on stdin, .npz on stdout, allocations on stderr."""
    from tflite_micro import runtime

    with np.load(io.BytesIO(sys.stdin.buffer.read())) as given:
        model, arena = given["model"].tobytes(), int(given["arena"])
        inputs = [given[f"in{i}"] for i in range(len(given.files) - 2)]
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena)
    outputs: list[list[NDArray[Any]]] = []
    shapes = [interpreter.get_input_details(i)["shape"] for i in range(len(inputs))]
    for sample in range(len(inputs[0])):
        for i, values in enumerate(inputs):
            interpreter.set_input(values[sample].reshape(shapes[i]), i)
        interpreter.invoke()
        found, index = [], 0
        while True:
            try:
                found.append(np.array(interpreter.get_output(index)))
            except (IndexError, RuntimeError, ValueError):
                break
            index += 1
        outputs.append(found)
    interpreter.print_allocations()
    buffer = io.BytesIO()
    columns = list(zip(*outputs, strict=True))
    arrays = {f"out{i}": np.concatenate(column) for i, column in enumerate(columns)}
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    sys.stdout.buffer.write(buffer.getvalue())


if __name__ == "__main__":
    try:
        _child()
    except Exception as error:  # what TFLite Micro said of it is on stderr already
        sys.exit(f"{type(error).__name__}: {error}")
