"""Channel groups: which channels of a network must be cut together.

They are found from a neutral list of operators: a vector of channel ids flows along it. An
operator that makes channels gives fresh ids; every other one passes, ties, joins or repeats those
of its inputs, or freezes them. Ids tied together (union-find) are one class: its channels stay or
go as one. Classes made by the same layers are one group, and a group is what a search varies: how
many of its classes stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwsearch.errors import InputError, ModelError, UnknownNameError

Ints = NDArray[np.int64]
Rule = Literal["make", "each", "tie", "concat", "reshape", "freeze"]

FROZEN = -1
"""The class of a channel that stays whatever is cut."""


@dataclass(frozen=True, slots=True)
class ChannelOp:
    """One operator as channels see it.

    Attributes:
        rule: what it does with the channels (the last dimension) of its inputs:
            ``"make"`` reads all of them and makes ``width`` new ones;
            ``"each"`` has weights of its own for each and repeats each ``width / inputs`` times
            in a row (a normalisation, a depthwise convolution with its multiplier);
            ``"tie"`` works element by element: channel i of every input belongs together, an
            input with one channel is broadcast (a lone input simply passes);
            ``"concat"`` puts them side by side; ``"reshape"`` moves them as a row-major reshape
            to ``width`` channels does; ``"freeze"`` keeps all of them and its outputs.
        layer: path of the layer that does it; a layer that occurs twice shares its weights.
        inputs: the tensors it reads, by any numbers the reader chose.
        output: the tensor it makes, or -1.
        width: channels of ``output``.
        reason: why a ``"freeze"`` freezes.
    """

    rule: Rule
    layer: str
    inputs: tuple[int, ...]
    output: int = -1
    width: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Channels that one number resizes.

    Attributes:
        name: the first layer that makes them; ``name#2`` … where that layer's channels fall into
            several groups.
        width: how many can be kept at most.
        layers: every layer that makes them, in order of execution.
    """

    name: str
    width: int
    layers: tuple[str, ...]


