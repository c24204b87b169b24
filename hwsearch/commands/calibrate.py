"""``hwsearch calibrate``."""

from __future__ import annotations

from pathlib import Path

import click

from hwsearch import calibrate
from hwsearch.commands import print_json, subcommand


@subcommand
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
def command(folder: Path, out: Path, as_json: bool) -> None:
    """Fit latency coefficients and write them to OUT.

    FOLDER holds measurements in the published format (docs/cost-model.md).
    """
    found = calibrate.fit(folder)
    out.write_text(found.to_json())
    if as_json:
        print_json({"out": str(out), "sets": len(found.sets), "residuals": len(found.residuals)})
    else:
        click.echo(f"{len(found.sets)} sets of coefficients in {out}")
