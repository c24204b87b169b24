"""optimize() on real data and real trainings, end to end, and what it says to bad input."""

from __future__ import annotations

import math
from pathlib import Path

import digits
import keras
import numpy as np
import optuna
import pytest

import hwsearch
from hwsearch import oracle
from hwsearch.backends import backend
from hwsearch.cost.columns import Columns
from hwsearch.data import Samples
from hwsearch.errors import (
    BudgetError,
    DataError,
    InputError,
    ModelError,
    RefusedError,
    UnknownNameError,
)
from hwsearch.evaluate import quantized
from hwsearch.graph.tflite import read
from hwsearch.metric import metric
from hwsearch.problem import Given, parts, trainable
from hwsearch.report import Report

TRAIN, VAL = digits.data()


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return digits.network(TRAIN)


@pytest.fixture(scope="module")
def report(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return hwsearch.optimize(
        model,
        digits.BUDGET,
        TRAIN,
        VAL,
        board="nucleo-l4r5zi",
        trials=3,
        space=digits.SPACE,
        directory=tmp_path_factory.mktemp("mlruns"),
    )


def test_the_chosen_model_keeps_the_budget_when_its_arena_is_measured(report: Report) -> None:
    chosen = report.chosen
    assert chosen is not None
    assert all(excess <= 0 for excess in report.budget.excess(chosen.cost).values())
    content = chosen.tflite.read_bytes()
    parsed = read(content)
    x = quantized(VAL[0][:3], parsed, parsed.graph.inputs[0])
    run = oracle.run(content, [x])
    planned = backend("tflm").ram(Columns.of(parsed.graph)).arena
    assert run.arena_bytes == planned[0]
    if chosen.configuration.backend == "aot":
        assert chosen.level == "image", chosen.verified.note
        assert chosen.measurement is not None
        assert chosen.measurement.mismatched_outputs == 0 < chosen.measurement.compared_outputs
        assert chosen.measurement.ram_bytes <= report.budget.limits["ram_bytes"]  # type: ignore[operator]
        assert chosen.measurement.flash_bytes <= report.budget.limits["flash_bytes"]  # type: ignore[operator]
    assert not report.disqualified


def test_reported_accuracy_is_of_the_half_that_the_search_never_saw(report: Report) -> None:
    chosen = report.chosen
    assert chosen is not None
    assert chosen.score.samples == len(VAL[0]) // 2
    assert chosen.verified.trained.score.samples == len(VAL[0]) - len(VAL[0]) // 2
    assert chosen.score.oracle == oracle.NAME
    assert chosen.score.low < chosen.score.value <= chosen.score.high
    assert chosen.score.value > 0.8
    difference = chosen.difference
    assert difference.value == pytest.approx(chosen.score.value - report.original.value)


def test_the_report_counts_and_exports(report: Report, tmp_path: Path) -> None:
    assert report.trained <= 3 <= report.asked
    assert report.scored >= report.trained
    assert "digits" in report.table()
    out = report.chosen.export(tmp_path / "out")  # type: ignore[union-attr]
    assert (out / "model.tflite").read_bytes() == report.chosen.tflite.read_bytes()  # type: ignore[union-attr]
    has_c = (out / "c" / "model.c").is_file()
    assert has_c == (report.chosen.configuration.backend == "aot")  # type: ignore[union-attr]
    assert Report.load(report.directory / "report.json").scored == report.scored


def test_a_budget_is_all_that_gates_need(model: keras.Model, tmp_path: Path) -> None:
    whole = hwsearch.estimate(model, board="nucleo-l4r5zi", backend="aot")
    budget = hwsearch.Budget(flash=whole.flash_bytes - 1500, latency=0.8 * whole.latency_s)  # type: ignore[operator]
    space = hwsearch.Space(
        method=("differentiable",), epochs=8, batch_size=32, weight_bits=(8,), activation_bits=(8,)
    )
    report = hwsearch.optimize(
        model, budget, TRAIN, VAL, board="nucleo-l4r5zi", trials=1, space=space,
        backends=["aot"], directory=tmp_path,
    )  # fmt: skip
    chosen = report.chosen
    assert chosen is not None and report.failed == 0 and report.trained == 1
    assert chosen.level == "image", chosen.verified.note
    assert all(excess <= 0 for excess in report.budget.excess(chosen.cost).values())
    assert chosen.score.value > 0.8
    found = chosen.configuration
    assert found.asked is not None
    real = Columns.of(read(chosen.tflite).graph)
    assert real.shapes[0][real.graph.ops[0].outputs[0]][-1] == found.widths[0]
    assert "gates aimed at" in report.explain()
    assert set(report.to_dataframe()["method"]) == {"differentiable"}


def test_gates_are_told_what_they_lack(model: keras.Model, tmp_path: Path) -> None:
    space = hwsearch.Space(method=("differentiable",))
    with pytest.raises(InputError, match="aims at the limits, and there are none"):
        hwsearch.optimize(model, hwsearch.Budget(), TRAIN, VAL, space=space, directory=tmp_path)
    bare, said = trainable(space, Samples(TRAIN[:1]), True)
    assert bare.method == ("structured",) and "no targets" in said[0]
    bare, said = trainable(
        hwsearch.Space(method=space.method, epochs=0), Samples(TRAIN[:1], TRAIN[1:]), True
    )
    assert bare.method == ("structured",) and "no epochs" in said[0]
    bare, said = trainable(hwsearch.Space(qat=(False, True)), Samples(TRAIN[:1]), True)
    assert bare.qat == (False,) and "no targets" in said[0]


@pytest.mark.parametrize(
    ("epochs", "distils", "left"),
    [(2, True, (0.5, 0.0)), (2, False, (0.5,)), (0, True, (0.5,))],
)
def test_distillation_is_searched_where_it_makes_a_difference(
    epochs: int, distils: bool, left: tuple[float, ...]
) -> None:
    for weights in ((0.5, 0.0), (0.0, 0.5)):
        wanted = hwsearch.Space(epochs=epochs, distillation=weights)
        space, said = trainable(wanted, Samples(TRAIN[:1], TRAIN[1:]), distils)
        assert sorted(space.distillation) == sorted(left) and not said


def test_without_data_the_original_is_the_target(model: keras.Model, tmp_path: Path) -> None:
    found = hwsearch.optimize(
        model, "nucleo-l4r5zi", trials=1, directory=tmp_path, backends=["tflm"]
    )
    assert found.metric == "agreement"
    assert any("no data" in note for note in found.notes)
    assert found.chosen is not None
    assert found.chosen.verified.trained.curve == ()
    assert found.budget.flash == hwsearch.boards()["nucleo-l4r5zi"].flash_bytes


def test_nothing_fits_gives_the_nearest_miss(model: keras.Model, tmp_path: Path) -> None:
    found = hwsearch.optimize(
        model, hwsearch.Budget(flash="1 KiB"), TRAIN, VAL, trials=2, directory=tmp_path
    )
    miss = found.nearest_miss
    assert found.chosen is None and miss is not None
    assert miss.limit == "flash_bytes"
    assert miss.excess == pytest.approx(miss.candidate.cost.flash_bytes / 1024 - 1)  # type: ignore[operator]
    assert found.trained == 0
    assert "over by" in found.explain()


@pytest.fixture(scope="module")
def two_in_two_out() -> keras.Model:
    keras.utils.set_random_seed(1)
    a, b = keras.Input((6,), name="a"), keras.Input((4,), name="b")
    x = keras.layers.Concatenate()(
        [keras.layers.Dense(12, activation="relu")(a), keras.layers.Dense(8)(b)]
    )
    x = keras.layers.Dense(16, activation="relu", name="trunk")(x)
    outputs = {
        "kind": keras.layers.Dense(3, activation="softmax", name="kind")(x),
        "level": keras.layers.Dense(1, name="level")(x),
    }
    made = keras.Model({"a": a, "b": b}, outputs, name="two")
    made.compile("adam", loss={"kind": "sparse_categorical_crossentropy", "level": "mse"})
    return made


def test_dictionaries_of_inputs_and_outputs(two_in_two_out: keras.Model, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = {"a": rng.normal(size=(160, 6)), "b": rng.normal(size=(160, 4))}
    y = {"kind": (x["a"][:, 0] > 0).astype(int), "level": x["b"][:, :1]}
    found = hwsearch.optimize(
        two_in_two_out,
        hwsearch.Budget(flash="200 KiB"),
        (x, y),
        trials=1,
        space=hwsearch.Space(epochs=1),
        directory=tmp_path,
    )
    assert found.chosen is not None
    assert found.metric == "accuracy"
    assert found.failed == 0


@keras.saving.register_keras_serializable("tests")
class Doubled(keras.layers.Layer):
    """A layer that is not Keras' own."""

    def call(self, x: object) -> object:
        return x * 2  # type: ignore[operator]


def test_a_custom_layer_is_kept_whole_and_said_so(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 1))
    x = Doubled()(keras.layers.Conv2D(8, 3, activation="relu")(inputs))
    x = keras.layers.Dense(12, activation="relu")(keras.layers.Flatten()(x))
    made = keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x), name="custom")
    found = hwsearch.optimize(
        made,
        hwsearch.Budget(flash="200 KiB"),
        TRAIN,
        VAL,
        loss="sparse_categorical_crossentropy",
        trials=1,
        space=digits.SPACE,
        directory=tmp_path,
    )
    assert found.failed == 0 and found.chosen is not None
    assert any("Doubled" in note or "doubled" in note for note in found.notes), found.notes


