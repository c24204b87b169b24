"""Differentiable pruning on digits: what is converted is inside, and still knows its digits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import pytest

import hwsearch
from hwsearch import estimation
from hwsearch.backends import backend
from hwsearch.board import board
from hwsearch.compress import differentiable
from hwsearch.compress.differentiable import Gated, shrink
from hwsearch.compress.fitted import fit, keras_copy
from hwsearch.compress.gates import gates
from hwsearch.compress.goal import Goal
from hwsearch.compress.soft_cost import soft_cost
from hwsearch.cost.columns import Columns
from hwsearch.errors import BudgetError, InputError
from hwsearch.evaluate import fast
from hwsearch.graph import keras_channels, tflite
from hwsearch.problem import Given, Problem, problem
from hwsearch.space import Space
from hwsearch.train import fine_tune
from tests import digits

BOARD = "nucleo-l4r5zi"
RECIPE = {"learning_rate": 2e-3, "batch_size": 64, "samples": 0, "seed": 0}


@dataclass(frozen=True)
class Network:
    """A trained model, its data, and what it costs whole."""

    model: keras.Model
    train: digits.Split
    val: digits.Split
    found: Problem

    def goal(self, share: float) -> Goal:
        """This share of flash, RAM and latency of the whole network."""
        ranks = self.found.pricing.ranks
        whole = ranks.configuration([0] * len(ranks.parameters))
        cost = self.found.pricing.cost(whole)
        assert cost.flash_bytes and cost.ram_bytes and cost.latency_s
        budget = hwsearch.Budget(
            flash=cost.flash_bytes, ram=cost.ram_bytes, latency=cost.latency_s
        )
        return Goal(self.found.pricing, budget, whole, share)


@pytest.fixture(scope="module")
def trained() -> Network:
    train, val = digits.data()
    model = digits.network(train, epochs=10)
    space = Space(activation_bits=(8,))
    return Network(model, train, val, problem(model, board(BOARD), Given(
        train, val, backends=("aot",), space=space)))  # fmt: skip


def shrunk(network: Network, goal: Goal, **changes: Any) -> Any:
    copy, data = keras_copy(network.model), network.found.train
    groups = keras_channels.groups(copy)
    return shrink(
        copy, groups, data, network.found.loss, goal, **({"epochs": 1} | RECIPE | changes)
    )


def test_it_ends_inside_every_limit_and_works(trained: Network) -> None:
    model, train, val = trained.model, trained.train, trained.val
    before = [w.copy() for w in model.get_weights()]
    whole = trained.goal(1.0)
    limits = whole.budget.limits
    budget = hwsearch.Budget(
        flash=limits["flash_bytes"] - 1200,
        ram=limits["ram_bytes"] - 400,
        latency=limits["latency_s"] * 0.7,
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


def test_a_goal_that_nothing_meets_gives_the_narrowest_and_says_so(trained: Network) -> None:
    few = replace(trained, found=replace(trained.found, train=trained.found.train.take(slice(64))))
    goal = trained.goal(0.01)
    found = shrunk(few, goal)
    assert max(found.uses.values()) > 1
    assert found.widths == tuple(goal.allowed.rounded(np.ones(len(found.widths), np.int64)))
    assert any("narrowest network" in note for note in found.notes)
    assert any("no gate shut within 1 steps" in note for note in found.notes)
    assert not any("gates aimed" in note for note in found.notes)


@pytest.mark.parametrize(("enough", "gated"), [(1500, 3), (2, 2), (1, 1)])
def test_gates_take_half_of_the_epochs_or_the_steps_that_are_enough(
    trained: Network, monkeypatch: pytest.MonkeyPatch, enough: int, gated: int
) -> None:
    spent: list[int] = []

    def counted(*given: Any, epochs: int, **more: Any) -> Any:
        spent.append(epochs)
        return fine_tune(*given, epochs=epochs, **more)

    monkeypatch.setattr(differentiable, "fine_tune", counted)
    monkeypatch.setattr(differentiable, "GATED_STEPS", enough)
    few = replace(trained, found=replace(trained.found, train=trained.found.train.take(slice(64))))
    shrunk(few, trained.goal(0.6), epochs=6)
    assert spent == [gated, 6 - gated]


def test_each_widths_are_priced_once_and_by_the_exact_costs(trained: Network) -> None:
    copy, goal = keras_copy(trained.model), trained.goal(0.5)
    groups, asked = keras_channels.groups(copy), []

    def uses(widths: Any) -> Any:
        asked.append(widths.tobytes())
        return goal.uses(widths)

    soft = soft_cost(goal.scheme, goal.limits, goal.uses)
    goal.__dict__["allowed"] = replace(goal.allowed, uses=uses)
    x, y = trained.train
    steps = 4 * -(-len(x) // 64)
    gated = Gated(copy, gates(copy, groups), groups, goal, soft, steps)
    gated.compile("adam", trained.found.loss, jit_compile=False)
    gated.fit(x, y, batch_size=64, epochs=4, verbose=0)
    priced = len(asked)
    assert 1 < priced == len(set(asked)) <= steps // differentiable.EVERY
    for key in set(asked):
        counts = np.frombuffer(key, np.int64)
        over, slopes = gated._priced(counts)
        assert np.array_equal(over, goal.uses(counts[None])[0] > 1)
        assert slopes.shape == (len(goal.limits), len(groups.widths)) and (slopes >= 0).all()
    assert len(asked) == priced


def test_an_original_without_finite_outputs_teaches_nothing(
    trained: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Seen(Exception):
        """What the training was given."""

    def stand_in(*_: object, distillation: object, **more: object) -> None:
        raise Seen(distillation)

    outputs = np.full((len(trained.found.train), 10), np.nan, np.float32)
    monkeypatch.setattr("hwsearch.compress.fitted.predict", lambda model, inputs: (outputs,))
    monkeypatch.setattr("hwsearch.compress.fitted.shrink", stand_in)
    with pytest.raises(Seen) as seen:
        fit(trained.model, trained.train, hwsearch.Budget(flash="9 KiB"), BOARD)
    assert seen.value.args == (None,)


def test_a_limit_that_the_backend_cannot_tell_is_refused(trained: Network) -> None:
    limits = hwsearch.Budget(latency="5 ms")
    with pytest.raises(BudgetError, match="latency"):
        fit(trained.model, trained.train, limits, "nucleo-g0b1re", backend="x-cube-ai-8.1")


def test_a_loss_that_diverges_leaves_a_network_inside_with_finite_weights(
    trained: Network,
) -> None:
    goal = trained.goal(0.8)
    found = shrunk(trained, goal, epochs=2, learning_rate=1e30)
    assert any("diverged" in note for note in found.notes)
    assert found.diverged and found.curve == ()
    assert all(np.isfinite(w).all() for w in found.model.get_weights())
    assert max(found.uses.values()) <= 1
    assert goal.uses(np.array([found.widths])).max() <= 1


def test_what_it_needs(trained: Network) -> None:
    goal = trained.goal(0.5)
    with pytest.raises(InputError, match=r"epochs \(found 0\)"):
        shrunk(trained, goal, epochs=0)
    bare = replace(trained, found=replace(
        trained.found, train=replace(trained.found.train, targets=())))  # fmt: skip
    with pytest.raises(InputError, match=r"targets \(found 0\)"):
        shrunk(bare, goal)
    with pytest.raises(InputError, match="needs a limit"):
        Goal(trained.found.pricing, hwsearch.Budget(), goal.like)


def test_a_copy_of_a_model_with_a_loss_of_its_own() -> None:
    def loss(y: object, p: object) -> object:
        return (y - p) ** 2  # type: ignore[operator]

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile("adam", loss=loss)
    copy = keras_copy(model)
    assert copy.loss is loss
    x = np.ones((3, 4), np.float32)
    assert np.array_equal(copy(x), model(x))
