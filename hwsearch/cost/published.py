"""A folder of published measurements as observations that a fit can use.

``measured.csv``: whole networks on boards; ``architectures.json``: the networks; ``layers.csv``:
single layers; ``tflm_on_m4.csv``: instructions in an emulator. What each column means: the
folder's README and ``docs/cost-model.md``.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.cost.columns import Columns
from hwsearch.cost.fit import Cell
from hwsearch.cost.kernels import CLASSES, FIRST_CHANNELS, QUANTITIES, quantities
from hwsearch.cost.latency import kind_of
from hwsearch.cost.priors import TREES
from hwsearch.errors import DataError
from hwsearch.graph import Graph
from hwsearch.graph.architecture import from_architecture

RELATIVE_SIGMA = 0.05
"""Relative scatter of a network's time around the model."""
OVERHEAD_CYCLES = 1e6
"""Scatter in cycles: what no operator explains. It drowns networks under 2 M cycles; the GMP ones
take four times what any other network of their kernels does, on two cores."""
LAYER_SIGMA = 0.1
"""Relative standard deviation given to a single layer; layers are many and alike."""
EMULATED_SIGMA = 0.1
"""Relative standard deviation of cycles that were counted as instructions."""

CYCLES_PER_INSTRUCTION = 1.56
"""Of CMSIS-NN on an M4 with flash wait states: cycles of microTVM's CMSIS-NN on NUCLEO-L4R5ZI
(MLPerf Tiny v1.0: 46.75 M for ResNet-8, 11.98 M for DS-CNN) over the instructions of the same
kernels in ``tflm_on_m4.csv`` (29.87 M, 7.70 M): 1.565 and 1.556."""

RELABELLED = {
    ("nrf5340-dk", "M4"): ("nrf5340-dk", "M33", 128.0),
    ("stm32l4r9i-disco", "2023-11-03"): ("b-u585i-iot02a", "M33", 160.0),
}
"""Rows whose board or core cannot be what they say, by (board, core or note): an nRF5340 is an M33
at 128 MHz (the next round's submission of the same code says so, and takes the same time); the GMP
rows of 2023-11-03 repeat, to the last digit, the times of the U585 board."""


@dataclass(frozen=True)
class Observation:
    """One measurement as the fit sees it.

    Attributes:
        family: networks that are left out together in cross-validation.
        network: its name.
        kind: of network (:func:`hwsearch.cost.latency.kind_of`), or ``"layer"``.
        cell: (core, runtime, version).
        board: where it was measured.
        cycles: measured.
        sigma: relative standard deviation.
        table: float64 [classes, quantities], of the whole network.
        date: of the measurement or the tool, where it is known.
    """

    family: str
    network: str
    kind: str
    cell: Cell
    board: str
    cycles: float
    sigma: float
    table: NDArray[np.float64]
    date: str = ""


def observations(folder: Path) -> list[Observation]:
    """Every int8 measurement of the folder that has an architecture, every layer, every emulation.

    Raises:
        DataError: a file is missing, or lacks a column.
    """
    try:
        graphs = graphs_of(folder)
        networks = [
            *_networks(folder / "measured.csv", graphs),
            *_emulated(folder / "tflm_on_m4.csv", graphs),
        ]
        layers = list(_layers(folder / "layers.csv"))
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"{folder} is not a folder of published measurements: {error!r}. Expected "
            "measured.csv, architectures.json, layers.csv and tflm_on_m4.csv as "
            "docs/cost-model.md describes."
        ) from error
    # Networks of one family on one cell share what the model gets wrong: they are one witness.
    witnesses = Counter((row.family, row.cell) for row in networks)
    return [
        replace(row, sigma=row.sigma * math.sqrt(witnesses[row.family, row.cell]))
        for row in networks
    ] + layers


def graphs_of(folder: Path) -> dict[str, Graph]:
    """The networks of ``architectures.json`` by name."""
    entries = json.loads((folder / "architectures.json").read_text())
    return {name: from_architecture(entry, name) for name, entry in entries.items()}


def table_of(graph: Graph) -> NDArray[np.float64]:
    """float64 [classes, quantities]: what a network asks of each kernel class in all."""
    amounts, kernel = quantities(Columns.of(graph))
    table = np.zeros((len(CLASSES), len(QUANTITIES)))
    np.add.at(table, kernel[0], amounts[0])
    return table


def _networks(path: Path, graphs: dict[str, Graph]) -> Iterator[Observation]:
    known = {name for tree in TREES for name in tree.runtimes}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            graph = graphs.get(row["architecture"])
            if graph is None or not row["latency_ms"] or row["runtime"] not in known:
                continue
            if row["dtype"] != "int8":
                continue
            version, board, core = row["runtime_version"], row["board"], row["core"]
            if version == "2020" and "-Os" in row["note"]:
                version = "2020-Os"
            clock_mhz = float(row["clock_mhz"])
            for reason in (core, row["note"]):
                board, core, clock_mhz = RELABELLED.get((board, reason), (board, core, clock_mhz))
            cycles = float(row["latency_ms"]) * clock_mhz * 1e3
            yield Observation(
                row["family"],
                row["architecture"],
                kind_of(graph),
                (core, row["runtime"], version),
                board,
                cycles,
                math.hypot(RELATIVE_SIGMA, OVERHEAD_CYCLES / cycles),
                table_of(graph),
                row["note"] if row["note"].startswith("20") else version,
            )


