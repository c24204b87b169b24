"""HardwareTuner with KerasTuner itself, real fits and real artefacts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypermodel
import keras
import keras_tuner
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypermodel import BUDGET, SPACE, Digits, data, search, tuner
from keras_tuner.engine.trial import TrialStatus

import hwsearch
from hwsearch.errors import (
    BudgetError,
    DataError,
    InputError,
    ModelError,
    SpaceError,
    StudyError,
)

Searched = tuple[hwsearch.HardwareTuner, Digits, Path]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    place = tmp_path_factory.mktemp("search")
    builder = Digits()
    made = tuner(place, builder)
    search(made)
    return made, builder, place


def test_over_budget_is_rejected_before_fit_and_is_no_failure(searched: Searched) -> None:
    made, builder, _ = searched
    assert sorted(builder.fitted) == [16, 256]
    assert [r["values"]["units"] for r in made.oracle.rejected] == [4096]
    assert made.oracle.rejected[0]["excess"]["flash_bytes"] > 0
    assert {t.status for t in made.oracle.trials.values()} == {TrialStatus.COMPLETED}
    assert "tried before" in made.oracle.exhausted  # the third trial was not to be had


def test_the_report_holds_verified_artefacts_inside_the_budget(searched: Searched) -> None:
    report = searched[0].report()
    assert report.chosen is not None and report.chosen.level == "image"
    assert report.rejected == 1 and report.failed == 0 and report.nearest_miss is None
    for trained in report.history:
        assert (trained.candidate.cost.flash_bytes or 0) <= 16 * 1024
        assert dict(trained.candidate.hyperparameters)["units"] in ("16", "256")
    for finalist in report.finalists:
        assert finalist.measurement is not None
        assert finalist.measurement.mismatched_outputs == 0
    numbers = [t.candidate.number for t in report.history]
    assert len(set(numbers)) == len(numbers)


def test_a_wide_architecture_fits_pruned_and_is_fine_tuned(searched: Searched) -> None:
    history = searched[0].report().history
    pruned = [t for t in history if dict(t.candidate.hyperparameters)["units"] == "256"]
    assert pruned and {t.candidate.configuration.widths for t in pruned} == {(128,)}
    assert all(len(t.curve) == SPACE.epochs for t in pruned)
    whole = [t for t in history if dict(t.candidate.hyperparameters)["units"] == "16"]
    assert any(t.candidate.configuration.widths == (16,) and not t.curve for t in whole)


def test_a_trial_s_score_is_that_of_the_artefact(searched: Searched) -> None:
    """LiteRT's own interpreter on the samples that the search saw says the same."""
    made, _, place = searched
    x = np.load(place / "digits" / "data" / "search" / "input_0.npy")
    y = np.load(place / "digits" / "data" / "search" / "target_0.npy")
    for trained in made.report().history:
        interpreter = Interpreter(str(trained.tflite))
        interpreter.allocate_tensors()
        (given,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
        scale, zero = given["quantization"]
        right = 0
        for sample, label in zip(x, y, strict=True):
            steps = np.clip(np.rint(sample / scale) + zero, -128, 127)
            interpreter.set_tensor(given["index"], steps.astype(np.int8)[None])
            interpreter.invoke()
            right += int(interpreter.get_tensor(out["index"])[0].argmax() == label)
        assert trained.score.value == pytest.approx(right / len(y), abs=1.5 / len(y))
    scores = {t.score for t in made.oracle.trials.values()}
    assert scores <= {t.score.value for t in made.report().history}


def test_keras_tuner_s_own_face(searched: Searched, capsys: pytest.CaptureFixture[str]) -> None:
    made, _, _ = searched
    best = made.get_best_hyperparameters()[0]
    trial = made.oracle.get_best_trials()[0]
    assert best.values == trial.hyperparameters.values
    assert trial.metrics.exists("fit_val_accuracy") and trial.metrics.exists("flash_bytes")
    x, y = data()[1]
    with pytest.warns(UserWarning, match="optimizer"):  # KerasTuner loads it into a fresh one
        model = made.get_best_models(1)[0]
    accuracy = float((model.predict(x, verbose=0).argmax(1) == y).mean())
    assert accuracy == pytest.approx(trial.metrics.get_best_value("fit_val_accuracy"), abs=1e-6)
    made.search_space_summary()
    made.results_summary()
    text = capsys.readouterr().out
    assert "pruning_ratio [0, 0.5]" in text and "1 architectures over budget" in text
    assert " trained · " in text and "units" in text


def test_every_artefact_is_a_run_in_mlflow(searched: Searched) -> None:
    from mlflow import MlflowClient

    made, _, place = searched
    client = MlflowClient(f"sqlite:///{place}/mlruns/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'hwsearch'")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 1 + len(made.report().history)
    assert made._tracker is not None and made._tracker.trouble == ""
    assert {r.info.status for r in runs} == {"FINISHED"}
    assert {r.data.params.get("hp/units") for r in runs} == {None, "16", "256"}


def test_a_project_is_gone_on_with(searched: Searched) -> None:
    made, _, place = searched
    builder = Digits()
    again = tuner(place, builder)
    assert again.report().chosen == again.report().chosen  # from the file, before any search
    search(again)
    assert builder.fitted == []  # all that fits was fitted
    first, second = made.report(), again.report()
    assert [t.candidate.number for t in first.history] == [
        t.candidate.number for t in second.history
    ]
    with pytest.raises(StudyError, match="budget"):
        tuner(place, Digits(), budget=hwsearch.Budget(flash="17 KiB"))
    (x, y), val = data()
    with pytest.raises(StudyError, match="data"):
        tuner(place, Digits()).search(x / 2, y, validation_data=val)


def test_where_nothing_fits_the_nearest_miss_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    builder = Digits()
    made = tuner(tmp_path, builder, budget=hwsearch.Budget(flash="3 KiB"))
    search(made)
    report = made.report()
    assert builder.fitted == [] and report.chosen is None and not made.oracle.trials
    assert report.nearest_miss is not None and report.nearest_miss.limit == "flash_bytes"
    assert report.rejected == 3
    made.results_summary()
    assert "flash" in capsys.readouterr().out


class Own(hwsearch.HardwareTuner):
    """A subclass as KerasTuner's guide shows: it builds and fits by itself."""

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> float:
        (x, y), (x_val, y_val) = data()
        model = self.hypermodel.build(trial.hyperparameters)
        model.fit(x, y, epochs=1, verbose=0)
        return float(model.evaluate(x_val, y_val, verbose=0)[1])


@pytest.mark.slow
def test_a_subclass_with_a_run_trial_of_its_own(tmp_path: Path) -> None:
    train, val = data()
    made = Own(
        Digits(), "val_accuracy", 1, 1, budget=BUDGET, board="nucleo-l4r5zi", space=SPACE,
        data=train, validation_data=val, directory=tmp_path, tracking=tmp_path / "mlruns",
    )  # fmt: skip
    made.search()
    assert made.report().chosen is not None


# Input that cannot be meant


def test_models_that_cannot_be_deployed_or_scored(tmp_path: Path) -> None:
    class Subclassed(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    def subclassed(hp: Any) -> Any:
        hp.Int("units", 1, 8)
        return Subclassed()

    with pytest.raises(ModelError):
        search(tuner(tmp_path / "a", subclassed))

    def uncompiled(hp: Any) -> Any:
        return keras.Sequential([keras.Input((64,)), keras.layers.Dense(hp.Int("u", 10, 10))])

    with pytest.raises(DataError, match="loss"):
        search(tuner(tmp_path / "b", uncompiled))
    objective = keras_tuner.Objective("val_speed", "max")
    with pytest.raises(InputError, match=r"val_speed.*val_accuracy"):
        search(tuner(tmp_path / "c", Digits(), objective=objective))
    budget, blind = hwsearch.Budget(latency="50 ms"), ["x-cube-ai-9.0"]
    with pytest.raises(BudgetError, match="latency on ek-ra8d1"):
        search(tuner(tmp_path / "f", Digits(), budget=budget, board="ek-ra8d1", backends=blind))
    with pytest.raises(DataError, match="validation"):
        tuner(tmp_path / "d", Digits()).search(*data()[0], verbose=0)
    with pytest.raises(DataError, match="neither x and y"):
        tuner(tmp_path / "e", Digits()).search(verbose=0)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"objective": None}, InputError, "objective"),
        ({"objective": ["val_accuracy", "val_loss"]}, InputError, "give one"),
        ({"budget": None, "board": None}, InputError, "budget="),
        ({"budget": 4}, BudgetError, "int"),
        ({"device": "toaster"}, InputError, "toaster"),
        ({"backends": []}, InputError, "backends="),
        ({"trial_timeout": 0}, InputError, "trial_timeout=0"),
        ({"space": replace(SPACE, rungs=(4,))}, SpaceError, r"rungs=\(4,\)"),
    ],
)
def test_arguments_that_cannot_be_meant(
    given: dict[str, Any], error: type[Exception], says: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=says):
        tuner(tmp_path, Digits(), **given)
    with pytest.raises(InputError, match="hypermodel"):
        tuner(tmp_path, None)


