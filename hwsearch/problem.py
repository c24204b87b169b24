"""Problem: a user's model and data, checked, split, converted: what a search starts from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hwsearch.board import Board
from hwsearch.candidate import Score
from hwsearch.compress.quantize import CALIBRATION_SAMPLES
from hwsearch.compress.saliency import Evidence
from hwsearch.conversion import priced
from hwsearch.convert import lambdas, load_model, names, save_model
from hwsearch.data import Port, Samples, generated, samples
from hwsearch.distillation import first, kinds, name_of
from hwsearch.errors import DataError
from hwsearch.graph import keras_channels
from hwsearch.identity import identity
from hwsearch.metric import ALIASES, OF_LOSS, PER_SAMPLE, Metric, Mode, metric
from hwsearch.pricing import Pricing
from hwsearch.space import Space
from hwsearch.train import predict

GENERATED = 512
"""Inputs made for a model without data, in each half."""

FEW = 100
"""Report samples under which the user is told that the interval is wide."""

HELD_OUT = 0.2
"""Share of the training data kept for validation where the caller gave none."""


@dataclass(frozen=True)
class Problem:
    """What a search starts from.

    Attributes:
        model: the original.
        train: calibration and fine-tuning; without targets nothing is fine-tuned.
        search: what the search optimises on.
        report: what is reported; never seen by the search.
        loss: as ``model.compile`` takes it; None without data.
        metric: how models are scored.
        original: the float model's score on the report samples.
        baseline: its metric on the search samples.
        outputs: the float model's outputs there, one array an output.
        space: what may vary, after what no backend runs was taken out.
        pricing: costs configurations.
        op_indexes: per operator of the layout its index in the float network.
        int8_bytes: size of the unpruned model's int8 ``.tflite``.
        notes: what the user should hear once.
    """

    model: Any
    train: Samples
    search: Samples
    report: Samples
    loss: Any
    metric: Metric
    original: Score
    baseline: float
    outputs: tuple[Any, ...]
    space: Space
    pricing: Pricing
    op_indexes: tuple[int, ...]
    int8_bytes: int
    notes: tuple[str, ...]

    def digest(self) -> str:
        """Of the model's architecture and weights."""
        state = hashlib.sha256(self.model.to_json().encode())
        for weights in self.model.get_weights():
            state.update(np.ascontiguousarray(weights).tobytes())
        return state.hexdigest()[:16]

    def goal(self) -> list[object]:
        """What loss and metric are, as JSON: a study is of one goal."""
        return goal(self.loss, self.metric)

    def save(self, directory: Path) -> None:
        """Writes what trial processes read: ``model.keras`` and ``data/``."""
        directory.mkdir(parents=True, exist_ok=True)
        save_model(self.model, directory / "model.keras")
        self.train.save(directory / "data" / "train")
        self.search.save(directory / "data" / "search")


@dataclass(frozen=True)
class Given:
    """What the caller gave, unread."""

    data: Any = None
    validation_data: Any = None
    test_data: Any = None
    loss: Any = None
    metric: Any = None
    mode: Mode | None = None
    backends: tuple[str, ...] | None = None
    space: Space | None = None
    seed: int = 0


def problem(model: Any, board: Board, given: Given) -> Problem:
    """Reads, checks, splits and converts a user's model and data.

    Raises:
        ModelError, ModelFileError: a model that cannot be searched.
        DataError: data that does not match the model, or neither loss nor metric.
        RefusedError: no backend runs the model; says which operator and why.
    """
    if isinstance(model, str | Path):
        model = load_model(model)
    keras_channels.check_model(model)
    loss, chosen, (train, search, report), notes = parts(model, given)
    outputs = predict(model, report.inputs)
    baseline = chosen.score(search.targets, predict(model, search.inputs), "Keras").value
    space, said = trainable(given.space or Space(), train, bool(kinds(model, loss)[0]))
    evidence = Evidence(train, loss, given.seed)
    found = priced(model, board, train.inputs, given.backends, space, evidence, sensitive=True)
    return Problem(
        model, train, search, report, loss, chosen,
        chosen.score(report.targets, outputs, "Keras"), baseline, outputs,
        found.space, found.pricing, found.op_indexes, found.int8_bytes,
        (*notes, *said, *found.notes),
    )  # fmt: skip


