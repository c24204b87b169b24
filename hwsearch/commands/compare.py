"""``hwsearch compare``."""

from __future__ import annotations

from pathlib import Path

import click

from hwsearch.board import Board, board
from hwsearch.budget import shown
from hwsearch.commands import (
    NO,
    Finite,
    Share,
    directory_option,
    print_json,
    print_table,
    report_of,
    subcommand,
)
from hwsearch.comparison import Comparison, Side, compare
from hwsearch.cost.cost import COSTS, NAMES
from hwsearch.errors import InputError

MODELS = (".tflite", ".keras", ".h5")


@subcommand
@click.argument("first")
@click.argument("second")
@click.option("--board", "board_name", help="Of models' files: a name of 'hwsearch boards'.")
@click.option("--backend", default="tflm-cmsis-nn", show_default=True, help="Of models' files.")
@click.option("--max-flash-growth", "flash", type=Share(), help="e.g. 2%; beyond: exit code 1.")
@click.option("--max-ram-growth", "ram", type=Share())
@click.option("--max-latency-growth", "latency", type=Share())
@click.option("--max-energy-growth", "energy", type=Share())
@click.option("--max-metric-drop", "drop", type=Finite(), help="In the metric's unit, e.g. 0.01.")
@directory_option
def command(
    first: str,
    second: str,
    board_name: str | None,
    backend: str,
    flash: float | None,
    ram: float | None,
    latency: float | None,
    energy: float | None,
    drop: float | None,
    directory: Path,
    as_json: bool,
) -> int | None:
    """Compare two searches, or two models, the first being the reference.

    FIRST and SECOND are studies (name, folder, bundle or report.json), whose chosen models are
    compared by what was measured of them; or .tflite, .keras or .h5 files, which are estimated.
    Exit code 1: something grew by more than a limit allows.
    """
    where = None if board_name is None else board(board_name)
    sides = [_side(text, where, backend, directory) for text in (first, second)]
    limits = dict(zip(COSTS, (flash, ram, latency, energy), strict=True))
    allowed = {name: limit for name, limit in limits.items() if limit is not None}
    found = compare(sides[0], sides[1], allowed, drop)
    if as_json:
        print_json(found)
    else:
        _print(found)
    return NO if found.exceeded else None


def _side(text: str, where: Board | None, backend: str, directory: Path) -> Side:
    if Path(text).suffix in MODELS:
        if where is None:
            raise InputError(f"{text} is a model's file: name the board (--board nucleo-l4r5zi).")
        return Side.of_file(Path(text), where, backend)
    found = report_of(text, directory).chosen
    if found is None:
        raise InputError(f"no model of {text} fits, so there is none to compare.")
    return Side.of_choice(text, found)


def _print(found: Comparison) -> None:
    def cell(side: Side, cost: str) -> str:
        value = getattr(side, cost)
        return "unknown" if value is None else shown(cost, value)

    rows = [
        (NAMES[c], cell(found.first, c), cell(found.second, c),
         f"{found.growth[c]:+.1%}" if c in found.growth else "")
        for c in COSTS
    ]  # fmt: skip
    if found.metric_drop is not None:
        first, second = (f"{side.value:.4g}" for side in (found.first, found.second))
        better = found.first.mode == "max"
        change = -found.metric_drop if better else found.metric_drop
        change = round(change, 4) + 0.0  # not -0.0
        rows.insert(0, (found.first.metric, first, second, f"{change:+.4f}"))
    rows.append(("proven by", found.first.proven, found.second.proven, ""))
    print_table(("", found.first.name, found.second.name, "change"), rows)
    for line in found.exceeded:
        click.echo(f"\n{line}.")
