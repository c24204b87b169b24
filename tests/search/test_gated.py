"""What differentiable trainings give back: widths of their own, for those asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from search.tasks import pricing, searching, task

from hwsearch.budget import Budget
from hwsearch.candidate import Score
from hwsearch.compress.projection import project
from hwsearch.search.finals import finished, restored
from hwsearch.search.task import Task
from hwsearch.search.training import Artefact, Job, Result
from hwsearch.space import Space

WIDTHS = (72, 64, 56)
BUDGET = Budget(flash="40 KiB")


def gated(directory: Path, **changes: object) -> Task:
    """A task whose widths are found by trainings; weights of 8 or 4 bits."""
    space = Space(activation_bits=(8,), method=("differentiable",), **changes)
    made = task(directory, BUDGET, 2, WIDTHS)
    return replace(made, pricing=pricing(space, WIDTHS), space=space, sampler="random")


class Gates:
    """Trainings that cut the first group most, whatever was asked for."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def __call__(self, job: Job, *_: object) -> tuple[Result | None, str]:
        self.jobs.append(job)
        widths, first = None, job.before or job
        if first.goal is not None:
            worth = {g: np.full(full, 1.0 + 9 * (g > 0)) for g, full in enumerate(WIDTHS)}
            wanted = np.array([4, *WIDTHS[1:]])
            widths = tuple(map(int, project(wanted, worth, first.goal.allowed)))
        job.folder.mkdir(parents=True, exist_ok=True)
        made = []
        for precision in job.precisions:
            path = job.folder / precision.name
            path.write_bytes(b"")
            value = 0.5 + sum(widths or ()) / 1000
            made.append(Artefact(precision, path, Score(value, value, value, 9, "Keras")))
        return Result((), 1.0, tuple(made), (), widths), ""


def test_found_widths_are_scored_and_the_asked_are_known(tmp_path: Path) -> None:
    chosen, train = gated(tmp_path), Gates()
    with searching(chosen, train=train) as search:
        search.run()
        history = list(search.history())
    assert train.jobs and all(job.goal is not None for job in train.jobs)
    for job in train.jobs:
        goal = job.goal
        uses = goal.uses(np.array([goal.like.widths]))
        assert np.isclose(uses.max(), 1.0) or goal.share == 1, "its own use is the share"
    structures = {job.structure for job in train.jobs}
    for trained in history:
        c = trained.candidate.configuration
        assert c.asked is not None and c.widths != c.asked.widths
        assert c.structure in structures
        assert trained.tflite.parent.name == c.structure
        assert trained.candidate.cost == chosen.pricing.cost(c)
        if c.digest == c.asked.digest:
            assert (
                replace(BUDGET, strictness="sure").excess(trained.candidate.cost)["flash_bytes"]
                <= 0
            )
        assert BUDGET.excess(trained.candidate.cost)["flash_bytes"] <= 0
    again = Gates()
    with searching(replace(chosen, trials=3), train=again) as search:
        search.resume()
        assert [t.candidate for t in search.history()] == [t.candidate for t in history]
        search.run()
        assert {job.structure for job in again.jobs}.isdisjoint(structures), "trained anew"


def test_an_artefact_that_is_gone_is_made_by_the_same_training(tmp_path: Path) -> None:
    chosen, train = gated(tmp_path), Gates()
    with searching(chosen, train=train) as search:
        search.run()
        lost = search.history()[0]
        lost.tflite.unlink()
        before = next(
            j for j in train.jobs if j.structure == lost.candidate.configuration.structure
        )
        found = restored(search, lost)
    assert found == lost and found.tflite.is_file()
    assert train.jobs[-1].key == before.key


def test_a_leaf_for_which_the_found_widths_are_too_wide_is_left_out(tmp_path: Path) -> None:
    chosen = gated(tmp_path, pruning_ratio=(0.0, 0.5))
    ranks = chosen.pricing.ranks
    place = {p.name: i for i, p in enumerate(ranks.parameters)}
    row = np.zeros(len(ranks.parameters), np.int64)
    for name, at in place.items():
        row[at] = name.startswith("prune/")
    row[place[f"bits/{ranks.layout.ops[2][0]}"]] = 1
    asked = ranks.configuration(row)
    assert asked.widths == (36, 32, 28) and asked.weight_bits == (8, 8, 4, 8)
    cost = chosen.pricing.cost(asked)
    flash = 1 + cost.flash_bytes * (1 + cost.bands["flash_bytes"].high)
    chosen = replace(chosen, budget=Budget(flash=flash, strictness="sure"), trials=1)
    with searching(chosen, waiting=[ranks.names(row)], train=Gates()) as search:
        search.run()
        told = search.history()
    assert asked.digest in {t.candidate.configuration.digest for t in told}
    leaves = chosen.leaves(asked, set())
    found = [leaf.found(told[0].candidate.configuration.widths) for leaf in leaves]
    fits = [leaf for leaf in found if not chosen.is_over(chosen.pricing.cost(leaf))]
    assert len(fits) < len(leaves), "this budget tells nothing apart"
    assert {t.candidate.configuration.digest for t in told} == {leaf.digest for leaf in fits}


def test_a_promotion_goes_on_with_the_widths_that_were_found(tmp_path: Path) -> None:
    chosen, train = gated(tmp_path, epochs=2, rungs=(9,)), Gates()
    with searching(chosen, train=train) as search:
        search.run()
        short = next(t for t in search.history() if t.candidate.configuration.rung == 0)
        final = finished(search, short, lambda: False)
    assert final is not None
    job = train.jobs[-1]
    assert job.goal is None and job.before is not None and job.before.goal is not None
    one, other = short.candidate.configuration, final.candidate.configuration
    assert other == replace(one, rung=1) and other.training == f"{one.structure}-1"
    assert final.candidate.cost == short.candidate.cost


def test_each_promotion_goes_on_from_a_training_that_was_done(tmp_path: Path) -> None:
    """Also where the best of a training has other bits than those its gates were trained for."""
    chosen, train = gated(tmp_path, epochs=2, rungs=(9,)), Gates()
    with searching(replace(chosen, trials=16), train=train) as search:
        search.run()
        history = search.history()
    promoted = [job for job in train.jobs if job.before is not None]
    done = {job.key for job in train.jobs if job.before is None}
    assert promoted and {job.before.key for job in promoted} <= done
    last = {t.candidate.configuration.structure for t in history if t.candidate.configuration.rung}
    assert last == {job.before.structure for job in promoted}


def test_the_whole_network_needs_no_gates(tmp_path: Path) -> None:
    chosen = gated(tmp_path)
    whole = chosen.pricing.ranks.configuration([0] * len(chosen.pricing.ranks.parameters))
    assert whole.method == "differentiable" and chosen.job([whole]).goal is None
