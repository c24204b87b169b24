"""``hwsearch report``."""

from __future__ import annotations

from pathlib import Path

import click

from hwsearch.commands import NO, directory_option, print_json, report_of, subcommand


@subcommand
@click.argument("search")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page that opens offline.")
@click.option("--plot", type=click.Path(path_type=Path), help="Write the figures: .png or .svg.")
@directory_option
def command(
    search: str, html: Path | None, plot: Path | None, directory: Path, as_json: bool
) -> int | None:
    """Print what a finished search found.

    SEARCH is the name of a study, its folder, an exported bundle, or a report.json. Exit code 1:
    nothing fits.
    """
    if plot is not None and plot.suffix not in (".png", ".svg"):
        raise click.BadParameter(f"{plot} must end in .png or .svg.", param_hint="--plot")
    found = report_of(search, directory)
    if as_json:
        print_json(found.to_dict())
    else:
        found.table()  # where nothing fits it says why
        if found.chosen is not None:
            click.echo(f"\n{found.explain()}")
    if html is not None:
        click.echo(f"page: {found.html(html)}", err=True)
    if plot is not None:
        found.plot(plot)
        click.echo(f"figures: {plot}", err=True)
    return NO if found.chosen is None else None
