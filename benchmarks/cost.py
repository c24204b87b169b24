"""Print how good the cost model is: ``make bench-cost``, or ``python -m benchmarks.cost FOLDER``.

Every figure is of networks (or widths) that the fit had not seen; FOLDER holds published
measurements in the format of ``docs/cost-model.md`` and defaults to ``../shared/data/published``.
"""

from __future__ import annotations

import csv
import math
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import memory, speed
from hwsearch import calibrate
from hwsearch.cost import latency
from hwsearch.cost.coefficients import Coefficients, shipped
from hwsearch.cost.kernels import CLASSES, QUANTITIES
from hwsearch.cost.priors import CMSIS, REFERENCE, TREES
from hwsearch.cost.published import Observation, graphs_of, observations

FOLDER = Path(__file__).parents[1] / ".." / "shared" / "data" / "published"
WIDTH_FOLDS = 7
Judged = list[tuple[Observation, float]]
Floats = NDArray[np.float64]


def main(arguments: Sequence[str]) -> int:
    """Print the tables of the data in a folder."""
    folder = Path(arguments[0]) if arguments else FOLDER
    if not folder.is_dir():
        print(f"{folder} is not there. Give a folder of published measurements.", file=sys.stderr)
        return 2
    rows = observations(folder)
    judged = [
        (row, prediction)
        for tree in TREES
        for own in (calibrate.of_tree(rows, tree),)
        for row, prediction in zip(own, calibrate.left_out(own, tree), strict=True)
        if not math.isnan(prediction)
    ]
    print("| claim | to reach | reached | baseline |\n|---|---|---|---|")
    for line in (
        *families(judged),
        *small(judged),
        *tflm(rows, judged),
        *layers(rows),
        *energy(folder, judged),
        *coverage(judged),
        *memory.rows(folder),
        *speed.rows(graphs_of(folder)["pretrainedResnet_quant"]),
    ):
        print("| " + " | ".join(line) + " |")
    print("\nLeft-out error of networks above 2 Mcycles, per core, runtime and version:\n")
    print("| runtime | version | core | rows | families | MAPE | worst |")
    print("|---|---|---|---|---|---|---|")
    for line in cells(judged):
        print("| " + " | ".join(line) + " |")
    return 0


def families(judged: Judged) -> list[tuple[str, ...]]:
    """Leave-one-family-out on the groups with at least five families."""
    lines = []
    for version in ("7.3", "8.1"):
        chosen = [
            (row, prediction)
            for row, prediction in judged
            if row.cell == ("M7", "x-cube-ai", version) and row.cycles >= latency.SMALL_CYCLES
        ]
        count = len({row.family for row, _ in chosen})
        lines.append(
            (
                f"M7, X-CUBE-AI {version}: {len(chosen)} networks of {count} families, family "
                "left out: MAPE / within 10 % / within 20 % / Spearman",
                "≤ 10 % / ≥ 60 % / ≥ 90 % / ≥ 0.98",
                quality(chosen),
                f"MACs only: {quality(macs_only(chosen))}",
            )
        )
    return lines


def macs_only(judged: Judged) -> Judged:
    """The same rows by one figure of cycles per MAC, the median of the other families'."""
    predicted = []
    for row, _ in judged:
        others = [r.cycles / macs(r) for r, _ in judged if r.family != row.family]
        predicted.append((row, float(np.median(others)) * macs(row)))
    return predicted


def macs(row: Observation) -> float:
    """Multiply-accumulates, pools not counted."""
    weighted = [CLASSES.index(c) for c in ("conv", "first", "point", "depthwise", "dense")]
    return float(row.table[weighted, QUANTITIES.index("mac")].sum())


def quality(judged: Judged) -> str:
    """MAPE / within 10 % / within 20 % / Spearman's rank correlation."""
    errors = np.array([abs(p / row.cycles - 1) for row, p in judged])
    return (
        f"{errors.mean():.1%} / {np.mean(errors <= 0.1):.0%} / {np.mean(errors <= 0.2):.0%}"
        f" / {spearman([p for _, p in judged], [row.cycles for row, _ in judged]):.3f}"
    )


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation; ties share their mean rank."""
    return float(np.corrcoef(ranks(np.array(a)), ranks(np.array(b)))[0, 1])


def ranks(values: Floats) -> Floats:
    """Ranks, mean ranks for ties."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean = np.cumsum(counts) - (counts - 1) / 2
    ranked: Floats = mean[inverse]
    return ranked


