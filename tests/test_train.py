"""Fine-tuning: statistics by hand, early stop, divergence, distillation through a real fit."""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import numpy as np
import pytest
from keras import layers as L

from hwsearch.data import Samples
from hwsearch.distillation import Distillation
from hwsearch.train import estimate_statistics, fine_tune, predict
from tests import digits

LOSS = "sparse_categorical_crossentropy"


def tune(model, data, loss=LOSS, **changes):
    given = {"epochs": 1, "learning_rate": 1e-3, "batch_size": 32, "samples": 0, "seed": 0}
    return fine_tune(model, data, loss, **(given | changes))


def small(classes: int = 3, activation: str | None = "softmax") -> keras.Model:
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [keras.Input((6,)), L.Dense(16, activation="relu"), L.Dense(classes, activation)]
    )


def blobs(count: int = 256, classes: int = 3) -> Samples:
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, count)
    x = rng.normal(size=(classes, 6))[y] + 0.3 * rng.normal(size=(count, 6))
    return Samples((x.astype(np.float32),), (y,))


def test_it_learns_and_says_each_epoch() -> None:
    found = tune(small(), blobs(), epochs=3, learning_rate=1e-2)
    losses = [epoch.loss for epoch in found.curve]
    assert len(losses) == 3 and losses[2] < losses[0] / 2
    assert found.notes == () and not found.diverged
    assert tune(small(), blobs(), epochs=0).curve == ()


def test_more_epochs_go_on_from_the_weights_there_are() -> None:
    model = small()
    first = tune(model, blobs(), epochs=2, learning_rate=1e-2)
    again = tune(model, blobs(), epochs=1, learning_rate=1e-3)
    assert again.curve[0].loss < first.curve[-1].loss < first.curve[0].loss


class Stepped(keras.Model):  # type: ignore[misc]
    """Has no names of outputs, as what trains gates has none; notes what it is fitted on."""

    seen: ClassVar[set[float]] = set()

    def __init__(self, core: keras.Model) -> None:
        super().__init__()
        self.core = core

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.core(inputs, training=training)

    def fit(self, x: Any, y: Any, **more: Any) -> Any:
        Stepped.seen.update(np.asarray(x[0] if isinstance(x, list) else x)[:, 0].tolist())
        return super().fit(x, y, **more)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_losses_by_name_train_a_model_that_another_steps() -> None:
    keras.utils.set_random_seed(1)
    x = keras.Input((6,))
    y = L.Dense(16, activation="relu")(x)
    outputs = {"kind": L.Dense(3, activation="softmax", name="kind")(y),
               "level": L.Dense(1, name="level")(y)}  # fmt: skip
    many = keras.Model(x, outputs)
    data = blobs()
    both = Samples(data.inputs, (data.targets[0], data.inputs[0][:, :1]))

    for loss in ({"kind": LOSS, "level": "mse"}, {"kind": LOSS}):
        found = tune(many, both, loss, epochs=2, learning_rate=1e-2, step=Stepped)
        assert found.curve[1].loss < found.curve[0].loss
    one = keras.Model(x, outputs["level"])
    alone = Samples(data.inputs, (data.inputs[0][:, :1],))
    found = tune(one, alone, {"level": "mse"}, epochs=2, patience=1, step=Stepped)
    assert found.curve[1].loss < found.curve[0].loss


def test_calls_of_a_schedule_see_other_samples() -> None:
    """Of 256 samples four epochs of 16 see as many whether they are one call or four."""

    def seen(calls: list[dict[str, int]]) -> int:
        model = small()
        Stepped.seen.clear()
        for call in calls:
            tune(model, blobs(), samples=16, step=Stepped, **call)
        return len(Stepped.seen)

    whole = seen([{"epochs": 4}])
    assert seen([{"epochs": 1, "drawn": i} for i in range(4)]) > 16 * 3
    assert whole > 16 * 3


def test_a_loss_that_diverges_keeps_the_last_finite_weights() -> None:
    model = small(activation=None)
    data = Samples(blobs().inputs, (np.ones((256, 3), np.float32),))
    found = tune(model, data, "mse", learning_rate=1e30, epochs=3)
    assert found.diverged and "diverged in epoch" in found.notes[0]
    assert "learning_rate" in found.notes[0]
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert all(np.isfinite(epoch.loss) for epoch in found.curve)


