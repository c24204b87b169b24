"""Single weights: which are zero, and which values they share.

Both are meant for the artefact, so they are defined on its grid: an int8 weight is a code from
-127 to 127 times a scale of its output channel, the largest weight of that channel over 127.
Zeros stay zeros there. Shared values are shared *codes*: values that are equal as floats have
other codes in each channel, and a BatchNormalization that is folded in scales, or turns, each
channel; so a codebook is symmetric and holds 0 and 127, and both leave it what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.compress.rounding import matrices
from hwsearch.cost.columns import Ints
from hwsearch.graph import keras_channels
from hwsearch.graph.keras_channels import KINDS

CODES = 127
"""Codes of an int8 weight go from -127 to 127: 0 is in their middle."""

KERNELS = ("kernel", "pointwise_kernel")
"""Weights of layers that become a convolution or a dense layer of the artefact; of depthwise
kernels, a hundredth of the weights of the networks that have them, every one counts."""

ALIVE = 0.01
"""Share of a kernel's largest weight that one weight of a channel of nothing but zeros gets. Its
scale would else be so small that its bias overflows: a channel that tfmot emptied."""

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class Elementwise:
    """What is to be done to single weights.

    Attributes:
        sparsity: share of the weights that are zero, of all together.
        pattern: ``"any"``, or ``"2:4"``: of four weights in a row of an output channel two.
        clusters: codes that the weights of each kernel share at most; 0 is any number.
        qat: whether training meets weights and activations as they are quantized.
        trainer: ``"keras"`` or ``"tfmot"``.
        spread: (path of a layer, its share of zeros over ``sparsity``), see :func:`spread`; of a
            layer that is not named it is 1.
    """

    sparsity: float = 0.0
    pattern: str = "any"
    clusters: int = 0
    qat: bool = False
    trainer: str = "keras"
    spread: tuple[tuple[str, float], ...] = ()

    def of(self, path: str) -> Elementwise:
        """What is to be done to the layer of a path."""
        factor = dict(self.spread).get(path, 1.0)
        return self if factor == 1 else replace(self, sparsity=min(1.0, factor * self.sparsity))

    def __bool__(self) -> bool:
        return self.sparsity > 0 or self.clusters > 0 or self.qat


def kernels(model: Any) -> list[tuple[str, Any]]:
    """(path of the layer, variable) of each kernel of a Keras model that is treated, once."""
    found, seen = [], set()
    for path, layer in keras_channels.layers(model):
        kind = KINDS.get(type(layer).__name__)
        if kind is None or kind.rule != "make" or "Transpose" in type(layer).__name__:
            continue
        for weight in layer.trainable_weights:
            if weight.name in KERNELS and id(weight) not in seen:
                seen.add(id(weight))
                found.append((path, weight))
    return found


def spread(model: Any, wanted: Elementwise) -> Elementwise:
    """The same, with zeros where this model's weights can spare them; 2:4 is everywhere."""
    if not wanted.sparsity or wanted.pattern != "any":
        return wanted
    found = kernels(model)
    shares = lamp([variable.numpy() for _, variable in found], wanted.sparsity)
    pairs = zip(found, shares, strict=True)
    return replace(
        wanted, spread=tuple((path, float(s) / wanted.sparsity) for (path, _), s in pairs)
    )


def lamp(arrays: Sequence[Weights], sparsity: float) -> NDArray[np.float64]:
    """float64 [kernels]: share of each kernel's weights that go, ``sparsity`` of all.

    The smallest scores go, whichever kernel they are in: a weight's square over the sum of the
    squares of its kernel that are not smaller (layer-adaptive magnitude: Lee et al. 2021,
    arXiv:2010.07611, section 2). LeNet-5 on Fashion-MNIST with 90 % zeros, 12 epochs: 90.1 %;
    89.8 % by shapes alone (Evci et al. 2020). The same share everywhere lost over ten points
    more with 92 % in six short epochs, as a first convolution keeps two weights a channel.
    """
    scores = []
    for array in arrays:
        squares = np.sort(np.square(array.astype(np.float64).ravel()))
        left = np.cumsum(squares[::-1])[::-1]
        scores.append(squares / np.where(left > 0, left, 1))
    owner = np.repeat(np.arange(len(arrays)), [s.size for s in scores])
    every = np.concatenate([np.zeros(0), *scores])
    gone = owner[np.argsort(every, kind="stable")[: round(sparsity * every.size)]]
    sizes = np.array([max(1, s.size) for s in scores])
    return np.bincount(gone, minlength=len(arrays)) / sizes


def untreated(model: Any) -> list[tuple[str, str]]:
    """(path, kind) of each layer that has matrices of weights and is not treated."""
    return matrices(model, {id(variable) for _, variable in kernels(model)})