def trainable(space: Space, train: Samples, distils: bool) -> tuple[Space, list[str]]:
    """The space without choices that make no difference, and a note on methods that train.

    Args:
        space: as the caller gave it.
        train: to train on.
        distils: whether the model and its loss can be distilled; else the largest weight stays,
            and each training says why it is of no use.
    """
    is_trained = bool(train.targets and space.epochs)
    if not (is_trained and distils):
        space = replace(space, distillation=(max(space.distillation),))
    if is_trained:
        return space, []
    why, notes = "targets" if not train.targets else "epochs", []
    if "differentiable" in space.method:
        space = replace(space, method=("structured",))
        notes.append(
            f"differentiable pruning trains, and there are no {why}: channels are cut by saliency."
        )
    if True in space.qat:
        space = replace(space, qat=(False,))
        notes.append(f"QAT trains, and there are no {why}: bits are met after training alone.")
    return space, notes


def goal(loss: Any, scored: Metric) -> list[object]:
    """What a loss and a metric are, as JSON."""
    scores = scored.whole or scored.per_sample
    return [identity(loss), scored.mode, identity(scores)]


def custom_objects(model: Any) -> dict[str, Any]:
    """The classes of a model's layers that are not Keras' own, and its lambdas, by name:
    processes that load what :func:`hwsearch.convert.save_model` wrote need them."""
    classes = {type(layer) for _, layer in keras_channels.layers(model)}
    own = (c for c in classes if not c.__module__.startswith("keras."))
    return {keras.saving.get_registered_name(c): c for c in own} | lambdas(model)


def parts(
    model: Any, given: Given
) -> tuple[Any, Metric, tuple[Samples, Samples, Samples], list[str]]:
    """What a caller's data and goals are for a model: read, checked, split.

    Returns:
        (loss, metric, (train, search, report), notes on what was made up or left out).

    Raises:
        DataError: data that does not match the model, or neither loss nor metric.
    """
    in_names, out_names = names(model)
    inputs = [Port(n, tuple(t.shape[1:])) for n, t in zip(in_names, model.inputs, strict=True)]
    outputs = [Port(n, tuple(t.shape[1:])) for n, t in zip(out_names, model.outputs, strict=True)]
    if given.data is None and given.validation_data is None and given.test_data is None:
        both = generated(inputs, 2 * GENERATED, given.seed)
        both = Samples(both.inputs, predict(model, both.inputs))
        search, report = both.split(given.seed)
        note = (
            "no data: calibrated and scored on generated inputs by agreement with the original "
            "model; nothing is fine-tuned. Give data=(x, y) for accuracy that means something."
        )
        train = Samples(generated(inputs, GENERATED, given.seed + 1).inputs)
        return None, metric("agreement", None), (train, search, report), [note]
    if given.data is None:
        raise DataError(
            "validation_data or test_data was given without data. Give data=(x_train, y_train)."
        )
    train = samples(given.data, inputs, outputs, "data")
    _check_count(len(train), "data")
    loss, chosen, notes = _goals(model, given, train)
    if given.validation_data is not None:
        kept = samples(given.validation_data, inputs, outputs, "validation_data")
        _check_count(len(kept), "validation_data")
    else:
        order = np.random.default_rng(given.seed).permutation(len(train))
        count = max(2, int(HELD_OUT * len(train)))
        kept, train = train.take(np.sort(order[:count])), train.take(np.sort(order[count:]))
        notes.append(f"no validation_data: {count:,} samples of data were held out for it.")
    for part, what in ((train, "data"), (kept, "validation_data")):
        _check_targets(part, outputs, _first_loss(model, loss), what)
    if given.test_data is not None:
        report, search = samples(given.test_data, inputs, outputs, "test_data"), kept
        _check_targets(report, outputs, _first_loss(model, loss), "test_data")
    else:
        search, report = kept.split(given.seed)
    if len(train) < CALIBRATION_SAMPLES:
        notes.append(
            f"data has {len(train)} samples to calibrate on: activations beyond what these reach "
            f"are clipped. Give at least {CALIBRATION_SAMPLES}."
        )
    if len(report) < FEW:
        notes.append(
            f"the report rests on {len(report)} samples: its interval is wide. Give test_data=."
        )
    return loss, chosen, (train, search, report), notes


