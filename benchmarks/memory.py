"""Rows of ``make bench-cost``: arenas, weights and images against what was measured and linked."""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # networks that tests write, too
import wheel
from tflite_network import Network
from tflite_writer import random_network

from hwsearch import oracle
from hwsearch.backends import backend, x_cube_ai
from hwsearch.backends.tflm import CMSIS_NN, REFERENCE
from hwsearch.cost import flash, latency
from hwsearch.cost.columns import Columns
from hwsearch.cost.published import graphs_of
from hwsearch.graph import Graph
from hwsearch.graph.tflite import read

MODELS = Path(__file__).parents[1] / ".." / "shared" / "models" / "mlperf_tiny"
FILES = {"mlperf_kws": "kws_ref_model.tflite", "mlperf_ic": "pretrainedResnet_quant.tflite"}
RUNTIMES = {"reference": "tflm", "cmsis-nn": "tflm-cmsis-nn"}
NETWORKS = 400
Line = tuple[str, ...]


def rows(folder: Path) -> list[Line]:
    """All of them."""
    return [*arena(), *totals(folder), *images(folder), *x_cube(folder)]


def arena() -> list[Line]:
    """The non-persistent part of the arena, against the ``tflite-micro`` wheel."""
    claim = "TFLite Micro arena, non-persistent, byte-exact"
    if not oracle.available():
        return [(claim, "100 %", "no tflite-micro wheel here", "42 of 42")]
    contents = []
    for seed in range(NETWORKS):
        kind = (("int8", 8), ("int8", 4), ("int16", 8))[seed % 3]
        contents.append(random_network(np.random.default_rng(seed), *kind))
    shared = [MODELS / name for name in FILES.values()]
    contents += [path.read_bytes() for path in shared if path.exists()]
    exact = refused = 0
    tflm = backend("tflm")
    for content, run in zip(contents, wheel.run(contents), strict=True):
        graph = read(content).graph
        if run.arena is None:  # so must we
            refused += bool(tflm.refusals(graph))
            continue
        exact += int(tflm.ram(Columns.of(graph)).arena[0]) == run.arena
    ran = len(contents) - refused
    more = f", {refused} refused by both" if refused else ""
    reached = f"{exact} of {ran} ({exact / ran:.0%}){more}"
    return [(f"{claim}: {len(contents)} networks", "100 %", reached, "42 of 42")]


@dataclass(frozen=True)
class Linked:
    """One image of TFLite Micro on an emulated Cortex-M4."""

    model: str
    kernels: str
    arena_bytes: int
    text_bytes: int


def linked(folder: Path) -> list[Linked]:
    """The images of ``tflm_on_m4.csv`` that were built with -O2."""
    with (folder / "tflm_on_m4.csv").open(newline="") as file:
        return [
            Linked(r["model"], r["kernels"], int(r["arena_bytes"]), int(r["image_text_bytes"]))
            for r in csv.DictReader(file)
            if r["flags"] == "-O2"
        ]


def graph_of(model: str) -> Graph | None:
    """The network of an image; None where its file is not here."""
    if model in FILES:
        path = MODELS / FILES[model]
        return read(path).graph if path.exists() else None
    net = Network(np.random.default_rng(0))
    x = net.input((1, 640))
    for units in (*(128,) * 4, 8, *(128,) * 4):
        x = net.dense(x, units, "relu", per_channel=True)
    net.dense(x, 640, per_channel=True)
    return read(net.finish()).graph


def totals(folder: Path) -> list[Line]:
    """The whole arena on a 32-bit target, persistent part and scratch included."""
    errors = []
    for image in linked(folder):
        graph = graph_of(image.model)
        if graph is not None:
            found = int(backend(RUNTIMES[image.kernels]).ram(Columns.of(graph)).total[0])
            errors.append(found / image.arena_bytes - 1)
    worst = max(errors, key=abs)
    reached = f"{np.mean(np.abs(errors)):.2%} on average, {worst:+.2%} at most"
    return [(f"arena in all, 32-bit, {len(errors)} images", "≤ 1 %", reached, "")]


EVERYTHING = (
    "conv_2d depthwise_conv_2d fully_connected softmax reshape average_pool_2d add mean".split()
)


def images(folder: Path) -> list[Line]:
    """Code of linked images; and whole images, whose model is the ``.tflite``."""
    kernels = {"reference": REFERENCE, "cmsis-nn": CMSIS_NN}
    errors = []
    with (folder / "tflm_link_sizes.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found = kernels[row["kernels"]].kinds_bytes(set(row["registered_ops"].split()))
            errors.append(found / (int(row["text_bytes"]) + int(row["data_bytes"])) - 1)
    worst = max(errors, key=abs)
    lines = [
        (
            f"TFLite Micro's code against {len(errors)} linked ELFs (fitted to them)",
            "≤ 3 %",
            f"{np.mean(np.abs(errors)):.1%} on average, {worst:+.1%} at most",
            "",
        )
    ]
    whole = []
    for image in linked(folder):
        graph = graph_of(image.model)
        if graph is None or not image.text_bytes:
            continue
        code = kernels[image.kernels].kinds_bytes(set(EVERYTHING))
        model = int(flash.model_bytes(Columns.of(graph))[0])
        whole.append((code + model) / image.text_bytes - 1)
    worst = max(whole, key=abs)
    lines.append(
        (
            f"whole image with its model, {len(whole)} linked ELFs, all eight kernels in each",
            "≤ 3 %",
            f"{np.mean(np.abs(whole)):.1%} on average, {worst:+.1%} at most",
            "",
        )
    )
    return lines


def x_cube(folder: Path) -> list[Line]:
    """RAM and flash of X-CUBE-AI against what was published."""
    graphs = graphs_of(folder)
    runtime = x_cube_ai.BACKENDS[0]
    errors: dict[str, list[float]] = defaultdict(list)
    with (folder / "measured.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            graph = graphs.get(row["architecture"])
            if row["runtime"] != "x-cube-ai" or graph is None or latency.is_float(graph):
                continue
            columns = Columns.of(graph)
            for name, column, value in (
                ("weights", "weights_flash_kb", flash.weights_bytes(columns)),
                ("flash", "total_flash_kb", runtime.flash(columns)),
                ("activations", "act_ram_kb", runtime.ram(columns).arena),
                ("RAM", "total_ram_kb", runtime.ram(columns).total),
            ):
                if row[column]:
                    errors[name].append(float(value[0]) / 1024 / float(row[column]) - 1)
    found = {name: f"{np.mean(np.abs(e)):.1%}" for name, e in errors.items()}
    rest = ", ".join(f"{name} {error}" for name, error in found.items() if name != "weights")
    return [
        (
            f"weights' flash, X-CUBE-AI, {len(errors['weights'])} published rows: MAPE",
            "≤ 1 %",
            found["weights"],
            "1.1 %",
        ),
        (f"X-CUBE-AI's memory, {len(errors['activations'])} rows: MAPE", "", rest, ""),
    ]