def test_what_a_metric_means_follows_from_the_loss() -> None:
    x = np.zeros((8, 8, 8, 1), np.float32)
    inputs = keras.Input((8, 8, 1))
    auto = keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same")(inputs))
    grey = np.linspace(0, 1, x.size, dtype=np.float32).reshape(x.shape)
    for targets, name in ((grey, "mse"), ((grey > 0.5).astype(np.float32), "binary_accuracy")):
        given = Given(data=(x, targets), validation_data=(x, targets), loss="binary_crossentropy")
        assert parts(auto, given)[1].name == name
    right = (grey > 0.5).astype(np.float32)
    assert metric("accuracy", None).score([right], [right], "").value == 1
    assert metric("accuracy", None).score([right], [1 - right], "").value == 0


def test_losses_by_name_are_those_of_the_outputs_in_their_order() -> None:
    inputs = keras.Input((6,))
    z = keras.layers.Dense(3, activation="softmax", name="z")(inputs)
    c = keras.layers.Dense(1, activation="sigmoid", name="c")(inputs)
    rng = np.random.default_rng(0)
    x, classes, bits = rng.normal(size=(16, 6)), rng.integers(0, 3, 16), rng.integers(0, 2, 16)
    main = keras.losses.SparseCategoricalCrossentropy(name="main")
    loss = {"z": main, "c": "binary_crossentropy"}
    for outputs, y, name in (
        ({"z": z, "c": c}, {"z": classes, "c": bits}, "binary_accuracy"),
        ([z, c], (classes, bits), "accuracy"),
        ([c, z], (bits, classes), "binary_accuracy"),
    ):
        given = Given(data=(x, y), validation_data=(x, y), loss=loss)
        assert parts(keras.Model(inputs, outputs), given)[1].name == name


