"""Print how far the ``aot`` backend's estimates are off: ``make bench-aot-cost``.

Estimates of flash, RAM and instructions beside linked images and emulated runs: the MLPerf Tiny
models of ../shared, and networks that no fit has seen. ``--measure`` measures the training
networks anew and writes ``hwsearch/backends/aot_measured.json`` first; kernels that changed need
it.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.aot_fit import Observed, fit, forced, kernels_digest, observe
from benchmarks.aot_networks import compressed, training, unseen, varied
from hwsearch.backends import aot_measured
from hwsearch.backends.aot import Aot, stack_bytes
from hwsearch.backends.aot_cycles import instructions
from hwsearch.backends.aot_flash import flash_bytes
from hwsearch.backends.aot_formats import chosen
from hwsearch.backends.aot_measured import FILE, Target, shipped, to_json
from hwsearch.backends.aot_memory import arena
from hwsearch.codegen.formats import counted
from hwsearch.codegen.layers import FORMATS
from hwsearch.cost.columns import Columns
from hwsearch.graph.tflite import TfliteModel, read

MODELS = Path(__file__).parents[1] / ".." / "shared" / "models" / "mlperf_tiny"
DATA = Path(aot_measured.__file__).parent / FILE
TARGETS = tuple(
    (core, compiler)
    for compiler in ("gcc", "zig")
    for core in ("M4", "M7", "M33", "M3", "M0")
    if (core, compiler) != ("M0", "zig")
)
"""What ``--target all`` measures; zig's images for Armv6-M lack a division and do not link."""
PLAIN = 10
"""Ordinary networks whose frames and images take part in a fit."""


MLPERF = {
    "DS-CNN": "kws_ref_model.tflite", "ResNet-8": "pretrainedResnet_quant.tflite",
}  # fmt: skip


