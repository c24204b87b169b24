"""Measure what is missing, print the table, write docs/: ``make bench-compression``.

``QUICK=1`` measures one random kept cell of each task again and compares; ``TASKS=lenet5,vgg``,
``METHODS=l2,differentiable`` and ``LEVELS=0.7`` name some, ``HOURS=2`` ends after so long (what
was measured stays), ``SEEDS=1`` leaves out the last part: every cell is measured once, then what
the claims rest on with two seeds more.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.compression import results
from benchmarks.compression.bench import Bench
from benchmarks.compression.cells import Cell, Outcome, keep, kept, load
from benchmarks.compression.methods import LEVELS, METHODS, WHOLE, ZEROS
from benchmarks.compression.tasks import TASKS

SEEDS = int(os.environ.get("SEEDS", "3"))
"""Of the cells that a claim rests on."""

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "hwsearch", "compression")


def cells(tasks: list[str], methods: list[str], only: list[float]) -> list[Cell]:
    """Each once, quick tasks first; only some levels, where some are named."""
    found = []
    for task in tasks:
        for method in methods:
            levels = (0.0,) if method in WHOLE else ZEROS if method == "zeros" else LEVELS
            found += [
                Cell(task, method, level, 0) for level in levels if level in only or not only
            ]
    return found


def unconfirmed(wanted: list[Cell]) -> list[Cell]:
    """What the claims rest on and was not measured with all seeds yet."""
    tasks, methods = ({getattr(cell, of) for cell in wanted} for of in ("task", "method"))
    found = {
        Cell(point.task, point.method, point.level, seed): None
        for row in results.rows(results.points(kept()))
        for point in row.points
        if point.task in tasks and point.method in methods - {"original"}
        for seed in range(SEEDS)
    }
    return sorted((c for c in found if load(c) is None), key=lambda c: list(TASKS).index(c.task))


def measure(wanted: list[Cell], hours: float) -> bool:
    """Measures the cells that are not kept; whether it came to the end before time was up."""
    started, bench = time.monotonic(), None
    for cell in wanted:
        if load(cell) is not None:
            continue
        if time.monotonic() - started > hours * 3600:
            print("time is up: the same command goes on")
            return False
        if bench is None or bench.task.name != cell.task:
            bench = Bench(TASKS[cell.task], CACHE)  # one original in memory
        outcome = bench.outcome(cell, METHODS[cell.method](bench, cell))
        keep(outcome)
        print(line(outcome), flush=True)
    return True


def again(wanted: list[Cell]) -> int:
    """One random kept cell of each task, measured again; 1 if one is off by over a point."""
    worst = 0.0
    for task in dict.fromkeys(cell.task for cell in wanted):
        kept = [found for cell in wanted if cell.task == task and (found := load(cell))]
        if kept:
            old, bench = random.choice(kept), Bench(TASKS[task], CACHE)
            new = bench.outcome(old.cell, METHODS[old.cell.method](bench, old.cell))
            print(f"kept  {line(old)}\nagain {line(new)}", flush=True)
            worst = max(worst, abs(old.accuracy - new.accuracy))
    print(f"largest difference of a metric: {100 * worst:.2f} points")
    return int(worst > 0.01)


def line(outcome: Outcome) -> str:
    """One cell as text."""
    cell = outcome.cell
    return (
        f"{cell.task:11} {cell.method:14} {cell.level:5.3f} seed {cell.seed} "
        f"{outcome.accuracy:.4f} "
        f"{100 * outcome.difference:+.2f} points "
        f"({100 * outcome.difference_low:+.2f} to {100 * outcome.difference_high:+.2f}), "
        f"parameters {outcome.parameters_left:.1%}, flash {outcome.flash_bytes:,}, "
        f"RAM {outcome.ram_bytes:,}, {1e3 * outcome.latency_s:.2f} ms, "
        f"{1e3 * outcome.energy_j:.3f} mJ, {outcome.train_s:.0f} s"
    )


def main() -> int:
    tasks = os.environ.get("TASKS", ",".join(TASKS)).split(",")
    methods = os.environ.get("METHODS", ",".join(METHODS)).split(",")
    started, hours = time.monotonic(), float(os.environ.get("HOURS", "10"))
    levels = [float(level) for level in os.environ.get("LEVELS", "").split(",") if level]
    wanted = cells(tasks, methods, levels)
    if os.environ.get("QUICK"):
        return again(wanted)
    measure(wanted, hours)
    while SEEDS > 1 and (more := unconfirmed(wanted)):
        if not measure(more, hours - (time.monotonic() - started) / 3600):
            break
    outcomes = list(kept())
    found = results.points(outcomes)
    print(f"\n{results.table(found)}\n\n{results.claims(found)}\n")
    machines = ", ".join(sorted({outcome.machine for outcome in outcomes}))
    results.PAGE.write_text(results.page(found, results.draw(found), machines))
    print(f"written: {results.PAGE.name} and its figures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
