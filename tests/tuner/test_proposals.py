"""Proposals: over budget is no trial and no failure; a search always ends; files are the truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras_tuner
import pytest
from keras_tuner.engine.trial import TrialStatus

from hwsearch.tuner.proposals import PROPOSALS_A_TRIAL, Proposals


def space() -> keras_tuner.HyperParameters:
    hp = keras_tuner.HyperParameters()
    hp.Int("units", 1, 100)
    hp.Boolean("drop")
    return hp


def excess(values: Mapping[str, Any]) -> dict[str, float]:
    """Up to 20 units fit."""
    return {"flash_bytes": values["units"] / 20 - 1}


def oracle(folder: Path, **kwargs: Any) -> Proposals:
    given = {"objective": "val_accuracy", "max_trials": 20, "seed": 3, **kwargs}
    made = Proposals(hyperparameters=space(), **given)
    made.judge, made.verbose = excess, 0
    made._set_project_dir(str(folder), "project")
    return made


def run(proposals: Proposals, trials: int = 1000) -> list[Any]:
    """Trials whose score is their units; more is better, as far as the budget goes."""
    done = []
    while len(done) < trials:
        trial = proposals.create_trial("tuner0")
        if trial.status == TrialStatus.STOPPED:
            break
        units = trial.hyperparameters.values["units"]
        proposals.update_trial(trial.trial_id, {"val_accuracy": units / 100})
        trial.status = TrialStatus.COMPLETED
        proposals.end_trial(trial)
        done.append(trial)
    return done


def test_every_trial_is_inside_the_budget_and_none_failed(tmp_path: Path) -> None:
    proposals = oracle(tmp_path, max_consecutive_failed_trials=1)
    trials = run(proposals)
    assert len(trials) == 20
    assert all(t.hyperparameters.values["units"] <= 20 for t in trials)
    assert len({(t.hyperparameters.values["units"], t.hyperparameters.values["drop"])
                for t in trials}) == 20  # fmt: skip
    assert proposals.rejected and all(r["values"]["units"] > 20 for r in proposals.rejected)
    assert all(r["excess"] == excess(r["values"]) for r in proposals.rejected)


def test_the_author_s_defaults_come_first(tmp_path: Path) -> None:
    proposals = oracle(tmp_path)
    assert run(proposals, 1)[0].hyperparameters.values == {"units": 1, "drop": False}


def test_the_sampler_learns_where_the_budget_ends(tmp_path: Path) -> None:
    """More proposals are inside than of a uniform draw's fifth, and later ones are better."""
    proposals = oracle(tmp_path, max_trials=30)
    proposals.hyperparameters = keras_tuner.HyperParameters()
    proposals.hyperparameters.Int("units", 1, 1000)
    proposals.judge = lambda values: {"flash_bytes": values["units"] / 200 - 1}
    trials = run(proposals)
    assert len(trials) == 30 and proposals.asked < 100
    late = [t.hyperparameters.values["units"] for t in trials[-10:]]
    assert sum(late) / len(late) > 110  # the mean of what fits is 100


def test_where_nothing_fits_the_search_ends(tmp_path: Path) -> None:
    proposals = oracle(tmp_path)
    proposals.judge = lambda values: {"ram_bytes": 1.0}
    assert run(proposals) == [] and proposals.asked == PROPOSALS_A_TRIAL
    assert str(PROPOSALS_A_TRIAL) in proposals.exhausted and not proposals.trials


def test_a_space_that_is_used_up_ends_the_search(tmp_path: Path) -> None:
    hp = keras_tuner.HyperParameters()
    hp.Choice("units", [1, 2, 3, 50])
    proposals = oracle(tmp_path)
    proposals.hyperparameters = hp
    assert sorted(t.hyperparameters.values["units"] for t in run(proposals)) == [1, 2, 3]
    assert len(proposals.rejected) == 1 and "tried before" in proposals.exhausted


def test_a_build_that_raises_is_a_failure_as_in_keras_tuner(tmp_path: Path) -> None:
    proposals = oracle(tmp_path)
    proposals.judge = lambda values: None
    with pytest.raises(RuntimeError, match="consecutive failures"):
        for _ in range(4):
            trial = proposals.create_trial("tuner0")
            trial.status, trial.message = TrialStatus.FAILED, "it raised"
            proposals.end_trial(trial)
    assert len(proposals.trials) == 3


def test_a_timeout_ends_the_search(tmp_path: Path) -> None:
    proposals = oracle(tmp_path)
    proposals.timeout_s = 1e-9
    assert run(proposals) == [] and "timeout" in proposals.exhausted


def test_a_search_that_was_killed_is_gone_on_with(tmp_path: Path) -> None:
    first = oracle(tmp_path)
    run(first, 5)
    running = first.create_trial("tuner0")  # killed here
    second = oracle(tmp_path)
    second.reload()
    assert second.rejected == first.rejected and second.asked == first.asked
    told = [t.state.name for t in second._study().get_trials()]
    assert told.count("COMPLETE") == 5 and told.count("PRUNED") == len(first.rejected)
    again = second.create_trial("tuner0")
    assert again.trial_id == running.trial_id
    assert again.hyperparameters.values == running.hyperparameters.values
    second.update_trial(again.trial_id, {"val_accuracy": 0.5})
    again.status = TrialStatus.COMPLETED
    second.end_trial(again)
    assert len(run(second)) == 14 and len(second.trials) == 20
    known = {json.dumps(r["values"], sort_keys=True) for r in first.rejected}
    new = [json.dumps(r["values"], sort_keys=True) for r in second.rejected]
    assert len(new) == len(set(new)) and known <= set(new)


def test_a_trial_killed_before_the_oracle_was_written_is_run(tmp_path: Path) -> None:
    first = oracle(tmp_path)
    run(first, 2)
    written = (tmp_path / "project" / "oracle.json").read_text()
    lost = first.create_trial("tuner0")
    (tmp_path / "project" / "oracle.json").write_text(written)
    second = oracle(tmp_path)
    second.reload()
    assert second.create_trial("tuner0").trial_id == lost.trial_id
