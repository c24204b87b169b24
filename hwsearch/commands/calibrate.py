"""``hwsearch calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from hwsearch import calibrate
from hwsearch.commands import Words, print_json, subcommand
from hwsearch.cost.coefficients import VARIABLE, Coefficients
from hwsearch.errors import InputError


@subcommand
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--device", "url", help="emulator:cortex-m4, serial:///dev/ttyACM0 …")
@click.option("--port", help="Of a board: the firmware port that it runs, e.g. nucleo-l4r5zi.")
@click.option("--flags", type=Words(), default="-O2", show_default=True, help="Of the compiler.")
@click.option(
    "--toolchain", type=click.Choice(["gcc", "zig"]), help="Default: the first there is."
)
@click.option("--out", "out_option", type=click.Path(path_type=Path, dir_okay=False))
def command(
    folder: Path | None,
    out: Path | None,
    url: str | None,
    port: str | None,
    flags: list[str],
    toolchain: str | None,
    out_option: Path | None,
    as_json: bool,
) -> None:
    """Fit latency coefficients and write them to a file.

    calibrate FOLDER OUT: to measurements in the published format (docs/cost-model.md).

    calibrate --device URL --out FILE: to a device of yours, in minutes. Layers are compiled ahead
    of time and timed one by one until every kernel is known well enough. Set
    HWSEARCH_COEFFICIENTS=FILE, and estimates of the backend "aot" on that core use them.
    """
    target = out or out_option
    if (folder is None) == (url is None) or target is None:
        raise InputError("give either FOLDER and OUT, or --device URL and --out FILE.")
    if url is None:
        assert folder is not None
        found = calibrate.fit(folder)
        _write(found, target)
        facts: dict[str, Any] = {"sets": len(found.sets), "residuals": len(found.residuals)}
        lines = [f"{len(found.sets)} sets of coefficients in {target}"]
    else:
        facts, lines = _device(url, target, port, flags, toolchain)
    if as_json:
        print_json({"out": str(target), **facts})
    else:
        click.echo("\n".join(lines))


def _device(
    url: str, out: Path, port: str | None, flags: list[str], toolchain: str | None
) -> tuple[dict[str, Any], list[str]]:
    """Calibrates and writes; what to print as JSON, and as lines."""
    from hwsearch.calibrate_device import calibrate_device

    found, coefficients = calibrate_device(
        url,
        port=port,
        flags=flags,
        toolchain=toolchain,
        report=lambda line: click.echo(line, err=True),
    )
    _write(coefficients, out)
    errors = np.abs(found.errors)
    fitted = coefficients.sets[0]
    facts = {
        "core": fitted.core,
        "board": fitted.boards[0],
        "layers": len(found.seen),
        "unseen_layers": len(found.unseen),
        "unseen_error": float(errors.mean()),
        "unseen_error_most": float(errors.max()),
        "factors": found.factors,
        "note": fitted.note,
    }
    lines = [
        f"{fitted.boards[0]}: {len(found.seen)} layers timed; {len(found.unseen)} others are "
        f"predicted with {errors.mean():.1%} error on average, {errors.max():.0%} at most.",
        f"Coefficients are in {out}. To use them: export {VARIABLE}={out.resolve()}",
    ]
    return facts, lines


def _write(found: Coefficients, path: Path) -> None:
    try:
        path.write_text(found.to_json())
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.") from error