@pytest.mark.slow
def test_a_build_that_raises_counts_as_a_failure(tmp_path: Path) -> None:
    calls = []

    def build(hp: Any) -> Any:
        calls.append(hp.Int("units", 1, 1000))
        if len(calls) > 2:  # KerasTuner's own exploration and the check of the data go well
            raise ZeroDivisionError("a bug of the user's")
        return Digits().build(keras_tuner.HyperParameters())

    with pytest.raises(RuntimeError, match=r"(?s)consecutive failures.*a bug of the user's"):
        search(tuner(tmp_path, build, max_trials=8))


@pytest.mark.slow
def test_kill_in_the_middle_of_a_fit(tmp_path: Path) -> None:
    code = [sys.executable, hypermodel.__file__, str(tmp_path)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen([*code, "100000"], env=environment)
    fits = tmp_path / "fits"
    deadline = time.monotonic() + 300
    while not fits.is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(fits.read_text().split()) == 1
    subprocess.run([*code, "1"], env=environment, check=True, timeout=600)
    assert sorted(fits.read_text().split()) == ["16", "16", "256"]
    report = hwsearch.Report.load(tmp_path / "digits" / "report.json")
    assert report.chosen is not None and report.failed == 0


@pytest.mark.slow
def test_optimize_of_a_hypermodel(tmp_path: Path) -> None:
    train, val = data()
    report = hwsearch.optimize(
        Digits(), BUDGET, train, val, board="nucleo-l4r5zi", space=SPACE, trials=2,
        directory=tmp_path, fit={"epochs": 1},
    )  # fmt: skip
    assert report.chosen is not None and report.metric == "accuracy"
    hwsearch.optimize(
        Digits(), BUDGET, (train[0] / 2, train[1]), val, board="nucleo-l4r5zi", space=SPACE,
        trials=1, directory=tmp_path, fit={"epochs": 1},
    )  # fmt: skip
    assert len(list((tmp_path / "studies").iterdir())) == 2, "other data are another study"
    with pytest.raises(InputError, match="workers"):
        hwsearch.optimize(Digits(), BUDGET, train, val, workers=2, directory=tmp_path)


class Seen(keras.callbacks.Callback):  # type: ignore[misc]
    """Counts epochs over all copies that KerasTuner makes."""

    epochs = 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        assert "val_accuracy" in logs
        Seen.epochs += 1


@pytest.mark.slow
def test_executions_and_callbacks_and_datasets(tmp_path: Path) -> None:
    import tensorflow as tf

    builder = Digits()
    made = tuner(tmp_path, builder, max_trials=1, executions_per_trial=2)
    train, val = (tf.data.Dataset.from_tensor_slices(part).batch(64) for part in data())
    made.search(
        train, validation_data=val, epochs=3, callbacks=[Seen()], shuffle=False, verbose=0,
        class_weight={k: 1.0 for k in range(10)},
    )  # fmt: skip
    assert builder.fitted == [16, 16] and Seen.epochs == 6
    assert made.report().chosen is not None
    assert any(note.startswith("class_weight: counts") for note in made.report().notes)
