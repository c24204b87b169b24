"""Binding: every tensor shape of the converted network as a function of the widths of its groups.

The network is converted as it is and a few times with probes: every group cut to some width, so
that no two numbers of channels that occur in the network follow the same course. A dimension of a
tensor that changes from probe to probe then tells which number of channels it holds, without names.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwsearch.errors import ConversionError, InputError
from hwsearch.graph import flatbuffer, tflite
from hwsearch.graph.graph import Graph
from hwsearch.graph.groups import ChannelGroups
from hwsearch.graph.tflite import TfliteModel

Ints = NDArray[np.int64]
Convert = Callable[[Mapping[str, Ints]], bytes]

MIN_RANK = 4
"""Shapes are padded with leading ones to at least NHWC, as in ``cost.columns``."""
MAX_PROBES = 8
"""Probes tried before dimensions count as ambiguous; two are enough unless groups are tiny."""

_BOUNDARY = frozenset({"quantize", "dequantize"})
"""Operators that a quantizer puts between those of the float network."""


@dataclass(frozen=True)
class Binding:
    """Shapes of all tensors of one graph, as functions of the widths of the channel groups.

    Dimension ``places[i]`` (of the shapes flattened) is ``factors[i]`` times number of channels
    ``sizes[rows[i]]``; every other dimension is as in ``base``.

    Attributes:
        groups: names of the groups, the order of the columns of widths.
        widths: int64 [groups], the full widths.
        base: int64 [tensors, rank], the shapes at full width, right-aligned with leading ones.
        sizes: int64 [sizes, 1 + groups], as :attr:`ChannelGroups.sizes`.
        places, rows, factors: int64 [dimensions that change].
    """

    groups: tuple[str, ...]
    widths: Ints
    base: Ints
    sizes: Ints
    places: Ints
    rows: Ints
    factors: Ints

    def shapes(self, widths: Ints) -> Ints:
        """int64 [n, tensors, rank]: every shape for each of n choices of widths.

        Args:
            widths: int64 [n, groups], channels kept of each group.

        Raises:
            InputError: another number of groups, or a width under 1 or over the group's.
        """
        widths = np.asarray(widths, np.int64)
        if widths.ndim != 2 or widths.shape[1] != len(self.groups):
            raise InputError(
                f"widths have shape {widths.shape}, expected [n, {len(self.groups)}]: a column "
                f"for each of {', '.join(self.groups) or 'no groups'}."
            )
        if ((widths < 1) | (widths > self.widths)).any():
            raise InputError(
                "widths must lie between 1 and those of the network, "
                f"{dict(zip(self.groups, self.widths.tolist(), strict=True))}."
            )
        shapes = np.repeat(self.base.reshape(1, -1), len(widths), axis=0)
        # Numbers of channels are far below 2**53: float64 is exact, and its product is BLAS.
        numbers = widths @ self._counts + self.sizes[:, 0]
        shapes[:, self.places] = numbers.astype(np.int64)[:, self.rows] * self.factors
        return shapes.reshape(len(widths), *self.base.shape)

    @cached_property
    def _counts(self) -> NDArray[np.float64]:
        return np.ascontiguousarray(self.sizes[:, 1:].T, np.float64)

    def onto(self, quantized: Graph, float_graph: Graph) -> Binding:
        """This binding for a graph that a quantizer made from the bound one.

        Its operators are those of the float graph, with ``quantize`` and ``dequantize`` between;
        its first tensors are those of the float graph; tensors that it appends get the shape of
        the float tensor in whose place an operator uses them.

        Args:
            quantized: the graph after quantization.
            float_graph: the graph that :func:`bind` returned with this binding.

        Raises:
            ConversionError: operators that do not correspond, or shapes that differ.
        """
        source = _sources(quantized, float_graph)
        rank = self.base.shape[1]
        base = self.base[source]
        if any(len(tensor.shape) > rank for tensor in quantized.tensors) or not np.array_equal(
            base, _aligned(quantized, rank)
        ):
            raise ConversionError(
                f"tensors of {quantized.name or 'the quantized network'} have other shapes than "
                "those of the float network it should come from. Quantize the .tflite of bind()."
            )
        of: dict[int, list[int]] = {}
        for i, place in enumerate(self.places.tolist()):
            of.setdefault(place // rank, []).append(i)
        chosen = [(t, i) for t, s in enumerate(source.tolist()) for i in of.get(s, ())]
        picks = np.array([i for _, i in chosen], np.int64)
        tensors = np.array([t for t, _ in chosen], np.int64)
        return Binding(
            self.groups,
            self.widths,
            base,
            self.sizes,
            tensors * rank + self.places[picks] % rank,
            self.rows[picks],
            self.factors[picks],
        )


def bind(groups: ChannelGroups, convert: Convert) -> tuple[TfliteModel, Binding]:
    """The converted base network, and the shapes of every pruned one.

    Where the converter stored equal constants of different layers once, the file returned has
    one for each, since they differ in size as soon as the layers do.

    Args:
        groups: the channel groups of the Keras model.
        convert: the float ``.tflite`` of the model pruned to given kept channels per group; it is
            called with ``{}`` and then once for each probe (two, more if groups are tiny).

    Raises:
        ConversionError: the converter makes other operators for a narrower network, or a
            dimension does not follow from the widths of the groups in exactly one way.
    """
    base = tflite.read(convert({}), "the converted model")
    sizes, codes, probes = _codes(groups)
    narrow = [
        tflite.read(
            convert({g: np.arange(w) for g, w in zip(groups.names, row, strict=True)}),
            f"the probe of widths {row.tolist()}",
        ).graph
        for row in probes
    ]
    base = _split_shared(base, narrow)
    graph = base.graph
    rank = max([MIN_RANK, *(len(tensor.shape) for tensor in graph.tensors)])
    shapes = [_aligned(graph, rank), *(_seen_from(graph, probe, rank) for probe in narrow)]
    courses = np.stack(shapes, axis=-1).reshape(-1, len(shapes))
    places = np.flatnonzero((courses != courses[:, :1]).any(axis=1))
    rows, factors = _identify(courses[places], places // rank, graph, sizes, codes)
    return base, Binding(groups.names, groups.widths, shapes[0], sizes, places, rows, factors)


def _codes(groups: ChannelGroups) -> tuple[Ints, Ints, Ints]:
    """(sizes in lowest terms [m, 1 + groups], their values [m, 1 + probes], probes [p, groups]).

    Values at the base and at each probe; no two rows are proportional, none is constant.
    """
    moving = groups.sizes[groups.sizes[:, 1:].any(axis=1)]
    lowest = moving // np.gcd.reduce(moving, axis=1, initial=0)[:, None]
    sizes = np.unique(lowest, axis=0).reshape(-1, groups.sizes.shape[1])
    rng = np.random.default_rng(0)
    widths = groups.widths
    if not len(widths):
        return sizes, np.zeros((0, 1), np.int64), np.zeros((0, 0), np.int64)
    # Width 1 may make the converter simplify: avoided where there is a choice.
    low = np.where(widths >= 4, 2, 1)
    for count in range(2, MAX_PROBES + 1):
        for _ in range(50):
            probes = rng.integers(low, widths + 1, (count, len(widths)))
            points = np.vstack([widths, probes])
            codes = sizes[:, :1] + sizes[:, 1:] @ points.T
            courses = {_lowest(code) for code in codes.tolist()}
            if len(courses) == len(sizes) and _lowest([1] * (count + 1)) not in courses:
                return sizes, codes, probes
    raise ConversionError(
        f"no {MAX_PROBES} probes tell the {len(sizes)} numbers of channels of this network apart: "
        f"its groups are too narrow ({dict(zip(groups.names, widths.tolist(), strict=True))}). "
        "Widen them, or leave the narrowest out of the search."
    )


def _lowest(code: Sequence[int]) -> tuple[int, ...]:
    common = math.gcd(*code)
    return tuple(value // common for value in code)


def _identify(
    courses: Ints, tensors: Ints, graph: Graph, sizes: Ints, codes: Ints
) -> tuple[Ints, Ints]:
    """Which size each changing dimension holds, and how many times."""
    known = {_lowest(code): row for row, code in enumerate(codes.tolist())}
    rows = np.zeros(len(courses), np.int64)
    factors = np.ones(len(courses), np.int64)
    for i, (course, tensor) in enumerate(zip(courses.tolist(), tensors.tolist(), strict=True)):
        row = known.get(_lowest(course), -1)
        if row < 0 or course[0] % codes[row, 0]:
            raise ConversionError(
                f"a dimension of tensor {tensor} ({graph.tensors[tensor].name!r}) is {course} in "
                "the network and its probes, which no number of channels in the Keras model "
                "explains: it is ambiguous. Please report this model."
            )
        rows[i], factors[i] = row, course[0] // codes[row, 0]
    return rows, factors


def _aligned(graph: Graph, rank: int) -> Ints:
    """int64 [tensors, rank]: shapes, right-aligned with leading ones."""
    shapes = [(1,) * (rank - len(t.shape)) + t.shape for t in graph.tensors]
    return np.array(shapes, np.int64).reshape(-1, rank)


def _views(graph: Graph) -> list[int]:
    """Tensors in the order in which operators name them, absent ones left out."""
    return [*graph.inputs, *(i for op in graph.ops for i in op.inputs + op.outputs if i >= 0)]


def _seen_from(graph: Graph, probe: Graph, rank: int) -> Ints:
    """int64 [tensors, rank]: shapes of the probe's tensors in the places of the graph's."""
    shapes = _aligned(graph, rank)
    there = _aligned(probe, rank)
    for here, other in zip(_views(graph), _views(probe), strict=True):
        shapes[here] = there[other]
    return shapes


def _split_shared(base: TfliteModel, probes: Sequence[Graph]) -> TfliteModel:
    """The base with a constant of its own for each use that differs from the first in a probe."""
    graph = base.graph
    shape = [(op.kind, len([i for i in op.inputs if i >= 0]), len(op.outputs)) for op in graph.ops]
    for probe in probes:
        if shape != [
            (op.kind, len([i for i in op.inputs if i >= 0]), len(op.outputs)) for op in probe.ops
        ]:
            raise ConversionError(
                f"{probe.name} has other operators ({len(probe.ops)}) than the whole model "
                f"({len(graph.ops)}), so its shapes say nothing. Please report this model."
            )
    views = [_views(probe) for probe in probes]
    courses: dict[int, list[tuple[tuple[int, ...], ...]]] = {}
    uses: list[tuple[int, int, int, int]] = []  # operator, slot, tensor, which course
    place = len(graph.inputs)
    for step, op in enumerate(graph.ops):
        for slot, tensor in enumerate(op.inputs + op.outputs):
            if tensor < 0:
                continue
            seen = courses.setdefault(tensor, [])
            course = tuple(
                probe.tensors[view[place]].shape for probe, view in zip(probes, views, strict=True)
            )
            place += 1
            if course not in seen:
                seen.append(course)
            uses.append((step, slot, tensor, seen.index(course)))
    shared = [use for use in uses if use[3]]
    if not shared:
        return base
    model = flatbuffer.unpack(base.content)
    subgraph = model.subgraphs[0]
    copies: dict[tuple[int, int], int] = {}
    for step, slot, tensor, course_number in shared:
        if not graph.tensors[tensor].is_constant or slot >= len(graph.ops[step].inputs):
            raise ConversionError(
                f"tensor {tensor} ({graph.tensors[tensor].name!r}) has several shapes at once. "
                "Please report this model."
            )
        if (tensor, course_number) not in copies:
            copies[tensor, course_number] = flatbuffer.duplicate(model, tensor)
        subgraph.operators[step].inputs[slot] = copies[tensor, course_number]
    logging.getLogger(__name__).debug("split %d shared constants", len(copies))
    return tflite.read(flatbuffer.pack(model), graph.name)


def _sources(quantized: Graph, float_graph: Graph) -> Ints:
    """int64 [tensors]: the float tensor whose shape each tensor of the quantized graph has."""
    count = len(float_graph.tensors)
    source = np.full(len(quantized.tensors), -1, np.int64)
    source[:count] = np.arange(count)[: len(source)]
    own = iter(float_graph.ops)
    boundaries = []
    kinds = {op.kind for op in float_graph.ops}
    for op in quantized.ops:
        if op.kind in _BOUNDARY - kinds:
            boundaries.append((op.inputs[0], op.outputs[0]))
            continue
        origin = next(own, None)
        if origin is None or (op.kind, len(op.inputs), len(op.outputs)) != (
            origin.kind,
            len(origin.inputs),
            len(origin.outputs),
        ):
            raise ConversionError(
                f"operator {op.kind!r} of the quantized network has no counterpart in the float "
                "network. Quantize the .tflite of bind()."
            )
        for here, there in zip(op.inputs + op.outputs, origin.inputs + origin.outputs, strict=True):
            if here >= 0 and source[here] < 0:
                source[here] = there
    for _ in boundaries:  # a chain of boundaries is no longer than their number
        for before, after in boundaries:
            if source[after] < 0:
                source[after] = source[before]
            if source[before] < 0:
                source[before] = source[after]
    if next(own, None) is not None or (source < 0).any():
        raise ConversionError(
            "the quantized network lacks operators of the float network, or has tensors that "
            "nothing uses. Quantize the .tflite of bind()."
        )
    return source
