"""Artefacts of scored trials for verification: on this disk, and trained in full."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from hwsearch.candidate import Trained
from hwsearch.errors import StudyError
from hwsearch.search.known import NO_METRIC
from hwsearch.search.loop import Search
from hwsearch.search.offer import folder


def restored(search: Search, trained: Trained) -> Trained | None:
    """A scored trial with its artefact on this disk; None if that cannot be had.

    Another machine's is fetched; one that was deleted is made again, and scored again.
    """
    task = search.task
    if trained.tflite.is_file():
        return trained
    leaf = trained.candidate.configuration
    if search.store is not None:
        with suppress(StudyError):
            search.store.get(folder(leaf.training), task.directory)
    if trained.tflite.is_file():
        return trained
    result, reason = search.train(task.job([leaf]), None, lambda: False)
    artefact = None if result is None else result.of(task.precision(leaf))
    if result is None or artefact is None:
        search.known.failed(trained.candidate.number, f"its artefact is gone, and {reason}")
        return None
    again = result.candidate(trained.candidate, task.pricing.cost)
    return replace(trained, candidate=again, tflite=artefact.tflite, score=artefact.score)


def finished(search: Search, trained: Trained, stopped: Callable[[], bool]) -> Trained | None:
    """A scored trial trained up to the last rung, scored again; :func:`restored` if it was.

    A training that fails keeps the shorter one's artefact, and the failures say so; one whose loss
    diverged is not gone on with.

    Args:
        search: its trial's, ended.
        trained: it.
        stopped: whether to give the training up.
    """
    task, candidate, last = search.task, trained.candidate, len(search.task.space.rungs)
    if candidate.configuration.rung == last or trained.diverged:
        return restored(search, trained)
    leaf = replace(candidate.configuration, rung=last)
    job = task.job([leaf])
    result, reason = search.train(job, task.limit_s(job), stopped)
    artefact = None if result is None else result.of(task.precision(leaf))
    if result is None or artefact is None or math.isnan(artefact.score.value):
        reason = reason or NO_METRIC
        search.known.failed(candidate.number, f"its final training failed: {reason}")
        return restored(search, trained)
    return replace(
        trained,
        candidate=result.candidate(replace(candidate, configuration=leaf), task.pricing.cost),
        tflite=artefact.tflite,
        score=artefact.score,
        curve=result.curve,
        train_s=trained.train_s + result.train_s,
        notes=tuple(dict.fromkeys((*trained.notes, *result.notes))),
        diverged=result.diverged,
    )
