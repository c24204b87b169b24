"""Workers of a benchmark end with it, also where it is killed."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.processes import follow

ROOT = Path(__file__).parents[1]

OWNER = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from benchmarks.processes import follow

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, follow) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600).result()
"""


def test_worker_in_the_middle_of_its_work_ends_with_a_killed_owner(tmp_path: Path) -> None:
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    with subprocess.Popen(
        [sys.executable, script], env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout
        worker = os.pidfd_open(int(owner.stdout.readline()))
        owner.kill()
        ended, _, _ = select.select([worker], [], [], 30)
        os.close(worker)
    assert ended


def test_process_of_its_own_follows_none() -> None:
    with pytest.raises(RuntimeError, match="multiprocessing"):
        follow()
