"""tfmot in its own process: real trainings, refusals that name the layer, no orphans."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from hwsearch.compress import tfmot, tfmot_worker
from hwsearch.compress.elementwise import Elementwise, kernels
from hwsearch.compress.tuning import Tuning
from hwsearch.data import Samples
from hwsearch.distillation import Distillation
from hwsearch.errors import RefusedError

SETTINGS = {"learning_rate": 2e-3, "batch_size": 64, "samples": 0, "seed": 0}
LOSS = "sparse_categorical_crossentropy"


def network(middle=None) -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(8, 3, use_bias=False)(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    if middle is not None:
        x = middle(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x))


def data(n: int = 256) -> Samples:
    """Images whose class is where they are bright."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, n)
    x = rng.normal(size=(n, 64)).astype(np.float32) / 4
    x[np.arange(n), 6 * y] += 3
    return Samples((x.reshape(n, 8, 8, 1),), (y,))


def train(model, wanted: Elementwise, bits=None, epochs: int = 3, **changes):
    given = SETTINGS | {"schedule": "one-shot", "bits": bits or {}, "epochs": epochs}
    return tfmot.train(model, data(), LOSS, wanted, **(given | changes))


def accuracy(model) -> float:
    x, y = data().inputs[0], data().targets[0]
    return float((model.predict(x, verbose=0).argmax(1) == y).mean())


