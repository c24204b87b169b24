"""Verdicts: an architecture is known by any name; what is said to fit is what is cheapest."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest

from hwsearch.budget import Budget, target
from hwsearch.errors import BudgetError
from hwsearch.space import Space
from hwsearch.tuner.architectures import MOST_STRUCTURES, Architectures, digest, fixed
from hwsearch.tuner.reporting import compression

SPACE = Space(pruning_ratio=(0, 0.25, 0.5, 0.75), saliency=("l1",))
INPUTS = (np.random.default_rng(0).random((32, 8, 8, 1), np.float32),)


def network(filters: int, rate: float = 1e-3, name: str | None = None) -> Any:
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(filters, 3, activation="relu", name=name),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    return model


def judges(flash: str) -> Architectures:
    board, budget = target(Budget(flash=flash), "nucleo-l4r5zi")
    return Architectures(board, budget, None, SPACE, INPUTS)


def test_runtimes_that_cannot_tell_a_limited_cost_are_left_out_and_said() -> None:
    """X-CUBE-AI was never measured on an M85."""
    board, budget = target(Budget(latency="50 ms"), "ek-ra8d1")
    both = Architectures(board, budget, ("x-cube-ai-9.0", "tflm-cmsis-nn"), SPACE, INPUTS)
    priced = both.judge(network(8)).priced
    assert [b.name for b in priced.pricing.ranks.backends] == ["tflm-cmsis-nn"]
    assert [n.split(":")[0] for n in priced.notes] == ["x-cube-ai-9.0 is left out"]
    with pytest.raises(BudgetError, match=r"latency on ek-ra8d1 .* Leave out that limit"):
        Architectures(board, budget, ("x-cube-ai-9.0",), SPACE, INPUTS).judge(network(8))


def test_a_digest_is_of_the_layers_alone() -> None:
    assert digest(network(8)) == digest(network(8, rate=1e-2)) == digest(network(8, name="first"))
    assert digest(network(8)) != digest(network(12))


def test_weights_of_a_trained_model_do_not_change_the_price() -> None:
    made = judges("64 KiB")
    new = made.judge(network(16)).priced.pricing
    model = network(16)
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
    trained = judges("64 KiB").judge(model).priced.pricing
    configuration = new.ranks.configuration([0] * len(new.ranks.parameters))
    assert new.cost(configuration) == trained.cost(configuration)


@pytest.mark.parametrize("flash", ["64 KiB", "12 KiB", "10 KiB"])
def test_the_mildest_pruning_that_fits(flash: str) -> None:
    """Against every pruning level and precision costed one by one."""
    made = judges(flash)
    found = made.judge(network(96))
    pricing, budget = found.priced.pricing, made.budget
    ranks = pricing.ranks
    groups = len(ranks.layout.groups)
    fits = {}
    for level in range(len(SPACE.pruning_ratio)):
        head = [level] * groups
        rest = [range(p.choices) for p in ranks.parameters[groups:]]
        costs = (
            budget.excess(pricing.cost(ranks.configuration([*head, *tail])))
            for tail in itertools.product(*rest)
        )
        fits[level] = any(max(excess.values()) <= 0 for excess in costs)
    mildest = next(level for level in fits if fits[level])
    assert 1 <= len(found.fits) <= MOST_STRUCTURES
    widths = ranks.configuration([mildest] * groups + [0] * len(ranks.parameters[groups:])).widths
    assert found.fits[0].widths == widths
    for configuration in found.fits:
        assert max(budget.excess(pricing.cost(configuration)).values()) <= 0


def test_what_never_fits_says_by_how_much() -> None:
    made = judges("2 KiB")
    found = made.judge(network(96))
    assert found.fits == ()
    assert found.excess == made.budget.excess(found.priced.pricing.cost(found.nearest))
    assert found.excess["flash_bytes"] > 0


def test_an_architecture_is_converted_once() -> None:
    made = judges("64 KiB")
    first = made.judge(network(8))
    assert made.judge(network(8, rate=1e-2)) is first
    assert made.judge(network(12)) is not first


def test_what_a_tuner_does_not_search_is_said(caplog: pytest.LogCaptureFixture) -> None:
    assert fixed(Space(saliency=("l1",), distillation=(0.5,))) == {}
    space = Space(saliency=("bn", "l2"), ratios=("global",), drop_blocks=(0, 1), qat=(True,))
    whole = {"ratios": "per-group", "drop_blocks": 0}
    assert fixed(space) == {"saliency": "bn", "distillation": 0.5, **whole}
    board, budget = target(Budget(flash="64 KiB"), "nucleo-l4r5zi")
    assert "saliency bn, not searched" in compression(board, budget, space, None)
    Architectures(board, budget, None, Space(), INPUTS)
    assert not caplog.messages
    Architectures(board, budget, None, space, INPUTS)
    assert [m.split(",")[0] for m in caplog.messages] == [
        "A tuner's trials have saliency='bn'",
        "A tuner's trials have ratios='per-group'",
        "A tuner's trials have drop_blocks=0",
    ]
