"""Promotions within a search, and final trainings before the front's best are verified."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from search.tasks import searching, task, trials

import hwsearch
from hwsearch.budget import Budget
from hwsearch.candidate import Candidate, Score, Trained, Verified
from hwsearch.configuration import Configuration
from hwsearch.cost.cost import Cost
from hwsearch.finalists import proven
from hwsearch.search.finals import finished
from hwsearch.search.promotion import Rungs
from hwsearch.search.scores import Scores
from hwsearch.search.task import Task
from hwsearch.search.training import Artefact, Job, Result
from tests import digits

BUDGET = Budget(flash="64 KiB")


def short_then_long(directory: Path) -> Task:
    made = task(directory, BUDGET, 4)
    space = replace(made.space, epochs=1, rungs=(5,))
    ranks = replace(made.pricing.ranks, space=space)
    pricing = replace(made.pricing, ranks=ranks)
    return replace(made, space=space, pricing=pricing, sampler="random")


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
    chosen = replace(short_then_long(tmp_path), trials=2)  # too few to promote one
    with searching(chosen, train=train) as search:
        search.run()
        best = max(search.history(), key=lambda t: t.score.value)
        assert best.candidate.configuration.rung == 0
        final = finished(search, best, lambda: False)
    assert final is not None
    assert math.isclose(final.score.value, best.score.value + 0.1)
    assert final.tflite.is_file() and final.tflite != best.tflite
    assert final.candidate.number == best.candidate.number
    assert final.candidate.configuration == replace(best.candidate.configuration, rung=1)
    assert final.train_s == best.train_s + 5


def test_a_final_training_that_fails_keeps_the_short_one_and_says_so(tmp_path: Path) -> None:
    chosen = short_then_long(tmp_path)
    ranks = chosen.pricing.ranks
    (row,) = ranks.narrowest(np.zeros((1, len(ranks.parameters)), np.int64))
    narrow = ranks.configuration(row)
    assert narrow.widths == (4,)
    chosen = replace(chosen, trials=2)
    with searching(chosen, waiting=[ranks.names(row)], train=train) as search:
        search.run()
        trial = next(t for t in search.history() if t.candidate.configuration == narrow)
        assert finished(search, trial, lambda: False) == trial
        assert "its final training failed: no memory" in search.known.failures[-1]


def test_what_diverged_is_not_promoted(tmp_path: Path) -> None:
    def wild(job: Job, *rest: object) -> tuple[Result | None, str]:
        result, reason = train(job, *rest)
        assert result is not None
        return replace(result, diverged=True), reason

    with searching(replace(short_then_long(tmp_path), trials=12), train=wild) as search:
        search.run()
        history = search.history()
        first, second = search.known.rungs.trained
        assert first >= 3 and second == 0
        assert all(t.diverged and t.candidate.configuration.rung == 0 for t in history)
        assert finished(search, history[0], lambda: False) == history[0]


def test_without_rungs_nothing_is_trained_again(tmp_path: Path) -> None:
    chosen = task(tmp_path, BUDGET, 2)
    with searching(replace(chosen, sampler="random"), train=train) as search:
        search.run()
        best = search.history()[0]
        assert finished(search, best, lambda: False) is best


def test_the_front_is_promoted_within_the_budget_of_trainings(tmp_path: Path) -> None:
    """One structure in three goes on; the longer score takes the place of the short one."""
    chosen = replace(short_then_long(tmp_path), trials=12)
    jobs: list[Job] = []

    def record(job: Job, *rest: object) -> tuple[Result | None, str]:
        jobs.append(job)
        return train(job, *rest)

    with searching(chosen, train=record) as search:
        search.run()
        history, front = search.history(), search.known.front
        seen = search._memory.study.get_trials()
        told = trials(chosen)
        first, second = search.known.rungs.trained
    assert len(jobs) == search.known.counts.evaluated == 12
    longer = [job for job in jobs if job.space.epochs == 5]
    assert len({job.structure for job in longer}) == len(longer) == second == first // 3 == 2
    for job in longer:
        assert job.before is not None and job.before.space.epochs == 1
        assert job.structure == f"{job.before.structure}-1"
        assert jobs.index(job) > [j.structure for j in jobs].index(job.before.structure)
    promoted = {job.structure.partition("-")[0] for job in longer}
    for t in front:
        c = t.candidate.configuration
        assert c.rung == (c.structure in promoted), "a short score stayed on the front"
    by_number = {t.number: t for t in told}
    for t in history:
        assert by_number[t.candidate.number].params["rung"] == t.candidate.configuration.rung
    short = [t for t in history if not t.candidate.configuration.rung]
    assert len(short) < len(history)
    assert {t.values[0] for t in seen if t.values} == {t.score.value for t in short}
    assert all("rung" not in t.params for t in seen), "no sampler proposes it"
    with searching(replace(chosen, trials=16), train=record) as again:
        assert again.known.rungs.trained == [first, second]
        numbers = {t.candidate.number for t in front}
        assert {t.candidate.number for t in again.known.front} == numbers
        again.run()
    done = [(job.structure, job.precisions) for job in jobs]
    assert len(set(done)) == len(done) == 16, "something was trained twice"


def test_a_promotion_that_is_worse_makes_room_for_what_it_hid() -> None:
    scores, one = Scores(["max", "min"]), Configuration((8,), "l1", "tflm", 8, (8,))
    other = replace(one, widths=(12,))
    assert scores.add(one, 1, [0.9, 10.0], True) and scores.add(other, 2, [0.8, 11.0], True)
    assert scores.front == [1]
    assert scores.add(replace(one, rung=1), 3, [0.7, 10.0], True)
    assert sorted(scores.front) == [2, 3]
    assert one in scores and scores.trial_id(one) == 1, "a repeat is told the first rung's score"
    assert scores.trial_id(replace(one, rung=1)) == 3
    assert not scores.add(one, 4, [1.0, 10.0], True), "a later short score counts for nothing"
    assert scores.add(replace(one, rung=2), 5, [0.95, 10.0], True) and scores.front == [5]
    assert scores.add(replace(one, rung=3), 6, [0.1, 10.0], False) and scores.front == [2]


def test_of_the_front_the_best_third_goes_on_and_the_highest_rung_first() -> None:
    def trained(width: int, value: float, rung: int = 0) -> Trained:
        c = Configuration((width,), "l1", "tflm", 8, (8,), rung=rung)
        score = Score(value, value, value, 9, "Keras")
        return Trained(Candidate(width, c, Cost(1, 1, 1.0, None, 1)), Path("x"), score, (), 0.0)

    rungs = Rungs(3, "max")
    short = [trained(w, 0.5 + w / 100) for w in range(9)]
    for t in short[:2]:
        rungs.add(t.candidate.configuration)
    assert rungs.next(lambda: pytest.fail("nobody may go on yet")) is None
    for t in short[2:]:
        rungs.add(t.candidate.configuration)
    found = []
    while (chosen := rungs.next(lambda: short[:8])) is not None:
        found.append(chosen.widths[0])
        rungs.begin(chosen)
    assert found == [7, 6, 5], "the best of the front; the ninth is not of it"
    middle = [trained(w, 0.9, rung=1) for w in found]
    for t in middle:
        rungs.add(t.candidate.configuration)
    top = rungs.next(lambda: [*short, *middle])
    assert top is not None and (top.rung, top.widths[0]) == (2, 7)
    assert rungs.trained == [9, 3, 0]


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


@pytest.mark.slow
def test_a_real_search_promotes_and_its_finalists_had_all_epochs(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    train, val = digits.data()
    model = digits.network(train, epochs=3)
    report = hwsearch.optimize(
        model, digits.BUDGET, train, val, board="nucleo-l4r5zi", trials=9,
        directory=tmp_path, sampler="random",
        space=hwsearch.Space(epochs=1, rungs=(3,), samples=512), workers=2, study="s",
    )  # fmt: skip
    said = next(note for note in report.notes if note.startswith("trained in rungs: "))
    first, second = map(int, re.findall(r"(\d+) for", said))
    assert 1 <= second <= first // 3 and report.trained == first + second, said
    assert report.failed == 0
    for verified in report.finalists:
        t = verified.trained
        assert t.candidate.configuration.rung == 1 and len(t.curve) == 3
    promoted = [t for t in report.history if t.candidate.configuration.rung]
    assert promoted and all(len(t.curve) == 3 and t.tflite.is_file() for t in promoted)
    client = MlflowClient(f"sqlite:///{tmp_path.absolute()}/mlflow.db")
    found = client.get_experiment_by_name("hwsearch")
    runs = client.search_runs([found.experiment_id], "params.rung = '1'")
    numbers = {t.candidate.number for t in promoted} - {
        v.trained.candidate.number for v in report.finalists
    }
    assert numbers <= {int(run.data.tags["hwsearch.trial"]) for run in runs}
    assert all(run.data.metrics["epochs"] == 3 for run in runs)