def test_zeros_come_back_and_the_loss_falls() -> None:
    """By a polynomial, distilled; the trained statistics come back too."""
    model = network()
    said = np.eye(10, dtype=np.float32)[data().targets[0]] * 0.9 + 0.01
    teacher = Distillation((said,), ("softmax",), 0.5, 2.0)
    before = [w.copy() for w in model.get_weights()]
    found = train(
        model, Elementwise(sparsity=0.75), epochs=6, schedule="agp", distillation=teacher
    )
    assert found.notes == () and len(found.curve) == 6
    assert found.curve[-1].loss < found.curve[0].loss
    for _, kernel in kernels(model):
        assert (kernel.numpy() == 0).mean() == pytest.approx(0.75, abs=0.02)
    assert all((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
    assert accuracy(model) > 0.5


def test_layers_of_nested_models_get_their_shares() -> None:
    keras.utils.set_random_seed(0)
    conv = keras.layers.Conv2D(8, 3, name="conv")
    inputs, outer = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    backbone = keras.Model(inputs, conv(inputs), name="backbone")
    x = keras.layers.Conv2D(8, 3, name="conv")(backbone(outer))
    out = keras.layers.Dense(10, activation="softmax")(keras.layers.Flatten()(x))
    model = keras.Model(outer, out)
    paths = [path for path, _ in kernels(model)]
    assert paths[:2] == ["backbone/conv", "conv"]
    shares = (1.5, 0.25, 1.0)  # of a half
    wanted = Elementwise(sparsity=0.5, spread=tuple(zip(paths, shares, strict=True)))
    train(model, wanted, epochs=2)
    zeros = [float((kernel.numpy() == 0).mean()) for _, kernel in kernels(model)]
    assert zeros == pytest.approx([0.5 * share for share in shares], abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(
    "wanted",
    [
        Elementwise(sparsity=0.5, pattern="2:4"), Elementwise(clusters=16),
        Elementwise(sparsity=0.6, clusters=16), Elementwise(qat=True),
        Elementwise(sparsity=0.6, qat=True), Elementwise(clusters=16, qat=True),
        Elementwise(sparsity=0.6, clusters=16, qat=True),
    ],
    ids=str,
)  # fmt: skip
def test_every_combination_trains(wanted: Elementwise) -> None:
    model = network(keras.layers.Conv2D(8, 3, padding="same", activation="relu"))
    found = train(model, wanted, epochs=6)
    assert found.notes == () and len(found.curve) == 6
    assert found.curve[-1].loss < found.curve[0].loss
    assert accuracy(model) > 0.3
    for _, kernel in kernels(model):
        values = kernel.numpy()
        if wanted.sparsity and wanted.pattern == "any" and not wanted.qat:
            assert (values == 0).mean() >= wanted.sparsity - 0.02
        if wanted.clusters and not wanted.qat:
            assert len(np.unique(values)) <= wanted.clusters


@pytest.mark.slow
def test_four_bits() -> None:
    model = network()
    bits = {id(kernel): 4 for _, kernel in kernels(model)}
    train(model, Elementwise(qat=True), bits, epochs=6)
    assert accuracy(model) > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("middle", "says"),
    [
        (keras.layers.Activation("hard_sigmoid"), r"predicts otherwise, from activation\S* \(Act"),
        (keras.ops.square, "Keras 2 has no Square"),
        (keras.layers.Conv2D(4, 1, kernel_constraint="non_neg"), "has a kernel_constraint"),
    ],
)  # fmt: skip
def test_what_keras_2_does_otherwise(middle, says: str) -> None:
    model = network(middle)
    before = model.get_weights()
    with pytest.raises(RefusedError, match=says):
        train(model, Elementwise(sparsity=0.5))
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_layer_that_its_scheme_replaces() -> None:
    with pytest.raises(RefusedError, match=r"replaces layer separable\S* \(SeparableConv2D\)"):
        train(network(keras.layers.SeparableConv2D(4, 3)), Elementwise(qat=True))


@pytest.mark.slow
def test_what_tfmot_refuses_is_trained_by_keras() -> None:
    """Its scheme does not know PReLU."""
    model = network(keras.layers.PReLU())
    wanted = Elementwise(qat=True, trainer="tfmot")
    found = Tuning(data(), LOSS, SETTINGS, wanted, "one-shot", 2, {})(model, 2)
    assert len(found.curve) == 2
    (note,) = found.notes
    assert note.startswith("tfmot refused: ") and note.endswith("Trained with Keras 3 instead")
    assert "p_re_lu" in note.lower() or "prelu" in note.lower()


def test_labels_of_a_series_are_not_distilled_and_it_says_so(tmp_path) -> None:
    """Targets [n, steps] beside outputs [n, steps, classes] are no array."""
    np.save(tmp_path / "said.npy", np.ones((8, 5, 3), np.float32))
    kind = {"kinds": ["softmax"], "weight": 0.5, "temperature": 2.0}
    job = {
        "seed": 0, "samples": 0, "batch_size": 4,
        "losses": [keras.saving.serialize_keras_object(keras.losses.get(LOSS))],
        "teacher": {"outputs": [str(tmp_path / "said.npy")], **kind},
    }  # fmt: skip
    labels = np.zeros((8, 5), np.int64)
    made = tfmot_worker.Training(job, [np.ones((8, 5, 2))], [labels])
    assert made.targets[0] is labels
    (note,) = made.notes
    assert "no distillation" in note


def test_steps_before_the_last_are_said_to_be_of_keras() -> None:
    tune = Tuning(data(64), LOSS, SETTINGS, Elementwise(0.5, trainer="tfmot"), "agp", 4, {})
    found = tune(network(), 1)
    assert len(found.curve) == 1
    assert any("tfmot trains the last one alone" in note for note in found.notes)


class Own(keras.layers.Layer):
    """A layer that Keras does not have."""

    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": Own()}, "Own is no layer of Keras"),
        ({"loss": lambda y, p: p}, "loss <lambda> is not one of Keras"),
        ({"bits": 1, "wanted": Elementwise(qat=True)}, "one width for all layers"),
        ({"bits": 2, "wanted": Elementwise(qat=True), "model": keras.layers.DepthwiseConv2D(3)},
         "one width for all layers"),
        ({"bits": 2, "wanted": Elementwise(qat=True, sparsity=0.5)}, "8-bit weights alone"),
        ({"epochs": 0}, "there are no epochs"),
    ],
)  # fmt: skip
def test_what_is_refused_at_once(changes, says: str) -> None:
    model = network(changes.get("model"))
    low = [id(kernel) for _, kernel in kernels(model)][: changes.get("bits", 0)]
    with pytest.raises(RefusedError, match=says):
        tfmot.train(
            model, data(), changes.get("loss", LOSS), changes.get("wanted", Elementwise(0.5)),
            schedule="one-shot", bits=dict.fromkeys(low, 4), epochs=changes.get("epochs", 1),
            **SETTINGS,
        )  # fmt: skip


OWNER = """
import os, subprocess, sys
from hwsearch.compress import tfmot, tfmot_worker
process = subprocess.Popen
def told(*a, **k):
    made = process(*a, **k)
    print(made.pid, flush=True)
    return made
subprocess.Popen = told
tfmot._run(__import__("pathlib").Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_the_worker_ends_with_its_owner(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    worker = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    end = time.monotonic() + 60
    while time.monotonic() < end and Path(f"/proc/{worker}").exists():
        status = Path(f"/proc/{worker}/stat").read_text().split()[2]
        if status == "Z":
            break
        time.sleep(0.1)
    else:
        assert not Path(f"/proc/{worker}").exists()
    owner.stdout.close()
    assert os.getpid() != worker


@pytest.mark.slow
def test_a_worker_that_dies_is_a_refusal(tmp_path: Path) -> None:
    """It finds no job."""
    with pytest.raises(RefusedError, match=r"ended with 1: .*job\.json"):
        tfmot._run(tmp_path)
