"""The report of a tuner's search: finalists of any architecture, each verified as its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keras_tuner.engine.trial import TrialStatus

from hwsearch.board import Board
from hwsearch.budget import Budget
from hwsearch.candidate import Score, Trained, Verified
from hwsearch.convert import load_model
from hwsearch.finalists import nearest_miss, proven
from hwsearch.objectives import objectives
from hwsearch.relief import smallest_board
from hwsearch.report import Report
from hwsearch.space import Space
from hwsearch.train import predict
from hwsearch.tuner.architectures import Verdict, fixed
from hwsearch.tuner.proposals import Proposals
from hwsearch.tuner.session import Searched
from hwsearch.verification import verify

MOST_ROWS = 1000
"""Architectures over budget that the log lists."""

MOST_NOTES = 5
"""Failures that the report tells of."""


def report_of(
    searched: Searched,
    *,
    study: str,
    board: Board,
    budget: Budget,
    history: Sequence[Trained],
    price: Callable[[Any], Verdict],
    nearest: Verdict | None,
    oracle: Proposals,
    directory: Path,
    device: str,
) -> Report:
    """Verifies the finalists, chooses, and puts the report together.

    Each finalist is compared with the float model that it was made from.

    Args:
        searched: data and metric.
        study, board, budget, directory, device: of the search.
        history: all artefacts.
        price: the verdict on a fitted model's architecture.
        nearest: the verdict that came nearest where nothing fitted.
        oracle: counts trials and rejected proposals.
    """
    metric, fresh = searched.metric, searched.report
    floats: dict[Path, tuple[Verdict, Any]] = {}

    def origin(trained: Trained) -> tuple[Verdict, Any]:
        """(verdict, outputs on the report samples) of the fitted model of an artefact."""
        folder = trained.tflite.parents[2]
        if folder not in floats:
            model = load_model(folder / "model.keras", trusted=True)  # the tuner wrote it
            floats[folder] = price(model), predict(model, fresh.inputs)
        return floats[folder]

    def check(wanted: list[Trained]) -> tuple[list[Verified], list[tuple[Verified, str]]]:
        held: list[Verified] = []
        thrown: list[tuple[Verified, str]] = []
        for trained in wanted:
            verdict, outputs = origin(trained)
            pricing = verdict.priced.pricing
            kept, out = verify([trained], fresh, outputs, metric, pricing, budget, device, 1)
            held += kept
            thrown += out
        return held, thrown

    proof = proven(history, metric.mode, budget, check)
    original, tflite_bytes, notes = Score(math.nan, math.nan, math.nan, 0, "Keras"), 0, []
    if proof.winner is not None:
        verdict, outputs = origin(proof.winner.trained)
        original = metric.score(fresh.targets, outputs, "Keras")
        tflite_bytes, notes = verdict.priced.int8_bytes, list(verdict.priced.notes)
        chosen = ", ".join(f"{k}={v}" for k, v in proof.winner.trained.candidate.hyperparameters)
        notes.insert(0, f"hyperparameters of the chosen model: {chosen}")
    elif nearest is not None:
        tflite_bytes, notes = nearest.priced.int8_bytes, list(nearest.priced.notes)
    smallest = None
    if proof.winner is not None:
        chosen_one = proof.winner.trained.candidate.configuration
        smallest = smallest_board(verdict.priced.pricing, budget, chosen_one, oracle.seed)
    elif nearest is not None:
        smallest = smallest_board(nearest.priced.pricing, budget, None, oracle.seed)
    failed = [t for t in oracle.trials.values() if t.status == TrialStatus.FAILED]
    said = [f"trial {t.trial_id}: {_last_line(t.message)}" for t in failed[:MOST_NOTES]]
    miss = None
    if proof.winner is None and not history and nearest is not None:
        miss = nearest_miss(nearest.priced.pricing, budget, nearest.nearest)
    return Report(
        study=study,
        board=board,
        budget=budget,
        metric=metric.name,
        mode=metric.mode,
        original=original,
        original_tflite_bytes=tflite_bytes,
        finalists=proof.finalists,
        winner=proof.winner,
        nearest_miss=miss,
        asked=oracle.asked,
        rejected=len(oracle.rejected),
        screened=0,
        trained=len({t.tflite.parent for t in history}),
        scored=len(history),
        failed=len(failed),
        disqualified=proof.disqualified,
        seconds=time.monotonic() - searched.started,
        interrupted=proof.interrupted,
        notes=(*searched.notes, *notes, *said, *([oracle.exhausted] if oracle.exhausted else [])),
        history=tuple(history),
        directory=directory,
        tracking="",
        objectives=objectives(None, budget),
        smallest=smallest,
    )


def compression(board: Board, budget: Budget, space: Space, backends: Sequence[str] | None) -> str:
    """The part of the search space that is no hyperparameter, as text."""
    return "\n".join(
        [
            f"Each model on {board.name}, {budget}:",
            f"pruning_ratio {list(space.pruning_ratio)}",
            f"weight_bits {list(space.weight_bits)}",
            f"activation_bits {list(space.activation_bits)}",
            f"backend {list(backends) if backends else 'all that can be proven here'}",
            *(f"{name} {value}, not searched" for name, value in fixed(space).items()),
        ]
    )


def logged(
    searched: Searched, budget: Budget, board: Board, oracle: Proposals
) -> dict[str, object]:
    """Params of the search's run in MLflow."""
    limits = {f"budget.{k}": v for k, v in asdict(budget).items() if v is not None}
    return {
        "metric": searched.metric.name,
        "mode": searched.metric.mode,
        "trials": oracle.max_trials,
        "board": board.name,
        "seed": oracle.seed,
        **limits,
    }


def rejected(oracle: Proposals) -> list[dict[str, object]]:
    """Rows of the table of what was over budget: hyperparameters, then excess by limit."""
    return [
        {**{k: str(v) for k, v in r["values"].items()}, **r["excess"]}
        for r in oracle.rejected[:MOST_ROWS]
    ]


def _last_line(message: str | None) -> str:
    """What an exception said, without where."""
    lines = (message or "failed").strip().splitlines()
    return lines[-1][:300]
