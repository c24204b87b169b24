"""Differentiable pruning on digits: what is converted is inside, and still knows its digits."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import hwsearch
from hwsearch import estimation
from hwsearch.backends import backend
from hwsearch.board import board
from hwsearch.compress.fitted import fit
from hwsearch.cost.columns import Columns
from hwsearch.errors import InputError
from hwsearch.evaluate import fast
from hwsearch.graph import tflite
from hwsearch.space import Space
from tests import digits

BOARD = "nucleo-l4r5zi"


@pytest.fixture(scope="module")
def trained():
    train, val = digits.data()
    return digits.network(train, epochs=10), train, val


def test_it_ends_inside_every_limit_and_works(trained) -> None:
    model, train, val = trained
    before = [w.copy() for w in model.get_weights()]
    whole = hwsearch.estimate(model, board=BOARD, backend="aot")
    assert whole.flash_bytes and whole.ram_bytes and whole.latency_s
    budget = hwsearch.Budget(
        flash=whole.flash_bytes - 1200, ram=whole.ram_bytes - 400, latency=whole.latency_s * 0.7
    )
    found = fit(model, train, budget, BOARD, space=Space(epochs=8, batch_size=32))
    assert max(found.excess.values()) <= 0
    graph = tflite.read(found.tflite).graph
    real = estimation.cost(Columns.of(graph), backend("aot"), board(BOARD))
    assert real.flash_bytes <= budget.flash and real.ram_bytes <= budget.ram
    assert real.latency_s <= budget.latency
    right = (fast(found.tflite, (val[0],))[0].argmax(1) == val[1]).mean()
    original = (model.predict(val[0], verbose=0).argmax(1) == val[1]).mean()
    assert right > original - 0.08
    for old, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)


def test_a_budget_that_nothing_meets_is_told(trained) -> None:
    model, train, _ = trained
    small = (train[0][:256], train[1][:256])
    found = fit(model, small, hwsearch.Budget(flash="4 KiB"), BOARD, space=Space(epochs=1))
    assert found.excess["flash_bytes"] > 0
    assert any("narrowest network" in note for note in found.notes)


def test_what_it_needs(trained) -> None:
    model, train, _ = trained
    with pytest.raises(InputError, match="needs targets"):
        fit(model, (train[0][:64], train[1][:64]), hwsearch.Budget(flash="64 KiB"), BOARD,
            space=Space(epochs=0))  # fmt: skip
    keras.backend.clear_session()