def mask(weights: Weights, sparsity: float, pattern: str = "any") -> NDArray[np.bool_]:
    """Which weights stay: all but the smallest, and the largest of each output channel.

    A channel without weights is for structured pruning to remove; quantized it would have no
    scale.

    Args:
        weights: […, outputs], as Keras has kernels.
        sparsity: share that goes, rounded to whole weights.
        pattern: with ``"2:4"`` only those go that are not among the two largest of their four.
            Fours follow each other along an output channel, as the artefact stores them; of
            fewer at its end half stay, rounded up.
    """
    size = np.abs(weights).reshape(-1, weights.shape[-1])
    flat = size.ravel()
    may = _beyond_two_of_four(size) if pattern == "2:4" else np.ones(size.shape, bool)
    may[size.argmax(axis=0), np.arange(size.shape[1])] = False
    candidates = np.flatnonzero(may.ravel())
    gone = min(round(sparsity * size.size), len(candidates))
    order = candidates[np.argsort(flat[candidates], kind="stable")]
    kept = np.ones(size.size, bool)
    kept[order[:gone]] = False
    return kept.reshape(weights.shape)


def _beyond_two_of_four(size: Weights) -> NDArray[np.bool_]:
    """Of sizes [along a channel, outputs]: which are not among the two largest of their four."""
    rows, outputs = size.shape
    fours = -(-rows // 4)
    padded = np.full((4 * fours, outputs), np.inf, size.dtype)
    padded[:rows] = size
    place = np.argsort(
        np.argsort(-padded.reshape(fours, 4, outputs), axis=1, kind="stable"), axis=1
    )
    keep = np.full((fours, 1, 1), 2)
    keep[-1] = (4 * fours - rows) + -(-(rows - 4 * (fours - 1)) // 2)  # padding comes first
    return (place >= keep).reshape(4 * fours, outputs)[:rows]


def scales(weights: Weights) -> Weights:
    """float32 [outputs]: the largest absolute weight of each output channel, 1 where it is 0."""
    most = np.abs(weights).reshape(-1, weights.shape[-1]).max(axis=0, initial=0)
    return np.where(most > 0, most, 1).astype(np.float32)


def codebook(weights: Weights, clusters: int) -> Ints:
    """int64 [128]: for the absolute code of a weight the one that replaces it.

    At most ``clusters`` codes are left of both signs together: 0, 127, and those between that
    lose least, the squared error of the weights, found exactly by dynamic programming over the
    128 codes (Wu 1991, "Optimal quantization by matrix searching", section 1).

    Args:
        weights: […, outputs].
        clusters: from 4.
    """
    scale = scales(weights)
    codes = np.rint(np.abs(weights) / scale * CODES).astype(np.int64).reshape(-1, len(scale))
    importance = np.broadcast_to(scale.astype(np.float64) ** 2, codes.shape)
    count = np.bincount(codes.ravel(), importance.ravel(), CODES + 1).astype(np.float64)
    table = np.zeros(CODES + 1, np.int64)
    levels, starts = _levels(count, (clusters - 1) // 2 + 1)
    for level, start in zip(levels, starts, strict=True):
        table[start:] = level
    return table


def _levels(count: NDArray[np.float64], most: int) -> tuple[list[int], list[int]]:
    """(codes, first absolute code of each) of the best partition into at most ``most`` runs."""
    n = len(count)
    code = np.arange(n)
    sums = [np.concatenate([[0.0], np.cumsum(count * code**k)]) for k in range(3)]
    # Of the run of codes from i to before j: weight, best single code, squared error.
    weight, first, second = (s[None, :] - s[:, None] for s in sums)
    edge = np.arange(n + 1)
    middle = (edge[:, None] + edge - 1) / 2  # of codes that no weight has
    level = np.rint(np.where(weight > 0, first / np.maximum(weight, 1e-30), middle))
    level[0], level[:, n] = 0, n - 1  # the first run is 0, the last 127
    level[0, n] = 0
    error = second - 2 * level * first + level**2 * weight
    error[np.tril_indices(n + 1)] = np.inf
    best = error[0].copy()  # of codes before j in one run
    back = [np.zeros(n + 1, np.int64)]
    for _ in range(most - 1):
        each = best[:, None] + error
        back.append(each.argmin(axis=0))
        best = each.min(axis=0)
    starts, end = [], n
    for step in range(most - 1, -1, -1):
        start = int(back[step][end])
        starts.append((int(level[start, end]), start))
        end = start
    starts.reverse()
    return [lv for lv, _ in starts], [s for _, s in starts]


def projected(weights: Weights, wanted: Elementwise) -> Weights:
    """Weights with the zeros and the shared codes asked for; nothing is done twice."""
    kept = mask(weights, wanted.sparsity, wanted.pattern)
    made = np.where(kept, weights, 0).astype(np.float32)
    dead = np.flatnonzero(~made.reshape(-1, made.shape[-1]).any(axis=0))
    made.reshape(-1, made.shape[-1])[0, dead] = ALIVE * np.abs(made).max(initial=0)
    if wanted.clusters:
        scale, table = scales(made), codebook(made, wanted.clusters)
        codes = np.rint(np.abs(made) / scale * CODES).astype(np.int64)
        made = (np.sign(made) * (table[codes] * scale / CODES)).astype(np.float32)
    return made


def project(model: Any, wanted: Elementwise) -> bool:
    """Projects the kernels of a Keras model in place; whether any changed."""
    changed = False
    if wanted.sparsity or wanted.clusters:
        for path, variable in kernels(model):
            before = variable.numpy()
            after = projected(before, wanted.of(path))
            if not np.allclose(before, after, rtol=1e-6, atol=0):
                variable.assign(after)
                changed = True
    return changed