_LAYER_KINDS = {
    "CONV_2D": "conv",
    "DEPTHWISE_CONV_2D": "depthwise",
    "FULLY_CONNECTED": "dense",
}
_LAYER_RUNTIMES = {"CMSIS-NN": "tflm-cmsis-nn", "reference": "tflm"}


def _layers(path: Path) -> Iterator[Observation]:
    """Convolutions, depthwise convolutions and dense layers; repeats of a measurement once."""
    seen: set[tuple[str, ...]] = set()
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            key = (row["net"], row["runtime"], row["layer"])
            if key in seen or row["kind"] not in _LAYER_KINDS:
                continue
            seen.add(key)
            name, cin = _LAYER_KINDS[row["kind"]], float(row["cin"])
            if name == "dense" and row["runtime"] == "CMSIS-NN" and cin >= 1 << 16:
                continue  # that kernel kept the row length in 16 bits: it computed cin mod 65536
            yield Observation(
                "layers/" + name,
                f"{row['net']}/{row['layer']}",
                "layer",
                (row["core"], _LAYER_RUNTIMES[row["runtime"]], "2020"),
                row["board"].lower().replace("_", "-"),
                float(row["cycles"]),
                LAYER_SIGMA,
                _layer_table(name, cin, *(float(row[k]) for k in ("cout", "k", "macs", "out"))),
                "2020",
            )


def _layer_table(
    name: str, cin: float, cout: float, window: float, macs: float, out: float
) -> NDArray[np.float64]:
    """The quantities of :func:`hwsearch.cost.kernels.quantities` from a row of ``layers.csv``."""
    taps, windowed = window**2, name != "dense"
    pixels = out / cout if windowed else 0.0
    row_length = cin if name == "depthwise" else cin * taps
    if name == "conv":
        name = "first" if cin <= FIRST_CHANNELS else "point" if window == 1 else "conv"
    amounts = {
        "one": 1.0,
        "out": out,
        "mac": macs,
        "px": pixels,
        "patch": pixels * taps,
        "col": pixels * taps * cin,
        "tap": out * taps if windowed else 0.0,
        "odd": macs * (row_length % 2 == 1),
        "half": macs * (row_length % 4 == 2),
        "far": macs * (name == "dense" and row_length % 16 > 8),
    }
    table = np.zeros((len(CLASSES), len(QUANTITIES)))
    table[CLASSES.index(name)] = [amounts[quantity] for quantity in QUANTITIES]
    return table


def _emulated(path: Path, graphs: dict[str, Graph]) -> Iterator[Observation]:
    """Instructions × CYCLES_PER_INSTRUCTION; a network of a published one's shape shares it."""
    networks = {
        "mlperf_kws": ("mlperf_kws", graphs["kws_ref_model"]),
        "ds_cnn_own_training": ("mlperf_kws", graphs["kws_ref_model"]),
        "mlperf_ic": ("mlperf_ic", graphs["pretrainedResnet_quant"]),
        "resnet8_own_training": ("mlperf_ic", graphs["pretrainedResnet_quant"]),
        "dense_autoencoder_640_128x4_8_128x4_640": (
            "autoencoder",
            _dense_network(640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640),
        ),
    }
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            family, graph = networks[row["model"]]
            runtime = "tflm" if row["kernels"] == "reference" else "tflm-cmsis-nn"
            yield Observation(
                family,
                row["model"],
                kind_of(graph),
                ("M4", runtime, "2026-Os" if row["flags"] == "-Os" else "2026"),
                "qemu",
                float(row["instructions"]) * CYCLES_PER_INSTRUCTION,
                EMULATED_SIGMA,
                table_of(graph),
                "2026",
            )


def _dense_network(*widths: int) -> Graph:
    """Dense layers one after the other."""
    tensors: list[dict[str, Any]] = [{"shape": [1, widths[0]], "dtype": "int8"}]
    operators = []
    for read, made in pairwise(widths):
        last = len(tensors) - 1
        tensors += [
            {"shape": [made, read], "dtype": "int8", "constant_bytes": made * read},
            {"shape": [1, made], "dtype": "int8"},
        ]
        inputs, outputs = [last, last + 1], [last + 2]
        operators.append({"kind": "FULLY_CONNECTED", "inputs": inputs, "outputs": outputs})
    entry = {
        "tensors": tensors,
        "operators": operators,
        "inputs": [0],
        "outputs": [len(tensors) - 1],
    }
    return from_architecture(entry, "dense network")
