"""What a finished search amounts to: finalists verified, one chosen, or the nearest miss."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from hwsearch.candidate import NearestMiss, Trained, Verified
from hwsearch.finalists import latest, nearest_miss, proven
from hwsearch.objectives import METRIC
from hwsearch.problem import Problem
from hwsearch.relief import reliefs, smallest_board
from hwsearch.report import Report
from hwsearch.search.bootstrap import Bootstrap
from hwsearch.search.finals import finished
from hwsearch.search.loop import ASKS_IN_A_ROW, Search
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
        stop = threading.Event()
        with ThreadPoolExecutor(task.workers) as pool:
            try:
                made = list(pool.map(lambda t: finished(search, t, stop.is_set), wanted))
            except KeyboardInterrupt:
                stop.set()
                raise
        here = [t for t in made if t is not None]
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

    scored = search.history()
    proof = proven(latest(scored), mode, budget, check, task.objectives)
    search.interrupted |= proof.interrupted
    final = {v.trained.candidate.number: v.trained for v in proof.finalists}
    final |= {v.trained.candidate.number: v.trained for v, _ in proof.disqualified}
    history = [final.get(t.candidate.number, t) for t in scored]
    trained = {t.candidate.configuration.training for t in scored}
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
        nearest_miss=None
        if proof.winner is not None
        else _miss(found, task, screened, latest(scored)),
        asked=search.known.counts.asked,
        rejected=search.known.counts.rejected,
        screened=screened.screened,
        trained=len(trained),
        scored=len(scored),
        failed=search.known.counts.failed,
        disqualified=proof.disqualified,
        seconds=time.monotonic() - started,
        interrupted=search.interrupted,
        notes=(*found.notes, *_ended(search), *search.known.failures[:5]),
        history=tuple(sorted(history, key=lambda t: t.candidate.number)),
        directory=task.directory,
        tracking="",
        objectives=task.objectives,
        smallest=smallest_board(
            found.pricing,
            budget,
            None if proof.winner is None else proof.winner.trained.candidate.configuration,
            task.seed,
        ),
    )


def _ended(search: Search) -> list[str]:
    """How far trainings were promoted, and why the search ended before its trials were used up."""
    task, counts = search.task, search.known.counts
    said = []
    if task.space.rungs:
        reached = zip(task.space.ladder, search.known.rungs.trained, strict=True)
        parts = [f"{count} for {epochs}" for epochs, count in reached]
        said.append(
            f"trained in rungs: {', '.join(parts)} epochs; finalists for {task.space.ladder[-1]}."
        )
    if search.known.stagnates and counts.evaluated < task.trials:
        said.append(
            f"ended after {counts.evaluated} trials: over the last {task.patience} the "
            f"hypervolume grew by less than {task.tolerance:.1%}."
        )
    elif search.exhausted and counts.evaluated < task.trials:
        said.append(
            f"ended after {counts.evaluated} of {task.trials} trials: the last {ASKS_IN_A_ROW} "
            "proposals were over budget or scored before. Give a wider space=, or larger limits."
        )
    return said


def _miss(
    found: Problem, task: Task, screened: Bootstrap, history: list[Trained]
) -> NearestMiss | None:
    """What came nearest where nothing fits, or nothing is good enough; None if none was scored."""
    pricing, budget = found.pricing, task.budget
    room = reliefs(pricing, budget, task.seed, history, task.mode)
    if screened.excess > 0:
        configuration = pricing.ranks.configuration(screened.nearest)
        return replace(nearest_miss(pricing, budget, configuration), reliefs=room)
    if not history or budget.accuracy is None:
        return None
    sign = 1 if task.mode == "max" else -1
    fits = [t for t in history if all(e <= 0 for e in budget.excess(t.candidate.cost).values())]
    best = max(fits or history, key=lambda t: sign * t.score.value)
    lacks = sign * (budget.accuracy - best.score.value) / (abs(budget.accuracy) or 1.0)
    return NearestMiss(best.candidate, METRIC, lacks, -1, "", 0.0, room)
