"""Fine-tuning: a pruned network regains what it lost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.candidate import Epoch
from hwsearch.data import Array, Samples
from hwsearch.distillation import Distillation, losses

BATCH_NORM_MOMENTUM = 0.9
"""Statistics settle within a short fine-tune; Keras' 0.99 gave 12 % accuracy after two epochs."""

STATISTICS_BATCHES, STATISTICS_BATCH = 8, 128
"""Batches, and samples of each, over which the statistics are averaged after a fine-tune."""

HELD_OUT, MOST_HELD_OUT = 0.1, 2000
"""Share of the samples, and at most how many, on which early stopping judges."""


@dataclass(frozen=True)
class FineTuned:
    """How a fine-tune went.

    Attributes:
        curve: each epoch's mean training loss, the distillation's part included.
        notes: what the trial should say: a loss that diverged, an early stop.
        diverged: whether the loss became NaN or infinite: the weights are the last finite ones.
    """

    curve: tuple[Epoch, ...] = ()
    notes: tuple[str, ...] = ()
    diverged: bool = False


def fine_tune(
    model: Any,
    data: Samples,
    loss: Any,
    *,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    samples: int,
    seed: int,
    distillation: Distillation | None = None,
    patience: int = 0,
    drawn: int = 0,
    step: Callable[[Any], Any] = lambda model: model,
) -> FineTuned:
    """Trains the model in place with Adam, a half cosine from ``learning_rate`` to 0.

    It starts from the weights that the model has: a call with more epochs goes on from an earlier
    one. Afterwards BatchNormalization's statistics are estimated again, see
    :func:`estimate_statistics`.

    Args:
        model: a Keras model.
        data: with targets.
        loss: as ``model.compile`` takes it.
        epochs, batch_size: of the training.
        samples: at most so many an epoch, another draw each epoch; 0 is all.
        seed: of the draws and the shuffling.
        distillation: what the original says of the same data; None trains on labels alone.
        patience: ends the training when the loss on held-out samples (:data:`HELD_OUT` of the
            data) did not fall for so many epochs, and takes the best epoch's weights; 0 never.
        drawn: epochs that calls of this seed drew before this one, which draws others.
        step: of the model that is compiled and fitted, the one to fit instead: with a
            ``train_step`` of its own.

    Returns:
        The curve and notes. A loss that is not finite ends the training with the weights of the
        last finite epoch.
    """
    import keras

    if epochs == 0 or len(data) == 0:
        return FineTuned()
    keras.utils.set_random_seed(seed)
    for layer in _batch_norms(model):
        layer.momentum = BATCH_NORM_MOMENTUM
    rng = np.random.default_rng(seed)
    if distillation is not None:
        data = Samples(data.inputs, (*data.targets, *distillation.outputs))
    train, held = _held_out(data, rng) if patience else (data, None)
    if drawn:
        rng = np.random.default_rng((seed, drawn))
    count = min(samples, len(train)) if samples else len(train)
    steps = max(1, math.ceil(count / batch_size)) * epochs
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    fitted, objective, listed = _student(model, loss, distillation)
    fitted = step(fitted)
    fitted.compile(optimizer=keras.optimizers.Adam(schedule), jit_compile=False, **objective)
    curve: list[Epoch] = []
    best, best_loss, best_epoch = model.get_weights(), math.inf, 0
    for epoch in range(1, epochs + 1):
        some = train.take(np.sort(rng.permutation(len(train))[:count]))
        history = fitted.fit(
            *_pair(model, some, listed), batch_size=min(batch_size, count), verbose=0
        )
        value = float(history.history["loss"][-1])
        if not math.isfinite(value) or not _is_finite(model):
            model.set_weights(best)
            note = f"the loss diverged in epoch {epoch}: the weights before it were kept. "
            note += f"Lower Space.learning_rate (now {learning_rate})"
            return FineTuned(tuple(curve), (note,), True)
        curve.append(Epoch(value))
        if held is not None:
            value = float(fitted.evaluate(*_pair(model, held, listed), batch_size=256, verbose=0,
                                          return_dict=True)["loss"])  # fmt: skip
        if held is None or value < best_loss:
            best, best_loss, best_epoch = model.get_weights(), value, epoch
        elif epoch - best_epoch >= patience:
            break
    model.set_weights(best)
    estimate_statistics(model, train, seed)
    notes: tuple[str, ...] = ()
    if best_epoch < epochs:
        notes = (f"early stop: epoch {best_epoch} of {epochs} was best on held-out samples",)
    return FineTuned(tuple(curve), notes)


