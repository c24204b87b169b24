"""``hwsearch doctor``."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from functools import partial

from serial.tools.list_ports import comports

from hwsearch import oracle
from hwsearch.commands import print_json, print_table, subcommand
from hwsearch.device import toolchain
from hwsearch.device.qemu import find_qemu
from hwsearch.errors import ToolchainError

FLASHERS = ("pyocd", "st-flash", "openocd", "picotool")


@subcommand
def command(as_json: bool) -> None:
    """Print what building and running images needs, in the order in which it is looked for.

    Each line that is missing says what to install.
    """
    rows = [
        {"what": what, "found": found, "remedy": remedy} for what, found, remedy in _findings()
    ]
    if as_json:
        print_json({"findings": rows})
        return
    print_table(
        ("what", "found", "to have it"),
        ((str(r["what"]), str(r["found"] or "no"), str(r["remedy"])) for r in rows),
        left=3,
    )


def _findings() -> Iterator[tuple[str, str, str]]:
    for name in ("gcc", "zig"):
        yield _tool(f"cross compiler: {name}", partial(toolchain.find, name))
    yield _tool("compiler of this computer", toolchain.find_host)
    for module, what in (("unicorn", "emulated cores"), ("capstone", "their disassembler"),
                         ("elftools", "sizes by section")):  # fmt: skip
        there = importlib.util.find_spec(module) is not None
        yield f"{what}: {module}", "yes" if there else "", "" if there else _EXTRA
    yield _tool("emulated boards: QEMU", find_qemu)
    wheel = oracle.available()
    yield (
        "host oracle: tflite-micro",
        "yes" if wheel else "",
        "" if wheel else "pip install --pre tflite-micro (Linux x86-64, Python 3.10 to 3.13)",
    )
    for name in FLASHERS:
        yield f"writes images: {name}", shutil.which(name) or "", ""
    ports = [f"{p.device} ({p.description})" for p in comports()]
    yield "serial ports", ", ".join(ports), "" if ports else "connect a board"


_EXTRA = "pip install unicorn capstone pyelftools"


def _tool(what: str, find: Callable[[], object]) -> tuple[str, str, str]:
    try:
        return what, str(find()), ""
    except ToolchainError as error:
        return what, "", str(error).split(". ", 1)[-1]
