"""Which weights of a Keras model the artefact rounds, and which of them share a scale."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from hwsearch.graph import keras_channels
from hwsearch.graph.keras_channels import KINDS, LayerKind

KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")
"""Weights that become those of a convolution or a dense layer."""

FLOAT = frozenset({"PReLU"})
"""Kinds of layers with weights that the artefact computes in float."""


@dataclass(frozen=True)
class Rounded:
    """A kernel that the artefact rounds.

    Attributes:
        path: of its layer.
        variable: the kernel.
        within: axes of the weights that share a scale: all but those that count outputs.
    """

    path: str
    variable: Any
    within: tuple[int, ...]


def rounded(model: Any) -> list[Rounded]:
    """Each kernel of a Keras model that the artefact rounds, once, frozen ones too."""
    found, seen = [], set()
    for path, layer in keras_channels.layers(model):
        kind = KINDS.get(type(layer).__name__)
        if kind is None:
            continue
        for weight in layer.weights:
            if weight.name in KERNELS and id(weight) not in seen:
                seen.add(id(weight))
                found.append(Rounded(path, weight, _within(kind, weight)))
    return found


def _within(kind: LayerKind, weight: Any) -> tuple[int, ...]:
    rank = len(weight.shape)
    makes = [axis % rank for axis, side in kind.weights[weight.name].items() if side == "out"]
    makes = makes or [rank - 2, rank - 1]  # depthwise: channels, and how often each is repeated
    return tuple(axis for axis in range(rank) if axis not in makes)


def left_float(model: Any) -> list[tuple[str, str]]:
    """(path, kind) of each layer that has matrices of weights which are not among these, though
    the artefact may round them."""
    found = {id(kernel.variable) for kernel in rounded(model)}
    return [(path, kind) for path, kind in matrices(model, found) if kind not in FLOAT]


def matrices(model: Any, known: Collection[int]) -> list[tuple[str, str]]:
    """(path, kind) of each layer that has matrices of weights, none of them known by ``id``."""
    return [
        (path, type(layer).__name__)
        for path, layer in keras_channels.layers(model)
        if not keras_channels.is_model(layer)
        and not any(id(weight) in known for weight in getattr(layer, "weights", ()))
        and any(len(weight.shape) > 1 for weight in getattr(layer, "weights", ()))
    ]
