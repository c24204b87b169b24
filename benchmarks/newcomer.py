"""Print what a newcomer waits for, step by step: ``make newcomer``.

A fresh clone of what is committed, a fresh environment by pip, then the README's commands. Each
step is a shell command run in the clone; time is wall time, disk is what it added.
``python benchmarks/newcomer.py --until estimate`` stops after that step.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
STEPS = {
    "clone": f"git clone --quiet --no-hardlinks {ROOT} .",
    "environment": "make install PYTHON={python}",
    "doctor": ".venv/bin/hwsearch doctor",
    "demo": "make demo PYTHON={python}",
    "estimate": ".venv/bin/hwsearch estimate out/quickstart/model.tflite --board nucleo-l4r5zi",
    "verify": ".venv/bin/hwsearch verify out/quickstart/model.tflite",
    "firmware": "make -C out/quickstart/firmware",
    "docs": "make docs PYTHON={python}",
}
"""What each step runs."""


def main() -> int:
    """0 if every step ran."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--until", choices=list(STEPS), default="docs")
    parser.add_argument("--keep", action="store_true", help="leave the folder there")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hwsearch-newcomer-"))
    python = Path(sys.executable).resolve()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores\n")
    print("| step | command | time | disk |\n| --- | --- | ---: | ---: |", flush=True)
    try:
        failed = _steps(folder, given.until, str(python))
    finally:
        if not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return failed


def _steps(folder: Path, until: str, python: str) -> int:
    # As in a new shell: nothing of the environment that this runs in.
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    before = 0
    for name, command in STEPS.items():
        shown = command.replace(str(ROOT), "URL").replace(" PYTHON={python}", "")
        started = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", command.format(python=python)], cwd=folder, env=clean,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        seconds, now = time.monotonic() - started, _bytes(folder)
        if done.returncode:
            print(
                f"\n{name} failed ({done.returncode}):\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
            )
            return 1
        print(f"| {name} | `{shown}` | {_time(seconds)} | {(now - before) / 2**20:,.0f} MiB |",
              flush=True)  # fmt: skip
        before = now
        if name == until:
            break
    return 0


def _bytes(folder: Path) -> int:
    """Of all files, as the disk counts them."""
    return sum(
        p.lstat().st_blocks * 512 for p in folder.rglob("*") if p.is_file() and not p.is_symlink()
    )


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


if __name__ == "__main__":
    sys.exit(main())
