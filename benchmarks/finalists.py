"""Print estimate against measurement for models of a real search: ``make bench-finalists``.

A small network on scikit-learn's digits is searched with the ahead-of-time backend; then scored
trials, evenly over flash, are compiled, linked and run on an emulated Cortex-M4, every output byte
compared with TFLite Micro's. Targets (issue 3): flash within 2 %, RAM exact, instructions within
10 %.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import digits

import hwsearch
from hwsearch.candidate import Trained


def measured(trained: Trained, x: np.ndarray) -> list[float]:
    """Relative errors of flash, RAM and cycles, and output bytes that differ."""
    cost = trained.candidate.cost
    found = hwsearch.verify(trained.tflite, "emulator:cortex-m4", x)
    assert cost.flash_bytes and cost.ram_bytes and cost.cycles
    assert found.flash_bytes and found.ram_bytes and found.cycles
    errors = [
        cost.flash_bytes / found.flash_bytes - 1,
        cost.ram_bytes / found.ram_bytes - 1,
        cost.cycles / found.cycles - 1,
        found.mismatched_outputs,
    ]
    print(
        f"{trained.candidate.number:5}"
        f" {cost.flash_bytes:8,} {found.flash_bytes:8,} {errors[0]:+7.2%}"
        f" {cost.ram_bytes:7,} {found.ram_bytes:7,} {errors[1]:+7.2%}"
        f" {cost.cycles:11,.0f} {found.cycles:11,.0f} {errors[2]:+7.2%} {errors[3]:4.0f}",
        flush=True,
    )
    return errors


def main() -> None:
    """Searches, verifies, prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--models", type=int, default=24)
    arguments = parser.parse_args()
    train, val = digits.data()
    with tempfile.TemporaryDirectory() as folder:
        report = hwsearch.optimize(
            digits.network(train),
            hwsearch.Budget(flash="64 KiB", ram="16 KiB"),
            train,
            val,
            board="nucleo-l4r5zi",
            trials=arguments.trials,
            space=digits.SPACE,
            backends=["aot"],
            directory=folder,
        )
        models = sorted(report.history, key=lambda t: t.candidate.cost.flash_bytes or 0)
        picks = np.linspace(0, len(models) - 1, min(arguments.models, len(models)))
        print("trial    flash  measured   error    RAM  measured  error      cycles    measured")
        rows = np.array([measured(models[int(i)], val[0][:4]) for i in picks.round()])
    worst = np.abs(rows).max(axis=0)
    print(
        f"{len(rows)} models of one search: worst error of flash {worst[0]:.2%}, "
        f"RAM {worst[1]:.2%}, cycles {worst[2]:.2%}; {rows[:, 3].sum():.0f} output bytes differ"
    )


if __name__ == "__main__":
    main()
