"""``hwsearch verify``."""

from __future__ import annotations

from pathlib import Path

import click

from hwsearch import proof
from hwsearch.commands import NO, Words, print_json, print_table, subcommand
from hwsearch.record import to_json


@subcommand
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--device", "url", default="emulator:cortex-m4", show_default=True)
@click.option("--port", help="Of a board: the firmware port that it runs, e.g. nucleo-l4r5zi.")
@click.option("--flags", type=Words(), default="-O2", show_default=True, help="Of the compiler.")
@click.option(
    "--toolchain", type=click.Choice(["gcc", "zig"]), help="Default: the first there is."
)
@click.option(
    "--repeats",
    type=click.IntRange(1, 65535),
    default=1,
    show_default=True,
    help="Timed runs of each input.",
)
@click.option(
    "--power", type=click.Path(path_type=Path), help="A power analyser's trace: time, current."
)
def command(
    file: Path,
    url: str,
    port: str | None,
    flags: list[str],
    toolchain: str | None,
    repeats: int,
    power: Path | None,
    as_json: bool,
) -> int:
    """Compile a quantized .tflite ahead of time, link it, run it on a device, compare its bytes.

    Random inputs; outputs are held against TFLite Micro's. Exit code 1: some byte differs.
    """
    if file.suffix in (".keras", ".h5"):
        raise click.UsageError(
            f"{file} is a Keras model: what runs on a device is a .tflite. hwsearch optimize "
            "makes one, hwsearch estimate prices the model as it is."
        )
    found = proof.verify(
        file,
        url,
        port=port,
        flags=flags,
        toolchain=toolchain,
        repeats=repeats,
        power=power,
    )
    if as_json:
        print_json(to_json(found))
    else:
        named = to_json(found)
        named["inferences timed"] = named.pop("repeats")
        known = {name: value for name, value in named.items() if value is not None}
        print_table(("what", "measured"), ((n, f"{v:,}" if isinstance(v, int) else str(v))
                                           for n, v in known.items()), left=2)  # fmt: skip
    return NO if found.mismatched_outputs else 0