def test_early_stop_takes_the_best_epoch() -> None:
    """Random labels: what is learned does not hold out, so the held-out loss rises."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6)).astype(np.float32)
    data = Samples((x,), (rng.integers(0, 3, 200),))
    found = tune(small(), data, epochs=40, learning_rate=3e-2, patience=2)
    assert len(found.curve) < 40
    assert f"epoch {len(found.curve) - 2} of 40" in found.notes[0]


def test_statistics_are_those_of_the_finished_network() -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5,))
    x = L.Dense(4, name="maker")(inputs)
    x = L.Dropout(0.5)(x)
    model = keras.Model(inputs, L.Dense(2)(L.BatchNormalization(name="norm")(x)))
    data = Samples((np.random.default_rng(0).normal(2, 3, (512, 5)).astype(np.float32),))
    kernel, bias = model.get_layer("maker").get_weights()
    made = data.inputs[0] @ kernel + bias
    estimate_statistics(model, data, 0)
    norm = model.get_layer("norm")
    np.testing.assert_allclose(norm.moving_mean.numpy(), made.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(norm.moving_variance.numpy(), made.var(axis=0), rtol=1e-3)
    assert norm.momentum == 0.99 and model.layers[2].rate == 0.5
    norm.trainable = False
    before = norm.moving_mean.numpy()
    estimate_statistics(model, Samples((data.inputs[0] + 9,)), 0)
    np.testing.assert_array_equal(norm.moving_mean.numpy(), before)


def test_a_normalisation_called_twice_gets_the_statistics_of_both_calls() -> None:
    a, b = keras.Input((2,)), keras.Input((2,))
    norm = L.BatchNormalization()
    model = keras.Model([a, b], L.Add()([norm(a), norm(b)]))
    rng = np.random.default_rng(0)
    x = tuple(rng.normal(mean, 1, (512, 2)).astype(np.float32) for mean in (0, 10))
    estimate_statistics(model, Samples(x), 0)
    both = np.concatenate(x)
    np.testing.assert_allclose(norm.moving_mean.numpy(), both.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(norm.moving_variance.numpy(), both.var(axis=0), rtol=1e-3)
    assert "call" not in vars(norm)


def test_pure_distillation_makes_the_network_say_what_the_original_says() -> None:
    """Labels are noise: whatever is learned comes from the original."""
    original, data = small(), blobs()
    tune(original, data, epochs=5, learning_rate=1e-2)
    said = predict(original, data.inputs)
    noise = Samples(data.inputs, (np.random.default_rng(1).integers(0, 3, len(data)),))
    keras.utils.set_random_seed(7)
    network = small()
    tune(network, noise, epochs=10, learning_rate=1e-2,
         distillation=Distillation(said, ("softmax",), 1.0, 2.0))  # fmt: skip
    agreed = predict(network, data.inputs)[0].argmax(1) == said[0].argmax(1)
    assert agreed.mean() > 0.97
    assert network.output_shape == (None, 3)


def test_several_inputs_and_outputs_and_a_loss_by_name() -> None:
    keras.utils.set_random_seed(0)
    a, b = keras.Input((3,), name="a"), keras.Input((4,), name="b")
    x = L.Dense(8, activation="relu")(L.Concatenate()([a, b]))
    outputs = {
        "kind": L.Dense(3, activation="softmax", name="kind")(x),
        "on": L.Dense(1, activation="sigmoid", name="on")(x),
    }
    model = keras.Model({"a": a, "b": b}, outputs)
    rng = np.random.default_rng(0)
    inputs = tuple(rng.normal(size=(64, n)).astype(np.float32) for n in (3, 4))
    data = Samples(inputs, (rng.integers(0, 3, 64), rng.integers(0, 2, (64, 1))))
    said = predict(model, inputs)
    loss = {"on": "binary_crossentropy", "kind": LOSS}
    plain = tune(model, data, loss)
    both = tune(model, data, loss,
                distillation=Distillation(said, ("softmax", "sigmoid"), 0.5, 3.0))  # fmt: skip
    assert np.isfinite(plain.curve[0].loss) and np.isfinite(both.curve[0].loss)


@pytest.mark.slow
def test_distillation_is_no_worse_on_a_cut_network() -> None:
    """Digits, half of the channels: the mean over seeds of the accuracy after a short tune."""
    from hwsearch.compress import saliency, structured
    from hwsearch.graph import keras_channels

    train, val = digits.data()
    original = digits.network(train)
    groups = keras_channels.groups(original)
    found = saliency.saliency(original, groups, "l2").values
    half = saliency.keep(found, {g.name: g.width // 4 for g in groups.groups})
    data = Samples((train[0],), (train[1],))
    said = predict(original, data.inputs)
    means = {}
    for weight in (0.0, 0.5):
        scores = []
        for seed in range(4):
            network = structured.prune(original, groups, half)
            teacher = Distillation(said, ("softmax",), weight, 4.0) if weight else None
            tune(network, data, epochs=6, learning_rate=2e-3, seed=seed, distillation=teacher)
            scores.append((predict(network, (val[0],))[0].argmax(1) == val[1]).mean())
        means[weight] = np.mean(scores)
    assert means[0.5] >= means[0.0] - 0.005
