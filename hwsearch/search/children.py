"""Trial processes: each job in a fresh child, so that no trial's memory or crash reaches another.

In one process memory grew 17 to 20 MiB a trial, and ``clear_session`` did not cure it.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Client
from pathlib import Path

from hwsearch.errors import TrialError
from hwsearch.search.resident import resident_bytes
from hwsearch.search.server import READY
from hwsearch.search.training import Job, Result

_POLL_S = 0.1
_END_S = 5.0
_starting = threading.Lock()
_running: list[Server] = []


class Server:
    """The process that children are forked from, and the way to it.

    Attributes:
        process: it.
        address: of its socket.
        key: that it asks for.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="hwsearch-"))
        self.address, self.key = str(self._folder / "socket"), secrets.token_bytes(32)
        self._log = (self._folder / "log").open("w+b")
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hwsearch.search.server", self.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(self.key.hex().encode() + b"\n")
        self.process.stdin.flush()
        self._ready = False

    def wait(self) -> None:
        """Returns once it takes jobs.

        Raises:
            TrialError: it ended instead; says its last words.
        """
        assert self.process.stdout is not None
        if self._ready:
            return
        for line in self.process.stdout:
            if line.decode(errors="replace").strip() == READY:
                self._ready = True
                return
        self._log.seek(0)
        words = self._log.read().decode(errors="replace").strip().splitlines()[-3:]
        raise TrialError(f"the process that trains cannot start: {' | '.join(words)}")

    def end(self) -> None:
        """Ends it and its children."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._log):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def start() -> Server:
    """The server of this process, started if there is none; its imports run beside other work."""
    with _starting:
        if _running and _running[0].process.poll() is not None:
            stop()
        if not _running:
            _running.append(Server())
        return _running[0]


def stop() -> None:
    """Ends the server of this process."""
    while _running:
        _running.pop().end()


atexit.register(stop)


def run(
    job: Job, timeout_s: float | None = None, stopped: Callable[[], bool] = lambda: False
) -> tuple[Result | None, str]:
    """Runs a job in a child.

    Args:
        job: what to do.
        timeout_s: after which the child is killed; None waits.
        stopped: asked ten times a second, as is what the child holds of memory; once true the
            child is killed.

    Returns:
        (the result, "") or (None, why there is none).
    """
    server = start()
    with _starting:
        server.wait()
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    try:
        with Client(server.address, "AF_UNIX", authkey=server.key) as connection:
            child = int(connection.recv())
            connection.send(job)
            while not connection.poll(_POLL_S):
                if deadline is not None and time.monotonic() > deadline:
                    _kill(child)
                    return None, f"it took longer than the {timeout_s:.0f} s of trial_timeout"
                if stopped():
                    _kill(child)
                    return None, "the search was stopped"
                if 0 < job.memory_bytes < (held := resident_bytes(child)):
                    _kill(child)
                    return None, (
                        f"it held {held / 2**30:.2f} GiB of memory, more than the "
                        f"{job.memory_bytes / 2**30:.2f} GiB that each worker may. Give "
                        "optimize(memory=) more, fewer workers, or Space.batch_size less."
                    )
            result, reason = connection.recv()
            return result, reason or ""
    except (EOFError, OSError):
        return (
            None,
            "its process was killed; that the machine ran out of memory is the usual cause",
        )


def _kill(child: int) -> None:
    """Kills a child and waits until it is gone: it may hold files."""
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
        end = time.monotonic() + _END_S
        while time.monotonic() < end:
            os.kill(child, 0)
            time.sleep(0.02)
