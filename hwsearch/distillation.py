"""Distillation: a pruned network learns from the original's outputs as well as from the labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hwsearch.data import Array
from hwsearch.graph import keras_channels

Kind = Literal["softmax", "logits", "sigmoid", "binary logits"]
"""What an output holds: class probabilities or their logits; those of 0 or 1, or theirs."""

CLASSES = frozenset({"categorical_crossentropy", "sparse_categorical_crossentropy"})
BINARY = frozenset({"binary_crossentropy"})

LEAST_PROBABILITY = 1e-7
"""Probabilities are taken to be at least this before their logarithm; Keras' own epsilon."""


@dataclass(frozen=True)
class Distillation:
    """What the original says of the training data, and how much it counts.

    ``loss = (1 - weight) * loss(labels) + weight * temperature² * KL(original || network)``, both
    softened by the temperature (Hinton et al. 2015, arXiv:1503.02531, section 2).

    Attributes:
        outputs: per output of the model the original's outputs [samples, …].
        kinds: what each output holds.
        weight: 0 to 1.
        temperature: by which logits are divided, from 1.
    """

    outputs: tuple[Array, ...]
    kinds: tuple[Kind, ...]
    weight: float
    temperature: float

    def losses(self, labelled: Sequence[Any]) -> tuple[list[Any], list[float]]:
        """Losses and weights of a model that gives each output twice: for labels, for these."""
        softened = [softened_loss(kind, self.temperature) for kind in self.kinds]
        weights = [1 - self.weight] * len(labelled) + [self.weight] * len(softened)
        return [*labelled, *softened], weights


def losses(model: Any, loss: Any) -> list[Any]:
    """The loss of each output of a model, in order, from what ``model.compile`` takes; None where
    an output has none."""
    import keras

    if isinstance(loss, Mapping):
        return [keras.losses.get(loss.get(name)) for name in _order(model)]
    listed = list(loss) if isinstance(loss, list | tuple) else [loss] * len(model.outputs)
    return [keras.losses.get(one) for one in listed]


def first(model: Any, loss: Any) -> Any:
    """The loss of a model's first output, as it was given."""
    if isinstance(loss, Mapping):
        return loss.get(_order(model)[0])
    return loss[0] if isinstance(loss, list | tuple) and loss else loss


def _order(model: Any) -> list[str]:
    """Names of the outputs, in the order of ``model.outputs``."""
    named = keras_channels.functional(model).output
    return sorted(named) if isinstance(named, Mapping) else list(model.output_names)


def aligned(loss: Any) -> Any:
    """One of :func:`losses` as training calls it: where targets [n] meet outputs [n, 1], a plain
    function would refuse, or compare each with each."""
    import keras
    from keras.src.losses.losses import LossFunctionWrapper

    return loss if isinstance(loss, keras.losses.Loss) else LossFunctionWrapper(loss)


def name_of(loss: Any) -> str:
    """What Keras calls a loss: of its own classes by the class, as instances may have any name."""
    if isinstance(loss, str):
        return loss
    own = [c.__name__ for c in type(loss).__mro__ if c.__module__.startswith("keras.src.losses")]
    if own and own[0] not in ("Loss", "LossFunctionWrapper"):
        return re.sub(r"(?<!^)(?=[A-Z])", "_", own[0]).lower()
    return str(getattr(loss, "name", getattr(loss, "__name__", type(loss).__name__)))


def kinds(model: Any, loss: Any) -> tuple[tuple[Kind, ...], str]:
    """(what each output holds, ""), or ((), why distillation cannot use this model or loss)."""
    found: list[Kind] = []
    for one in losses(model, loss):
        if one is None:
            return (), "no distillation: an output has no loss; trained on labels alone"
        config = one.get_config() if hasattr(one, "get_config") else {}
        logits = bool(config.get("from_logits", False))
        name = name_of(one)
        if name in CLASSES:
            found.append("logits" if logits else "softmax")
        elif name in BINARY:
            found.append("binary logits" if logits else "sigmoid")
        else:
            return (), (
                f"no distillation: it needs outputs that are classes, and the loss {name!r} is "
                "not one of " + ", ".join(sorted(CLASSES | BINARY)) + "; trained on labels alone"
            )
    return tuple(found), ""


def usable(outputs: Sequence[Array]) -> str:
    """ "", or why the original's outputs teach nothing."""
    for i, values in enumerate(outputs):
        if not np.isfinite(values).all():
            return (
                f"no distillation: output {i} of the original is NaN or infinite on the training "
                "data; trained on labels alone"
            )
    return ""


def taught(
    model: Any,
    loss: Any,
    outputs: Callable[[], Sequence[Array]],
    weight: float,
    temperature: float,
) -> tuple[Distillation | None, tuple[str, ...]]:
    """The distillation of an original, and a note where it cannot be.

    Args:
        model: the original.
        loss: as ``model.compile`` takes it.
        outputs: gives the original's on the training data; asked for only if they are of use.
        weight, temperature: see :class:`Distillation`; at weight 0 there is none.
    """
    if weight == 0:
        return None, ()
    found, reason = kinds(model, loss)
    if reason:
        return None, (reason,)
    said = tuple(outputs())
    if reason := usable(said):
        return None, (reason,)
    return Distillation(said, found, weight, temperature), ()


def softened_loss(kind: Kind, temperature: float) -> Callable[[Any, Any], Any]:
    """``temperature² * KL(original || network)`` of each sample, averaged, of outputs of a kind.

    Returns:
        A function of (the original's outputs, the network's), each [n, …, classes].
    """
    from keras import ops

    def log_softened(values: Any) -> Any:
        if kind == "softmax":
            values = ops.log(ops.maximum(values, LEAST_PROBABILITY))
        return ops.log_softmax(values / temperature, axis=-1)

    def log_both(values: Any) -> tuple[Any, Any]:
        """log of the softened probability of 1, and of 0."""
        if kind == "sigmoid":
            values = ops.clip(values, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
            values = ops.log(values) - ops.log1p(-values)
        return ops.log_sigmoid(values / temperature), ops.log_sigmoid(-values / temperature)

    def divergence(original: Any, network: Any) -> Any:
        original = ops.cast(original, network.dtype)
        if kind in ("softmax", "logits"):
            taught, said = log_softened(original), log_softened(network)
            each = ops.sum(ops.exp(taught) * (taught - said), axis=-1)
        else:
            pairs = zip(log_both(original), log_both(network), strict=True)
            each = sum(ops.exp(taught) * (taught - said) for taught, said in pairs)
        return temperature**2 * ops.mean(each)

    return divergence
