"""A search whose trainings replay a table: real processes and databases, nothing trained.

With ``HWSEARCH_REPLAY_RUNGS=2,4`` the front's are promoted to trainings of so many epochs.

As a script, ``python replay.py own URL DIRECTORY TRIALS SECONDS [TRACKING_URI]`` owns the study
``by-hand``, and ``python replay.py join URL DIRECTORY SECONDS`` is a worker; a training takes so
many seconds. Both print a line of JSON at their end. The table is a function of the configuration
alone, so whoever trains what, the study's true front is known.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from search.tasks import searching, task

from hwsearch.budget import Budget
from hwsearch.candidate import Score
from hwsearch.layout import Layout
from hwsearch.search.bootstrap import bootstrap
from hwsearch.search.join import joined
from hwsearch.search.loop import Train
from hwsearch.search.task import Task
from hwsearch.search.training import FLOAT, RESULT, Artefact, Job, Precision, Result

WIDTHS = (72, 64, 56, 48, 40, 32)
BUDGET = Budget(flash="96 KiB", ram="6 KiB")
SPEC: dict[str, object] = {"model": "replayed"}


def value(structure: str, precision: Precision) -> float:
    """The metric of one artefact in the table: more bits are better, the rest is its digest."""
    drawn = hashlib.sha256(f"{structure} {precision.name}".encode()).digest()
    return 0.5 + int.from_bytes(drawn[:4]) / 2**33 + 0.001 * (8 - len(precision.weight_bits))


def replay(
    seconds: float, job: Job, timeout_s: float | None, stopped: Callable[[], bool]
) -> tuple[Result | None, str]:
    """What a training would give: its files, small, and the table's values, after a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if stopped():
            return None, "the search was stopped"
        time.sleep(min(0.02, seconds))
    job.folder.mkdir(parents=True, exist_ok=True)
    made = []
    for precision in job.precisions:
        path = job.folder / precision.name
        path.write_bytes(precision.name.encode())
        score = Score(value(job.structure, precision), 0.0, 1.0, 100, "table")
        made.append(Artefact(precision, path, score))
    (job.folder / FLOAT).write_bytes(b"float")
    (job.folder / RESULT).write_text("{}")
    return Result((), seconds, tuple(made)), ""


def trains(seconds: float) -> Train:
    """A training that takes so long."""
    return partial(replay, seconds)


def replayed(directory: Path, trials: int, workers: int = 1) -> Task:
    """What is searched: six groups, so that no search ends."""
    from dataclasses import replace

    chosen = task((directory / "studies" / "by-hand").absolute(), BUDGET, trials, WIDTHS)
    rungs = tuple(map(int, filter(None, os.environ.get("HWSEARCH_REPLAY_RUNGS", "").split(","))))
    space = replace(chosen.space, epochs=1, rungs=rungs) if rungs else chosen.space
    ranks = replace(chosen.pricing.ranks, space=space)
    pricing = replace(chosen.pricing, ranks=ranks)
    return replace(chosen, workers=workers, space=space, pricing=pricing)


def own(url: str, directory: Path, trials: int, seconds: float, tracking: str = "") -> None:
    """Owns the search, and logs it to MLflow if it is told where."""
    from hwsearch.track import Tracker

    chosen = replayed(directory, trials)
    layout: Layout = chosen.pricing.ranks.layout
    rows = bootstrap(chosen.pricing, chosen.budget, chosen.seed).feasible
    waiting = [chosen.pricing.ranks.names(row) for row in rows]
    tracker = Tracker(tracking or None, "hwsearch", chosen.name, directory, wait_s=20.0)
    logged: set[int] = set()
    if tracking:
        tracker.start({"metric": "accuracy", "mode": "max"}, {}, layout)
        logged = tracker.logged()
    called = tracker.trial if tracking else (lambda trained, excess: None)
    with searching(chosen, SPEC, url, waiting, train=trains(seconds), on_trained=called) as search:
        search.call_back(logged)
        search.run()
        if tracking:  # as Tracker.finish does before it writes the report
            tracker.catch_up(search.history(), BUDGET)
            logged = tracker.logged()
        front = sorted(t.candidate.number for t in search.known.front)
        scored = len(search.history())
    counts = search.known.counts
    print(json.dumps({
        "evaluated": counts.evaluated, "begun": search.begun, "front": front,
        "logged": len(logged), "scored": scored,
        "failures": search.known.failures,
    }))  # fmt: skip


def join(url: str, directory: Path, seconds: float) -> None:
    """A worker, which SIGTERM ends."""
    with joined(url, "by-hand", directory, train=trains(seconds)) as search:
        signal.signal(signal.SIGTERM, lambda number, frame: search.stop())
        search.run()
    print(json.dumps({"begun": search.begun}))


if __name__ == "__main__":
    what, url, directory, *rest = sys.argv[1:]
    if what == "own":
        own(url, Path(directory), int(rest[0]), float(rest[1]), *rest[2:])
    else:
        join(url, Path(directory), float(rest[0]))
