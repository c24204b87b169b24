"""Estimate: all four costs of n candidates on a board, from what a backend says of each."""

from __future__ import annotations

import numpy as np

from hwsearch.backends.backend import Backend
from hwsearch.board import Board
from hwsearch.cost import energy, latency
from hwsearch.cost.columns import Columns
from hwsearch.cost.cost import Band, Cost, CostColumns, OpCost

EXACT = "the backend's own planner, rebuilt; equal on every network tested"
LINKED = "sizes of linked images"


def costs(columns: Columns, backend: Backend, board: Board) -> CostColumns:
    """The four costs of n candidates; a column that nobody can know is None."""
    ram = backend.ram(columns).total
    flash = backend.flash(columns)
    per_op = backend.cycles(columns, board.core)
    cycles = None if per_op is None else per_op.sum(axis=1)
    seconds = None if cycles is None or board.clock_hz is None else cycles / board.clock_hz
    return CostColumns(
        flash,
        ram,
        seconds,
        energy.energy_j(seconds, board),
        cycles,
        _bands(columns, backend, board, cycles),
    )


def cost(columns: Columns, backend: Backend, board: Board) -> Cost:
    """The cost of the one candidate in ``columns``, broken down by operator."""
    found = costs(columns, backend, board)
    per_op = backend.cycles(columns, board.core)
    live = live_bytes(columns)
    graph = columns.graph
    ops = tuple(
        OpCost(
            i,
            op.kind,
            int(columns.macs[0, i]),
            None if per_op is None else float(per_op[0, i]),
            int(
                sum(
                    columns.tensor_bytes[0, t]
                    for t in set(op.inputs)
                    if t >= 0 and graph.tensors[t].is_constant
                )
            ),
            int(live[0, i]),
        )
        for i, op in enumerate(graph.ops)
    )
    return Cost(
        flash_bytes=int(found.flash_bytes[0]),
        ram_bytes=int(found.ram_bytes[0]),
        latency_s=None if found.latency_s is None else float(found.latency_s[0]),
        energy_j=None if found.energy_j is None else float(found.energy_j[0]),
        macs=int(columns.macs.sum()),
        cycles=None if found.cycles is None else float(found.cycles[0]),
        bands=found.bands,
        ops=ops,
    )


def live_bytes(columns: Columns) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """int64 [n, ops]: bytes of the activations alive while each operator runs."""
    graph = columns.graph
    steps = np.arange(len(graph.ops))
    first = np.array([f for f, _ in graph.lifetimes])
    last = np.array([e for _, e in graph.lifetimes])
    alive = (first[:, None] <= steps) & (steps <= last[:, None]) & (first[:, None] >= 0)
    live: np.ndarray[tuple[int, ...], np.dtype[np.int64]] = columns.tensor_bytes @ alive.astype(
        np.int64
    )
    return live


def _bands(
    columns: Columns,
    backend: Backend,
    board: Board,
    cycles: np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None,
) -> dict[str, Band]:
    bands = {"flash_bytes": Band(-0.03, 0.03, LINKED), "ram_bytes": Band(-0.01, 0.01, EXACT)}
    if cycles is not None:
        small = len(columns) == 1 and float(cycles[0]) < latency.SMALL_CYCLES
        kind = "small" if small else latency.kind_of(columns.graph)
        bands["latency_s"] = latency.band(board.core, backend.name, kind=kind)
        if board.power_w is not None:
            bands["energy_j"] = energy.band(bands["latency_s"])
    return bands