def small(judged: Judged) -> list[tuple[str, ...]]:
    """Networks under 2 Mcycles."""
    chosen = [pair for pair in judged if pair[0].cycles < latency.SMALL_CYCLES]
    names = sorted({row.family for row, _ in chosen})
    return [
        (
            f"networks under 2 Mcycles, all runtimes: {len(chosen)} rows ({', '.join(names)})",
            "reported apart",
            quality(chosen),
            "",
        )
    ]


def tflm(rows: Sequence[Observation], judged: Judged) -> list[tuple[str, ...]]:
    """Whole networks from single layers, and per version."""
    lines = []
    for tree, name in ((CMSIS, "tflm-cmsis-nn"), (REFERENCE, "tflm")):
        own = calibrate.of_tree(rows, tree)
        hierarchy = calibrate.hierarchy_of(tree, (row.cell for row in own))
        only_layers = [row for row in own if row.kind == calibrate.LAYER]
        effects = calibrate.effects_of(tree, hierarchy, only_layers)
        lenet = [
            row
            for row in own
            if row.cell == ("M4", name, "2020") and row.board == "nucleo-l496zg"
            if row.kind != calibrate.LAYER
        ]
        predicted = calibrate.predict(tree, hierarchy, effects, lenet)
        error = np.mean([abs(p / r.cycles - 1) for r, p in zip(lenet, predicted, strict=True)])
        lines.append(
            (
                f"{name} 2020 on M4, fitted on layers.csv alone: LeNet (version matches)",
                "≤ 10 %",
                f"{error:.1%}",
                "7 %",
            )
        )
        versions = {"tflm-cmsis-nn": ("2.3.1", "2026"), "tflm": ("2026",)}[name]
        for version in versions:
            cell = ("M4", name, version)
            names = {"mlperf_kws": "DS-CNN", "mlperf_ic": "ResNet-8"}
            found = [
                f"{names[row.family]} {p / row.cycles - 1:+.1%}"
                for row, p in judged
                if row.cell == cell and row.family in names
            ]
            held = latency.band(*cell)
            lines.append(
                (
                    f"{name} {version} on M4, its own networks left out one by one",
                    "≤ 10 % or a band",
                    f"{', '.join(found)}; band {held.low:+.0%} to {held.high:+.0%}",
                    "25–36 % across versions",
                )
            )
    return lines


def layers(rows: Sequence[Observation]) -> list[tuple[str, ...]]:
    """Single layers of widths that the fit had not seen, in blocks of neighbouring widths."""
    lines = []
    for tree, name, target in (
        (CMSIS, "CMSIS-NN", "≤ 4 % / ≥ 92 %"),
        (REFERENCE, "reference", ""),
    ):
        own = [row for row in calibrate.of_tree(rows, tree) if row.kind == calibrate.LAYER]
        widths = np.array([width(row) for row in own])
        found = np.zeros(len(own))
        flat = np.zeros(len(own))
        hierarchy = calibrate.hierarchy_of(tree, (row.cell for row in own))
        blocks = folds(own, widths)
        for fold in range(WIDTH_FOLDS):
            seen = [row for row, block in zip(own, blocks, strict=True) if block != fold]
            effects = calibrate.effects_of(tree, hierarchy, seen)
            held = np.flatnonzero(blocks == fold)
            found[held] = calibrate.predict(tree, hierarchy, effects, [own[i] for i in held])
            per_mac = float(np.median([row.cycles / macs(row) for row in seen]))
            flat[held] = [per_mac * macs(own[i]) for i in held]
        cycles = np.array([row.cycles for row in own])
        errors, plain = abs(found / cycles - 1), abs(flat / cycles - 1)
        lines.append(
            (
                f"M4 layers, {name} 2020, {len(own)} of unseen widths: MAPE / within 10 %",
                target,
                f"{errors.mean():.1%} / {np.mean(errors <= 0.1):.0%}",
                f"MACs only: {plain.mean():.0%} / {np.mean(plain <= 0.1):.0%}",
            )
        )
    return lines


def width(row: Observation) -> int:
    """The width that a benchmark network is named after."""
    found = re.search(r"[-_][fFU]-(\d+)_", row.network)
    if found is None:
        raise ValueError(f"{row.network} names no width")
    return int(found[1])