@dataclass(frozen=True)
class ChannelGroups:
    """The channel groups of a network, and what of it is frozen.

    Attributes:
        groups: in order of execution.
        frozen: (layer, reason) for everything that keeps channels from being cut.
        channels: per layer path the classes of its input and output channels (int64
            [channels] each): numbers that run through all groups in order, or :data:`FROZEN`.
        sizes: int64 [sizes, 1 + groups]: every number of channels that occurs, without repeats.
            Row (c, k_1, k_2 …) says c + k_1 * width of group 1 + k_2 * width of group 2 + …
    """

    groups: tuple[ChannelGroup, ...]
    frozen: tuple[tuple[str, str], ...]
    channels: Mapping[str, tuple[Ints, Ints]] = field(repr=False)
    sizes: Ints = field(repr=False)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the groups."""
        return tuple(group.name for group in self.groups)

    @cached_property
    def widths(self) -> Ints:
        """int64 [groups]: width of each group."""
        return np.array([group.width for group in self.groups], np.int64)

    @cached_property
    def offsets(self) -> dict[str, int]:
        """Per group the number of its first class."""
        starts = np.concatenate([[0], np.cumsum(self.widths)])
        return {group.name: int(start) for group, start in zip(self.groups, starts, strict=False)}

    def kept(self, keep: Mapping[str, ArrayLike]) -> NDArray[np.bool_]:
        """bool [classes + 1]: which classes stay; the last entry, for :data:`FROZEN`, is True.

        Args:
            keep: kept channel indexes, 0 to width - 1, per group; a group left out stays whole.

        Raises:
            UnknownNameError: no such group.
            InputError: indexes out of range, repeated, or none at all.
        """
        mask = np.ones(int(self.widths.sum()) + 1, bool)
        known = {group.name: group for group in self.groups}
        for name, indexes in keep.items():
            if name not in known:
                raise UnknownNameError("channel group", name, known)
            width, wanted = known[name].width, np.atleast_1d(np.asarray(indexes))
            if wanted.size == 0:
                raise InputError(
                    f"channel group {name!r} would lose all {width} channels. Keep at least one."
                )
            if (
                wanted.ndim != 1
                or not np.issubdtype(wanted.dtype, np.integer)
                or wanted.min() < 0
                or wanted.max() >= width
                or len(np.unique(wanted)) != len(wanted)
            ):
                raise InputError(
                    f"channel group {name!r}: kept channels are {wanted.tolist()}, expected "
                    f"distinct integers from 0 to {width - 1}."
                )
            start = self.offsets[name]
            mask[start : start + width] = False
            mask[start + wanted] = True
        return mask


class _Classes:
    """Union-find over channel ids."""

    def __init__(self) -> None:
        self.parent: list[int] = []

    def fresh(self, count: int) -> Ints:
        start = len(self.parent)
        self.parent.extend(range(start, start + count))
        return np.arange(start, start + count)

    def find(self, channel: int) -> int:
        parent = self.parent
        while parent[channel] != channel:
            parent[channel] = parent[parent[channel]]
            channel = parent[channel]
        return channel

    def tie(self, left: Ints, right: Ints) -> None:
        for a, b in np.unique(np.stack([left, right]), axis=1).T.tolist():
            low, high = sorted((self.find(a), self.find(b)))
            self.parent[high] = low

    def roots(self) -> Ints:
        return np.array([self.find(i) for i in range(len(self.parent))], np.int64)


def couple(ops: Iterable[ChannelOp]) -> ChannelGroups:
    """The channel groups of a network.

    Args:
        ops: its operators in order of execution, inputs and outputs of the network among them
            as ``"freeze"``.

    Raises:
        ModelError: operators that contradict each other about a number of channels.
    """
    classes = _Classes()
    tensors: dict[int, Ints] = {}
    made: dict[str, Ints] = {}  # fresh ids of each layer that makes channels
    read: dict[str, Ints] = {}  # input ids of each layer that has weights; output of a reshape
    seen: dict[str, tuple[Ints, Ints]] = {}
    frozen: list[tuple[str, str, Ints]] = []
    for op in ops:
        inputs = [tensors[i] for i in op.inputs]
        if op.rule in ("make", "each"):
            if op.layer in read:  # called again: the same weights meet other channels
                _tie(classes, op, [read[op.layer], inputs[0]])
            read.setdefault(op.layer, inputs[0])
        output = _flow(classes, op, inputs, made)
        if op.rule == "reshape":  # a target shape is as good as a weight
            if len(read.setdefault(op.layer, output)) == len(output):
                classes.tie(read[op.layer], output)
        if op.rule == "freeze":
            frozen.append((op.layer, op.reason, np.concatenate([*inputs, output])))
        if op.output >= 0:
            tensors[op.output] = output
        nothing = np.zeros(0, np.int64)
        seen.setdefault(op.layer, (inputs[0] if inputs else nothing, output))
    roots = classes.roots()
    groups, number, notes = _grouped(roots, made, frozen)
    return ChannelGroups(
        groups,
        notes,
        {
            layer: (number[roots[inside]], number[roots[outside]])
            for layer, (inside, outside) in seen.items()
        },
        _sizes(groups, [number[roots[ids]] for ids in tensors.values() if len(ids)]),
    )


def _flow(classes: _Classes, op: ChannelOp, inputs: Sequence[Ints], made: dict[str, Ints]) -> Ints:
    """Ids of the channels that an operator puts out."""
    match op.rule:
        case "make":
            if op.layer not in made:
                made[op.layer] = classes.fresh(op.width)
            return made[op.layer]
        case "freeze":
            return classes.fresh(op.width)
        case "tie":
            return _tie(classes, op, inputs)
        case "concat":
            output = np.concatenate(inputs)
        case "each":
            output = np.repeat(inputs[0], op.width // max(len(inputs[0]), 1))
        case "reshape":
            output = inputs[0]
            if len(output) < op.width:  # flatten: each place has all channels
                output = np.tile(output, op.width // len(output))
            elif len(output) > op.width > 0 and len(output) % op.width == 0:  # and back
                places = output.reshape(-1, op.width)
                for place in places[1:]:
                    classes.tie(places[0], place)
                output = places[0]
    if len(output) != op.width:
        raise ModelError(
            f"layer {op.layer!r} ({op.rule}) puts out {op.width} channels, its inputs give "
            f"{len(output)}."
        )
    return output


def _tie(classes: _Classes, op: ChannelOp, inputs: Sequence[Ints]) -> Ints:
    widest = max(inputs, key=len)
    for ids in inputs:
        if len(ids) == len(widest):
            classes.tie(widest, ids)
        elif len(ids) != 1:
            raise ModelError(
                f"layer {op.layer!r} ties {len(ids)} channels to {len(widest)}; expected equal "
                "numbers, or one that is broadcast."
            )
    return widest


def _grouped(
    roots: Ints,
    made: Mapping[str, Ints],
    frozen: Sequence[tuple[str, str, Ints]],
) -> tuple[tuple[ChannelGroup, ...], Ints, tuple[tuple[str, str], ...]]:
    """(groups, class of each root or FROZEN, notes on what is frozen)."""
    makers: dict[int, dict[str, int]] = {}  # class -> layer -> how many of its channels
    for layer, ids in made.items():
        for root in roots[ids].tolist():
            counts = makers.setdefault(root, {})
            counts[layer] = counts.get(layer, 0) + 1
    notes: dict[tuple[str, str], None] = {}
    fixed: set[int] = set()
    for layer, reason, ids in frozen:
        held = set(roots[ids].tolist()) & makers.keys()
        fixed.update(roots[ids].tolist())
        for maker in dict.fromkeys(m for root in sorted(held) for m in makers[root]):
            notes[layer, f"{reason}: keeps channels of {maker!r}"] = None
    alike: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for root, counts in makers.items():
        if root not in fixed:
            alike.setdefault(tuple(counts.items()), []).append(root)
    groups: list[ChannelGroup] = []
    number = np.full(len(roots), FROZEN, np.int64)
    total = 0
    used: dict[str, int] = {}
    for key, members in alike.items():
        layers = tuple(layer for layer, _ in key)
        if len(members) == 1:
            notes[layers[0], "has one channel that can be cut, and one must stay"] = None
            continue
        used[layers[0]] = used.get(layers[0], 0) + 1
        again = f"#{used[layers[0]]}" if used[layers[0]] > 1 else ""
        groups.append(ChannelGroup(layers[0] + again, len(members), layers))
        number[members] = np.arange(total, total + len(members))
        total += len(members)
    return tuple(groups), number, tuple(notes)


def _sizes(groups: Sequence[ChannelGroup], vectors: Iterable[Ints]) -> Ints:
    widths = np.array([group.width for group in groups], np.int64)
    owner = np.concatenate([np.repeat(np.arange(len(groups)), widths) + 1, [0]])  # [-1] is frozen
    rows = {
        tuple(np.bincount(owner[classes], minlength=len(groups) + 1).tolist())
        for classes in vectors
    }
    sizes = np.array(sorted(rows), np.int64).reshape(len(rows), len(groups) + 1)
    counts, rest = np.divmod(sizes[:, 1:], widths)
    if rest.any():
        raise ModelError(
            "channels of one group are used unevenly, so sizes do not follow from its width. "
            "Please report this model."
        )
    return np.column_stack([sizes[:, :1], counts])
