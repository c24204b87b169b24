"""One training in this process: methods, what is kept of the original, and notes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cloudpickle
import keras
import numpy as np
import pytest

from hwsearch.board import board
from hwsearch.budget import Budget
from hwsearch.compress.elementwise import Elementwise
from hwsearch.compress.goal import Goal
from hwsearch.data import Samples
from hwsearch.graph import tflite
from hwsearch.metric import metric
from hwsearch.problem import Given, problem
from hwsearch.search.cache import Cache
from hwsearch.search.training import FLOAT, NETWORK, RESULT, Job, Precision, load, run
from hwsearch.space import Space
from hwsearch.train import FineTuned, fine_tune
from tests import digits


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("study")
    train, val = digits.data()
    digits.network(train, epochs=2).save(directory / "model.keras")
    Samples((train[0],), (train[1],)).save(directory / "data" / "train")
    Samples((val[0],), (val[1],)).save(directory / "data" / "search")
    return directory


def job(directory: Path, **changes) -> Job:
    given = Job(
        directory=directory,
        structure="one",
        widths={"conv2d": 8},
        saliency="l2",
        schedule="one-shot",
        precisions=(Precision(8, ()),),
        space=Space(epochs=1, samples=256),
        loss=cloudpickle.dumps("sparse_categorical_crossentropy"),
        metric=cloudpickle.dumps(metric("accuracy", None)),
        custom_objects=cloudpickle.dumps({}),
        seed=0,
        threads=1,
        distillation=0.5,
    )
    names = [layer.name for layer in keras.models.load_model(directory / "model.keras").layers]
    first = next(name for name in names if name.startswith("conv2d"))
    return replace(given, widths={first: 8}, **changes)


def test_steps_taylor_and_distillation(study: Path) -> None:
    space = Space(epochs=2, samples=256)
    found = run(job(study, structure="agp", saliency="taylor", schedule="agp", space=space))
    assert len(found.curve) == 2 and found.notes == ()
    assert load(study / "trained" / "agp") == found
    graph = tflite.read((study / "trained" / "agp" / FLOAT).read_bytes()).graph
    assert graph.tensors[graph.ops[0].outputs[0]].shape[-1] == 8
    said = Samples.load(study / "data" / "original").inputs[0]
    model = keras.models.load_model(study / "model.keras")
    images = Samples.load(study / "data" / "train").inputs[0]
    np.testing.assert_allclose(said, model.predict(images, verbose=0), atol=1e-5)
    kept = json.loads((study / "saliency" / "taylor.json").read_text())
    assert len(next(iter(kept["values"].values()))) == 16


def test_labels_alone_ask_nothing_of_the_original(study: Path) -> None:
    """A folder of its own, so that no other training left the original's word there."""
    directory = study / "alone"
    for part in ("train", "search"):
        Samples.load(study / "data" / part).save(directory / "data" / part)
    (directory / "model.keras").write_bytes((study / "model.keras").read_bytes())
    alone = job(directory, structure="alone", distillation=0.0)
    losses = [epoch.loss for epoch in run(alone).curve]
    assert not (directory / "data" / "original").exists()
    both = [epoch.loss for epoch in run(job(directory, structure="both")).curve]
    assert (directory / "data" / "original").is_dir() and losses != both


def test_what_fell_back_and_what_diverged_is_told(study: Path) -> None:
    wild = Space(epochs=2, samples=256, learning_rate=1e30)
    one_hot = np.eye(10, dtype=np.float32)[Samples.load(study / "data" / "train").targets[0]]
    directory = study / "other"
    images = Samples.load(study / "data" / "train").inputs
    Samples(images, (one_hot,)).save(directory / "data" / "train")
    Samples.load(study / "data" / "search").save(directory / "data" / "search")
    (directory / "model.keras").write_bytes((study / "model.keras").read_bytes())
    loss = cloudpickle.dumps("mse")
    found = run(job(directory, saliency="bn", loss=loss, space=wild))
    told = " | ".join(found.notes)
    assert "no distillation" in told and "mean_squared_error" in told
    assert "bn says nothing of conv2d" in told and "ranked by l2" in told
    assert "diverged" in told and found.diverged
    assert load(directory / "trained" / "one") == found
    assert json.loads((directory / "trained" / "one" / RESULT).read_text())["notes"]
    score = found.artefacts[0].score
    assert np.isfinite(score.value)  # the last finite weights were deployed and scored


