"""Cells measured: one process a core, each with one task's original in memory."""

from __future__ import annotations

import math
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from typing import Any

from benchmarks.compression.bench import BATCH, DISTILLATION, RATE, TEMPERATURE, Bench
from benchmarks.compression.cells import Cell, Outcome, digest, load
from benchmarks.compression.methods import DEPENDS, METHODS
from benchmarks.compression.tasks import TASKS, original
from benchmarks.processes import follow


def outcomes(wanted: Sequence[Cell], deadline: float = math.inf) -> Iterator[Outcome]:
    """Of cells that are measured now, as they come; none begins after ``time.time`` is so late."""
    context = multiprocessing.get_context("spawn")
    cores = sorted(os.sched_getaffinity(0))
    free: Any = context.Queue()
    for core in cores:
        free.put(core)
    with ProcessPoolExecutor(len(cores), context, _pinned, (free,)) as pool:
        try:
            # Trained once, and on one core as cells are: on two its weights are others.
            list(pool.map(_original, dict.fromkeys(cell.task for cell in wanted)))
            for made in as_completed([pool.submit(_outcome, cell, deadline) for cell in wanted]):
                outcome = made.result()
                if outcome is not None:
                    yield outcome
        finally:
            pool.shutdown(cancel_futures=True)


def missing(wanted: Sequence[Cell]) -> list[Cell]:
    """Those that were not measured, or with settings that are others now."""
    return [
        cell for cell in wanted
        if (found := load(cell)) is None or found.digest != digest_of(cell)
    ]  # fmt: skip


def digest_of(cell: Cell) -> str:
    """Of the settings that its figures depend on."""
    task = TASKS[cell.task]
    settings = [cell.task, cell.method, cell.level, cell.seed, task.tuned, RATE, BATCH,
                DISTILLATION, TEMPERATURE, *DEPENDS.get(cell.method, ())]  # fmt: skip
    return digest(settings)


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


def _original(task: str) -> None:
    """Trains the task's original, where that is not kept."""
    original(TASKS[task])


def _outcome(cell: Cell, deadline: float) -> Outcome | None:
    """Of the cell, unless it is too late."""
    if time.time() > deadline:
        return None
    bench = _bench(cell.task)
    return bench.outcome(cell, METHODS[cell.method](bench, cell), digest_of(cell))


@lru_cache(maxsize=1)
def _bench(task: str) -> Bench:
    return Bench(TASKS[task])


def _pinned(free: Any) -> None:
    """This process, and what it starts, on a core of its own: times of cells are of one core. It
    ends with the benchmark, also where that is killed."""
    follow()
    os.sched_setaffinity(0, {free.get()})
