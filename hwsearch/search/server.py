"""The server that trial processes are forked from: ``python -m hwsearch.search.server SOCKET``.

It imports TensorFlow once (a child then starts in 3 s instead of 14) and runs nothing itself. It
never imports the user's ``__main__``, so scripts need no guard. It ends when its owner does, which
it sees by the end of its standard input, and its children end with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import sys
import threading
from multiprocessing.connection import Listener
from typing import NoReturn

PRELOAD = (
    "cloudpickle",
    "tensorflow",
    "keras",
    "litert_quantizer.quantizer",
    "hwsearch.compress.quantize",
    "hwsearch.compress.saliency",
    "hwsearch.compress.structured",
    "hwsearch.convert",
    "hwsearch.evaluate",
    "hwsearch.search.training",
)
READY = "ready"
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2), Linux


def main() -> NoReturn:
    """Serves connections: each sends a job, and is answered by a child of its own."""
    address, key = sys.argv[1], bytes.fromhex(sys.stdin.readline().strip())
    for module in PRELOAD:
        importlib.import_module(module)
    from hwsearch.search.training import child

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's to handle
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system reaps children
    threading.Thread(target=_end_with_owner, daemon=True).start()
    with Listener(address, "AF_UNIX", authkey=key) as listener:
        print(READY, flush=True)
        while True:
            connection = listener.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                with contextlib.suppress(OSError, AttributeError):  # Linux alone has it
                    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
                connection.send(os.getpid())
                child(connection.recv(), connection)
                os._exit(0)
            connection.close()


def _end_with_owner() -> None:
    while os.read(0, 64):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
