"""Final trainings: the front's best are trained for longer before they are verified."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from search.tasks import searching, task

from hwsearch.budget import Budget
from hwsearch.candidate import Score, Trained, Verified
from hwsearch.finalists import proven
from hwsearch.search.finals import finished
from hwsearch.search.task import Task
from hwsearch.search.training import Artefact, Job, Result

BUDGET = Budget(flash="64 KiB")


def short_then_long(directory: Path) -> Task:
    made = task(directory, BUDGET, 4)
    space = replace(made.space, epochs=1, final_epochs=5)
    return replace(made, space=space, sampler="random")


def train(job: Job, *_: object) -> tuple[Result | None, str]:
    """A training that gains 0.1 from the first epoch to the fifth; the narrowest fail at it."""
    if job.space.epochs == 5 and min(job.widths.values(), default=32) <= 4:
        return None, "no memory"
    job.folder.mkdir(parents=True, exist_ok=True)
    value = 0.5 + 0.01 * min(job.widths.values(), default=32) + 0.025 * (job.space.epochs - 1)
    made = []
    for precision in job.precisions:
        path = job.folder / precision.name
        path.write_bytes(b"")
        made.append(Artefact(precision, path, Score(value, value, value, 9, "Keras")))
    return Result((), float(job.space.epochs), tuple(made)), ""


def test_trials_are_short_and_the_best_are_trained_in_full(tmp_path: Path) -> None:
    chosen = short_then_long(tmp_path)
    with searching(chosen, train=train) as search:
        search.run()
        best = max(search.history(), key=lambda t: t.score.value)
        final = finished(search, best, lambda: False)
    assert final is not None
    assert math.isclose(final.score.value, best.score.value + 0.1)
    assert final.tflite.is_file() and final.tflite != best.tflite
    assert final.candidate == best.candidate
    assert final.train_s == best.train_s + 5


def test_a_final_training_that_fails_keeps_the_short_one_and_says_so(tmp_path: Path) -> None:
    chosen = short_then_long(tmp_path)
    ranks = chosen.pricing.ranks
    narrow = ranks.configuration([len(chosen.space.pruning_ratio) - 1] + [0] * 7)
    assert narrow.widths == (4,)
    with searching(chosen, waiting=[ranks.names([7] + [0] * 7)], train=train) as search:
        search.run()
        trial = next(t for t in search.history() if t.candidate.configuration == narrow)
        assert finished(search, trial, lambda: False) == trial
        assert "its final training failed: no memory" in search.known.failures[-1]


def test_without_final_epochs_nothing_is_trained_again(tmp_path: Path) -> None:
    chosen = task(tmp_path, BUDGET, 2)
    with searching(replace(chosen, sampler="random"), train=train) as search:
        search.run()
        best = search.history()[0]
        assert finished(search, best, lambda: False) is best
    assert chosen.final(best.candidate.configuration) is None


def test_the_winner_is_chosen_by_what_the_final_trainings_reach(tmp_path: Path) -> None:
    """The first choice falls behind once all are trained in full: another is deployed."""
    chosen = short_then_long(tmp_path)
    with searching(chosen, train=train) as search:
        search.run()
        history = search.history()
    ordered = sorted(history, key=lambda t: -t.score.value)
    first = ordered[0].candidate.number

    def check(wanted: list[Trained]) -> tuple[list[Verified], list[tuple[Verified, str]]]:
        held = []
        for t in wanted:
            value = 0.1 if t.candidate.number == first else t.score.value
            again = replace(t, score=Score(value, value, value, 9, "Keras"))
            held.append(Verified(again, "estimate", again.score, again.score, None))
        return held, []

    proof = proven(history, "max", BUDGET, check, ("metric",))
    assert proof.winner is not None
    assert proof.winner.trained.candidate.number != first
    assert proof.winner.trained.score.value == ordered[1].score.value or any(
        t.score.value == proof.winner.trained.score.value for t in ordered[1:]
    )
