"""Binding: every tensor shape of the converted network as a function of the widths of its groups.

The network is converted as it is and a few times with probes: every group cut to some width, so
that no two numbers of channels that occur in the network follow the same course. A dimension of a
tensor that changes from probe to probe then tells which number of channels it holds; no names are
needed.
"""

from __future__ import annotations

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

LEAST_WIDTHS = (1, 2, 4)
"""Narrowest widths tried: with one channel the converter may simplify operators away."""

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
        least: int64 [groups], the least widths for which the shapes hold: 1, unless the converter
            makes other operators of so few channels.
        base: int64 [tensors, rank], the shapes at full width, right-aligned with leading ones.
        sizes: int64 [sizes, 1 + groups], as :attr:`ChannelGroups.sizes`.
        places, rows, factors: int64 [dimensions that change].
    """

    groups: tuple[str, ...]
    widths: Ints
    least: Ints
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
            InputError: another number of groups, or a width under the least or over the full.
        """
        widths = np.asarray(widths, np.int64)
        if widths.ndim != 2 or widths.shape[1] != len(self.groups):
            raise InputError(
                f"widths have shape {widths.shape}, expected [n, {len(self.groups)}]: a column "
                f"for each of {', '.join(self.groups) or 'no groups'}."
            )
        outside = np.flatnonzero(((widths < self.least) | (widths > self.widths)).any(axis=0))
        if len(outside):
            limits = [
                f"{self.groups[i]!r} takes {self.least[i]} to {self.widths[i]}" for i in outside
            ]
            raise InputError(f"widths out of range: {', '.join(limits)}.")
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
            self.least,
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
            called with ``{}``, once for each probe (two, more if groups are tiny), and for the
            narrowest network, which must come out as predicted.

    Raises:
        ConversionError: the converter makes other operators for a narrower network, or a
            dimension does not follow from the widths of the groups in exactly one way.
    """

    def converted(widths: Ints) -> Graph:
        keep = {g: np.arange(w) for g, w in zip(groups.names, widths.tolist(), strict=True)}
        return tflite.read(convert(keep), f"the probe with widths {widths.tolist()}").graph

    base = tflite.read(convert({}), "the converted model")
    sizes, codes, probes = _codes(groups)
    narrow = [converted(widths) for widths in probes]
    for probe in narrow:
        if _operators(probe) != _operators(base.graph):
            raise ConversionError(
                f"{probe.name} has other operators ({len(probe.ops)}) than the whole model "
                f"({len(base.graph.ops)}), so its shapes say nothing. Please report this model."
            )
    base = _split_shared(base, narrow)
    graph = base.graph
    rank = max([MIN_RANK, *(len(tensor.shape) for tensor in graph.tensors)])
    shapes = [_aligned(graph, rank), *(_seen_from(graph, probe, rank) for probe in narrow)]
    courses = np.stack(shapes, axis=-1).reshape(-1, len(shapes))
    places = np.flatnonzero((courses != courses[:, :1]).any(axis=1))
    rows, factors = _identify(courses[places], places // rank, graph, sizes, codes)
    unseen = np.flatnonzero(~sizes[np.unique(rows), 1:].any(axis=0))
    if len(unseen):
        lost = ", ".join(groups.names[i] for i in unseen)
        raise ConversionError(
            f"no tensor of the converted network depends on channel groups {lost}: "
            "either the converter dropped their layers or the probes were not cut as asked."
        )
    full = groups.widths
    for least in LEAST_WIDTHS:
        lowest = np.minimum(least, full)
        binding = Binding(groups.names, full, lowest, shapes[0], sizes, places, rows, factors)
        probe = converted(lowest)
        if _operators(probe) == _operators(graph) and np.array_equal(
            _seen_from(graph, probe, rank), binding.shapes(lowest[None])[0]
        ):
            return base, binding
    raise ConversionError(
        f"{probe.name} does not convert to the shapes that follow from those of wider networks. "
        "Please report this model."
    )


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


def _operators(graph: Graph) -> list[tuple[str, tuple[bool, ...], int]]:
    """What must agree for two graphs to correspond operator by operator."""
    return [(op.kind, tuple(i >= 0 for i in op.inputs), len(op.outputs)) for op in graph.ops]


def _uses(graph: Graph) -> list[tuple[int, int, int]]:
    """(operator, slot, tensor) for every tensor that an operator names, inputs before outputs."""
    return [
        (step, slot, tensor)
        for step, op in enumerate(graph.ops)
        for slot, tensor in enumerate(op.inputs + op.outputs)
        if tensor >= 0
    ]


def _seen_from(graph: Graph, probe: Graph, rank: int) -> Ints:
    """int64 [tensors, rank]: shapes of the probe's tensors in the places of the graph's."""
    shapes, there = _aligned(graph, rank), _aligned(probe, rank)
    for (_, _, here), (_, _, other) in zip(_uses(graph), _uses(probe), strict=True):
        shapes[here] = there[other]
    return shapes


def _split_shared(base: TfliteModel, probes: Sequence[Graph]) -> TfliteModel:
    """The base with a constant of its own for each use that differs from the first in a probe."""
    courses: dict[int, list[tuple[tuple[int, ...], ...]]] = {}
    shared: list[tuple[int, int, int, int]] = []
    for (step, slot, tensor), *others in zip(
        _uses(base.graph), *(_uses(probe) for probe in probes), strict=True
    ):
        course = tuple(
            probe.tensors[other].shape for probe, (_, _, other) in zip(probes, others, strict=True)
        )
        known = courses.setdefault(tensor, [])
        if course not in known:
            known.append(course)
        if known[0] != course:
            shared.append((step, slot, tensor, known.index(course)))
    if not shared:
        return base
    model = flatbuffer.unpack(base.content)
    operators = model.subgraphs[0].operators
    copies: dict[tuple[int, int], int] = {}
    for step, slot, tensor, number in shared:
        if not base.graph.tensors[tensor].is_constant:
            raise ConversionError(
                f"tensor {tensor} ({base.graph.tensors[tensor].name!r}) has several shapes at "
                "once. Please report this model."
            )
        if (tensor, number) not in copies:
            copies[tensor, number] = flatbuffer.duplicate(model, tensor)
        inputs = np.array(operators[step].inputs)
        inputs[slot] = copies[tensor, number]
        operators[step].inputs = inputs
    return tflite.read(flatbuffer.pack(model), base.graph.name)


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
        for here, there in zip(
            op.inputs + op.outputs, origin.inputs + origin.outputs, strict=True
        ):
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