# Bad input: each error says what, expected, and what to do.


def subclassed() -> keras.Model:
    class Mine(keras.Model):
        def call(self, x: object) -> object:
            return x

    return Mine()


def with_nan(model: keras.Model) -> keras.Model:
    copy = keras.models.clone_model(model)
    copy.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    return copy


def test_models_that_cannot_be_searched(model: keras.Model) -> None:
    budget = hwsearch.Budget(flash="100 KiB")
    with pytest.raises(ModelError, match="subclass"):
        hwsearch.optimize(subclassed(), budget)
    with pytest.raises(ModelError, match="NaN"):
        hwsearch.optimize(with_nan(model), budget)
    with pytest.raises(ModelError, match=r"shape|dynamic|open"):
        inputs = keras.Input((None, None, 1))
        outputs = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(inputs))
        hwsearch.optimize(keras.Model(inputs, outputs), budget)


def test_data_that_does_not_match(model: keras.Model) -> None:
    budget = hwsearch.Budget(flash="100 KiB")
    with pytest.raises(DataError, match=r"have shape .*expected \(samples, 8, 8, 1\)"):
        hwsearch.optimize(model, budget, (TRAIN[0][:, :4], TRAIN[1]))
    with pytest.raises(DataError, match="classes 0 to 12"):
        hwsearch.optimize(model, budget, (TRAIN[0], TRAIN[1] * 4 // 3))
    plain = keras.Model(model.inputs, model.outputs)
    with pytest.raises(DataError, match=r"Give loss= and metric="):
        hwsearch.optimize(plain, budget, TRAIN)


@pytest.mark.parametrize("limits", [{"flash": "-3 KiB"}, {"ram": "3 furlongs"}, {"latency": 0}])
def test_budgets_that_cannot_be_meant(limits: dict[str, object]) -> None:
    with pytest.raises(BudgetError, match=next(iter(limits))):
        hwsearch.Budget(**limits)  # type: ignore[arg-type]


def test_targets_that_are_unknown_or_too_small(model: keras.Model) -> None:
    with pytest.raises(UnknownNameError, match="nucleo-l4r5zi"):
        hwsearch.optimize(model, hwsearch.Budget(flash="1 MiB"), board="no-such-board")
    with pytest.raises(BudgetError, match="more than the"):
        hwsearch.optimize(model, hwsearch.Budget(flash="900 MB"), board="nucleo-l4r5zi")
    with pytest.raises(BudgetError, match=r"needs a board.*nucleo-l4r5zi"):
        hwsearch.optimize(model, hwsearch.Budget(latency="10 ms"))
    with pytest.raises(UnknownNameError, match="tflm-cmsis-nn"):
        hwsearch.optimize(model, hwsearch.Budget(flash="1 MiB"), backends=["no-such-backend"])
    for wrong in ({"seed": -1}, {"timeout": -1}, {"trial_timeout": "10 s"}, {"study": "../x"}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            hwsearch.optimize(model, hwsearch.Budget(flash="1 MiB"), **wrong)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="emulator"):
        hwsearch.optimize(model, hwsearch.Budget(flash="1 MiB"), device="foo://")
    with pytest.raises(DataError, match="maximise"):
        hwsearch.optimize(model, hwsearch.Budget(flash="1 MiB"), TRAIN, mode="maximise")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="trials=0"):
        hwsearch.optimize(model, hwsearch.Budget(flash="1 MiB"), trials=0)
    for given, said in (
        ({"objectives": ["accuracy", "speed"]}, "has 'speed'"),
        ({"sampler": "annealing"}, "unknown sampler 'annealing'"),
        ({"sampler": optuna.samplers.TPESampler}, "sampler is a"),
        ({"patience": 0}, "patience=0"),
        ({"tolerance": 2}, "tolerance=2"),
        ({"space": hwsearch.Space(rungs=(4,))}, r"rungs=\(4,\).*data=\(x, y\)"),
    ):
        with pytest.raises(InputError, match=said):
            hwsearch.optimize(model, hwsearch.Budget(flash="1 MiB"), **given)


def test_what_a_hypermodel_cannot_mean_is_refused_and_not_ignored() -> None:
    for given in ({"cache": "1 GiB"}, {"tolerance": 0.1}, {"memory": "4 GiB"}, {"patience": 3}):
        with pytest.raises(InputError, match=f"leave {next(iter(given))}= out"):
            hwsearch.optimize(lambda hp: None, hwsearch.Budget(flash="1 MiB"), TRAIN, **given)  # type: ignore[arg-type]


def test_few_samples_to_calibrate_on_are_said(model: keras.Model) -> None:
    few = (TRAIN[0][:40], TRAIN[1][:40])
    *_, notes = parts(model, Given(few, VAL))
    assert any("40 samples to calibrate on" in n and "Give at least 100" in n for n in notes)
    *_, notes = parts(model, Given(TRAIN, VAL))
    assert not any("to calibrate on" in n for n in notes)


def test_a_model_that_no_backend_runs_names_the_operator() -> None:
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Activation("gelu")(keras.layers.Conv2D(4, 3)(inputs))
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(x))
    with pytest.raises(RefusedError, match=r"operator \d+ \(\w+\): .*kernel"):
        hwsearch.optimize(keras.Model(inputs, outputs), hwsearch.Budget(flash="1 MiB"))


def test_scores_are_finite(report: Report) -> None:
    assert all(math.isfinite(t.score.value) for t in report.history)
