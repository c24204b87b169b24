"""Gates: a factor on each channel of a network of full size, 0 where the channel is removed.

Every layer that sums over channels meets its weights multiplied by the gates of the channels that
they read. With gates of 0 and 1 the network computes what the pruned one does (the oracle
``structured.zeroed``); the slope of the loss along a gate is what the channel means to the loss.
Kernels are multiplied, not activations: they are far smaller, so a gate costs next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsearch.graph import keras_channels
from hwsearch.graph.groups import FROZEN, ChannelGroups, Ints
from hwsearch.graph.keras_channels import KINDS


@dataclass(frozen=True)
class Gates:
    """Which weights of a model read which channels.

    Attributes:
        classes: channels that can be cut, of all groups in order.
        reads: (index in ``model.trainable_variables``, or -1 - index in
            ``model.non_trainable_variables``; axis counted from the end; int64 [channels], the
            class of each entry along it).
    """

    classes: int
    reads: tuple[tuple[int, int, Ints], ...]

    def apply(self, model: Any, gate: Any) -> tuple[list[Any], list[Any]]:
        """(trainable, non-trainable) values for ``model.stateless_call``.

        Args:
            model: the one that is called.
            gate: float32 [classes], a tensor or array.
        """
        from keras import ops

        trained = [variable.value for variable in model.trainable_variables]
        fixed = [variable.value for variable in model.non_trainable_variables]
        padded = ops.concatenate([gate, ops.ones(1)])  # FROZEN is -1: the last entry
        for index, axis, classes in self.reads:
            values, place = (trained, index) if index >= 0 else (fixed, -1 - index)
            weight = values[place]
            shape = [1] * len(weight.shape)
            shape[axis] = len(classes)
            picked = ops.take(padded, np.where(classes == FROZEN, self.classes, classes))
            values[place] = weight * ops.reshape(picked, shape)
        return trained, fixed


def gates(model: Any, groups: ChannelGroups, called: Any = None) -> Gates:
    """The gates of a model.

    Args:
        model: a Keras model.
        groups: its channel groups.
        called: the model that shares its layers and that will be called, if it is another.
    """
    called = called or model
    place = {id(v): i for i, v in enumerate(called.trainable_variables)}
    place |= {id(v): -1 - i for i, v in enumerate(called.non_trainable_variables)}
    reads, seen = [], set()
    for path, layer in keras_channels.layers(model):
        kind = KINDS.get(type(layer).__name__)
        if kind is None or kind.rule != "make" or path not in groups.channels or id(layer) in seen:
            continue
        seen.add(id(layer))
        inside = groups.channels[path][0]
        if not len(inside) or (inside == FROZEN).all():
            continue
        for weight in layer.weights:
            for axis, side in kind.weights.get(weight.name, {}).items():
                if side == "in" and weight.shape[axis] == len(inside):
                    reads.append((place[id(weight)], axis, inside))
    return Gates(int(groups.widths.sum()), tuple(reads))