@pytest.mark.parametrize("wanted", [Elementwise(), Elementwise(sparsity=0.6)])
def test_a_loss_that_diverges_ends_the_training_at_the_size_that_was_priced(
    study: Path, monkeypatch: pytest.MonkeyPatch, wanted: Elementwise
) -> None:
    """No later step of the schedule trains; the network is cut and has its zeros all the same."""
    seen: list[int] = []

    def spied(*given: object, epochs: int, **settings: object) -> FineTuned:
        seen.append(epochs)
        return fine_tune(*given, epochs=epochs, **settings)

    for place in ("hwsearch.train", "hwsearch.compress.straight_through"):
        monkeypatch.setattr(f"{place}.fine_tune", spied)
    space = Space(epochs=3, samples=256, learning_rate=1e30)
    name = f"wild{wanted.sparsity}"
    found = run(job(study, structure=name, schedule="agp", space=space, elementwise=wanted))
    assert seen == [1, 0, 0] and found.diverged and found.curve == ()
    assert sum("diverged" in note for note in found.notes) == 1
    model = tflite.read((study / "trained" / name / FLOAT).read_bytes())
    assert model.graph.tensors[model.graph.ops[0].outputs[0]].shape[-1] == 8
    kernels = [op for op in model.graph.ops if op.kind in ("conv_2d", "fully_connected")]
    weights = np.concatenate([model.constant(op.inputs[1]).ravel() for op in kernels])
    assert np.isfinite(weights).all()
    if wanted:
        assert (weights == 0).mean() >= 0.45


def test_zeros_and_shared_codes_reach_the_artefact(study: Path) -> None:
    wanted = Elementwise(sparsity=0.6, clusters=16)
    found = run(job(study, structure="sparse", elementwise=wanted))
    artefact = tflite.read(found.artefacts[0].tflite.read_bytes())
    ops = [op for op in artefact.graph.ops if op.kind in ("conv_2d", "fully_connected")]
    codes = [artefact.constant(op.inputs[1]).ravel() for op in ops]
    assert all(len(np.unique(each)) <= 16 for each in codes)
    assert (np.concatenate(codes) == 0).mean() >= 0.5  # 0.6 of the original's, spread on it
    assert found.artefacts[0].plain is None


def test_qat_is_compared_with_plain_training(study: Path) -> None:
    low = (Precision(8, ((0, 4), (1, 4))),)
    plain = job(study, structure="plain", precisions=low)
    wanted = Elementwise(qat=True)
    found = run(replace(plain, structure="qat", plain=plain, elementwise=wanted))
    twin = load(study / "trained" / "plain")
    assert twin is not None and len(twin.curve) == len(found.curve) == 1
    (artefact,), (without,) = found.artefacts, twin.artefacts
    assert artefact.precision == without.precision == low[0]
    assert artefact.plain == without.score and artefact.tflite != without.tflite
    assert without.plain is None
    assert load(study / "trained" / "qat") == found
    assert run(plain).train_s == twin.train_s, "it was trained again"


@pytest.mark.parametrize(("qat", "expected"), [((False, True), 0), ((False,), 3)])
def test_plain_training_is_as_long_as_the_qat_that_it_is_compared_with(
    study: Path, monkeypatch: pytest.MonkeyPatch, qat: tuple[bool, ...], expected: int
) -> None:
    seen: list[int] = []

    def fine_tune(*_: object, patience: int, **settings: object) -> FineTuned:
        seen.append(patience)
        return FineTuned()

    monkeypatch.setattr("hwsearch.train.fine_tune", fine_tune)
    space = Space(epochs=8, samples=64, qat=qat)
    wanted = job(study, structure=f"twin{expected}", space=space)
    run(wanted)
    assert seen == [expected]
    assert wanted.key != replace(wanted, space=replace(space, qat=(bool(expected),))).key


