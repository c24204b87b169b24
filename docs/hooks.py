"""What mkdocs runs while it builds the site: tables made from the code, and docstrings' roles.

``<!-- made: NAME -->`` in a page is replaced by the table of that name, so that no list of boards,
backends, commands or exit codes is ever written twice.
"""

from __future__ import annotations

import ast
import html
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

import hwsearch
from hwsearch.backends import backends, tflm, versions
from hwsearch.board import Board
from hwsearch.cli import COMMANDS, EXIT_CODES, group
from hwsearch.codegen import refuse

ROOT = Path(__file__).parents[1]


def on_page_markdown(markdown: str, **_: object) -> str:
    """A page with its tables made."""
    return re.sub(r"<!-- made: (\S+) -->", lambda found: MADE[found[1]](), markdown)


ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):\s*<code>~?([\w.]+)(?:\(\))?</code>")


def on_page_content(content: str, **_: object) -> str:
    """Sphinx' roles, as docstrings have them, become links where the reference has the name."""
    return ROLE.sub(_linked, content)


def _linked(found: re.Match[str]) -> str:
    name = found[1].removeprefix("hwsearch.")
    code = f"<code>{html.escape(name)}</code>"
    if name.partition(".")[0] not in hwsearch.__all__:
        return code
    return f'<autoref optional identifier="hwsearch.{name}">{code}</autoref>'


def boards() -> str:
    """The catalogue."""
    rows = [_board(board) for board in sorted(hwsearch.boards().values(), key=_by_core)]
    return _table(
        ("board", "part", "core", "clock", "wait states", "flash", "RAM", "power"), rows, left=3
    )


def _by_core(board: Board) -> tuple[str, str]:
    return board.core, board.name


def _board(board: Board) -> tuple[str, ...]:
    return (
        f"`{board.name}`",
        board.mcu,
        board.core,
        _or(board.clock_hz, lambda hz: f"{hz / 1e6:g} MHz"),
        _or(board.flash_wait_states, str),
        _or(board.flash_bytes, lambda size: f"{size // 1024:,} KiB"),
        _or(board.ram_bytes, lambda size: f"{size // 1024:,} KiB"),
        _or(board.power_w, lambda watts: f"{watts * 1e3:g} mW"),
    )


def runtimes() -> str:
    """The backends."""
    rows = [
        (
            f"`{backend.name}`",
            "built and run" if backend.buildable else "estimated",
            ", ".join(map(str, backend.activation_bits)),
            ", ".join(f"`{kind}`" for kind, bits in backend.weight_bits.items() if 4 in bits)
            or "none",
            ", ".join(versions(backend.name)) or "-",
        )
        for backend in backends().values()
    ]
    heads = ("backend", "here", "activation bits", "4-bit weights", "versions of latency")
    return _table(heads, rows, left=5)


def commands() -> str:
    """Every command with its help, as the terminal shows it."""
    return "\n".join(_help(group, click.Context(group, info_name="hwsearch"), 2))


def _help(command: click.Command, context: click.Context, level: int) -> Iterator[str]:
    context.max_content_width = 100
    yield f"{'#' * level} `{context.command_path}`\n"
    yield f"```text\n{command.get_help(context).rstrip()}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield from _help(inner, click.Context(inner, context, info_name=name), level + 1)


def command_list() -> str:
    """One line a command."""
    return _table(
        ("command", "what it does"),
        [(f"`hwsearch {name}`", said) for name, said in COMMANDS.items()],
        left=2,
    )


def exit_codes() -> str:
    """The exit codes of the command line."""
    listed = EXIT_CODES.replace("\n", " ").partition(":")[2].rstrip(".").split(";")
    return _table(("code", "means"), [tuple(c.strip().split(" ", 1)) for c in listed], left=2)


def operators() -> str:
    """What the runtimes here can execute, and at which bits."""
    kinds = sorted(tflm.SUPPORTED | refuse.SUPPORTED)
    rows = [(f"`{kind}`", *(_yes(kind in known) for known in _RUN)) for kind in kinds]
    heads = ("operator", "`tflm` int8", "`tflm` int16", "`aot`")
    table = "\n".join(f"    {line}" for line in _table(heads, rows, left=4).splitlines())
    return f'??? note "The whole list"\n\n{table}\n'


_RUN = (tflm.SUPPORTED - tflm.FLOAT_ONLY, tflm.INT16, refuse.SUPPORTED)


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def spaces() -> str:
    """The presets, by the first line of each."""
    rows = [
        (f"`{path.stem}`", _purpose(path))
        for path in sorted((ROOT / "search_spaces").glob("*.toml"))
    ]
    return _table(("preset", "for"), rows, left=2)


def _purpose(path: Path) -> str:
    """The first sentence of the comment that a preset begins with."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), path.read_text().splitlines())
    comment = " ".join(line.lstrip("# ") for line in lines)
    return comment.partition(": ")[2].partition(". ")[0].rstrip(".")


def examples() -> str:
    """The numbered examples, by the first line of each."""
    rows = []
    for path in sorted((ROOT / "examples").glob("[0-9]*")):
        text = path / "README.md" if path.is_dir() else path
        rows.append((f"`examples/{path.name}`", _first_line(text)))
    return _table(("file", "what it shows"), rows, left=2)


def _first_line(path: Path) -> str:
    """The first sentence of a script's docstring, a notebook's first cell or a README's title."""
    if path.suffix == ".ipynb":
        first = "".join(json.loads(path.read_text())["cells"][0]["source"])
    elif path.suffix == ".py":
        first = ast.get_docstring(ast.parse(path.read_text())) or ""
    else:
        first = path.read_text()
    return first.strip().splitlines()[0].lstrip("# ").rstrip(".")


FIRST = ("optimize", "Budget", "Space", "Report", "estimate", "verify", "Board", "boards")
"""Public names in the order in which one meets them; the others follow."""


def public_names() -> str:
    """Directives for the reference of every public name; the package ``device`` has a page."""
    rest = [n for n in hwsearch.__all__ if n not in (*FIRST, "device", "HwsearchError")]
    return "\n\n".join(f"::: hwsearch.{name}" for name in (*FIRST, *rest, "HwsearchError"))


MADE: dict[str, Callable[[], str]] = {
    "boards": boards,
    "backends": runtimes,
    "commands": commands,
    "command-list": command_list,
    "exit-codes": exit_codes,
    "operators": operators,
    "spaces": spaces,
    "examples": examples,
    "public-names": public_names,
}


def _or(value: Any, text: Callable[[Any], str]) -> str:
    return "" if value is None else text(value)


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]], left: int) -> str:
    rules = ["---"] * left + ["---:"] * (len(heads) - left)
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, tuple(rules), *rows))
