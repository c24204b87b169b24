"""Distillation losses against SciPy; what cannot be distilled."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers as L
from scipy.special import expit, log_softmax, logit, softmax

from hwsearch import distillation
from hwsearch.data import Samples
from hwsearch.distillation import kinds, losses, softened_loss, usable
from hwsearch.train import fine_tune

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("kind", ["softmax", "logits"])
def test_softened_classes(kind: str, temperature: float) -> None:
    taught, said = RNG.normal(0, 2, (2, 7, 5))
    p, q = log_softmax(taught / temperature, 1), log_softmax(said / temperature, 1)
    expected = temperature**2 * (np.exp(p) * (p - q)).sum(1).mean()
    given = [softmax(v, 1) if kind == "softmax" else v for v in (taught, said)]
    found = softened_loss(kind, temperature)(*(x.astype(np.float32) for x in given))
    assert float(found) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["sigmoid", "binary logits"])
def test_softened_bits(kind: str) -> None:
    taught, said = RNG.normal(0, 2, (2, 9, 3))
    p, q = expit(taught / 3), expit(said / 3)
    each = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    given = [expit(v) if kind == "sigmoid" else v for v in (taught, said)]
    found = softened_loss(kind, 3.0)(*(x.astype(np.float32) for x in given))
    assert float(found) == pytest.approx(9 * each.mean(), rel=1e-3)
    assert logit(expit(1.0)) == pytest.approx(1)


def test_certain_outputs_stay_finite() -> None:
    sure = np.eye(3, dtype=np.float32)
    assert np.isfinite(float(softened_loss("softmax", 2.0)(sure, sure[::-1])))
    assert np.isfinite(float(softened_loss("sigmoid", 2.0)(sure, sure[::-1])))
    assert float(softened_loss("softmax", 2.0)(sure, sure)) == pytest.approx(0, abs=1e-6)


def network(*activations: str | None) -> keras.Model:
    inputs = keras.Input((4,))
    outputs = [L.Dense(3, a, name=f"out{i}")(inputs) for i, a in enumerate(activations)]
    return keras.Model(inputs, outputs if len(outputs) > 1 else outputs[0])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("sparse_categorical_crossentropy", "softmax"),
        ("categorical_crossentropy", "softmax"),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), "logits"),
        (keras.losses.CategoricalCrossentropy(label_smoothing=0.1), "softmax"),
        ("binary_crossentropy", "sigmoid"),
        (keras.losses.BinaryCrossentropy(from_logits=True), "binary logits"),
        (keras.losses.SparseCategoricalCrossentropy(name="main"), "softmax"),
    ],
)
def test_kinds(loss, expected: str) -> None:
    assert kinds(network("softmax"), loss) == ((expected,), "")


@pytest.mark.parametrize("loss", ["mse", "hinge", lambda y, p: p])
def test_losses_that_cannot_be_distilled_say_so(loss) -> None:
    found, reason = kinds(network(None), loss)
    assert found == () and "labels alone" in reason and "crossentropy" in reason


def test_losses_by_output() -> None:
    model = network("softmax", "sigmoid")
    both = ["sparse_categorical_crossentropy", "binary_crossentropy"]
    assert kinds(model, both)[0] == ("softmax", "sigmoid")
    named = {"out1": "binary_crossentropy", "out0": "mse"}
    found = [getattr(x, "name", getattr(x, "__name__", "")) for x in losses(model, named)]
    assert found == ["mean_squared_error", "binary_crossentropy"]
    assert "mean_squared_error" in kinds(model, named)[1]


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_an_output_without_a_loss_is_not_distilled_and_trains() -> None:
    listed = network("softmax", "sigmoid")
    named = keras.Model(listed.input, dict(zip(("out0", "out1"), listed.outputs, strict=True)))
    x, y = np.ones((8, 4), np.float32), np.zeros(8, np.int64)
    data = Samples((x,), (y, np.zeros((8, 3), np.float32)))
    for model, loss in (
        (named, {"out0": "sparse_categorical_crossentropy"}),
        (listed, ["sparse_categorical_crossentropy", None]),
    ):
        assert losses(model, loss)[1] is None
        assert "an output has no loss" in kinds(model, loss)[1]
        found = fine_tune(model, data, loss, epochs=1, learning_rate=1e-3, batch_size=4,
                          samples=0, seed=0)  # fmt: skip
        assert np.isfinite(found.curve[0].loss)


def test_outputs_that_teach_nothing() -> None:
    assert usable((np.ones((2, 3)),)) == ""
    assert "NaN" in usable((np.ones(2), np.array([1.0, np.nan])))
    assert distillation.usable(()) == ""


def test_an_original_teaches_unless_something_is_said() -> None:
    model = keras.Sequential([keras.Input((3,)), L.Dense(2, activation="softmax")])
    loss = "sparse_categorical_crossentropy"
    found, notes = distillation.taught(model, loss, lambda: [np.ones((4, 2))], 0.5, 2.0)
    assert found is not None and found.kinds == ("softmax",) and notes == ()
    assert (found.weight, found.temperature, len(found.outputs)) == (0.5, 2.0, 1)
    nothing, notes = distillation.taught(model, loss, lambda: [np.full((4, 2), np.nan)], 0.5, 2.0)
    assert nothing is None and "NaN" in notes[0]

    def never() -> list[np.ndarray]:
        raise AssertionError("outputs are of no use here")

    assert distillation.taught(model, loss, never, 0.0, 2.0) == (None, ())
    nothing, notes = distillation.taught(model, "mse", never, 0.5, 2.0)
    assert nothing is None and "no distillation" in notes[0]
