"""Measure generated code on an emulated core and fit what ``hwsearch/backends/aot.py`` needs.

A Target comes from linked images: sections from the objects, calls and stack from the emulated
core, and for every loop of every kernel the instructions and cycles of a turn: non-negative least
squares on relative errors over all layers of the training networks.
"""

from __future__ import annotations

import datetime
import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from numpy.typing import NDArray

from benchmarks.aot_core import Call, Core, functions
from hwsearch.backends.aot_cycles import DSP, INT4, KINDS, turns, variant
from hwsearch.backends.aot_flash import constant_bytes
from hwsearch.backends.aot_layers import groups, sizes
from hwsearch.backends.aot_measured import Target
from hwsearch.backends.aot_weights import CHOICE
from hwsearch.codegen import generate
from hwsearch.codegen.dead import without_dead_channels
from hwsearch.codegen.formats import counted, eligible
from hwsearch.codegen.generate import KERNELS, LayerPlan
from hwsearch.cost.columns import Columns
from hwsearch.device import Image, build
from hwsearch.device.port import FIRMWARE
from hwsearch.graph import Graph
from hwsearch.graph.tflite import TfliteModel, read

FLAGS = ("-O2",)

ROOTS = {
    "nn_conv_s8": ("nn_conv_s8", "nn_int8"), "nn_dense_s8": ("nn_dense_s8", "nn_int8_vector"),
    "nn_conv_s8 int4": ("nn_conv_s8", "nn_int4"),
    "nn_dense_s8 int4": ("nn_dense_s8", "nn_int4_vector"),
    "nn_sub_s8": ("nn_add_s8",), "nn_sub_s16": ("nn_add_s16",),
}  # fmt: skip
"""Functions that a call names, where they are not just the kernel itself: codegen/calls.py."""


LIBRARY = {"__aeabi_idivmod": ("__aeabi_idiv",), "__aeabi_uidivmod": ("__aeabi_uidiv",)}
"""What functions of the compiler's own library (Armv6-M divides by them) bring with them."""


@dataclass(frozen=True)
class LayerCost:
    """One layer of a measured network.

    Attributes:
        variant: kernel, and how its weights are stored.
        op: the operator.
        loops: loop to turns.
        instructions, low, high: as measured.
        stack, frame, code: see :class:`benchmarks.aot_core.Call`.
    """

    variant: str
    op: int
    loops: Mapping[str, int]
    instructions: int
    low: float
    high: float
    stack: int
    frame: int
    code: int


@dataclass(frozen=True)
class Observed:
    """One network, linked and run.

    Attributes:
        name, columns: which.
        image: as linked.
        arena_bytes: as planned.
        layers: what each took.
        edges, bytes_of: sections that sections refer to, and their sizes; of this image's objects.
    """

    name: str
    columns: Columns
    image: Image
    arena_bytes: int
    layers: tuple[LayerCost, ...]
    edges: Mapping[str, frozenset[str]]
    bytes_of: Mapping[str, int]

    @property
    def instructions(self) -> int:
        """Of all layers."""
        return sum(layer.instructions for layer in self.layers)

    @property
    def stack_bytes(self) -> int:
        """As a device paints it."""
        return max(layer.stack + layer.frame for layer in self.layers)


def forced(graph: Graph, form: str) -> dict[int, str]:
    """This format for every layer that can have it."""
    return dict.fromkeys(eligible(graph), form)


def observe(
    networks: Iterable[tuple[str, bytes]],
    core: str,
    compiler: str,
    formats_of: Callable[[TfliteModel], Mapping[int, str]] = lambda model: {},
) -> Iterator[Observed]:
    """Every network generated, compiled, linked and run once; by default with dense weights."""
    port = f"emulator-cortex-{core.lower()}"
    for name, content in networks:
        model = without_dead_channels(read(content))
        with tempfile.TemporaryDirectory(prefix="hwsearch-aot-") as folder:
            sources, out = Path(folder) / "model", Path(folder) / "image"
            made = generate(model, sources, formats=formats_of(model))
            image = build(sources, port, out, toolchain=compiler, flags=FLAGS)
            calls = Core(image).run()
            edges, bytes_of = _objects(out, image)
        columns = Columns.of(model.graph, counted(model))
        layers = tuple(_layers(columns, made.layers, calls, core))
        yield Observed(name, columns, image, made.arena_bytes, layers, edges, bytes_of)


