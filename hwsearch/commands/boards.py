"""``hwsearch boards``."""

from __future__ import annotations

from hwsearch.board import Board, boards
from hwsearch.budget import shown
from hwsearch.commands import print_json, print_table, subcommand


@subcommand
def command(as_json: bool) -> None:
    """Print the boards of the catalogue, the smallest first.

    A board that is not here: a table in a TOML file (hwsearch/boards.toml says which facts; core
    and clock suffice), or in Python Board(name, core, clock_hz).
    """
    known = sorted(boards().values(), key=size)
    if as_json:
        print_json({"boards": known})
        return
    print_table(
        ("board", "core", "MCU", "clock", "RAM", "flash", "power"),
        (
            (
                board.name,
                board.core,
                board.mcu,
                f"{board.clock_hz / 1e6:g} MHz" if board.clock_hz else "?",
                shown("ram", board.ram_bytes) if board.ram_bytes else "?",
                shown("flash", board.flash_bytes) if board.flash_bytes else "?",
                f"{board.power_w * 1e3:.3g} mW" if board.power_w else "?",
            )
            for board in known
        ),
        left=3,
    )


def size(board: Board) -> tuple[float, float, str]:
    """Orders boards by RAM, then flash; unknown counts as largest."""
    return (board.ram_bytes or float("inf"), board.flash_bytes or float("inf"), board.name)
