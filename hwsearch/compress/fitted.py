"""A model made to fit a budget by differentiable pruning alone: one training, no search."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hwsearch import distillation
from hwsearch.board import Board
from hwsearch.board import board as board_of
from hwsearch.budget import Budget
from hwsearch.compress.differentiable import shrink
from hwsearch.compress.goal import Goal
from hwsearch.compress.quantize import calibrate, quantize
from hwsearch.compress.structured import cloned
from hwsearch.configuration import Configuration
from hwsearch.convert import load_model, to_float_tflite
from hwsearch.cost.cost import Cost
from hwsearch.graph import keras_channels
from hwsearch.problem import Given, problem
from hwsearch.space import Space
from hwsearch.train import predict


@dataclass(frozen=True)
class Fitted:
    """A model inside its budget.

    Attributes:
        model: the pruned and trained Keras model.
        tflite: it, quantized: what is deployed.
        cost: estimated, on the board.
        excess: per limit its relative overshoot; above 0 where even the narrowest is too large.
        notes: what to know: what fell back, what was held out.
    """

    model: Any
    tflite: bytes
    cost: Cost
    excess: dict[str, float]
    notes: tuple[str, ...]


def fit(
    model: Any,
    data: Any,
    budget: Budget,
    board: Board | str,
    *,
    backend: str = "aot",
    activation_bits: int = 8,
    loss: Any = None,
    space: Space | None = None,
    share: float = 1.0,
    seed: int = 0,
) -> Fitted:
    """The model cut to a budget by gates trained with its weights (``differentiable.py``).

    Args:
        model: a trained Keras 3 model, or the path of one; it stays as it is.
        data: ``(x, y)`` to train on.
        budget: its limits; the board's flash and RAM where it sets none.
        board: where it will run.
        backend: the runtime.
        activation_bits: 8 or 16; weights have 8.
        loss: as ``model.compile`` takes it; the compiled one by default.
        space: how to train (epochs, rates, the first of ``distillation``) and ``multiple_of``;
            8 epochs by default.
        share: of each limit that is aimed at.
        seed: of everything.

    Raises:
        ModelError, ModelFileError, DataError: the model or the data cannot be used.
        RefusedError: the backend does not run the model.
        BudgetError: the backend cannot tell a cost that is limited on this board.
        InputError: nothing to train by, to cut, or to aim at.
    """
    place = board if isinstance(board, Board) else board_of(board)
    budget = budget.on(place)
    space = space or Space(epochs=8)
    copy = keras_copy(model)
    bits = Space(activation_bits=(activation_bits,), multiple_of=space.multiple_of)
    given = Given(data=data, loss=loss, backends=(backend,), space=bits, seed=seed)
    found = problem(copy, place, given)
    found = replace(found, pricing=found.pricing.within(budget).knowing(budget.limits)[0])
    layout = found.pricing.ranks.layout
    eights = (8,) * len(layout.ops)
    full = tuple(width for _, width, _ in layout.groups)
    like = Configuration(full, bits.saliency[0], backend, activation_bits, eights)
    teacher, said = distillation.taught(
        copy,
        found.loss,
        lambda: predict(copy, found.train.inputs),
        space.distillation[0],
        space.temperature,
    )
    shrunk = shrink(
        copy,
        keras_channels.groups(copy),
        found.train,
        found.loss,
        Goal(found.pricing, budget, like, share),
        epochs=space.epochs,
        learning_rate=space.learning_rate,
        batch_size=space.batch_size,
        samples=space.samples,
        seed=seed,
        distillation=teacher,
    )
    calibration = calibrate(to_float_tflite(shrunk.model), found.train.inputs)
    cut = Configuration(shrunk.widths, bits.saliency[0], backend, activation_bits, eights)
    cost = found.pricing.cost(cut)
    return Fitted(
        shrunk.model,
        quantize(calibration, activation_bits, {}),
        cost,
        budget.excess(cost),
        (*found.notes, *said, *shrunk.notes),
    )


def keras_copy(model: Any) -> Any:
    """A model of the same layers and weights that can be trained apart."""
    if not hasattr(model, "layers"):
        return load_model(model)
    copy = cloned(model)
    copy.set_weights(model.get_weights())
    if model.compiled:
        try:
            copy.compile_from_config(model.get_compile_config())
        except (TypeError, ValueError):  # a loss of the caller's own, which has no name
            copy.compile(loss=model.loss)
    return copy
