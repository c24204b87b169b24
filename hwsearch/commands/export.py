"""``hwsearch export``."""

from __future__ import annotations

from pathlib import Path

import click

from hwsearch.commands import directory_option, print_json, report_of, subcommand
from hwsearch.errors import InputError


@subcommand
@click.argument("search")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--trial", type=int, help="A finalist's number. Default: the chosen one.")
@click.option(
    "--port",
    help="Of the firmware project, e.g. nucleo-l4r5zi. Default: the board's own, else the "
    "emulated core's nearest to it.",
)
@directory_option
def command(
    search: str, out: Path, trial: int | None, port: str | None, directory: Path, as_json: bool
) -> None:
    """Write the bundle of a search's model into the folder OUT.

    SEARCH is the name of a study, its folder, or a report.json. The bundle: .tflite, C sources,
    a firmware project that make builds, report, model card, SHA-256 of each file. Made again it
    is the same, byte for byte; an unchanged earlier bundle is replaced, anything else is left.
    """
    report = report_of(search, directory)
    found = report.chosen if trial is None else report.trial(trial)
    if found is None:
        raise InputError(
            f"no model of {report.study} fits, so there is none to export. hwsearch report "
            f"{search} says what came nearest; --trial exports another."
        )
    folder = found.export(out, port)
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    if as_json:
        print_json({"folder": folder, "trial": found.number, "files": files})
        return
    click.echo(f"trial {found.number}: {len(files)} files in {folder}")
    if "firmware/Makefile" in files:
        click.echo(f"build the firmware: make -C {folder / 'firmware'}")
