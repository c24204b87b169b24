"""Descriptions of runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import factories

from hwsearch import notes, runs
from hwsearch.layout import Layout


def test_limits_have_their_units() -> None:
    params = {"metric": "accuracy", "budget.flash": 196_608, "budget.latency": 0.04}
    told = notes.searched(params | {"budget.accuracy": 0.9}, None)
    assert "| limit: flash | 192.0 KiB |" in told and "| limit: latency | 40 ms |" in told
    assert "| limit: accuracy | 0.9 |" in told and "| metric | accuracy |" in told


def test_a_note_that_is_too_long_is_cut_between_its_parts(tmp_path: Path) -> None:
    layout = Layout(tuple((f"group_{i}", 64, 4) for i in range(900)), ())
    trial = factories.trained(tmp_path, 0)
    wide = replace(trial.candidate.configuration, widths=(8,) * 900, weight_bits=())
    trial = replace(trial, candidate=replace(trial.candidate, configuration=wide))
    note = notes.trial(trial, {}, "accuracy", layout)
    assert len(note) <= notes.MOST and note.startswith("**accuracy 0.88") and "| RAM |" in note


def test_a_loss_that_diverged_is_a_tag(tmp_path: Path) -> None:
    trial = factories.trained(tmp_path, 0)
    assert "diverged" not in runs.trial(trial, {}, {"metric": "accuracy"}).tags
    wild = replace(trial, notes=("the loss diverged in epoch 1",), diverged=True)
    tags = runs.trial(wild, {}, {"metric": "accuracy"}).tags
    assert tags["diverged"] == "true" and "epoch 1" in tags["training"]