def _layers(
    columns: Columns, order: Iterable[LayerPlan], calls: list[Call], core: str
) -> Iterator[LayerCost]:
    """The calls by layer; a concatenation makes one an input."""
    graph, left = columns.graph, iter(calls)
    by_op, formats = {}, {}
    for layer in order:
        op = layer.op_index
        times = len(graph.ops[op].inputs) if layer.kind == "concatenation" else 1
        by_op[op] = [next(left) for _ in range(times)]
        formats[op] = KINDS.index(layer.format)
    assert next(left, None) is None, "calls do not match layers"
    for group in groups(graph):
        bits = sizes(columns, group).bits[0]
        for place, op in enumerate(group.ops.tolist()):
            mine = by_op[op]
            int4 = group.kernel in CHOICE and bits[place] == 4
            kind = INT4 if int4 else formats[op]
            loops = {
                k: int(np.broadcast_to(v, (1, len(group.ops)))[0, place])
                for k, v in turns(columns, group, kind, core in DSP).items()
            }
            yield LayerCost(
                variant(group.kernel, KINDS[kind]), op, loops,
                sum(c.instructions for c in mine), sum(c.low for c in mine),
                sum(c.high for c in mine), max(c.stack for c in mine),
                max(c.frame for c in mine), sum(c.code for c in mine),
            )  # fmt: skip


