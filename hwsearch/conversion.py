"""A model of any weights converted and quantized: what its configurations cost, what runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hwsearch.backends import Backend, backend, backends
from hwsearch.board import Board
from hwsearch.compress import structured
from hwsearch.compress.depth import least_salient, without
from hwsearch.compress.elementwise import Elementwise, kernels, spread
from hwsearch.compress.operators import kernels_of
from hwsearch.compress.quantize import Calibration, calibrate, quantize
from hwsearch.compress.saliency import Evidence, ranked_together, saliency
from hwsearch.compress.sensitivity import sensitivity
from hwsearch.convert import to_float_tflite
from hwsearch.data import Array
from hwsearch.errors import ConversionError, RefusedError
from hwsearch.graph import Graph, keras_channels
from hwsearch.graph.binding import Binding, bind
from hwsearch.graph.groups import ChannelGroups
from hwsearch.graph.tflite import read
from hwsearch.layout import Depth, Layout
from hwsearch.pricing import Pricing, Scheme, layout, scheme
from hwsearch.ranks import Ranks
from hwsearch.space import Space


@dataclass(frozen=True)
class Priced:
    """A network of any weights, converted and quantized: what its configurations cost.

    Attributes:
        space: what may vary, after what no backend runs was taken out.
        pricing: costs configurations.
        op_indexes: per operator of the layout its index in the float network.
        int8_bytes: size of the unpruned model's int8 ``.tflite``.
        notes: layers that cannot be pruned, backends that refuse.
    """

    space: Space
    pricing: Pricing
    op_indexes: tuple[int, ...]
    int8_bytes: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Converted:
    """A network converted and calibrated.

    Attributes:
        groups: its channel groups.
        graph: as the converter made it.
        binding: its shapes for any widths.
        calibration: it, with the ranges of its activations.
    """

    groups: ChannelGroups
    graph: Graph
    binding: Binding
    calibration: Calibration

    def scheme(
        self, quantized: Graph, op_indexes: tuple[int, ...], depth: Depth | None = None
    ) -> Scheme:
        """Its Scheme from what it became quantized."""
        return scheme(quantized, self.binding, self.graph, op_indexes, depth)

    def constants(self, op_indexes: Sequence[int]) -> list[bytes]:
        """The weights of some of its operators: what tells them apart."""
        model = self.calibration.model
        return [model.constant(model.graph.ops[i].inputs[1]).tobytes() for i in op_indexes]

    def within(
        self, whole: Converted, dropped: tuple[str, ...], op_indexes: tuple[int, ...]
    ) -> Depth:
        """What it has of the network that it is without some blocks.

        Args:
            whole: that network.
            dropped: the blocks.
            op_indexes: those of the whole's layout.

        Raises:
            ConversionError: a group or an operator is none of the whole's.
        """
        _, own_indexes = layout(self.binding, self.calibration.model.graph)
        known = whole.constants(op_indexes)
        ops = [known.index(c) for c in self.constants(own_indexes) if c in known]
        groups = [
            i
            for group in self.groups.groups
            for i, each in enumerate(whole.groups.groups)
            if each.width == group.width and set(group.layers) <= set(each.layers)
        ]
        wanted = (len(own_indexes), len(self.groups.groups))
        if (len(set(ops)), len(set(groups))) != wanted or len(groups) != wanted[1]:
            raise ConversionError(
                "its operators or channel groups are others than those of the whole model. "
                "Please report this model."
            )
        return Depth(dropped, tuple(groups), self.groups.names, tuple(ops), own_indexes)


def converted(model: Any, inputs: Sequence[Array]) -> Converted:
    """A Keras model converted, bound to its channel groups and calibrated.

    Raises:
        ModelError: a model that cannot be searched.
        ConversionError: the converter failed.
    """
    groups = keras_channels.groups(model)
    base, binding = bind(
        groups, lambda keep: to_float_tflite(structured.prune(model, groups, keep))
    )
    return Converted(groups, base.graph, binding, calibrate(base.content, inputs))


def priced(
    model: Any,
    board: Board,
    inputs: Sequence[Array],
    names: tuple[str, ...] | None,
    space: Space | None,
    evidence: Evidence | None = None,
    sensitive: bool = False,
) -> Priced:
    """Converts a model and reads what of it can vary.

    Args:
        model: a Keras 3 model.
        board: where costs are taken.
        inputs: per model input real values [samples, …], to calibrate on.
        names: backends to choose from; None is all whose artefacts can be proven here.
        space: what may vary; None is the default.
        evidence: what saliencies look at, where channels are ranked over all groups.
        sensitive: whether to measure what 4-bit weights of each operator do; the model is
            trained.

    Raises:
        ModelError: a model that cannot be searched.
        ConversionError: the converter or the quantizer failed.
        RefusedError: no backend runs the model; says which operator and why.
    """
    whole, space = converted(model, inputs), space or Space()
    frozen = sorted({f"{layer} ({why})" for layer, why in whole.groups.frozen if is_unknown(why)})
    notes = [f"frozen, not pruned: {', '.join(frozen)}"] if frozen else []
    found, op_indexes = layout(whole.binding, whole.calibration.model.graph)
    if "per-group" in space.ratios:
        notes += _gone(found, max(space.pruning_ratio))
    if "global" in space.ratios:
        kept, said = _together(model, whole.groups, space, evidence)
        found, notes = replace(found, together=kept), [*notes, *said]
    quantized = {bits: quantize(whole.calibration, bits, {}) for bits in space.activation_bits}
    graphs = {
        bits: read(content, f"the model at {bits}-bit activations").graph
        for bits, content in quantized.items()
    }
    if sensitive and min(space.weight_bits) < 8 and len(found.ops) > 1:
        measured = sensitivity(whole.calibration, inputs, op_indexes)
        found = replace(found, sensitivity=measured)
    if max(space.sparsity) > 0 or max(space.clusters) > 0:
        zeros, treated = _zeros(model, whole, op_indexes, space)
        found = replace(found, zeros=zeros, treated=treated)
    runtimes, space, more = _runnable(_named(names), space, graphs)
    schemes = {bits: whole.scheme(graph, op_indexes) for bits, graph in graphs.items()}
    shallow: dict[int, dict[int, Scheme]] = {}
    if max(space.drop_blocks) > 0:
        depths, shallow, said = _shallower(model, inputs, whole, found, op_indexes, space)
        found, notes = replace(found, depths=depths), [*notes, *said]
        space = replace(space, drop_blocks=tuple(len(d.dropped) for d in depths))
    pricing = Pricing(board, Ranks(space, found, runtimes), schemes, shallow)
    int8_bytes = len(quantized.get(8) or next(iter(quantized.values())))
    return Priced(space, pricing, op_indexes, int8_bytes, (*notes, *more))


def _gone(found: Layout, ratio: float) -> list[str]:
    """A note on the groups that the largest pruning ratio would take all channels of."""
    empty = [name for name, full, _ in found.groups if round(full * (1 - ratio)) < 1]
    if not empty:
        return []
    return [
        f"a pruning ratio of {ratio:.0%} would take all channels of {', '.join(empty)}: their "
        "least width stays."
    ]


def _zeros(
    model: Any, whole: Converted, op_indexes: tuple[int, ...], space: Space
) -> tuple[tuple[tuple[float, ...], ...], tuple[bool, ...]]:
    """Per sparsity of the space the share of zeros of each operator of the layout; whether its
    weights are those of a layer that gets zeros and shared values."""
    found_kernels = kernels(model)
    variables = [variable for _, variable in found_kernels]
    known = kernels_of(variables, whole.calibration.model, op_indexes)
    paths = {id(variable): path for path, variable in found_kernels}
    of = [paths[id(known[op])] if op in known else None for op in op_indexes]
    found = (spread(model, Elementwise(sparsity=share)) for share in space.sparsity)
    zeros = (tuple(0.0 if p is None else w.of(p).sparsity for p in of) for w in found)
    return tuple(zeros), tuple(path is not None for path in of)


def _together(
    model: Any, groups: ChannelGroups, space: Space, evidence: Evidence | None
) -> tuple[tuple[tuple[tuple[int, ...], ...], ...], list[str]]:
    """Per saliency and pruning ratio the channels of each group that stay when all are ranked as
    one; and groups that another saliency had to rank."""
    kept: list[tuple[tuple[int, ...], ...]] = []
    notes: list[str] = []
    for kind in space.saliency:
        found = saliency(model, groups, kind, evidence)
        widths = ranked_together({n: found.values[n] for n in groups.names}, space.pruning_ratio)
        kept.append(tuple(tuple(map(int, row)) for row in widths))
        notes += found.notes
        gone = (widths == 0).any(axis=1)
        if gone.any():
            first = int(np.argmax(gone))
            empty = (n for n, w in zip(groups.names, widths[first], strict=True) if w == 0)
            notes.append(
                f"one ratio of {space.pruning_ratio[first]:.0%} by {kind} would take all channels "
                f"of {', '.join(empty)}: their least width stays."
            )
    return tuple(kept), notes


def _shallower(
    model: Any,
    inputs: Sequence[Array],
    whole: Converted,
    found: Layout,
    op_indexes: tuple[int, ...],
    space: Space,
) -> tuple[tuple[Depth, ...], dict[int, dict[int, Scheme]], list[str]]:
    """What the model is without its least salient blocks, each number of them that a space may
    drop and the model has: their depths, and by choice their schemes; and what was left out."""
    order = least_salient(model, inputs, max(space.drop_blocks))
    every = tuple(range(len(found.groups))), tuple(range(len(found.ops)))
    depths = [Depth((), every[0], whole.groups.names, every[1], op_indexes)]
    schemes: dict[int, dict[int, Scheme]] = {}
    notes = []
    if len(order) < max(space.drop_blocks):
        notes.append(f"{len(order)} residual blocks can be dropped, not {max(space.drop_blocks)}")
    for count in (n for n in space.drop_blocks if 0 < n <= len(order)):
        dropped = tuple(block.name for block in order[:count])
        try:
            part = converted(without(model, order[:count]), inputs)
            depth = part.within(whole, dropped, op_indexes)
        except ConversionError as error:
            notes.append(f"the model is not searched without {', '.join(dropped)}: {error}")
            continue
        schemes[len(depths)] = {
            bits: part.scheme(
                read(quantize(part.calibration, bits, {}), f"the model without {dropped}").graph,
                depth.op_indexes,
                depth,
            )
            for bits in space.activation_bits
        }
        depths.append(depth)
    if 0 not in space.drop_blocks and schemes:
        depths, schemes = depths[1:], {choice - 1: found for choice, found in schemes.items()}
    return tuple(depths), schemes, notes


def is_unknown(reason: str) -> bool:
    """Whether a layer is frozen for not being understood, not for being at the network's edge."""
    return "not a layer of Keras" in reason or "not understood" in reason


