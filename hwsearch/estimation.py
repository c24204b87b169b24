"""Estimate: all four costs of n candidates on a board, from what a backend says of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from hwsearch.backends import backend as backend_of
from hwsearch.backends.backend import Backend
from hwsearch.board import Board
from hwsearch.board import board as board_of
from hwsearch.cost import energy, latency
from hwsearch.cost.columns import Columns
from hwsearch.cost.cost import Band, BandColumns, Cost, CostColumns, Floats, OpCost
from hwsearch.errors import InputError, RefusedError
from hwsearch.graph import Graph
from hwsearch.source import Network, network

UNSTATED = Band(-0.3, 0.3, "ranking only: the backend states no band")
"""Where a backend gives a RAM or a flash without saying how sure it is."""


@dataclass(frozen=True)
class Target:
    """Where a network would run.

    Attributes:
        board: its facts.
        backend: the runtime.
        clock_hz: instead of the board's own clock; None is the board's.
    """

    board: Board
    backend: Backend
    clock_hz: float | None = None

    def __post_init__(self) -> None:
        if self.clock_hz is not None and not 0 < self.clock_hz < math.inf:
            raise InputError(
                f"clock_hz={self.clock_hz} is not a positive number. Give hertz, e.g. 80e6."
            )

    @property
    def runtime(self) -> Backend:
        """The backend, as it is on the board's core where that makes a difference to memory."""
        on_core = getattr(self.backend, "on_core", None)
        return self.backend if on_core is None else cast(Backend, on_core(self.board.core))

    @property
    def hz(self) -> float | None:
        """The clock that times are of; None is unknown."""
        return self.clock_hz or self.board.clock_hz


def estimate(
    source: Any,
    *,
    board: Board | str,
    backend: str = "tflm-cmsis-nn",
    clock_hz: float | None = None,
    version: str | None = None,
) -> Cost:
    """What a network takes of a microcontroller, with error bands and per operator.

    Args:
        source: path of a ``.tflite``, ``.keras`` or ``.h5`` file; a Keras model; or a weight-free
            architecture as a dict. Keras models are converted and quantized to int8 (generated
            inputs calibrate, which costs do not depend on); only then is TensorFlow imported.
        board: a name of :func:`hwsearch.boards`, or a Board; core and clock suffice for one.
        backend: a runtime, its version in the name where it matters: ``"x-cube-ai-8.1"``.
        clock_hz: instead of the board's own; cycles stay, and so does the energy of a cycle.
        version: of the runtime, when it is not in the name.

    Returns:
        flash and RAM in bytes, latency in seconds, energy in joules, MACs and cycles; what nobody
        can know (energy on a board whose power was never measured) is None, never 0.

    Raises:
        ModelFileError, ModelError: the source cannot be read, or not be converted.
        UnknownNameError: no such board, backend or version.
        RefusedError: the backend cannot run the network; lists every operator.
    """
    known = board if isinstance(board, Board) else board_of(board)
    return of(network(source), Target(known, backend_of(backend, version), clock_hz))


def of(source: Network, target: Target) -> Cost:
    """The cost of a network that was read before; see :func:`estimate`."""
    refusals = target.backend.refusals(source.graph)
    if refusals:
        raise RefusedError(
            f"{target.backend.name} cannot run {source.graph.name or 'the network'}: "
            + "; ".join(map(str, refusals))
        )
    columns_of = getattr(target.backend, "columns_of", None)
    if source.model is None or columns_of is None:
        columns = Columns.of(source.graph)
    else:
        columns = columns_of(source.model)
    return cost(columns, target.backend, target.board, target.clock_hz)


def costs(
    columns: Columns, backend: Backend, board: Board, clock_hz: float | None = None
) -> CostColumns:
    """The four costs of n candidates; a column that nobody can know is None."""
    target = Target(board, backend, clock_hz)
    return _costs(columns, target, target.runtime.cycles(columns, board.core))


