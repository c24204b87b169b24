"""Deployment: a fitted model pruned, quantized and scored as the artefacts that will run."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwsearch.budget import Budget
from hwsearch.candidate import Candidate, Trained
from hwsearch.errors import ModelFileError, StudyError, TrialError
from hwsearch.objectives import objectives
from hwsearch.problem import custom_objects
from hwsearch.record import from_json, to_json
from hwsearch.search import carried, children
from hwsearch.search.task import Task
from hwsearch.search.training import DISK_FULL, TRAINED
from hwsearch.tuner.architectures import Verdict
from hwsearch.tuner.proposals import write_whole
from hwsearch.tuner.session import Searched

FILE = "deployed.json"


def task_of(
    model: Any,
    verdict: Verdict,
    searched: Searched,
    *,
    folder: Path,
    study: str,
    budget: Budget,
    trial_timeout_s: float | None,
    seed: int,
) -> Task:
    """The task of deploying a fitted model; what it reads is written into the trial's folder.

    Args:
        model: fitted; saved as ``model.keras``.
        verdict: on its architecture.
        searched: data, in ``../data`` of the folder; loss and metric.
        folder: of the trial.
        study, budget, trial_timeout_s, seed: of the search.
    """
    for part in (TRAINED, "data", "saliency"):  # of a try that was cut short
        shutil.rmtree(folder / part, ignore_errors=True)
    model.save(folder / "model.keras")
    (folder / "data").mkdir()
    for part in ("train", "search"):
        (folder / "data" / part).symlink_to(Path("../../data") / part)
    found = verdict.priced
    return Task(
        directory=folder.absolute(),
        name=study,
        pricing=found.pricing,
        budget=budget,
        space=found.space,
        op_indexes=found.op_indexes,
        mode=searched.metric.mode,
        objectives=objectives(None, budget),
        sampler="tpe",  # has no part in one trial
        original=None,
        loss=carried.dumps(searched.loss),
        metric=carried.dumps(searched.metric),
        custom_objects=carried.dumps(custom_objects(model)),
        trials=1,
        timeout_s=None,
        trial_timeout_s=trial_timeout_s,
        patience=None,
        tolerance=0.0,
        workers=1,
        threads=os.cpu_count() or 1,
        seed=seed,
    )


def deploy(
    task: Task, verdict: Verdict, number: int, hyperparameters: Mapping[str, object]
) -> list[Trained]:
    """The artefacts of one fitted model, scored on the search half; each in a child process.

    The unpruned form keeps the weights that the fit gave it; a pruned one is fine-tuned.

    Args:
        task: of the trial's directory, which holds ``model.keras`` and ``data/``.
        verdict: on the model's architecture.
        number: of the first artefact.
        hyperparameters: of the trial.

    Raises:
        TrialError: no artefact could be made; says why.
        StudyError: the disk is full.
    """
    full = tuple(width for _, width, _ in task.pricing.ranks.layout.groups)
    chosen = tuple((name, str(value)) for name, value in hyperparameters.items())
    found: list[Trained] = []
    reasons: list[str] = []
    for configuration in verdict.fits:
        unpruned = configuration.widths == full and not configuration.is_elementwise
        space = replace(task.space, epochs=0) if unpruned else task.space
        leaves = task.leaves(configuration, set())
        result, reason = children.run(replace(task, space=space).job(leaves), task.trial_timeout_s)
        if result is None:
            if reason.startswith(DISK_FULL):
                raise StudyError(
                    f"{reason}. Free disk space; the search goes on where it stopped."
                )
            reasons.append(reason)
            continue
        for leaf in leaves:
            artefact = result.of(task.precision(leaf))
            if artefact is None or math.isnan(artefact.score.value):
                reasons.append("an artefact's metric is NaN" if artefact else "not made")
                continue
            cost = task.pricing.cost
            wanted = Candidate(number + len(found), leaf, cost(leaf), chosen)
            candidate = result.candidate(wanted, cost)
            if task.is_over(candidate.cost):
                reasons.append("the widths that were found are over budget with these bits")
                continue
            seconds = result.train_s if leaf is leaves[0] else 0.0
            found.append(
                Trained(
                    candidate,
                    artefact.tflite,
                    artefact.score,
                    result.curve,
                    seconds,
                    result.notes,
                    artefact.plain,
                    result.diverged,
                )
            )
    if not found:
        raise TrialError(f"the fitted model was not deployed: {'; '.join(reasons)}")
    return found


def save(trained: list[Trained], folder: Path) -> None:
    """Writes what :func:`deploy` gave into a trial's folder, whole or not at all."""
    write_whole(folder / FILE, json.dumps(to_json(trained, folder)))


def load(folder: Path) -> list[Trained]:
    """What :func:`save` wrote; empty where there is nothing, or the artefacts are gone."""
    try:
        records: list[Any] = json.loads((folder / FILE).read_text())
        found: list[Trained] = [from_json(Trained, record, folder) for record in records]
    except (OSError, ValueError, ModelFileError):
        return []
    return found if all(t.tflite.is_file() for t in found) else []