def test_another_study_takes_a_training_from_the_cache(study: Path, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    first = run(job(study, structure="shared", cache=cache, lineage="model and data"))
    other = tmp_path / "other"
    shutil.copytree(study, other, ignore=shutil.ignore_patterns("trained"))
    wanted = job(other, structure="shared", cache=cache, lineage="model and data")
    again = run(replace(wanted, precisions=(Precision(16, ()),)))
    assert again.train_s == first.train_s and again.curve == first.curve, "it was trained again"
    assert [a.precision.activation_bits for a in again.artefacts] == [16]
    float_tflite = (study / "trained" / "shared" / FLOAT).read_bytes()
    assert (other / "trained" / "shared" / FLOAT).read_bytes() == float_tflite
    kept = keras.models.load_model(other / "trained" / "shared" / NETWORK)
    assert kept.get_weights()[0].shape[-1] == 8
    for changed in ({"lineage": "other data"}, {"seed": 1}, {"space": Space(epochs=2)}):
        assert replace(wanted, **changed).key != wanted.key
    assert replace(wanted, space=Space(epochs=1, samples=256, weight_bits=(8,))).key == wanted.key


def test_a_promotion_goes_on_from_the_shorter_training(study: Path, tmp_path: Path) -> None:
    """With a learning rate of almost nothing the second rung ends with the first one's weights."""
    still = Space(epochs=3, samples=256, learning_rate=1e-12)
    short = job(study, structure="rung", space=Space(epochs=1, samples=256))
    long = job(study, structure="rung-1", space=still, before=short)
    found = run(long)  # makes the short one too: its machine may have lost it
    first = load(short.folder)
    assert first is not None and first.artefacts == (), "the short one is not scored again"
    assert len(first.curve) == 1 and found.curve[:1] == first.curve and len(found.curve) == 3
    before, after = (keras.models.load_model(j.folder / NETWORK) for j in (short, long))
    trained = {v.path for v in after.trainable_variables}
    for one, other in zip(before.weights, after.weights, strict=True):
        if other.path in trained:
            np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-6)
    original = keras.models.load_model(study / "model.keras").get_weights()
    assert not np.allclose(after.get_weights()[-1], original[-1]), "the first epoch was lost"
    assert long.key != replace(long, before=None).key
    assert long.key != replace(long, before=replace(short, seed=1)).key


def test_gates_find_widths_of_their_own(study: Path) -> None:
    train, val = digits.data()
    space = Space(epochs=2, samples=640, activation_bits=(8,), method=("differentiable",))
    given = Given(train, val, space=space, backends=("aot",))
    found = problem(study / "model.keras", board("nucleo-l4r5zi"), given)
    ranks = found.pricing.ranks
    whole = ranks.configuration([0] * len(ranks.parameters))
    cost = found.pricing.cost(whole)
    assert cost.latency_s and cost.flash_bytes
    goal = Goal(found.pricing, Budget(latency=cost.latency_s, flash=cost.flash_bytes), whole, 0.6)
    got = run(job(study, structure="gated", goal=goal, space=space))
    assert got.widths is not None and len(got.curve) == 2
    assert goal.uses(np.array([got.widths])).max() <= 1
    assert any("60% of the limits of flash, latency" in note for note in got.notes), got.notes
    assert load(study / "trained" / "gated") == got
    graph = tflite.read((study / "trained" / "gated" / FLOAT).read_bytes()).graph
    assert graph.tensors[graph.ops[0].outputs[0]].shape[-1] == got.widths[0] < 16
    goals = (None, goal, replace(goal, share=0.5), replace(goal, budget=Budget(flash="9 KiB")))
    assert len({job(study, goal=each).key for each in goals}) == 4


def test_a_dropped_block_is_dropped_before_the_cut(study: Path, tmp_path: Path) -> None:
    x = inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(x)
    y = keras.layers.Conv2D(8, 3, padding="same", name="branch")(x)
    x = keras.layers.Add(name="sum")([x, y])
    x = keras.layers.Dense(10, activation="softmax")(keras.layers.Flatten()(x))
    keras.Model(inputs, x).save(tmp_path / "model.keras")
    shutil.copytree(study / "data", tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "original", ignore_errors=True)
    wanted = replace(job(study, dropped=("sum",)), directory=tmp_path, widths={"stem": 4})
    run(replace(wanted, space=Space(epochs=1, samples=128)))
    graph = tflite.read((wanted.folder / FLOAT).read_bytes()).graph
    kinds = [op.kind for op in graph.ops]
    assert kinds.count("conv_2d") == 1 and "add" not in kinds
    assert graph.tensors[graph.ops[0].outputs[0]].shape[-1] == 4
