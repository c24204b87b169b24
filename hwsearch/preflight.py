"""Preflight: what of a model each backend runs, and what to mend before a search.

A remedy's gain is not a rule of thumb: the network is changed as the remedy would change it and
costed again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hwsearch import estimation
from hwsearch.backends import Backend
from hwsearch.backends import backend as backend_of
from hwsearch.backends import backends as all_backends
from hwsearch.backends.backend import Refusal
from hwsearch.board import GENERIC, Board
from hwsearch.budget import shown
from hwsearch.errors import RefusedError
from hwsearch.graph import BITS, WEIGHT_OPS, Graph, Tensor
from hwsearch.graph.tflite import read
from hwsearch.source import CALIBRATION_INPUTS, KERAS_FILES, Network

KERNELS_OF_SHAPES = ("shape", "strided_slice", "pack", "fill", "gather", "concatenation", "cast",
                     "mul", "add", "reduce_prod", "broadcast_args")  # fmt: skip
"""Operators of which a network with an open batch computes its shapes while it runs."""

PRECISIONS = ((8, 8), (8, 4), (16, 8))
"""(activation bits, weight bits) that a Keras model is tried at."""


@dataclass(frozen=True)
class Support:
    """Whether a backend runs the model at some precision.

    Attributes:
        backend: the runtime.
        precision: e.g. ``"a8 w4"``; of a ``.tflite`` ``"as it is"``.
        refusals: operators that it refuses; empty where it runs the model.
    """

    backend: str
    precision: str
    refusals: tuple[Refusal, ...]

    @property
    def runs(self) -> bool:
        """Whether it does."""
        return not self.refusals


@dataclass(frozen=True)
class Finding:
    """Something to mend.

    Attributes:
        problem, remedy: in words.
        flash_bytes, ram_bytes: that the remedy saves, by the estimate of :attr:`backend`; None
            where no backend runs the model to tell. Code of kernels whose size nobody measured
            is not counted.
        kernels: kinds of operators that the image no longer needs.
        backend: whose estimate it is; "" for none.
    """

    problem: str
    remedy: str
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    kernels: tuple[str, ...] = ()
    backend: str = ""

    @property
    def gain(self) -> str:
        """What the remedy buys, in words; "" if that is not known."""
        parts = [
            f"{'−' if saved > 0 else '+'}{shown(name, abs(saved))} {label}"
            for name, label, saved in (
                ("flash", "flash", self.flash_bytes), ("ram", "RAM", self.ram_bytes)
            )
            if saved
        ]  # fmt: skip
        if self.kernels:
            parts.append(f"{len(self.kernels)} kernels fewer ({', '.join(self.kernels)})")
        return ", ".join(parts)


@dataclass(frozen=True)
class Preflight:
    """What was found of one model.

    Attributes:
        source: the file.
        support: backend by backend.
        findings: what to mend.
    """

    source: str
    support: tuple[Support, ...]
    findings: tuple[Finding, ...]

    def runs_on(self, names: Sequence[str]) -> bool:
        """Whether each of these backends runs it at some precision; without names, any does."""
        runs = {s.backend for s in self.support if s.runs}
        return all(name in runs for name in names) if names else bool(runs)


def preflight(
    source: str | Path, board: Board = GENERIC, backends: Sequence[str] = ()
) -> Preflight:
    """Checks a model before a search.

    Args:
        source: path of a ``.tflite``, ``.keras`` or ``.h5`` file. A Keras model is converted and
            quantized to each of :data:`PRECISIONS`, with generated inputs.
        board: that gains are estimated for.
        backends: to ask; default all.

    Raises:
        ModelFileError, ModelError: the file cannot be read, or not be searched.
        ConversionError: the converter failed on it.
    """
    runtimes = [backend_of(n) for n in backends] if backends else [*all_backends().values()]
    if Path(source).suffix in KERAS_FILES:
        networks, notes = _quantizations(source)
    else:
        model = read(source)
        networks, notes = {"as it is": model.graph}, []
    support = tuple(
        Support(runtime.name, precision, tuple(runtime.refusals(graph)))
        for runtime in runtimes
        for precision, graph in networks.items()
    )
    graph = next(iter(networks.values()))
    found = [_finding(rule, graph, runtimes, board) for rule in RULES]
    findings = [Finding(problem, remedy) for problem, remedy in notes] + [f for f in found if f]
    return Preflight(str(source), support, tuple(findings))


def _quantizations(path: str | Path) -> tuple[dict[str, Graph], list[tuple[str, str]]]:
    """A Keras model at each precision, and what of it cannot be pruned."""
    from hwsearch.compress.quantize import calibrate, quantize
    from hwsearch.conversion import is_unknown
    from hwsearch.convert import load_model, names, to_float_tflite
    from hwsearch.data import Port, generated
    from hwsearch.graph import keras_channels

    model = load_model(path)
    groups = keras_channels.groups(model)
    content = to_float_tflite(model)
    shapes = zip(names(model)[0], model.inputs, strict=True)
    ports = [Port(name, tuple(tensor.shape[1:])) for name, tensor in shapes]
    calibration = calibrate(content, generated(ports, CALIBRATION_INPUTS, seed=0).inputs)
    weighted = [i for i, op in enumerate(calibration.model.graph.ops) if op.kind in WEIGHT_OPS]
    found = {}
    for activations, weights in PRECISIONS:
        low = {} if weights == 8 else dict.fromkeys(weighted, weights)
        name = f"a{activations} w{weights}"
        found[name] = read(quantize(calibration, activations, low), f"the model at {name}").graph
    notes = [
        (f"Layer {layer!r} keeps its width: {reason}.",
         "Replace it by layers of Keras, if it is to be pruned.")
        for layer, reason in groups.frozen
        if is_unknown(reason)
    ]  # fmt: skip
    return found, notes


@dataclass(frozen=True)
class _Rule:
    """A problem: whether a network has it, and the network without it."""

    problem: str
    remedy: str
    has: Callable[[Graph], bool]
    mended: Callable[[Graph], Graph] | None = None


def _finding(
    rule: _Rule, graph: Graph, runtimes: Sequence[Backend], board: Board
) -> Finding | None:
    if not rule.has(graph):
        return None
    if rule.mended is None:
        return Finding(rule.problem, rule.remedy)
    mended = rule.mended(graph)
    kernels = tuple(sorted({o.kind for o in graph.ops} - {o.kind for o in mended.ops}))
    for runtime in runtimes:
        target = estimation.Target(board, runtime)
        try:
            before, after = (estimation.of(Network(g), target) for g in (graph, mended))
        except RefusedError:
            continue
        assert before.flash_bytes is not None and after.flash_bytes is not None
        assert before.ram_bytes is not None and after.ram_bytes is not None
        flash = before.flash_bytes - after.flash_bytes - _unmeasured(runtime, kernels)
        ram = before.ram_bytes - after.ram_bytes
        return Finding(rule.problem, rule.remedy, flash, ram, kernels, runtime.name)
    return Finding(rule.problem, rule.remedy, kernels=kernels)


def _unmeasured(runtime: Backend, kinds: Sequence[str]) -> int:
    """Bytes that a backend takes kernels of these kinds to have without having linked them."""
    table = getattr(runtime, "kernels", None)
    return (
        0
        if table is None
        else table.other_bytes * sum(kind not in table.kernel_bytes for kind in kinds)
    )


def _shape_ops(graph: Graph) -> set[int]:
    """Indexes of the operators that compute shapes: from a ``shape`` on, integers alone."""
    made: set[int] = set()
    found = set()
    for i, op in enumerate(graph.ops):
        integers = all(graph.tensors[t].dtype in ("int32", "int64") for t in op.outputs)
        after = any(t in made for t in op.inputs)
        if op.kind == "shape" or (op.kind in KERNELS_OF_SHAPES and integers and after):
            found.add(i)
            made |= set(op.outputs)
    return found


def _without(graph: Graph, drop: set[int]) -> Graph:
    """The graph without these operators; what read their outputs reads constants instead."""
    gone = {t for i in drop for t in graph.ops[i].outputs}
    tensors = tuple(
        replace(t, constant_bytes=t.size_bytes) if i in gone else t
        for i, t in enumerate(graph.tensors)
    )
    ops = tuple(op for i, op in enumerate(graph.ops) if i not in drop)
    return _used(replace(graph, tensors=tensors, ops=ops))


def _used(graph: Graph) -> Graph:
    """The graph without tensors that nothing makes or reads."""
    named = {*graph.inputs, *graph.outputs}
    named |= {t for op in graph.ops for t in (*op.inputs, *op.outputs) if t >= 0}
    place = {old: new for new, old in enumerate(sorted(named))} | {-1: -1}

    def moved(indexes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(place[i] for i in indexes)

    return replace(
        graph,
        tensors=tuple(graph.tensors[i] for i in sorted(named)),
        ops=tuple(
            replace(op, inputs=moved(op.inputs), outputs=moved(op.outputs)) for op in graph.ops
        ),
        inputs=moved(graph.inputs),
        outputs=moved(graph.outputs),
    )


def _float_ends(graph: Graph) -> set[int]:
    """Operators that quantize an input or dequantize an output of an integer network."""
    return {
        i
        for i, op in enumerate(graph.ops)
        if (op.kind == "quantize" and op.inputs[0] in graph.inputs
            and graph.tensors[op.inputs[0]].dtype == "float32")
        or (op.kind == "dequantize" and op.outputs[0] in graph.outputs)
    }  # fmt: skip


def _integer_ends(graph: Graph) -> Graph:
    """The graph whose inputs and outputs are the integers behind its float ends."""
    drop = _float_ends(graph)
    into = {graph.ops[i].inputs[0]: graph.ops[i].outputs[0] for i in drop
            if graph.ops[i].kind == "quantize"}  # fmt: skip
    out = {graph.ops[i].outputs[0]: graph.ops[i].inputs[0] for i in drop
           if graph.ops[i].kind == "dequantize"}  # fmt: skip
    return _used(
        replace(
            graph,
            ops=tuple(op for i, op in enumerate(graph.ops) if i not in drop),
            inputs=tuple(into.get(t, t) for t in graph.inputs),
            outputs=tuple(out.get(t, t) for t in graph.outputs),
        )
    )


def _is_float(graph: Graph) -> bool:
    return any(
        op.kind in WEIGHT_OPS and graph.tensors[op.outputs[0]].dtype == "float32"
        for op in graph.ops
    )


def _int8(graph: Graph) -> Graph:
    """The graph with int8 activations and weights, and int32 biases."""
    biases = {op.inputs[2] for op in graph.ops if op.kind in WEIGHT_OPS and len(op.inputs) > 2}

    def narrow(index: int, tensor: Tensor) -> Tensor:
        if tensor.dtype != "float32":
            return tensor
        dtype = "int32" if index in biases else "int8"
        size = tensor.elements * BITS[dtype] // 8 if tensor.is_constant else 0
        return replace(tensor, dtype=dtype, constant_bytes=size, scales=1)

    tensors = tuple(narrow(i, t) for i, t in enumerate(graph.tensors))
    saved = sum(t.constant_bytes for t in graph.tensors) - sum(t.constant_bytes for t in tensors)
    return replace(graph, tensors=tensors, file_bytes=max(graph.file_bytes - saved, 0))


def _batch(graph: Graph) -> int:
    shapes = [graph.tensors[i].shape for i in graph.inputs]
    return max((s[0] for s in shapes if len(s) > 1), default=1)


def _odd_widths(graph: Graph) -> bool:
    """Whether a convolution reads channels that do not fill the kernels' words."""
    return any(
        op.kind == "conv_2d" and (n := graph.tensors[op.inputs[1]].shape[3]) > 4 and n % 4
        for op in graph.ops
    )


RULES: tuple[_Rule, ...] = (
    _Rule(
        "The batch is open: the network computes its shapes at each inference.",
        "Fix the batch size: convert a model with Input(batch_shape=(1, …)).",
        lambda graph: bool(_shape_ops(graph)),
        lambda graph: _without(graph, _shape_ops(graph)),
    ),
    _Rule(
        "Inputs or outputs are float, in a network of integers.",
        "Convert with inference_input_type and inference_output_type int8.",
        lambda graph: bool(_float_ends(graph)),
        _integer_ends,
    ),
    _Rule(
        "Layers are computed in float.",
        "Quantize to int8 with calibration data; hwsearch.optimize does.",
        _is_float,
        _int8,
    ),
    _Rule(
        "An inference takes more than one sample.",
        "Convert with a batch of 1.",
        lambda graph: _batch(graph) > 1,
    ),
    _Rule(
        "A convolution reads a number of channels that is no multiple of 4.",
        "Make the layer before it wider or narrower: kernels read channels by fours.",
        _odd_widths,
    ),
)
"""In the order in which they are told."""