def judged(count: int) -> Iterator[tuple[str, bytes]]:
    """Networks that took no part in any fit, and the MLPerf Tiny models."""
    for name, file in MLPERF.items():
        if (MODELS / file).exists():
            yield name, (MODELS / file).read_bytes()
    yield from itertools.islice(unseen(PLAIN + count), PLAIN, None)
    yield from compressed(count // 3)


@dataclass(frozen=True)
class Judged:
    """One network: per cost what was measured and what was estimated."""

    name: str
    costs: dict[str, tuple[float, float]]
    cycles: tuple[float, float, float]

    def error(self, cost: str) -> float:
        """Estimate / measured - 1."""
        measured, estimate = self.costs[cost]
        return estimate / measured - 1


def measure(core: str, compiler: str, count: int) -> tuple[Target, list[Judged]]:
    """A Target, measured, and the networks that judge it."""
    trained: list[Observed] = []
    for form in FORMATS:
        some = ((name, content) for name, content, stored in training() if stored == form)
        trained += observe(
            some, core, compiler, lambda model, form=form: forced(model.graph, form)
        )
    plain = list(observe(unseen(PLAIN), core, compiler))
    target = fit(trained, plain, core, compiler)
    rows = judge(target, count)
    unknown = [row for row in rows if row.name not in MLPERF]
    bands = {
        name: _extremes([row.costs[cost][0] / row.costs[cost][1] - 1 for row in unknown])
        for name, cost in (
            ("flash_bytes", "flash"), ("ram_bytes", "RAM"), ("instructions", "instructions"),
        )
    }  # fmt: skip
    bands["latency_s"] = _extremes(
        [edge / row.cycles[1] - 1 for row in unknown for edge in (row.cycles[0], row.cycles[2])]
    )
    return replace(target, judged=len(unknown), bands=bands), rows


def _extremes(values: list[float]) -> tuple[float, float]:
    return round(min(values), 4), round(max(values), 4)


def replaced(target: Target) -> None:
    """Write a target into the data file, in the place of the one before."""
    try:
        known = {(t.core, t.compiler): t for t in aot_measured.parse(DATA.read_text())}
    except (OSError, ValueError, TypeError):
        known = {}
    known[target.core, target.compiler] = target
    order = [known[key] for key in sorted(known)]
    DATA.write_text(to_json(tuple(order)))
    shipped.cache_clear()
    aot_measured.target.cache_clear()


def judge(target: Target, count: int) -> list[Judged]:
    """Estimates beside measurements, a network each."""
    rows = []
    slowdown = Aot().slowdown

    def formats_of(model: TfliteModel) -> dict[int, str]:
        forms = chosen(Columns.of(model.graph, counted(model)), target, slowdown)
        return {} if forms is None else {i: FORMATS[f] for i, f in enumerate(forms[0]) if f}

    for observed in observe(judged(count), target.core, target.compiler, formats_of):
        columns = observed.columns
        forms = chosen(columns, target, slowdown)
        planned = max(int(arena(columns, forms)[0]), 8)
        ram = planned + -planned % 4 + int(stack_bytes(columns, target, forms)[0])
        flash = int(flash_bytes(columns, target, forms)[0])
        executed, low, high = (float(v.sum()) for v in instructions(columns, target, forms))
        costs = {
            "flash": (observed.image.flash_bytes, flash),
            "arena": (observed.arena_bytes, planned),
            "RAM": (observed.image.ram_bytes + observed.stack_bytes, ram),
            "instructions": (observed.instructions, executed),
        }
        real = (sum(v.low for v in observed.layers), sum(v.high for v in observed.layers))
        rows.append(Judged(observed.name, costs, (real[0], (low + high) / 2, real[1])))
    return rows


def table(target: Target, rows: list[Judged]) -> None:
    """Print a network a line, and the mean and worst of each column."""
    names = ("flash", "arena", "RAM", "instructions")
    print(f"\n{target.core}, {target.version} {' '.join(target.flags)}: measured, and how far the")
    print("estimate is off in %; cycles by the core's manual\n")
    print("| network | " + " | ".join(f"{n} | %" for n in names) + " | cycles |")
    print("| --- |" + " ---: |" * (2 * len(names) + 1))
    for row in rows:
        cells = " | ".join(f"{row.costs[n][0]:,} | {100 * row.error(n):+.2f}" for n in names)
        low, _, high = row.cycles
        print(f"| {row.name} | {cells} | {low:,.0f} to {high:,.0f} |")
    off = 100 * np.abs([[row.error(n) for n in names] for row in rows])
    for word, line in (("mean", off.mean(axis=0)), ("worst", off.max(axis=0))):
        cells = " | ".join(f" | {v:.2f}" for v in line)
        print(f"| {word} of {len(rows)} | {cells} | |", flush=True)


def speed() -> None:
    """Print candidates a second of each cost, in batches of 256 random widths and singly."""
    print("\n| network | batch | RAM | flash | cycles | all, candidates/s |")
    print("| --- |" + " ---: |" * 5)
    for name, content in judged(0):
        graph = read(content).graph
        for n in (1, 256):
            columns = varied(Columns.of(graph), n)
            times = []
            for ask in (
                lambda c: Aot().ram(c), lambda c: Aot().flash(c), lambda c: Aot().cycles(c, "M4"),
            ):  # fmt: skip
                took = []
                for _ in range(5):
                    fresh = Columns(graph, columns.shapes, columns.bits)
                    start = time.process_time()
                    ask(fresh)
                    took.append(time.process_time() - start)
                times.append(min(took))
            cells = " | ".join(f"{1e3 * t:.2f} ms" for t in times)
            print(f"| {name} | {n} | {cells} | {n / sum(times):,.0f} |")


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--measure", action="store_true", help="measure and fit first")
    parser.add_argument("--target", action="append", help="core and compiler: M4:gcc (default)")
    parser.add_argument("--networks", type=int, default=30, help="unseen networks to judge on")
    arguments = parser.parse_args()
    chosen = [tuple(t.split(":")) for t in arguments.target or ["M4:gcc"]]
    if arguments.target == ["all"]:
        chosen = list(TARGETS)
    for core, compiler in chosen:
        if arguments.measure:
            start = time.time()
            target, rows = measure(core, compiler, arguments.networks)
            replaced(target)
            print(f"{core} {compiler}: measured in {time.time() - start:.0f} s", flush=True)
        else:
            target = aot_measured.target(core, compiler)
            if target.kernels != kernels_digest():
                print(
                    f"the kernels have changed since {core} {compiler} was measured: "
                    "run with --measure",
                    file=sys.stderr,
                )
            rows = judge(target, arguments.networks)
        table(target, rows)
    speed()
    return 0


if __name__ == "__main__":
    sys.exit(main())
