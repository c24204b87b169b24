"""A model of any weights converted and quantized: what its configurations cost, what runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hwsearch.backends import Backend, backend, backends
from hwsearch.board import Board
from hwsearch.compress import structured
from hwsearch.compress.quantize import calibrate, quantize
from hwsearch.compress.sensitivity import sensitivity
from hwsearch.convert import to_float_tflite
from hwsearch.data import Array
from hwsearch.errors import RefusedError
from hwsearch.graph import Graph, keras_channels
from hwsearch.graph.binding import bind
from hwsearch.graph.tflite import read
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


def priced(
    model: Any,
    board: Board,
    inputs: Sequence[Array],
    names: tuple[str, ...] | None,
    space: Space | None,
    sensitive: bool = False,
) -> Priced:
    """Converts a model and reads what of it can vary.

    Args:
        model: a Keras 3 model.
        board: where costs are taken.
        inputs: per model input real values [samples, …], to calibrate on.
        names: backends to choose from; None is all whose artefacts can be proven here.
        space: what may vary; None is the default.
        sensitive: whether to measure what 4-bit weights of each operator do; the model is
            trained.

    Raises:
        ModelError: a model that cannot be searched.
        ConversionError: the converter or the quantizer failed.
        RefusedError: no backend runs the model; says which operator and why.
    """
    groups = keras_channels.groups(model)
    base, binding = bind(
        groups, lambda keep: to_float_tflite(structured.prune(model, groups, keep))
    )
    calibration = calibrate(base.content, inputs)
    frozen = sorted({f"{layer} ({why})" for layer, why in groups.frozen if is_unknown(why)})
    notes = [f"frozen, not pruned: {', '.join(frozen)}"] if frozen else []
    space = space or Space()
    found, op_indexes = layout(binding, calibration.model.graph)
    schemes: dict[int, Scheme] = {}
    graphs: dict[int, Graph] = {}
    int8_bytes = 0
    for bits in space.activation_bits:
        content = quantize(calibration, bits, {})
        graphs[bits] = read(content, f"the model at {bits}-bit activations").graph
        schemes[bits] = scheme(graphs[bits], binding, base.graph, op_indexes)
        int8_bytes = len(content) if bits == 8 or not int8_bytes else int8_bytes
    if sensitive and min(space.weight_bits) < 8 and len(found.ops) > 1:
        found = replace(found, sensitivity=sensitivity(calibration, inputs, op_indexes))
    runtimes, space, said = _runnable(_named(names), space, graphs)
    pricing = Pricing(board, Ranks(space, found, runtimes), schemes)
    return Priced(space, pricing, op_indexes, int8_bytes, tuple(notes + said))


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
    return kept, replace(space, activation_bits=common), said
