"""What the grid keeps in ``data/``: the trainings' scores, and the network as costs see it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from typing import Any

import numpy as np

from benchmarks.search_grid import grid
from hwsearch.backends import backend
from hwsearch.board import boards
from hwsearch.graph.binding import Binding
from hwsearch.graph.graph import Graph
from hwsearch.layout import Layout
from hwsearch.pricing import Pricing, Scheme
from hwsearch.ranks import Ranks
from hwsearch.record import from_json, to_json
from hwsearch.space import Space

CELLS_FILE = grid.DATA / "cells.json"
NETWORK_FILE = grid.DATA / "network.json"
PACKAGES = ("tensorflow", "keras", "litert-quantizer", "ai-edge-litert", "numpy")


@dataclass(frozen=True)
class Cell:
    """One training and its recipes.

    Attributes:
        structure: index in ``grid.STRUCTURES``.
        seed: of the training.
        search_right, report_right: per recipe how many images of each half are classified right.
        loss: of the training's last epoch.
        train_s: seconds of pruning, training and conversion.
    """

    structure: int
    seed: int
    search_right: tuple[int, ...]
    report_right: tuple[int, ...]
    loss: float
    train_s: float


@dataclass(frozen=True)
class Network:
    """The network as costs see it, without TensorFlow.

    Attributes:
        pricing: costs configurations of the grid.
        op_indexes: per varied operator its index in the float network.
        model: digest of the trained network.
        original: its accuracy on the report half, in float.
    """

    pricing: Pricing
    op_indexes: tuple[int, ...]
    model: str
    original: float


def cell(kept: Mapping[str, Any]) -> Cell:
    """A cell from JSON's types."""
    found: Cell = from_json(Cell, kept)
    return found


def save_cells(cells: Iterable[Cell], model: str) -> None:
    """Writes the grid: cells in order, what they were measured with, a digest of it all."""
    rows = [asdict(c) for c in sorted(cells, key=lambda c: (c.seed, c.structure))]
    content = {
        "model": model,
        "images": grid.SAMPLES,
        "space": to_json(grid.SPACE),
        "versions": {name: version(name) for name in PACKAGES},
        "cells": rows,
    }
    lines = ",\n".join(json.dumps(row) for row in rows)
    head = json.dumps({k: v for k, v in content.items() if k != "cells"}, indent=1)
    text = f'{head[:-2]},\n "digest": "{digest(content)}",\n "cells": [\n{lines}\n]}}\n'
    assert json.loads(text)["cells"] == json.loads(json.dumps(rows))
    CELLS_FILE.write_text(text)


def load_cells(model: str) -> dict[tuple[int, int], Cell]:
    """The grid's cells by (structure, seed).

    Args:
        model: digest of the network they must be of.

    Raises:
        ValueError: the file was changed by hand, or is of another network or space.
    """
    content = json.loads(CELLS_FILE.read_text())
    told = content.pop("digest")
    if told != digest(content):
        raise ValueError(f"{CELLS_FILE} does not match its digest {told}: make it again")
    if content["model"] != model or from_json(Space, content["space"]) != grid.SPACE:
        raise ValueError(f"{CELLS_FILE} is of another network or space: make it again")
    return {(c.structure, c.seed): c for c in map(cell, content["cells"])}


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of JSON's canonical form, 16 digits."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def noise(cells: Mapping[tuple[int, int], Cell]) -> float:
    """Standard deviation of the accuracy at int8 between seeds of one structure, pooled."""
    groups = [
        [c.search_right[0] / grid.SAMPLES for (i, _), c in cells.items() if i == structure]
        for structure in grid.REPEATED
    ]
    variances = [np.var(group, ddof=1) for group in groups if len(group) > 1]
    return float(np.sqrt(np.mean(variances)))


def save_network(network: Network) -> None:
    """Writes graphs and bindings; costs are never stored, they follow the cost model."""
    pricing = network.pricing
    content = {
        "model": network.model,
        "original": network.original,
        "op_indexes": list(network.op_indexes),
        "layout": to_json(pricing.ranks.layout),
        "backends": [b.name for b in pricing.ranks.backends],
        "board": pricing.board.name,
        "schemes": {
            str(bits): {
                "graph": to_json(scheme.graph),
                "binding": _lists(scheme.binding),
                "weights": scheme.weights.tolist(),
            }
            for bits, scheme in pricing.schemes.items()
        },
    }
    NETWORK_FILE.write_text(json.dumps(content) + "\n")


def load_network() -> Network:
    """The network in :data:`NETWORK_FILE`."""
    content = json.loads(NETWORK_FILE.read_text())
    layout: Layout = from_json(Layout, content["layout"])
    runtimes = tuple(backend(name) for name in content["backends"])
    schemes = {
        int(bits): Scheme(
            from_json(Graph, kept["graph"]),
            _binding(kept["binding"]),
            np.array(kept["weights"], np.int64),
        )
        for bits, kept in content["schemes"].items()
    }
    ranks = Ranks(grid.SPACE, layout, runtimes)
    pricing = Pricing(boards()[content["board"]], ranks, schemes)
    return Network(pricing, tuple(content["op_indexes"]), content["model"], content["original"])


def _lists(binding: Binding) -> dict[str, Any]:
    return {f.name: np.asarray(getattr(binding, f.name)).tolist() for f in fields(Binding)}


def _binding(kept: Mapping[str, Any]) -> Binding:
    arrays = {k: np.array(v, np.int64) for k, v in kept.items() if k != "groups"}
    return Binding(groups=tuple(kept["groups"]), **arrays)
