"""The commands of the command line, a module each with a ``command``, and what they print with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click

from hwsearch.record import to_json

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def subcommand(function: Callable[..., int | None]) -> click.Command:
    """A click command with the two options that every command has: ``--json``, ``--debug``.

    The function returns the exit code; None is 0.
    """
    debug = click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.")
    as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    made: click.Command = click.command(context_settings=CONTEXT)(as_json(debug(function)))
    return made


def print_json(value: Any) -> None:
    """Dataclasses, mappings and plain values; keys are the names that they have in Python."""
    click.echo(json.dumps(to_json(value), indent=2, ensure_ascii=False))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> None:
    """Columns two blanks apart, the first ``left`` of them aligned left, the others right."""
    lines = [tuple(headers), *map(tuple, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
    for line in lines:
        cells = (
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        click.echo("  ".join(cells).rstrip())