def _named(wanted: tuple[str, ...] | None) -> tuple[Backend, ...]:
    """The backends asked for, else those whose artefacts can be proven here."""
    if wanted is None:
        return tuple(b for b in backends().values() if b.buildable)
    return tuple(backend(name) for name in wanted)


def _runnable(
    runtimes: tuple[Backend, ...], space: Space, graphs: dict[int, Graph]
) -> tuple[tuple[Backend, ...], Space, list[str]]:
    """Backends and activation widths that run the model; why the others do not."""
    said: list[str] = []
    runs: dict[str, set[int]] = {}
    for runtime in runtimes:
        for bits, graph in graphs.items():
            if bits not in runtime.activation_bits:
                continue
            refusals = runtime.refusals(graph)
            if refusals:
                said.append(f"{runtime.name} refuses {bits}-bit activations: {refusals[0]}")
            else:
                runs.setdefault(runtime.name, set()).add(bits)
    if not runs:
        raise RefusedError("no backend runs this model. " + " ".join(said))
    # A width that a runtime has, but refuses for this model, would be offered to it: widths are
    # kept that the first runtime runs, and runtimes that refuse none of them.
    first = next(r.name for r in runtimes if r.name in runs)
    common = tuple(b for b in space.activation_bits if b in runs[first])
    kept = tuple(
        r
        for r in runtimes
        if r.name in runs
        and {b for b in common if b in r.activation_bits} <= runs[r.name]
        and runs[r.name] & set(common)
    )
    if 8 not in common and True in space.qat:
        said.append("no QAT: it trains for 8-bit activations, which do not run")
        space = replace(space, qat=(False,))
    return kept, replace(space, activation_bits=common), said
