"""What a finished search amounts to: finalists verified, one chosen, or the nearest miss."""

from __future__ import annotations

import time

from hwsearch.candidate import NearestMiss, Trained, Verified
from hwsearch.finalists import nearest_miss, proven
from hwsearch.problem import Problem
from hwsearch.report import Report
from hwsearch.search.bootstrap import Bootstrap
from hwsearch.search.loop import Search
from hwsearch.search.task import Task
from hwsearch.verification import verify


def outcome(
    found: Problem,
    task: Task,
    search: Search,
    screened: Bootstrap,
    started: float,
    device: str,
) -> Report:
    """Verifies the finalists, chooses, and puts the report together.

    Args:
        found: what the search started from.
        task: what it was to do.
        search: it, ended.
        screened: what was costed before it.
        started: when, by ``time.monotonic``.
        device: where finalists run.
    """
    budget, mode = task.budget, found.metric.mode

    def check(wanted: list[Trained]) -> tuple[list[Verified], list[tuple[Verified, str]]]:
        here = [t for t in map(search.restored, wanted) if t is not None]
        return verify(
            here,
            found.report,
            found.outputs,
            found.metric,
            found.pricing,
            budget,
            device,
            task.workers + 1,
        )

    proof = proven(search.known.history, mode, budget, check, task.objectives)
    search.interrupted |= proof.interrupted
    structures = {t.candidate.configuration.structure for t in search.known.history}
    return Report(
        study=task.name,
        board=found.pricing.board,
        budget=budget,
        metric=found.metric.name,
        mode=mode,
        original=found.original,
        original_tflite_bytes=found.int8_bytes,
        finalists=proof.finalists,
        winner=proof.winner,
        nearest_miss=None if proof.winner is not None else _miss(found, screened, search),
        asked=search.known.counts.asked,
        rejected=search.known.counts.rejected,
        screened=screened.screened,
        trained=len(structures),
        scored=len(search.known.history),
        failed=search.known.counts.failed,
        disqualified=proof.disqualified,
        seconds=time.monotonic() - started,
        interrupted=search.interrupted,
        notes=(*found.notes, *_ended(search), *search.known.failures[:5]),
        history=tuple(sorted(search.known.history, key=lambda t: t.candidate.number)),
        directory=task.directory,
        tracking="",
        objectives=task.objectives,
    )


def _ended(search: Search) -> list[str]:
    """Why the search ended before its trials were used up, where the user should hear it."""
    task, counts = search.task, search.known.counts
    if search.known.stagnates and counts.evaluated < task.trials:
        return [
            f"ended after {counts.evaluated} trials: over the last {task.patience} the "
            f"hypervolume grew by less than {task.tolerance:.1%}."
        ]
    return []


def _miss(found: Problem, screened: Bootstrap, search: Search) -> NearestMiss | None:
    """What came nearest where nothing fits."""
    if screened.excess <= 0:
        return None  # configurations fit, but none was trained, or none is accurate enough
    configuration = found.pricing.ranks.configuration(screened.nearest)
    return nearest_miss(found.pricing, search.task.budget, configuration)