def folds(rows: Sequence[Observation], widths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Per row the block of neighbouring widths of its kind of benchmark."""
    kinds = np.array([row.network.split("_")[0] for row in rows])
    blocks = np.zeros(len(rows), np.int64)
    for kind in np.unique(kinds):
        chosen = kinds == kind
        known = np.unique(widths[chosen])
        position = np.searchsorted(known, widths[chosen])
        blocks[chosen] = position * WIDTH_FOLDS // len(known)
    return blocks


def energy(folder: Path, judged: Judged) -> list[tuple[str, ...]]:
    """Energy from the power of the other networks of the same board and submission."""
    groups: dict[tuple[str, ...], list[dict[str, str]]] = defaultdict(list)
    with (folder / "measured.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["energy_uj"] and row["latency_ms"]:
                key = ("board", "clock_mhz", "submitter", "runtime", "runtime_version")
                groups[tuple(row[k] for k in key)].append(row)
    given: dict[bool, list[float]] = defaultdict(list)
    end_to_end = []
    estimate = {(r.network, r.cell, round(r.cycles)): p for r, p in judged}
    for group in groups.values():
        for row in group:
            others = [power(other) for other in group if other["model_name"] != row["model_name"]]
            if not others:
                continue
            ratio = float(np.mean(others)) / power(row)
            given[row["family"].startswith("heim")].append(ratio - 1)
            cycles = float(row["latency_ms"]) * float(row["clock_mhz"]) * 1e3
            cell = (row["core"], row["runtime"], row["runtime_version"])
            found = estimate.get((row["architecture"], cell, round(cycles)))
            if found is not None and cycles >= latency.SMALL_CYCLES:
                end_to_end.append(ratio * found / cycles - 1)
    networks, benchmarks = np.array(given[False]), np.array(given[True])
    spread = 1.645 * float(np.sqrt(np.mean(networks**2)))
    return [
        (
            f"energy given measured time: {len(networks)} networks, power of the others of the "
            "same board and submission",
            "≤ 5 %",
            f"{abs(networks).mean():.1%} (90 % edge {spread:.0%}); {len(benchmarks)} layer "
            f"benchmarks {abs(benchmarks).mean():.1%}",
            "5.0 %",
        ),
        (
            f"energy end to end: {len(end_to_end)} networks, left-out time × that power",
            "≤ 12 %",
            f"{np.mean(np.abs(end_to_end)):.1%}",
            "",
        ),
    ]


def power(row: dict[str, str]) -> float:
    """Milliwatts."""
    return float(row["energy_uj"]) / float(row["latency_ms"])


def coverage(judged: Judged) -> list[tuple[str, ...]]:
    """Whether left-out rows lie in the interval that the other families' residuals give."""
    errors = [(row, math.log(row.cycles / prediction)) for row, prediction in judged]
    inside: list[tuple[Observation, bool]] = []
    for family in sorted({row.family for row, _ in errors}):
        others = calibrate.residuals([pair for pair in errors if pair[0].family != family])
        known = Coefficients(shipped().sets, tuple(others))
        for row, error in errors:
            if row.family == family:
                kind = latency.SMALL if row.cycles < latency.SMALL_CYCLES else row.kind
                held = latency.band(*row.cell, kind=kind, coefficients=known)
                inside.append((row, held.low <= math.expm1(error) <= held.high))
    lines = []
    for name, target, chosen in (
        ("all rows", "85–95 %", [hit for _, hit in inside]),
        (
            "above 2 Mcycles",
            "",
            [hit for row, hit in inside if row.cycles >= latency.SMALL_CYCLES],
        ),
    ):
        low, high = wilson(sum(chosen), len(chosen))
        lines.append(
            (
                f"90 % intervals, {name} ({len(chosen)} left out), widths from the other families",
                target,
                f"{np.mean(chosen):.0%} covered (95 % interval {low:.0%} to {high:.0%})",
                "",
            )
        )
    return lines


def wilson(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a binomial proportion."""
    share = hits / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total**2))
    half /= 1 + z * z / total
    return centre - half, centre + half


def cells(judged: Judged) -> list[tuple[str, ...]]:
    """One line per core, runtime and version."""
    groups: dict[tuple[str, str, str], Judged] = defaultdict(list)
    for row, prediction in judged:
        if row.cycles >= latency.SMALL_CYCLES:
            groups[row.cell].append((row, prediction))
    lines = []
    for (core, runtime, version), chosen in sorted(groups.items(), key=lambda g: g[0][1:] + g[0]):
        errors = [p / row.cycles - 1 for row, p in chosen]
        worst = max(errors, key=abs)
        lines.append(
            (
                runtime,
                version,
                core,
                str(len(chosen)),
                str(len({row.family for row, _ in chosen})),
                f"{np.mean(np.abs(errors)):.1%}",
                f"{worst:+.0%}",
            )
        )
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