def patience(epochs: int) -> int:
    """Epochs without progress after which a fine-tune of so many is given up: a quarter, at least
    three; 0 (never) where that is no shorter. Short of that a falling rate still brings progress.
    """
    found = max(3, math.ceil(epochs / 4))
    return found if epochs > found else 0


def estimate_statistics(model: Any, data: Samples, seed: int) -> None:
    """Means and variances of every BatchNormalization over fixed weights, in place.

    The running averages of a short training lag behind the weights; here they are averages over
    :data:`STATISTICS_BATCHES` batches of the finished network (Wu and Johnson 2021,
    arXiv:2105.07576, "precise BN"). A layer that is called several times gets those of all its
    calls together. Layers that do not train keep theirs; dropout is off.
    """
    import keras

    norms = [layer for layer in _batch_norms(model) if layer.trainable]
    if not norms:
        return
    dropping = [layer for layer in model._flatten_layers() if hasattr(layer, "rate")]
    rates = [layer.rate for layer in dropping]
    momenta = [layer.momentum for layer in norms]
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(data))[: STATISTICS_BATCHES * STATISTICS_BATCH]
    batches = np.array_split(rows, max(1, len(rows) // STATISTICS_BATCH))
    seen: list[list[tuple[Array, Array]]] = [[] for _ in norms]
    try:
        for layer, calls in zip(norms, seen, strict=True):
            layer.momentum = 0.0  # the statistics become those of the batch
            layer.call = _noting(layer, calls)
        for layer in dropping:
            layer.rate = 0.0
        for batch in batches:
            inputs = data.take(np.sort(batch)).inputs
            given = [keras.ops.convert_to_tensor(x) for x in inputs]
            model(_packed(model, "input", given), training=True)
    finally:
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
            del layer.call
        for layer, rate in zip(dropping, rates, strict=True):
            layer.rate = rate
    for layer, calls in zip(norms, seen, strict=True):
        if not calls:
            continue
        means, variances = (np.stack(values) for values in zip(*calls, strict=True))
        layer.moving_mean.assign(means.mean(axis=0))
        layer.moving_variance.assign(variances.mean(axis=0) + means.var(axis=0))


def _noting(layer: Any, calls: list[tuple[Array, Array]]) -> Callable[..., Any]:
    """A BatchNormalization's call, which notes the statistics after it."""
    call = layer.call

    def noting(*args: Any, **options: Any) -> Any:
        made = call(*args, **options)
        calls.append((layer.moving_mean.numpy(), layer.moving_variance.numpy()))
        return made

    return noting


def predict(model: Any, inputs: Sequence[Array]) -> tuple[NDArray[np.float32], ...]:
    """The Keras model's own outputs, one array an output."""
    import keras

    made = model.predict(_packed(model, "input", tuple(inputs)), batch_size=256, verbose=0)
    return tuple(np.asarray(y, np.float32) for y in keras.tree.flatten(made))


def _batch_norms(model: Any) -> list[Any]:
    import keras

    layers = model._flatten_layers()
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]


def _is_finite(model: Any) -> bool:
    return all(np.isfinite(w).all() for w in model.get_weights() if w.dtype.kind == "f")


def _held_out(data: Samples, rng: np.random.Generator) -> tuple[Samples, Samples]:
    order = rng.permutation(len(data))
    count = max(1, min(int(HELD_OUT * len(data)), MOST_HELD_OUT))
    return data.take(np.sort(order[count:])), data.take(np.sort(order[:count]))


def _student(
    model: Any, loss: Any, distillation: Distillation | None
) -> tuple[Any, dict[str, Any], bool]:
    """The model to fit, which shares the model's weights; its losses; whether it takes and gives
    lists: so where losses are by name, as models that are made of it have other names, or none.

    With distillation it gives every output twice: once for the labels, once for the original's.
    """
    import keras

    if distillation is not None:
        objective, weights = distillation.losses(losses(model, loss))
        twice = keras.Model(model.inputs, [*model.outputs, *model.outputs])
        return twice, {"loss": objective, "loss_weights": weights}, True
    if isinstance(loss, Mapping):
        listed = keras.Model(model.inputs, list(model.outputs))
        return listed, {"loss": losses(model, loss)}, True
    return model, {"loss": loss}, False


def _pair(model: Any, data: Samples, listed: bool) -> tuple[Any, Any]:
    """(x, y) as the fitted model takes them."""
    if listed:
        return list(data.inputs), list(data.targets)
    return _packed(model, "input", data.inputs), _packed(model, "output", data.targets)


def _packed(model: Any, side: str, arrays: Sequence[Array]) -> Any:
    """Arrays in the structure of the model's inputs or outputs: one, a list or a dictionary."""
    import keras

    core = getattr(model, "_functional", None) or model
    return keras.tree.pack_sequence_as(getattr(core, side), list(arrays))