def _objects(out: Path, image: Image) -> tuple[dict[str, frozenset[str]], dict[str, int]]:
    """Sections of the kernels' objects: what each refers to, and its bytes in words."""
    edges: dict[str, set[str]] = defaultdict(set)
    bytes_of: dict[str, int] = {}
    defined: dict[str, str] = {}
    wanted: dict[str, set[str]] = defaultdict(set)
    for path in [*sorted((out / "model").glob("nn_*.o")), out / "lib" / "memory.o"]:
        with path.open("rb") as file:
            elf = ELFFile(file)
            sections = list(elf.iter_sections())
            for section in sections:
                if section["sh_flags"] & SH_FLAGS.SHF_ALLOC and section["sh_size"]:
                    if not section.name.startswith((".text", ".rodata")):
                        continue
                    bytes_of[f"{path.stem}{section.name}"] = -(-section["sh_size"] // 4) * 4
            symbols = elf.get_section_by_name(".symtab")
            for symbol in symbols.iter_symbols():
                if symbol["st_info"]["bind"] != "STB_LOCAL" and symbol["st_shndx"] != "SHN_UNDEF":
                    defined[symbol.name] = f"{path.stem}{sections[symbol['st_shndx']].name}"
            for section in sections:
                if not isinstance(section, RelocationSection):
                    continue
                source = f"{path.stem}{sections[section['sh_info']].name}"
                for relocation in section.iter_relocations():
                    symbol = symbols.get_symbol(relocation["r_info_sym"])
                    if symbol["st_shndx"] == "SHN_UNDEF":
                        wanted[source].add(symbol.name)
                    elif isinstance(symbol["st_shndx"], int):
                        edges[source].add(f"{path.stem}{sections[symbol['st_shndx']].name}")
    linked = functions(image.path)
    for source, names in wanted.items():
        for name in names:
            edges[source].add(defined.get(name, name))
            if name not in defined:  # of the compiler's own library
                for part in (name, *LIBRARY.get(name, ())):
                    edges[source].add(part)
                    bytes_of[part] = -(-linked.get(part, (0, 0))[1] // 4) * 4
    edges |= {name: {section} for name, section in defined.items()}
    return {k: frozenset(v) for k, v in edges.items()}, bytes_of


def _closure(edges: Mapping[str, frozenset[str]], roots: Iterable[str]) -> frozenset[str]:
    found, ahead = set[str](), list(roots)
    while ahead:
        name = ahead.pop()
        if name not in found:
            found.add(name)
            ahead += edges.get(name, frozenset())
    return frozenset(found)


def nonnegative(design: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Non-negative least squares by active set (Lawson and Hanson 1974, ch. 23)."""
    count = design.shape[1]
    free = np.zeros(count, bool)
    answer = np.zeros(count)
    scale = np.abs(design).max(axis=0)
    for _ in range(10 * count):
        gradient = design.T @ (wanted - design @ answer) / np.where(scale > 0, scale, 1)
        gradient[free | (scale == 0)] = -np.inf
        if gradient.max(initial=-np.inf) < 1e-9:
            break
        free[gradient.argmax()] = True
        while True:
            trial = np.zeros(count)
            trial[free] = np.linalg.lstsq(design[:, free], wanted, rcond=None)[0]
            if (trial[free] >= 0).all():
                break
            bad = free & (trial < 0)
            step = (answer[bad] / np.maximum(answer[bad] - trial[bad], 1e-300)).min()
            answer = answer + step * (trial - answer)
            free &= answer > 1e-12
        answer = trial
    return answer


def kernels_digest() -> str:
    """SHA-256 of the kernel sources and of memcpy's, 12 digits."""
    digest = hashlib.sha256()
    for path in [*sorted(KERNELS.glob("nn*.[ch]")), FIRMWARE / "lib" / "memory.c"]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def fit(training: list[Observed], plain: list[Observed], core: str, compiler: str) -> Target:
    """A Target.

    Args:
        training: networks of many layers.
        plain: a few ordinary networks: their calls have the frames that one may expect.
    """
    by_variant: dict[str, list[LayerCost]] = defaultdict(list)
    for observed in training:
        for layer in observed.layers:
            by_variant[layer.variant].append(layer)
    loops, errors = {}, []
    for name, rows in sorted(by_variant.items()):
        turns = np.array([list(row.loops.values()) for row in rows], float)
        solved = []
        for what in ("instructions", "low", "high"):
            wanted = np.array([getattr(row, what) for row in rows], float)
            scale = np.maximum((turns / wanted[:, None]).max(axis=0), 1e-12)
            design = turns / wanted[:, None] / scale
            solved.append(nonnegative(design, np.ones(len(rows))) / scale)
            if what == "instructions":
                errors += (np.abs(turns @ solved[0] / wanted - 1)).tolist()
        table = {
            loop: tuple(round(float(v), 3) for v in values)
            for loop, values in zip(rows[0].loops, zip(*solved, strict=True), strict=True)
        }
        loops[name] = {loop: values for loop, values in table.items() if any(values)}
    frames: dict[str, int] = defaultdict(int)
    for observed in plain:
        for layer in observed.layers:
            kernel = layer.variant.removesuffix(" int4")
            frames[kernel] = max(frames[kernel], layer.frame)
    usual = max(frames.values())
    sections, links = _linked(training, by_variant)
    codes = {
        name.removesuffix(" int4"): float(np.mean([row.code for row in rows]))
        for name, rows in by_variant.items()
    }
    image_bytes, ratio = _code(plain, sections, links, codes)
    first = training[0].image
    return Target(
        core, compiler, first.toolchain, FLAGS, kernels_digest(),
        datetime.datetime.now(datetime.UTC).date().isoformat(), len(training),
        sum(len(o.layers) for o in training), round(float(np.mean(errors)), 5), image_bytes,
        {name: round(ratio * size, 1) for name, size in codes.items()}, sections, links,
        {name.removesuffix(" int4"): frames.get(name, usual) for name in codes},
        _stacks(by_variant), loops,
    )  # fmt: skip


def _stacks(by_variant: Mapping[str, list[LayerCost]]) -> dict[str, dict[str, int]]:
    """Per kernel and loop the stack where it runs: the most of a layer's is never too little.

    First the least of the layers where a loop runs; where that is too little for a layer, its
    rarest loop is taken to be the reason.
    """
    rows_of: dict[str, list[LayerCost]] = defaultdict(list)
    for name, rows in by_variant.items():
        rows_of[name.removesuffix(" int4")] += rows
    found = {}
    for name, rows in rows_of.items():
        runs = {loop: [row for row in rows if row.loops[loop]] for loop in rows[0].loops}
        runs = {loop: some for loop, some in runs.items() if some}
        mine = {loop: min(row.stack for row in some) for loop, some in runs.items()}
        for row in rows:
            active = [loop for loop in runs if row.loops[loop]]
            if row.stack > max(mine[loop] for loop in active):
                mine[min(active, key=lambda loop: len(runs[loop]))] = row.stack
        least = mine["call"]
        found[name] = {k: v for k, v in mine.items() if v > least or k == "call"}
    return found


def _linked(
    training: list[Observed], variants: Iterable[str]
) -> tuple[dict[str, int], dict[str, tuple[str, ...]]]:
    edges: dict[str, frozenset[str]] = {}
    bytes_of: dict[str, int] = {}
    for observed in training:
        edges |= observed.edges
        bytes_of |= {k: v for k, v in observed.bytes_of.items() if v}
    links = {}
    for name in variants:
        reached = _closure(edges, ROOTS.get(name, (name,)))
        links[name] = tuple(sorted(s for s in reached if s in bytes_of))
    used = {s for names in links.values() for s in names}
    return {s: bytes_of[s] for s in sorted(used)}, links


def _code(
    plain: list[Observed],
    sections: Mapping[str, int],
    links: Mapping[str, tuple[str, ...]],
    codes: Mapping[str, float],
) -> tuple[int, float]:
    """Bytes of an image without layers, and literals and all per byte of a call's own block."""
    left, calls = [], []
    for observed in plain:
        names = {s for layer in observed.layers for s in links[layer.variant]}
        constants = int(constant_bytes(observed.columns)[0])
        left.append(observed.image.flash_bytes - constants - sum(sections[s] for s in names))
        calls.append(sum(codes[layer.variant.removesuffix(" int4")] for layer in observed.layers))
    design = np.stack([np.ones(len(plain)), np.array(calls)], axis=1)
    base, ratio = np.linalg.lstsq(design, np.array(left, float), rcond=None)[0]
    return round(float(base)), float(ratio)
