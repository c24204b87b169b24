"""The loop: rejection without TensorFlow, failures survived, studies that clash."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from search.replay import trains
from search.tasks import pricing, searching, task

from hwsearch.budget import Budget
from hwsearch.errors import StudyError
from hwsearch.outcome import _ended
from hwsearch.search.bootstrap import POINTS, bootstrap
from hwsearch.search.loop import ASKS_IN_A_ROW, Search
from hwsearch.search.memory import Memory
from hwsearch.search.sampler import starts
from hwsearch.search.study import local, locked, open_study
from hwsearch.search.training import Job, Result
from hwsearch.space import Space

TESTS = Path(__file__).parents[1]

Landed = tuple[Result | None, str]


def run(script: str, directory: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(TESTS / "search" / script), str(directory)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_rejected_asks_touch_no_tensorflow_and_train_nothing(tmp_path: Path) -> None:
    said = json.loads(run("reject_only.py", tmp_path))
    assert said["asked"] == said["rejected"] == said["expected"]
    assert said["modules"] == []
    assert said["children"] == 0
    assert said["states"] == ["PRUNED"]
    assert said["told"] == 0, "what needs no training costs the durable study nothing"
    assert said["constraints"][0]["flash_bytes"] > 0
    assert said["rows"] == said["rejected"]


def test_a_training_that_fails_is_a_failed_trial_and_the_search_goes_on(tmp_path: Path) -> None:
    chosen = task(tmp_path, Budget(flash="1 MiB"), trials=2)
    with searching(chosen) as search:
        search.run()
    known = search.known
    assert known.counts.failed == 2
    assert all("model.keras" in reason for reason in known.failures), known.failures


def test_another_database_does_not_make_trainings_another_search_s(tmp_path: Path) -> None:
    chosen = task(tmp_path / "study", Budget(flash="1 MiB"), trials=1)
    with searching(chosen, {"model": "first"}):
        pass
    elsewhere = f"sqlite:///{tmp_path / 'other.db'}"
    with (
        pytest.raises(StudyError, match=r"model: first there, second now.*delete its folder"),
        searching(chosen, {"model": "second"}, elsewhere),
    ):
        pass
    with searching(chosen, {"model": "first"}, elsewhere):
        pass


@pytest.mark.parametrize("sampler", ["front", "tpe"])
def test_what_failed_is_not_trained_again_and_the_search_learns_to_keep_off(
    tmp_path: Path, sampler: str
) -> None:
    tried, replayed = [], trains(0.0)

    def width(job: Job) -> int:
        return job.widths.get("hidden0", 32)

    def train(job: Job, timeout_s: float | None, stopped: Callable[[], bool]) -> Landed:
        tried.append(job)
        if width(job) >= 20:
            return None, "it took more memory than it may"
        return replayed(job, timeout_s, stopped)

    chosen = replace(task(tmp_path, Budget(flash="1 MiB"), trials=40), sampler=sampler)
    with searching(chosen, train=train) as search:
        search.run()
    known = search.known
    failed = [job for job in tried if width(job) >= 20]
    assert 0 < len(failed) == known.counts.failed == len(known.lost)
    assert known.counts.evaluated == len(tried) - len(failed)
    if sampler == "front":
        assert len(failed) < len(tried) / 2


class Alternating(optuna.samplers.BaseSampler):
    """Asks for two configurations of one structure, by turns."""

    def __init__(self, rows: list[dict[str, int]]) -> None:
        self.rows = rows

    def infer_relative_search_space(self, study: object, trial: object) -> dict[str, object]:
        return {}

    def sample_relative(self, study: object, trial: object, space: object) -> dict[str, object]:
        return {}

    def sample_independent(
        self, study: object, trial: optuna.trial.FrozenTrial, name: str, among: object
    ) -> int:
        return self.rows[trial.number % len(self.rows)][name]


def test_what_failed_and_was_scored_by_another_training_is_scored(tmp_path: Path) -> None:
    """Two trainings of one structure at once: the first fails, the second scores what both asked
    for, and both are asked for again."""
    chosen = task(tmp_path, Budget(flash="1 MiB"), trials=3)
    assert chosen.space.weight_bits == (8, 4)
    rows = [dict.fromkeys((p.name for p in chosen.pricing.ranks.parameters), 0) for _ in "ab"]
    rows[1] |= {name: 1 for name in rows[1] if name.startswith("bits/")} | {"backend": 1}
    chosen = replace(chosen, workers=2, sampler=Alternating(rows))
    both, lost, replayed, begun = threading.Barrier(2), threading.Event(), trains(0.0), []

    def train(job: Job, timeout_s: float | None, stopped: Callable[[], bool]) -> Landed:
        begun.append(job.structure)
        both.wait(20)
        if not job.precisions[0].weight_bits:  # no operator has other than 8
            return None, "it took more memory than it may"
        assert lost.wait(20)
        return replayed(job, timeout_s, stopped)

    def look(search: Search) -> None:
        if search.known.lost:
            lost.set()

    with searching(chosen, train=train, on_change=look) as search:
        search.run()
        scored = [t.candidate.configuration for t in search.history()]
    assert len(begun) == 2 and len(set(begun)) == 1
    assert {(c.backend, *c.weight_bits) for c in scored} >= {("tflm", 8, 8)}
    assert search.exhausted and search.known.counts.failed == 1


@pytest.mark.parametrize("sampler", ["front", "tpe", "grid"])
def test_a_space_that_holds_fewer_ends_the_search_and_it_says_so(
    tmp_path: Path, sampler: str
) -> None:
    """Four configurations, fifty trials wanted: each is trained once, and none asked for ever."""
    space = Space(pruning_ratio=(0.0, 0.5), saliency=("l1",), weight_bits=(8,),
                  activation_bits=(8,), distillation=(0.5,))  # fmt: skip
    few = task(tmp_path, Budget(flash="1 MiB"), 50)
    few = replace(few, space=space, pricing=pricing(space), sampler=sampler)
    with searching(few, train=trains(0.0)) as search:
        search.run()
        scored = {t.candidate.configuration.digest for t in search.history()}
    assert len(scored) == 4 and search.exhausted
    assert search.known.counts.asked <= 50 + ASKS_IN_A_ROW
    said = _ended(search)
    assert len(said) == 1 and re.match(r"ended after \d of 50 trials.*wider space=", said[0]), said


@pytest.mark.parametrize("sampler", ["front", "tpe", "nsga2", optuna.samplers.TPESampler(seed=0)])
def test_a_short_search_asks_its_sampler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str | optuna.samplers.BaseSampler
) -> None:
    """Starting points are half of its trials at most, though there are more that fit."""
    asked, ask = [], Memory.ask
    monkeypatch.setattr(Memory, "ask", lambda self: asked.append(1) or ask(self))
    short = replace(task(tmp_path, Budget(flash="1 MiB"), 6), sampler=sampler)
    points = bootstrap(short.pricing, short.budget, 0, starts(sampler, short.trials)).feasible
    waiting = [short.pricing.ranks.names(row) for row in points]
    assert len(waiting) == 3
    with searching(short, waiting=waiting, train=trains(0.0)) as search:
        search.run()
    assert len(asked) >= 3
    assert starts(sampler, 1) == 1 and starts(sampler, 1000) in (8, POINTS)


def test_bootstrap_finds_points_that_fit_and_the_nearest_miss(tmp_path: Path) -> None:
    roomy = task(tmp_path, Budget(flash="128 KiB", ram="8 KiB"), 1)
    found = bootstrap(roomy.pricing, roomy.budget, 0)
    assert len(found.feasible) == POINTS
    costs = roomy.pricing.price(roomy.pricing.ranks.decode(found.feasible))
    assert (roomy.budget.excesses(costs) <= 0).all()
    tight = task(tmp_path, Budget(flash="1 KiB"), 1)
    missed = bootstrap(tight.pricing, tight.budget, 0)
    assert len(missed.feasible) == 0
    costs = tight.pricing.price(tight.pricing.ranks.decode(missed.nearest[None]))
    assert missed.excess == pytest.approx(tight.budget.excesses(costs).max())
    # Nothing in this space is smaller: the fewest channels, the lowest bits, the smaller runtime.
    configuration = tight.pricing.ranks.configuration(missed.nearest)
    assert configuration.widths == (4,)
    assert configuration.backend == "tflm"


def test_a_study_of_another_search_is_refused_with_the_difference(tmp_path: Path) -> None:
    url = local(tmp_path)
    open_study(url, "s", ["maximize"], {"model": "a", "seed": 1}, {})
    open_study(url, "s", ["maximize"], {"model": "a", "seed": 1}, {})
    with pytest.raises(StudyError, match="model: a there, b now"):
        open_study(url, "s", ["maximize"], {"model": "b", "seed": 1}, {})


def test_an_unreadable_study_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"not a database, but long enough to be one" * 100)
    with pytest.raises(StudyError, match=r"study\.db cannot be read"):
        open_study(local(tmp_path), "s", ["maximize"], {}, {})


def test_a_study_has_one_owner(tmp_path: Path) -> None:
    with (
        locked(tmp_path),
        pytest.raises(StudyError, match="another search owns"),
        locked(tmp_path),
    ):
        pass


def test_leaves_fit_and_start_with_the_one_asked_for(tmp_path: Path) -> None:
    chosen = task(tmp_path, Budget(flash="64 KiB"), 1)
    ranks = chosen.pricing.ranks
    configuration = ranks.configuration([0] * len(ranks.parameters))
    leaves = chosen.leaves(configuration, set())
    assert leaves[0] == configuration
    assert len({leaf.digest for leaf in leaves}) == len(leaves) > 1
    assert {leaf.structure for leaf in leaves} == {configuration.structure}
    costs = chosen.pricing.price(ranks.columns(leaves[1:]))
    assert (chosen.budget.excesses(costs) <= 0).all()
    assert chosen.leaves(configuration, set(leaves)) == [configuration]


def test_a_full_disk_ends_the_search_with_what_to_do_and_loses_nothing_told(
    tmp_path: Path,
) -> None:
    known, told, message = run("full_disk.py", tmp_path).split(" ", 2)
    assert "cannot be written" in message and "Free disk space" in message
    assert 0 < int(known) <= int(told) <= int(known) + 1
