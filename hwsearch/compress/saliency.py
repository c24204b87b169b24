"""Saliency: how much each channel matters, and the channels to keep when only so many may stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.compress import activations
from hwsearch.compress.gates import gates
from hwsearch.data import Samples
from hwsearch.distillation import aligned, losses
from hwsearch.errors import InputError, UnknownNameError
from hwsearch.graph import keras_channels
from hwsearch.graph.groups import FROZEN, ChannelGroups
from hwsearch.graph.keras_channels import KINDS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TAYLOR_BATCHES, TAYLOR_BATCH = 64, 8
"""Batches, and samples of each, over which the slope of the loss is taken. Small ones: its sign
changes from sample to sample, and what a large batch averages away is lost."""

APOZ_SAMPLES = 256
"""Samples over which zeros are counted."""

FALLBACK = "l2"
"""What ranks the channels of a group of which a kind of saliency has nothing to say."""


@dataclass(frozen=True)
class Evidence:
    """What a saliency may look at beside the weights.

    Attributes:
        data: training samples; None where there are none. Without targets only inputs are used.
        loss: as ``model.compile`` takes it.
        seed: of draws.
    """

    data: Samples | None = None
    loss: Any = None
    seed: int = 0


@dataclass(frozen=True)
class Saliency:
    """How much each channel matters.

    Attributes:
        values: per group float64 [width], mean 1 in every group.
        notes: groups that another kind had to rank, and why.
    """

    values: Mapping[str, Floats]
    notes: tuple[str, ...] = ()


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


Kind = Callable[[Any, ChannelGroups, Evidence], Floats | str]


def _by_weights(norm: Callable[[Floats], Floats]) -> Kind:
    def saliency(model: Any, groups: ChannelGroups, evidence: Evidence) -> Floats:
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
        return total[:-1]

    return saliency


def _taylor(model: Any, groups: ChannelGroups, evidence: Evidence) -> Floats | str:
    """Mean over small batches of |activation × slope of the loss along it|, summed over readers.

    Molchanov et al. 2017, arXiv:1611.06440, equation 8. Activation times slope is the slope
    along the channel's gate at 1.
    """
    import tensorflow as tf

    data = evidence.data
    if data is None or not data.targets or evidence.loss is None:
        return "taylor needs targets and a loss"
    found = gates(model, groups)
    objective = [loss and aligned(loss) for loss in losses(model, evidence.loss)]
    core = keras_channels.functional(model)

    def slope(inputs: Sequence[Any], targets: Sequence[Any]) -> Any:
        gate = tf.ones(found.classes)
        with tf.GradientTape() as tape:
            tape.watch(gate)
            packed = tf.nest.pack_sequence_as(core.input, list(inputs))
            outputs, _ = model.stateless_call(*found.apply(model, gate), packed, training=False)
            each = zip(objective, targets, tf.nest.flatten(outputs), strict=True)
            total = sum(tf.reduce_mean(loss(y, made)) for loss, y, made in each if loss)
        return tape.gradient(total, gate)

    traced = tf.function(slope, autograph=False)
    rng = np.random.default_rng(evidence.seed)
    count = max(1, min(TAYLOR_BATCHES, len(data) // TAYLOR_BATCH))
    rows = rng.permutation(len(data))[: count * TAYLOR_BATCH].reshape(count, -1)
    total = np.zeros(found.classes)
    for batch in rows:
        drawn = data.take(np.sort(batch))
        total += np.abs(traced(drawn.inputs, drawn.targets).numpy())
    return total / len(rows) if np.isfinite(total).all() else "the loss has no finite slope"


def _apoz(model: Any, groups: ChannelGroups, evidence: Evidence) -> Floats | str:
    """Share of values that are not zero where the channel is read, summed over readers.

    One minus the average percentage of zeros (Hu et al. 2016, arXiv:1607.03250). A group that no
    layer reads after an activation that makes zeros has nothing to count.
    """
    if evidence.data is None:
        return "apoz needs samples"
    rng = np.random.default_rng(evidence.seed)
    rows = np.sort(rng.permutation(len(evidence.data))[:APOZ_SAMPLES])
    total = np.zeros(int(groups.widths.sum()) + 1)
    for path, read in activations.read(model, evidence.data.take(rows).inputs):
        classes = groups.channels[path][0]
        if len(classes) == read.shape[-1]:
            alive = (read != 0).reshape(-1, read.shape[-1]).mean(axis=0)
            np.add.at(total, classes, alive)
    for group in groups.groups:
        share = total[groups.offsets[group.name] :][: group.width]
        if np.ptp(share) == 0:  # no zeros at all, or all alike
            share[:] = np.nan
    return total[:-1]


def _bn(model: Any, groups: ChannelGroups, evidence: Evidence) -> Floats:
    """Absolute scale of the channel in every BatchNormalization, summed.

    Liu et al. 2017, arXiv:1708.06519.
    """
    total = np.full(int(groups.widths.sum()) + 1, np.nan)
    seen = set()
    for path, layer in keras_channels.layers(model):
        is_norm = type(layer).__name__ == "BatchNormalization" and path in groups.channels
        if not is_norm or not layer.scale or id(layer) in seen:
            continue
        seen.add(id(layer))
        classes = groups.channels[path][1]
        total[classes] = np.nan_to_num(total[classes])
        np.add.at(total, classes, np.abs(layer.gamma.numpy().astype(np.float64)))
    total[FROZEN] = np.nan
    return total[:-1]


def _random(model: Any, groups: ChannelGroups, evidence: Evidence) -> Floats:
    """Uniform in [0, 1): the baseline that every other kind has to beat."""
    drawn = [
        np.random.default_rng([evidence.seed, i]).random(group.width)
        for i, group in enumerate(groups.groups)
    ]
    return np.concatenate([*drawn, np.zeros(0)])


KINDS_OF_SALIENCY: Mapping[str, Kind] = {
    "l1": _by_weights(_l1),
    "l2": _by_weights(_l2),
    "taylor": _taylor,
    "apoz": _apoz,
    "bn": _bn,
    "random": _random,
}
"""Kinds of saliency: functions of (model, groups, evidence) that give a value for each channel of
all groups in order, NaN where they have nothing to say, or a reason why for all of them."""


def saliency(
    model: Any, groups: ChannelGroups, kind: str, evidence: Evidence | None = None
) -> Saliency:
    """Per group how much each of its channels matters.

    Summed over the layers that make (or read) the group's channels; biases do not count. Where
    the kind has nothing to say of a group, the group is ranked by :data:`FALLBACK` and a note
    says so.

    Args:
        model: the Keras model that ``groups`` were read from.
        groups: its channel groups.
        kind: a key of :data:`KINDS_OF_SALIENCY`.
        evidence: data, loss and seed; ``"taylor"`` and ``"apoz"`` need it.

    Raises:
        UnknownNameError: no such kind.
    """
    if kind not in KINDS_OF_SALIENCY:
        raise UnknownNameError("saliency", kind, KINDS_OF_SALIENCY)
    evidence = evidence or Evidence()
    raw, notes = KINDS_OF_SALIENCY[kind](model, groups, evidence), []
    if isinstance(raw, str):
        notes.append(f"{raw}: all groups were ranked by {FALLBACK}")
        raw = KINDS_OF_SALIENCY[FALLBACK](model, groups, evidence)
    assert not isinstance(raw, str)
    silent = []
    for group in groups.groups:
        part = slice(groups.offsets[group.name], groups.offsets[group.name] + group.width)
        if np.isnan(raw[part]).any():
            silent.append(group.name)
            raw[part] = KINDS_OF_SALIENCY[FALLBACK](model, groups, evidence)[part]
    if silent:
        notes.append(f"{kind} says nothing of {', '.join(silent)}: ranked by {FALLBACK}")
    values = np.split(raw, np.cumsum(groups.widths)[:-1]) if len(groups.groups) else []
    return Saliency(
        {
            name: each / each.mean() if each.any() else each + 1
            for name, each in zip(groups.names, values, strict=True)
        },
        tuple(notes),
    )


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


def ranked_together(saliency: Mapping[str, Floats], ratios: Sequence[float]) -> Ints:
    """int64 [ratios, groups]: widths when all groups' channels are ranked in one list.

    Of all channels the share ``ratio`` is removed, the least salient first: 0 where that takes
    a whole group.
    """
    values = np.concatenate([*saliency.values(), np.zeros(0)])
    group = np.repeat(np.arange(len(saliency)), [len(v) for v in saliency.values()])
    order = np.argsort(values, kind="stable")
    widths = np.zeros((len(ratios), len(saliency)), np.int64)
    for row, ratio in enumerate(ratios):
        stay = order[round(ratio * len(values)) :]
        widths[row] = np.bincount(group[stay], minlength=len(saliency))
    return widths
