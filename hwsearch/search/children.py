"""Trial processes: each job in a fresh child, so that no trial's memory or crash reaches another.

In one process memory grew 17–20 MiB a trial. Children are forked from a server that has
TensorFlow imported and nothing running. A child ends when its owner does.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection
from typing import Any

from hwsearch.search.training import Job, Result, child

_DIE_WITH_PARENT = 1  # prctl PR_SET_PDEATHSIG, Linux
_POLL_S = 0.5


@cache
def _context() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hwsearch.search.preload"])
    return context


def start() -> None:
    """Starts the server that children are forked from; its imports run beside other work."""
    from multiprocessing import forkserver

    _context()
    forkserver.ensure_running()


def run(
    job: Job, timeout_s: float | None, stopped: Callable[[], bool] = lambda: False
) -> tuple[Result | None, str]:
    """Runs a job in a child.

    Args:
        job: what to do.
        timeout_s: after which the child is killed; None waits.
        stopped: asked twice a second; once true the child is killed.

    Returns:
        (the result, "") or (None, why there is none).
    """
    context = _context()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_in_child, args=(job, theirs, os.getpid()), daemon=True)
    process.start()
    theirs.close()
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    try:
        while True:
            if ours.poll(_POLL_S):
                try:
                    result, reason = ours.recv()
                except EOFError:
                    process.join(10)
                    return None, _exit(process.exitcode)
                return result, reason or ""
            if deadline is not None and time.monotonic() > deadline:
                return None, f"it took longer than the {timeout_s:.0f} s of trial_timeout"
            if stopped():
                return None, "the search was stopped"
    finally:
        if process.is_alive():
            process.join(2)
        if process.is_alive():
            process.kill()
        process.join()
        ours.close()


def _exit(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        memory = " (out of memory is the usual cause)" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{memory}"
    return f"its process ended with exit code {code}"


def _in_child(job: Job, connection: Connection, owner: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's to handle
    if hasattr(os, "fork"):
        try:
            ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        except (OSError, AttributeError):
            pass
    _watch(owner)
    child(job, connection)


def _watch(owner: int) -> None:
    """Ends this process when the owner is gone; its parent is the fork server, which lives on."""
    import threading

    def watch() -> None:
        while True:
            try:
                os.kill(owner, 0)
            except OSError:
                os._exit(1)
            time.sleep(1)

    threading.Thread(target=watch, daemon=True).start()