def _check_count(count: int, what: str) -> None:
    if count < 4:
        raise DataError(
            f"{what} has {count} samples: too few to split and to calibrate. Give at least 4, "
            f"better {CALIBRATION_SAMPLES} and more."
        )


def _goals(model: Any, given: Given, train: Samples) -> tuple[Any, Metric, list[str]]:
    """The loss and metric that the caller named, else those that the model was compiled with.

    Returns:
        (loss, metric, notes on what of the compiled model is not used).
    """
    notes: list[str] = []
    config = (model.get_compile_config() or {}) if model.compiled else {}
    loss = given.loss if given.loss is not None else (model.loss if model.compiled else None)
    wanted = given.metric
    if wanted is None:
        listed = config.get("metrics")
        listed = listed if isinstance(listed, list | tuple) else []
        named = [m.get("class_name") if isinstance(m, dict) else m for m in listed]
        named = [m for m in named if isinstance(m, str)]
        known = {*PER_SAMPLE, "auc", *ALIASES}
        wanted = next((m for m in named if m in known), None)
        if listed and wanted is None:
            notes.append(f"the compiled metrics {named} are not known here; give metric=.")
    of_loss = OF_LOSS.get(_first_loss(model, loss))
    if wanted is None or (wanted in ("accuracy", "acc") and of_loss == "binary_accuracy"):
        wanted = of_loss or wanted
    if wanted == "binary_accuracy" and given.metric is None and not _is_binary(train):
        wanted = "mse"  # real values between 0 and 1, as of an image autoencoder
    if isinstance(loss, str):
        try:
            keras.losses.get(loss)
        except ValueError as error:
            raise DataError(f"loss={loss!r} is none that Keras knows.") from error
    if config.get("loss_weights") is not None:
        notes.append("the compiled loss_weights are not used: all losses weigh the same.")
    if len(model.outputs) > 1:
        notes.append(f"of {len(model.outputs)} outputs the first is scored.")
    missing = [n for n, v in (("loss", loss), ("metric", wanted)) if v is None]
    if missing:
        raise DataError(
            f"the model is not compiled with a {' or a '.join(missing)} that is known here. Give "
            + " and ".join(f"{n}=" for n in missing)
            + ', e.g. loss="sparse_categorical_crossentropy", metric="accuracy".'
        )
    return loss, metric(wanted, given.mode), notes


def _is_binary(data: Samples) -> bool:
    return bool(data.targets) and bool(np.isin(data.targets[0], (0, 1)).all())


def _first_loss(model: Any, loss: Any) -> str:
    """Name of the loss of the first output, the one that is scored."""
    name = name_of(first(model, loss))
    return {"mean_squared_error": "mse", "mean_absolute_error": "mae"}.get(name, name)


def _check_targets(data: Samples, outputs: list[Port], name: str, what: str) -> None:
    """Nothing, if the first output's targets suit its loss.

    Raises:
        DataError: they are missing, of another shape, or classes that the model does not have.
    """
    if not data.targets:
        raise DataError(f"{what} has no targets. Give {what}=(x, y); an autoencoder's y is its x.")
    target, shape = data.targets[0], outputs[0].shape
    if name == "sparse_categorical_crossentropy":
        if target.shape[1:] not in (shape[:-1], (*shape[:-1], 1)):
            raise DataError(
                f"{what}'s targets have shape {target.shape}, expected class indexes of shape "
                f"{('samples', *shape[:-1])} for {name}."
            )
        if target.min() < 0 or target.max() >= shape[-1]:
            raise DataError(
                f"{what}'s targets hold classes {int(target.min())} to {int(target.max())}, the "
                f"model has 0 to {shape[-1] - 1}."
            )
    elif name in OF_LOSS and int(np.prod(target.shape[1:])) != int(np.prod(shape)):
        raise DataError(
            f"{what}'s targets have shape {target.shape}, expected (samples, "
            f"{', '.join(map(str, shape))}) for {name}."
        )
