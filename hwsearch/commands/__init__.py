"""The commands of the command line, a module each with a ``command``, and what they print with."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwsearch.budget import parse
from hwsearch.errors import BudgetError
from hwsearch.record import to_json

if TYPE_CHECKING:
    from hwsearch.report import Report

NO = 1
"""Exit code: done, and the answer is no: over a limit, bytes that differ, nothing that fits."""

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


class Duration(click.ParamType[float]):
    """Seconds, written as such or with a unit: 90, "90 s", "15 min", "8 h"."""

    name = "duration"
    units = {"": 1, "s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}  # noqa: RUF012

    def convert(self, value: Any, param: Any, context: Any) -> float:
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-z]*)\s*", str(value))
        if match is None or match[2] not in self.units:
            self.fail(f"{value!r} is no duration, expected e.g. 90, '15 min' or '8 h'.")
        return float(match[1]) * self.units[match[2]]


class Share(click.ParamType[float]):
    """A share, written as a number or in percent: 0.02, "2%"."""

    name = "share"

    def convert(self, value: Any, param: Any, context: Any) -> float:
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = math.nan
        if not math.isfinite(share):
            self.fail(f"{value!r} is no share, expected e.g. 0.02 or 2%.")
        return share


class Finite(click.ParamType[float]):
    """A number that is one: not NaN, not infinite, for gates and limits."""

    name = "float"

    def convert(self, value: Any, param: Any, context: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.")
        return number


class Limit(click.ParamType[float]):
    """A limit of a budget, written with its unit: "192 KiB", "150 ms", "2 mJ".

    Args:
        of: which: ``"flash"``, ``"ram"``, ``"latency"`` or ``"energy"``.
    """

    name = "limit"

    def __init__(self, of: str) -> None:
        self.of = of

    def convert(self, value: Any, param: Any, context: Any) -> float:
        try:
            return parse(self.of, value)
        except BudgetError as error:
            self.fail(str(error))


class Words(click.ParamType[list[str]]):
    """Words as a shell would split them: "-O2 -g"."""

    name = "text"

    def convert(self, value: Any, param: Any, context: Any) -> list[str]:
        if isinstance(value, list):
            return value
        try:
            return shlex.split(value)
        except ValueError as error:
            self.fail(f"{value!r} cannot be split into words: {error}.")


def study_folder(search: str, directory: Path) -> Path:
    """Where a search lies: a path as it is, else a study of this name in ``directory``."""
    named = directory / "studies" / search
    return named if named.is_dir() and not Path(search).exists() else Path(search)


def report_of(search: str, directory: Path) -> Report:
    """The report of a study (its name or folder), of a bundle, or in a file."""
    from hwsearch.report import Report

    return Report.load(study_folder(search, directory))


directory_option = click.option(
    "--directory", type=click.Path(path_type=Path), default=Path("mlruns"), show_default=True,
    help="Where studies and MLflow's database lie.",
)  # fmt: skip
