"""Depth: a shallower Keras 3 model, some of whose residual blocks are only their shortcut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsearch.compress import structured
from hwsearch.data import Array, spaced
from hwsearch.graph import keras_channels
from hwsearch.graph.keras_channels import KINDS

SAMPLES = 128
"""Inputs on which blocks are judged."""


@dataclass(frozen=True)
class Block:
    """A residual block: an addition of a branch and its shortcut.

    Attributes:
        name: of the addition.
        shortcut: which of its two inputs stays.
        branch: names of the operations that go with the other one.
    """

    name: str
    shortcut: int
    branch: frozenset[str]


def blocks(model: Any) -> tuple[Block, ...]:
    """The residual blocks of a functional model that can be dropped, in order of execution.

    A block is an addition of two tensors of one shape that both come from a tensor before them:
    a branch with weights, and a shortcut with fewer. What else reads of the branch stays. Blocks
    inside nested models are left alone.
    """
    core = keras_channels.functional(model)
    before: dict[int, frozenset[str]] = {}
    given = {id(t): t._keras_history.operation.name for t in core.inputs}
    before.update((i, frozenset({name})) for i, name in given.items())
    weighted: set[str] = set()
    found: list[Block] = []
    calls: Counter[str] = Counter()
    for depth in sorted(core._nodes_by_depth, reverse=True):
        for node in core._nodes_by_depth[depth]:
            if node.is_input:
                continue
            op = node.operation
            calls[op.name] += 1
            behind = frozenset().union(*(before[id(t)] for t in node.input_tensors), {op.name})
            before.update((id(t), behind) for t in node.outputs)
            if type(op).__name__ in KINDS or keras_channels.is_model(op):
                weighted.add(op.name)
            if type(op).__name__ == "Add" and len(node.input_tensors) == 2:
                one, other = (before[id(t)] for t in node.input_tensors)
                alone = [one - other, other - one]
                first, second = (len(side & weighted) for side in alone)
                shortcut = 0 if first < second else 1
                shapes = {tuple(t.shape) for t in node.input_tensors}
                branch = alone[1 - shortcut]
                is_fork = one & other and first != second and not branch & {*given.values()}
                gone = branch - _needed(core, {op.name: shortcut})
                if len(shapes) == 1 and is_fork and gone & weighted:
                    found.append(Block(op.name, shortcut, gone))
    return tuple(block for block in found if calls[block.name] == 1)


def least_salient(model: Any, inputs: Sequence[Array], most: int) -> tuple[Block, ...]:
    """Up to so many blocks, in the order in which they are dropped.

    Each is the one without which the model's outputs, given those dropped before it, are nearest
    to the whole model's: by the mean squared difference, relative to their variance.

    Args:
        model: a functional Keras model; it stays as it is.
        inputs: per model input an array [samples, …]; :data:`SAMPLES` of them are used.
        most: how many blocks at most.
    """
    import keras

    core = keras_channels.functional(model)
    given = [keras.ops.convert_to_tensor(spaced(x, SAMPLES)) for x in inputs]

    def outputs(dropped: Collection[Block]) -> list[Any]:
        made = core._run_through_graph(given, operation_fn=_shortcuts(dropped))
        return [np.asarray(y, np.float64) for y in keras.tree.flatten(made)]

    whole = outputs(())
    chosen: list[Block] = []
    left = list(blocks(model))
    while left and len(chosen) < most:

        def change(block: Block) -> float:
            pairs = zip(whole, outputs([*chosen, block]), strict=True)
            found = sum(float(((a - b) ** 2).mean() / (a.var() or 1)) for a, b in pairs)
            return found if np.isfinite(found) else np.inf

        chosen.append(min(left, key=change))
        stay = _needed(core, {block.name: block.shortcut for block in chosen})
        left = [block for block in left if block not in chosen and block.name in stay]
    return tuple(chosen)


def without(model: Any, dropped: Collection[Block]) -> Any:
    """The model with these blocks replaced by their shortcuts.

    It is a new functional model that shares nothing with the old one and is not compiled; layers
    keep their names.
    """
    import keras

    copy = structured.prune(model, keras_channels.groups(model), {})
    core = keras_channels.functional(copy)
    outputs = core._run_through_graph(core.inputs, operation_fn=_shortcuts(dropped))
    shallow = keras.Model(core.input, outputs, name=model.name)
    return structured.prune(shallow, keras_channels.groups(shallow), {})


def _needed(core: Any, dropped: Mapping[str, int]) -> frozenset[str]:
    """Names of the operations that outputs need when these additions give one input alone."""
    nodes = [node for nodes in core._nodes_by_depth.values() for node in nodes]
    maker = {id(t): node for node in nodes for t in node.outputs}
    todo = list(core.outputs)
    seen: dict[int, str] = {}
    while todo:
        node = maker[id(todo.pop())]
        if node.is_input or id(node) in seen:
            continue
        seen[id(node)] = node.operation.name
        picked = dropped.get(node.operation.name)
        todo += node.input_tensors if picked is None else [node.input_tensors[picked]]
    return frozenset(seen.values())


def _shortcuts(dropped: Collection[Block]) -> Callable[[Any], Any]:
    """What runs instead of each operation: of a dropped block's addition, what gives one input."""
    picks = {block.name: block.shortcut for block in dropped}

    def instead(op: Any) -> Any:
        if op.name not in picks:
            return op

        def pick(*tensors: Any) -> Any:
            given = tensors[0] if isinstance(tensors[0], list | tuple) else tensors
            return given[picks[op.name]]

        return pick

    return instead
