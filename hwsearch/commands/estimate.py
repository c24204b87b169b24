"""``hwsearch estimate``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import click

from hwsearch import estimation
from hwsearch.backends import Backend, backends
from hwsearch.backends import backend as backend_of
from hwsearch.board import Board, board, boards
from hwsearch.budget import Budget, Strictness, shown
from hwsearch.commands import NO, Finite, Limit, print_json, print_table, subcommand
from hwsearch.commands.boards import size
from hwsearch.cost.cost import COSTS, NAMES, Cost
from hwsearch.errors import InputError, RefusedError
from hwsearch.source import Network, network

VERDICTS = {"sure": "for sure", "likely": "likely", "no": "no"}


@dataclass(frozen=True)
class Row:
    """One estimate of a comparison; either a cost with its verdict, or why there is none."""

    board: str
    backend: str
    fits: Literal["sure", "likely", "no"] | None
    cost: Cost | None
    refused: str = ""


@subcommand
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--board", "board_name", help="A name of 'hwsearch boards'.")
@click.option("--backend", "backend_name", help="A name of 'hwsearch backends'.")
@click.option(
    "--clock", "clock_hz", type=Finite(), help="Core clock in Hz, if not the board's own."
)
@click.option(
    "--compare",
    type=click.Choice(["boards", "backends", "all"]),
    help="Every board, every backend, or both: those that fit first, the smallest board on top.",
)
@click.option(
    "--flash", type=Limit("flash"), help='Limit, e.g. "192 KiB"; else all that the board has.'
)
@click.option(
    "--ram", type=Limit("ram"), help='Limit, e.g. "24 KiB"; else all that the board has.'
)
@click.option("--latency", type=Limit("latency"), help='Limit of one inference, e.g. "150 ms".')
@click.option("--energy", type=Limit("energy"), help='Limit of one inference, e.g. "2 mJ".')
@click.option(
    "--strictness",
    type=click.Choice(["likely", "sure"]),
    default="likely",
    show_default=True,
    help="Judge the estimate itself, or the dearer edge of its 90 % band.",
)
def command(
    source: Path,
    board_name: str | None,
    backend_name: str | None,
    clock_hz: float | None,
    compare: str | None,
    flash: float | None,
    ram: float | None,
    latency: float | None,
    energy: float | None,
    strictness: Strictness,
    as_json: bool,
) -> int | None:
    """Estimate what the model in FILE takes: flash, RAM, latency, energy, with 90 % bands.

    FILE is a .tflite; a .keras or .h5 (converted and quantized to int8); or a .json with one
    architecture. With limits the exit code is 1 where one is exceeded.
    """
    found = _read(source)
    limits = Budget(flash, ram, latency, energy, strictness=strictness)
    if compare is None:
        if board_name is None:
            raise InputError("name a board (--board nucleo-l4r5zi), or --compare boards.")
        return _one(found, board_name, backend_name or "tflm-cmsis-nn", clock_hz, limits, as_json)
    enough = _enough(limits)
    rows = sorted(
        _rows(found, compare, board_name, backend_name, clock_hz, limits),
        key=lambda row: _order(row, enough),
    )
    if as_json:
        print_json({"source": str(source), "estimates": rows})
    else:
        _print_comparison(rows)
    return None if any(row.fits in enough for row in rows) else NO


def _read(source: Path) -> Network:
    if source.suffix != ".json":
        return network(source)
    try:
        return network(json.loads(source.read_text()))
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{source} cannot be read as JSON: {error}.") from error


def _one(
    found: Network,
    board_name: str,
    backend_name: str,
    clock_hz: float | None,
    limits: Budget,
    as_json: bool,
) -> int | None:
    where = board(board_name)
    target = estimation.Target(where, backend_of(backend_name), clock_hz)
    cost = estimation.of(found, target)
    fits = limits.on(where).fits(cost)
    in_float = _float_operators(found)
    if as_json:
        facts = {"board": where.name, "backend": target.backend.name, "clock_hz": target.hz}
        print_json({**facts, "fits": fits, "float_operators": in_float, **_fields(cost)})
    else:
        _print_cost(cost, where, target, fits)
        if in_float:
            click.echo(
                f"\n{in_float} of {len(cost.ops)} operators compute in float32. As int8 it "
                "is about four times smaller: hwsearch optimize makes it from the Keras model."
            )
    return None if fits in _enough(limits) or not limits.limits else NO


def _float_operators(found: Network) -> int:
    """How many operators multiply in float32."""
    tensors = found.graph.tensors
    return sum(
        macs > 0 and tensors[op.outputs[0]].dtype == "float32"
        for op, macs in zip(found.graph.ops, found.graph.macs, strict=True)
    )


def _fields(cost: Cost) -> dict[str, Any]:
    return {name: getattr(cost, name) for name in cost.__dataclass_fields__}


def _enough(limits: Budget) -> tuple[str, ...]:
    return ("sure",) if limits.strictness == "sure" else ("sure", "likely")


def _print_cost(cost: Cost, where: Board, target: estimation.Target, fits: str) -> None:
    clock = f"{target.hz / 1e6:g} MHz" if target.hz else "clock unknown"
    click.echo(f"{where.name} ({where.core}, {clock}), {target.backend.name}\n")
    has = {"flash_bytes": where.flash_bytes, "ram_bytes": where.ram_bytes}
    rows, bases = [], []
    for name in COSTS:
        value, band, limit = getattr(cost, name), cost.bands.get(name), has.get(name)
        if value is None:
            rows.append((NAMES[name], "unknown", "", ""))
            continue
        edges = f"{band.low:+.0%} to {band.high:+.0%}" if band else ""
        of = f"{value / limit:.0%} of {shown(name, limit)}" if limit else ""
        rows.append((NAMES[name], shown(name, value), edges, of))
        bases += [f"{NAMES[name]}: {band.basis}"] if band else []
    print_table(("", "estimate", "90 % band", "of the board's"), rows)
    click.echo("\n" + "\n".join(bases))
    cycles = f"{cost.cycles:,.0f}" if cost.cycles is not None else "unknown"
    click.echo(f"\n{cost.macs:,} MACs, {cycles} cycles. Fits: {VERDICTS[fits]}.\n")
    total = cost.cycles or 0.0
    print_table(
        ("op", "kind", "MACs", "cycles", "share", "flash", "live RAM"),
        (
            (
                str(op.index),
                op.kind,
                f"{op.macs:,}",
                f"{op.cycles:,.0f}" if op.cycles is not None else "unknown",
                f"{op.cycles / total:.1%}" if op.cycles is not None and total else "",
                f"{op.flash_bytes:,}",
                f"{op.live_bytes:,}",
            )
            for op in cost.ops
        ),
        left=2,
    )
    peak = max(cost.ops, key=lambda op: op.live_bytes, default=None)
    if peak is not None:
        click.echo(f"\nActivations peak at operator {peak.index} ({peak.kind}).")


def _rows(
    found: Network,
    compare: str,
    board_name: str | None,
    backend_name: str | None,
    clock_hz: float | None,
    limits: Budget,
) -> Iterator[Row]:
    if compare == "boards" or (compare == "all" and board_name is None):
        places = tuple(boards().values())
    elif board_name is None:
        raise InputError("name the board to compare backends on: --board nucleo-l4r5zi.")
    else:
        places = (board(board_name),)
    runtimes: tuple[Backend, ...]
    if compare == "boards" or (compare == "all" and backend_name is not None):
        runtimes = (backend_of(backend_name or "tflm-cmsis-nn"),)
    else:
        runtimes = tuple(backends().values())
    for runtime in runtimes:
        for where in places:
            target = estimation.Target(where, runtime, clock_hz)
            try:
                cost = estimation.of(found, target)
            except RefusedError as error:
                yield Row(where.name, runtime.name, None, None, str(error))
            else:
                yield Row(where.name, runtime.name, _within(limits, where).fits(cost), cost)


def _within(limits: Budget, where: Board) -> Budget:
    """The limits, lowered to what a board has."""
    has: Mapping[str, int | None] = {"flash": where.flash_bytes, "ram": where.ram_bytes}
    lower = {
        name: min(filter(None, (getattr(limits, name), size)))
        for name, size in has.items()
        if size or getattr(limits, name)
    }
    return replace(limits, **lower)


def _order(row: Row, enough: tuple[str, ...]) -> tuple[object, ...]:
    """What fits first, the smallest board of these, the fastest backend on it."""
    rank = 0 if row.fits in enough else 1 if row.cost else 2
    seconds = row.cost.latency_s if row.cost else None
    return (rank, size(boards()[row.board]), seconds is None, seconds or 0.0, row.backend)


def _print_comparison(rows: list[Row]) -> None:
    def cells(row: Row) -> tuple[str, ...]:
        where, cost = boards()[row.board], row.cost
        ram = shown("ram", where.ram_bytes) if where.ram_bytes else "?"
        flash = shown("flash", where.flash_bytes) if where.flash_bytes else "?"
        if cost is None:
            return (row.board, row.backend, "refused", ram, "", flash, "", "", "")
        values = {n: getattr(cost, n) for n in COSTS}
        text = {n: "unknown" if v is None else shown(n, v) for n, v in values.items()}
        verdict = VERDICTS[row.fits] if row.fits else ""
        return (
            row.board, row.backend, verdict, ram, text["ram_bytes"], flash, text["flash_bytes"],
            text["latency_s"], text["energy_j"],
        )  # fmt: skip

    headers = (
        "board",
        "backend",
        "fits",
        "RAM has",
        "takes",
        "flash has",
        "takes",
        "latency",
        "energy",
    )
    print_table(headers, map(cells, rows), left=3)
    refusals = sorted({f"{row.backend}: {row.refused}" for row in rows if row.refused})
    for refusal in refusals:
        click.echo(f"\n{refusal}")