def cost(columns: Columns, backend: Backend, board: Board, clock_hz: float | None = None) -> Cost:
    """The cost of the one candidate in ``columns``, broken down by operator."""
    target = Target(board, backend, clock_hz)
    per_op = target.runtime.cycles(columns, board.core)
    found = _costs(columns, target, per_op)
    live = live_bytes(columns)
    constants = columns.graph.tensors
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
                    if t >= 0 and constants[t].is_constant
                )
            ),
            int(live[0, i]),
        )
        for i, op in enumerate(columns.graph.ops)
    )
    small = found.cycles is not None and bool(found.cycles[0] < latency.SMALL_CYCLES)
    return Cost(
        flash_bytes=int(found.flash_bytes[0]),
        ram_bytes=int(found.ram_bytes[0]),
        latency_s=None if found.latency_s is None else float(found.latency_s[0]),
        energy_j=None if found.energy_j is None else float(found.energy_j[0]),
        macs=int(columns.macs.sum()),
        cycles=None if found.cycles is None else float(found.cycles[0]),
        bands={
            name: b
            for name, b in _bands(columns.graph, target, small).items()
            if name in found.bands
        },
        ops=ops,
    )


def _costs(columns: Columns, target: Target, per_op: Floats | None) -> CostColumns:
    runtime = target.runtime
    ram, flash = runtime.ram(columns).total, runtime.flash(columns)
    cycles = None if per_op is None else per_op.sum(axis=1)
    seconds = None if cycles is None or target.hz is None else cycles / target.hz
    joules = energy.energy_j(seconds, target.board, target.clock_hz)
    found = {"flash_bytes": flash, "ram_bytes": ram, "latency_s": seconds, "energy_j": joules}
    known = [name for name, value in found.items() if value is not None]
    large = _bands(columns.graph, target, small=False)
    rows = {
        name: np.full((2, len(columns)), [[large[name].low], [large[name].high]]) for name in known
    }
    is_small = None if cycles is None else cycles < latency.SMALL_CYCLES
    if is_small is not None and is_small.any():
        for name, band in _bands(columns.graph, target, small=True).items():
            if name in rows:
                rows[name][:, is_small] = [[band.low], [band.high]]
    bands = {name: BandColumns(low, high) for name, (low, high) in rows.items()}
    return CostColumns(flash, ram, seconds, joules, cycles, bands)


@lru_cache(maxsize=256)
def _kind(graph: Graph) -> str:
    return latency.kind_of(graph)


def _bands(graph: Graph, target: Target, small: bool) -> dict[str, Band]:
    """Per cost the band, of a network below or above :data:`latency.SMALL_CYCLES`.

    Of time: what measurements on the core gave, else what the backend states, else a guess.
    """
    stated: Mapping[str, Band] = getattr(target.runtime, "bands", {})
    kind = latency.SMALL if small else _kind(graph)
    other_clock = target.clock_hz not in (None, target.board.clock_hz)
    time = _time_band(target.board.core, target.backend.name, kind)
    if time.basis.startswith(latency.GUESSED):
        time = stated.get("latency_s", time)
    timed = {"latency_s": time, "energy_j": energy.band(time, other_clock)}
    return {"flash_bytes": UNSTATED, "ram_bytes": UNSTATED, **stated, **timed}


@lru_cache(maxsize=1024)
def _time_band(core: str, runtime: str, kind: str) -> Band:
    return latency.band(core, runtime, kind=kind)


def live_bytes(columns: Columns) -> NDArray[np.int64]:
    """int64 [n, ops]: bytes of the activations alive while each operator runs."""
    graph = columns.graph
    steps = np.arange(len(graph.ops))
    first = np.array([f for f, _ in graph.lifetimes])
    last = np.array([e for _, e in graph.lifetimes])
    alive = (first[:, None] <= steps) & (steps <= last[:, None]) & (first[:, None] >= 0)
    live: NDArray[np.int64] = columns.tensor_bytes @ alive.astype(np.int64)
    return live
