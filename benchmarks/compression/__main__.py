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

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks.compression import curves, results
from benchmarks.compression.cells import Cell, Outcome, keep, kept, load
from benchmarks.compression.measure import line, missing, outcomes
from benchmarks.compression.methods import METHODS, cells
from benchmarks.compression.tasks import TASKS

SEEDS = int(os.environ.get("SEEDS", results.SEEDS))
"""Of the cells that a claim rests on."""

QUICK_S = 900
"""Seconds of training that ``QUICK=1`` may take."""


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
    return sorted(missing(list(found)), key=lambda c: list(TASKS).index(c.task))


def measure(wanted: list[Cell], deadline: float) -> bool:
    """Measures and keeps the cells that are not kept; whether it came to the end."""
    for outcome in outcomes(missing(wanted), deadline):
        keep(outcome)
        print(line(outcome), flush=True)
    return not missing(wanted)


def drawn(found: list[Outcome], cores: int) -> list[Outcome]:
    """A random trained cell of each task, the longest first: so many cores train them in
    :data:`QUICK_S`. Each task's quickest where none of a thousand draws is that short."""
    tasks: dict[str, list[Outcome]] = {}
    for outcome in found:
        if outcome.train_s:
            tasks.setdefault(outcome.cell.task, []).append(outcome)
    for _ in range(1000):
        chosen = [random.choice(outcomes) for outcomes in tasks.values()]
        times = [outcome.train_s for outcome in chosen]
        if max(times, default=0) <= QUICK_S and sum(times) <= cores * QUICK_S:
            break
    else:
        chosen = [min(outcomes, key=lambda o: o.train_s) for outcomes in tasks.values()]
    return sorted(chosen, key=lambda o: -o.train_s)


def again(wanted: list[Cell]) -> int:
    """One random kept cell of each task, measured again; 1 if one is off by over a point."""
    worst, cores = 0.0, len(os.sched_getaffinity(0))
    chosen = drawn([old for cell in wanted if (old := load(cell))], cores)
    old = {outcome.cell: outcome for outcome in chosen}
    for new in outcomes(list(old)):
        print(f"kept  {line(old[new.cell])}\nagain {line(new)}", flush=True)
        worst = max(worst, abs(old[new.cell].accuracy - new.accuracy))
    print(f"largest difference of a metric: {100 * worst:.2f} points")
    return int(worst > 0.01)


def main() -> int:
    tasks = os.environ.get("TASKS", ",".join(TASKS)).split(",")
    methods = os.environ.get("METHODS", ",".join(METHODS)).split(",")
    hours = float(os.environ.get("HOURS", "10"))
    levels = [float(level) for level in os.environ.get("LEVELS", "").split(",") if level]
    wanted = cells(tasks, methods, levels)
    if os.environ.get("QUICK"):
        return again(wanted)
    deadline = time.time() + 3600 * hours
    whole = measure(wanted, deadline)
    while whole and SEEDS > 1 and (more := unconfirmed(wanted)):
        whole = measure(more, deadline)
    if not whole:
        print("time is up: the same command goes on")
    cells_kept = list(kept())
    found = results.points(cells_kept)
    print(f"\n{results.table(found)}\n\n{results.claims(found)}\n")
    machines = ", ".join(sorted({outcome.machine for outcome in cells_kept}))
    results.PAGE.write_text(results.page(cells_kept, curves.draw(found), machines))
    print(f"written: {results.PAGE.name} and its figures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
