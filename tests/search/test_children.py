"""Trial processes: memory caps with the reason said, kills, and that none outlives its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from hwsearch.search import children
from hwsearch.search.training import Job, Precision
from hwsearch.space import Space


@dataclass
class Hungry:
    """Unpickled in the child, as a user's own classes are: takes memory and holds it."""

    mebibytes: int

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return take, (self.mebibytes,)


def take(mebibytes: int) -> dict[str, type]:
    import time

    held = bytearray(mebibytes * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    time.sleep(60)
    return {}


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    yield
    children.stop()


def job(directory: Path, custom: object, memory_bytes: int = 0) -> Job:
    return Job(
        directory=directory, structure="s", widths={}, saliency="l1", schedule="one-shot",
        precisions=(Precision(8, ()),), space=Space(epochs=1), loss=cloudpickle.dumps("mse"),
        metric=cloudpickle.dumps(None), custom_objects=by_value(custom), seed=0, threads=1,
        memory_bytes=memory_bytes,
    )  # fmt: skip


def by_value(thing: object) -> bytes:
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps(thing))
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def test_a_child_that_holds_too_much_is_ended_with_the_reason(tmp_path: Path) -> None:
    result, reason = children.run(job(tmp_path, Hungry(3_000), 2_000 * 2**20))
    assert result is None
    assert "GiB of memory, more than the 1.95 GiB" in reason and "memory=" in reason
    result, reason = children.run(job(tmp_path, {}, 2_000 * 2**20))
    assert result is None and "model.keras" in reason, "the next has its own memory"


def test_a_killed_child_is_a_reason_and_the_next_one_runs(tmp_path: Path) -> None:
    server = children.start()
    path = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    end = time.monotonic() + 60
    while path.read_text().split() and time.monotonic() < end:  # an earlier job's, about to end
        time.sleep(0.05)
    found: list[str] = []
    thread = threading.Thread(
        target=lambda: found.append(children.run(job(tmp_path, Hungry(1)))[1])
    )
    thread.start()
    end = time.monotonic() + 60
    while not path.read_text().split() and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(int(path.read_text().split()[0]), signal.SIGKILL)
    thread.join(30)
    assert found and "was killed" in found[0]
    assert "model.keras" in children.run(job(tmp_path, {}))[1]


@pytest.mark.slow
def test_children_end_with_their_owner(tmp_path: Path) -> None:
    wanted = tmp_path / "job"
    wanted.write_bytes(cloudpickle.dumps(job(tmp_path, Hungry(1))))
    code = (
        "import cloudpickle, sys, threading, time\n"
        "from hwsearch.search import children\n"
        f"job = cloudpickle.loads(open({str(wanted)!r}, 'rb').read())\n"
        "threading.Thread(target=children.run, args=(job,), daemon=True).start()\n"
        "print(children.start().process.pid, flush=True)\n"
        "time.sleep(120)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    server = int(owner.stdout.readline())
    path = Path(f"/proc/{server}/task/{server}/children")
    end = time.monotonic() + 90
    while not path.read_text().split() and time.monotonic() < end:
        time.sleep(0.1)
    child = int(path.read_text().split()[0])
    owner.kill()
    owner.communicate()
    end = time.monotonic() + 30
    while time.monotonic() < end and any(alive(pid) for pid in (server, child)):
        time.sleep(0.1)
    assert not alive(server) and not alive(child)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
