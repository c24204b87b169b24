"""What was measured of generated code: a Target a core and compiler, with where it is from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources

FORMAT = 1
FILE = "aot_measured.json"

KIN = {"M0+": "M0", "M23": "M0", "M55": "M33", "M85": "M33"}
"""The core whose images and counts stand for one that no emulator here runs: Armv6-M and Armv8-M
Baseline have one instruction set but for division, the M55 and M85 run the M33's code."""

OLDEST = "M4"
"""Stands for a core that is not known at all."""


@dataclass(frozen=True)
class Target:
    """Sizes, stack and instructions of generated code on one core with one compiler.

    Attributes:
        core, compiler, version, flags: what it holds for.
        kernels: SHA-256 of the kernel sources, 12 digits.
        date, networks, layers: when, and how much was measured.
        error: mean absolute relative error of a layer's instructions, of the layers fitted to.
        image_bytes: flash of an image without layers: vectors, start-up, engine.
        call_bytes: per kernel the code of one call.
        sections: bytes of each function or table.
        links: per kernel the sections that it brings.
        frame_bytes: per kernel the stack of ``model_invoke`` where it calls that kernel.
        stack_bytes: per kernel and loop the stack of the kernel where that loop runs.
        loops: per kernel and loop (instructions, cycles at least, cycles at most) of one turn.
        judged: networks that no fit had seen, linked and run to judge the estimates.
        bands: per cost the least and the most of measured / estimate - 1 over those; of latency
            the least of the lower and the most of the upper bounds of their cycles.
    """

    core: str
    compiler: str
    version: str
    flags: tuple[str, ...]
    kernels: str
    date: str
    networks: int
    layers: int
    error: float
    image_bytes: int
    call_bytes: Mapping[str, float]
    sections: Mapping[str, int]
    links: Mapping[str, tuple[str, ...]]
    frame_bytes: Mapping[str, int]
    stack_bytes: Mapping[str, Mapping[str, int]]
    loops: Mapping[str, Mapping[str, tuple[float, float, float]]]
    judged: int = 0
    bands: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def to_json(targets: tuple[Target, ...]) -> str:
    """The file's content, a target a paragraph, so that diffs read."""
    paragraphs = []
    for target in targets:
        lines = [f' "{name}": {json.dumps(value)}' for name, value in asdict(target).items()]
        paragraphs.append("{\n" + ",\n".join(lines) + "\n}")
    return f'{{"format": {FORMAT},\n"targets": [\n' + ",\n".join(paragraphs) + "\n]}\n"


def parse(text: str) -> tuple[Target, ...]:
    """The targets in this JSON.

    Raises:
        ValueError: it is of another format.
    """
    raw = json.loads(text)
    if raw["format"] != FORMAT:
        raise ValueError(f"format {raw['format']}, expected {FORMAT}")
    return tuple(Target(**{**t, "flags": tuple(t["flags"])}) for t in raw["targets"])


@cache
def shipped() -> tuple[Target, ...]:
    """The targets that come with the package."""
    return parse(resources.files("hwsearch.backends").joinpath(FILE).read_text())


@cache
def compiler() -> str:
    """The compiler that an image would be built with here: as hwsearch/device/toolchain.py."""
    return "zig" if shutil.which("arm-none-eabi-gcc") is None else "gcc"


@cache
def target(core: str, chosen: str | None = None) -> Target:
    """What holds for a core, or stands for it.

    Args:
        core: as :class:`hwsearch.board.Board` names it.
        chosen: ``"gcc"`` or ``"zig"``; default what an image would be built with here.
    """
    wanted = chosen or compiler()
    bare = core.split("+")[0] if core != "M0+" else core  # "M33+MVP" is an M33
    known = {(t.core, t.compiler): t for t in shipped()}
    for name in (bare, KIN.get(bare, bare), OLDEST):
        for built_by in (wanted, "gcc"):
            if (name, built_by) in known:
                return known[name, built_by]
    raise ValueError(f"{FILE} holds no target for {OLDEST}")
