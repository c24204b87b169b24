"""The ``tflite-micro`` wheel on many models at once: one import, a fork a model.

`hwsearch.oracle` starts an interpreter a model (half a second); the tests ask for hundreds.
"""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

_HEAD = re.compile(r"Arena allocation head (\d+) bytes")
_TAIL = re.compile(r"Arena allocation tail (\d+) bytes")


class Run(NamedTuple):
    """What the wheel did with one model: its arena (None where it refused), and what it said."""

    arena: int | None
    persistent: int | None
    said: str


def run(contents: Sequence[bytes], arena_bytes: int = 16 << 20, timeout_s: float = 600):
    """One Run a model: allocated, invoked once."""
    child = subprocess.run(
        [sys.executable, __file__, str(arena_bytes)],
        input=pickle.dumps(list(contents)),
        capture_output=True,
        timeout=timeout_s,
        check=True,
    )
    runs = []
    for code, said in pickle.loads(child.stdout):
        head, tail = _HEAD.search(said), _TAIL.search(said)
        fine = code == 0 and head is not None and tail is not None
        runs.append(Run(int(head[1]), int(tail[1]), said) if fine else Run(None, None, said))
    return runs


def _child() -> None:
    import os
    import tempfile

    import numpy as np
    from tflite_micro import runtime

    contents, arena = pickle.load(sys.stdin.buffer), int(sys.argv[1])
    found = []
    for content in contents:
        with tempfile.TemporaryFile() as log:
            pid = os.fork()
            if pid == 0:
                os.dup2(log.fileno(), 2)
                code = 1
                try:
                    interpreter = runtime.Interpreter.from_bytes(content, arena_size=arena)
                    index = 0
                    while True:
                        try:
                            details = interpreter.get_input_details(index)
                        except (IndexError, RuntimeError, ValueError):
                            break
                        # 20: a positive number to any quantization that tests use
                        values = np.full(details["shape"], 20, details["dtype"])
                        interpreter.set_input(values, index)
                        index += 1
                    interpreter.invoke()
                    interpreter.print_allocations()
                    code = 0
                finally:
                    os._exit(code)
            _, status = os.waitpid(pid, 0)
            log.seek(0)
            found.append((status, log.read().decode(errors="replace")))
    sys.stdout.buffer.write(pickle.dumps(found))


if __name__ == "__main__":
    _child()
