"""Saliency: how much each channel matters, and the channels to keep when only so many may stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.errors import InputError, UnknownNameError
from hwsearch.graph import keras_channels
from hwsearch.graph.groups import ChannelGroups
from hwsearch.graph.keras_channels import KINDS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def _l1(kernel: Floats) -> Floats:
    """Mean absolute weight of each output channel (last axis).

    Li et al. 2017, arXiv:1608.08710, divided by the number of weights so that layers of any size
    can be summed.
    """
    mean: Floats = np.abs(kernel).mean(axis=0)
    return mean


def _l2(kernel: Floats) -> Floats:
    """Root mean square weight of each output channel (last axis).

    He et al. 2018, arXiv:1808.06866, divided by the root of the number of weights.
    """
    mean: Floats = np.square(kernel).mean(axis=0)
    return np.sqrt(mean)


def _by_weights(norm: Callable[[Floats], Floats]) -> Callable[..., dict[str, Floats]]:
    def saliency(model: Any, groups: ChannelGroups, seed: int) -> dict[str, Floats]:
        total = np.zeros(int(groups.widths.sum()) + 1)  # the last entry collects frozen channels
        makers = {layer for group in groups.groups for layer in group.layers}
        for path, layer in keras_channels.layers(model):
            if path not in makers:
                continue
            makers.remove(path)
            outside = groups.channels[path][1]
            for weight in layer.weights:
                axes = KINDS[type(layer).__name__].weights[weight.name]
                made = [axis for axis, side in axes.items() if side == "out"]
                if made and weight.name != "bias":
                    kernel = np.moveaxis(weight.numpy().astype(np.float64), made[0], -1)
                    np.add.at(total, outside, norm(kernel.reshape(-1, len(outside))))
        return {
            group.name: total[groups.offsets[group.name] :][: group.width]
            for group in groups.groups
        }

    return saliency


def _random(model: Any, groups: ChannelGroups, seed: int) -> dict[str, Floats]:
    """Uniform in [0, 1): the baseline that every other kind has to beat."""
    return {
        group.name: np.random.default_rng([seed, i]).random(group.width)
        for i, group in enumerate(groups.groups)
    }


KINDS_OF_SALIENCY: Mapping[str, Callable[[Any, ChannelGroups, int], dict[str, Floats]]] = {
    "l1": _by_weights(_l1),
    "l2": _by_weights(_l2),
    "random": _random,
}
"""Kinds of saliency: functions of (model, groups, seed)."""


def saliency(model: Any, groups: ChannelGroups, kind: str, seed: int = 0) -> dict[str, Floats]:
    """Per group how much each of its channels matters: float64 [width], mean 1 in every group.

    Summed over the layers that make the group's channels; biases do not count.

    Args:
        model: the Keras model that ``groups`` were read from.
        groups: its channel groups.
        kind: a key of :data:`KINDS_OF_SALIENCY`.
        seed: of ``"random"``; the others do not use it.

    Raises:
        UnknownNameError: no such kind.
    """
    if kind not in KINDS_OF_SALIENCY:
        raise UnknownNameError("saliency", kind, KINDS_OF_SALIENCY)
    raw = KINDS_OF_SALIENCY[kind](model, groups, seed)
    return {
        name: values / values.mean() if values.any() else values + 1
        for name, values in raw.items()
    }


def keep(saliency: Mapping[str, Floats], widths: Mapping[str, int]) -> dict[str, Ints]:
    """Per group in ``widths`` the indexes of that many most salient channels, int64, ascending.

    Equally salient channels stay in the order of their indexes.

    Raises:
        UnknownNameError: a group without saliency.
        InputError: a width under 1 or over the group's.
    """
    kept = {}
    for name, width in widths.items():
        if name not in saliency:
            raise UnknownNameError("channel group", name, saliency)
        values = saliency[name]
        if not 1 <= width <= len(values):
            raise InputError(
                f"channel group {name!r} cannot keep {width} channels, expected 1 to "
                f"{len(values)}."
            )
        best = np.argsort(-values, kind="stable")[: int(width)]
        kept[name] = np.sort(best).astype(np.int64)
    return kept
