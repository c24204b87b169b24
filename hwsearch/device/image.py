"""Image: a model's sources, an engine and a port, compiled and linked; bytes of each section."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hwsearch.device import tflm
from hwsearch.device.boot2 import write_checksum
from hwsearch.device.elf import section_bytes
from hwsearch.device.port import FIRMWARE, Port, port
from hwsearch.device.toolchain import COMPILE, LINK, WARNINGS, Toolchain, find, find_host
from hwsearch.errors import ImageError, ToolchainError, UnknownNameError

SERVICE = ("main.c", "command.c", "wire.c")

SERVICE_SECTIONS = (".service", ".service_bss")
"""Wire, commands and port: what an application would not have."""

STACK_SECTION = ".stack"
"""Reserved for the stack; what is used of it, a device measures."""

OVERFLOW = re.compile(
    r"section [`']?(?P<section>[.\w]+)'? will not fit in region [`'](?P<region>\w+)'"
    r"|region [`'](?P<r>\w+)' overflowed by (?P<b>\d+) bytes"
)
LLD_OVERFLOW = re.compile(
    r"section '(?P<section>[.\w]+)' will not fit in region '(?P<region>\w+)': "
    r"overflowed by (?P<bytes>\d+) bytes"
)


@dataclass(frozen=True)
class Image:
    """A linked firmware image.

    Attributes:
        path: the ELF, or on the host the shared library.
        port: what it was linked for.
        digest: CRC-32 of the model's ``.tflite``.
        engine: the runtime in it.
        toolchain: compiler and version.
        flags: what was given to the compiler beside warnings and core.
        sections: bytes of each allocated section of the ELF; empty on the host.
        layers: whether it was built with per-layer ticks, which cost some instructions each.
    """

    path: Path
    port: Port
    digest: int
    engine: str
    toolchain: str
    flags: tuple[str, ...]
    sections: Mapping[str, int]
    layers: bool = False

    def _in_flash(self, name: str) -> bool:
        return not name.endswith("bss") and name != STACK_SECTION

    @property
    def flash_bytes(self) -> int:
        """Bytes in flash without the service: weights, kernels, engine, start-up, initial data."""
        return sum(
            size
            for name, size in self.sections.items()
            if self._in_flash(name) and name not in SERVICE_SECTIONS
        )

    @property
    def ram_bytes(self) -> int:
        """Bytes of static data without the service and without the stack."""
        return sum(self.sections.get(name, 0) for name in (".data", ".bss"))

    @property
    def service_flash_bytes(self) -> int:
        """Bytes in flash of wire, commands and port."""
        return self.sections.get(".service", 0)

    @property
    def service_ram_bytes(self) -> int:
        """Bytes in RAM of wire, commands and port."""
        return self.sections.get(".service_bss", 0)


def build(
    model: Path,
    port_name: str,
    out: Path,
    *,
    engine: str = "aot",
    toolchain: str | None = None,
    flags: Sequence[str] = ("-O2",),
    layers: bool = False,
) -> Image:
    """Compile and link the firmware with a model.

    Args:
        model: folder of the model's C sources, with ``model.h`` (see ``firmware/kernels``).
        port_name: a folder of ``firmware/ports``.
        out: folder for objects and the image; made if absent.
        engine: a folder of ``firmware/engines``; ``"tflm"`` needs :mod:`hwsearch.device.tflm`.
        toolchain: ``"gcc"`` or ``"zig"``; default the first there is.
        flags: optimization flags.
        layers: build with per-layer ticks.

    Raises:
        ImageError: no model in the folder, or the image does not fit: which section, by how much.
        ToolchainError: no compiler, or it failed; carries its output.
        UnknownNameError: no such port, engine or toolchain.
    """
    target = port(port_name)
    engines = [path.name for path in (FIRMWARE / "engines").iterdir()]
    if engine not in engines:
        raise UnknownNameError("engine", engine, engines)
    compiler = find_host() if target.is_host else find(toolchain)
    digest = model_digest(model)
    libraries = _tflm(compiler) if engine == "tflm" else None
    groups = sources(target, engine) | {"model": sorted(model.glob("*.c"))}
    common = [*WARNINGS, *compiler.core_flags(target.core), *flags, *_includes(target, model)]
    common += [*defines(target), *COMPILE[compiler.name]]
    if layers:
        common += [
            "-DLAYER_TICKS",
            "-DMODEL_LAYER_HOOK(i)=command_layer((uint32_t)(i))",
            '-DMODEL_LAYER_HOOK_HEADER="command.h"',
        ]
    if libraries:
        common += [f"-isystem{libraries[0]}", "-DCALL_CONSTRUCTORS"]
    objects = _compile(compiler, common, groups, out)
    path = out / ("image.so" if target.is_host else "image.elf")
    _link(compiler, target, objects, path, libraries[1] if libraries else None)
    if target.boot2:
        write_checksum(path)
    return Image(
        path, target, digest, engine, str(compiler), tuple(flags),
        {} if target.is_host else section_bytes(path), layers,
    )  # fmt: skip


def sources(target: Port, engine: str) -> dict[str, list[Path]]:
    """The C files of an image beside its model's, by the folder of their objects.

    The linker script tells these folders apart.
    """
    return {
        "startup": [p for p in target.source_paths if p.name == "start.c"],
        "service": [FIRMWARE / s for s in SERVICE if not (target.is_host and s == "main.c")]
        + [p for p in target.source_paths if p.name != "start.c"],
        "engine": sorted((FIRMWARE / "engines" / engine).glob("engine.c*")),
        "lib": [] if target.is_host else [FIRMWARE / "lib" / "memory.c"],
    }


def defines(target: Port) -> list[str]:
    """Preprocessor symbols of a port, and how its code is cut into sections."""
    found = [f"-D{name}={value}" for name, value in target.defines.items()]
    found += [f'-DPORT_BOARD="{target.name}"', f'-DPORT_CORE="{target.core}"']
    return found + (["-fPIC"] if target.is_host else ["-ffunction-sections", "-fdata-sections"])


def model_digest(model: Path) -> int:
    """MODEL_DIGEST of a model folder: the CRC-32 of its ``.tflite``.

    Raises:
        ImageError: the folder has no ``model.h``, or that names no digest.
    """
    header = model / "model.h"
    if not header.exists():
        raise ImageError(f"{header} is missing: expected a folder that codegen wrote.")
    found = re.search(r"#define\s+MODEL_DIGEST\s+(0x[0-9a-fA-F]+|\d+)", header.read_text())
    if not found:
        raise ImageError(f"{header} defines no MODEL_DIGEST (CRC-32 of the .tflite).")
    return int(found[1], 0)


def _tflm(compiler: Toolchain) -> tuple[Path, Path]:
    if compiler.name != "gcc":
        raise ToolchainError(
            f"engine 'tflm' is C++, which {compiler} does not build for this port: install "
            "Debian's gcc-arm-none-eabi and libstdc++-arm-none-eabi-newlib, and name another port."
        )
    return tflm.library()


def _includes(target: Port, model: Path) -> list[str]:
    folders = [model, FIRMWARE, FIRMWARE / "cortexm", *{p.parent for p in target.source_paths}]
    includes = [f"-I{folder}" for folder in folders]
    return includes if target.is_host else [*includes, f"-isystem{FIRMWARE / 'lib'}"]


def _compile(
    compiler: Toolchain, common: Sequence[str], groups: Mapping[str, list[Path]], out: Path
) -> list[Path]:
    jobs = []
    for group, sources in groups.items():
        (out / group).mkdir(parents=True, exist_ok=True)
        jobs += [(source, out / group / f"{source.stem}.o") for source in sources]

    def compile_one(job: tuple[Path, Path]) -> Path:
        flags = common
        if job[0].suffix == ".cc":
            flags = [*tflm.COMPILE, *(flag for flag in common if flag != "-std=c11")]
        compiler.run([*flags, "-c", job[0], "-o", job[1]])
        return job[1]

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(compile_one, jobs))


def _link(
    compiler: Toolchain,
    target: Port,
    objects: Sequence[Path],
    path: Path,
    library: Path | None,
) -> None:
    if target.is_host:
        compiler.run(["-shared", *objects, "-o", path])
        return
    script = path.with_suffix(".ld")
    script.write_text(memory_script(target))
    arguments: list[str | Path] = [
        *compiler.core_flags(target.core), "-O2", "-nostdlib", "-Wl,--gc-sections", *objects,
        "-T", script, "-o", path,
    ]  # fmt: skip
    if library:
        arguments += ["-Wl,--start-group", library, *tflm.LINK, "-lgcc", "-Wl,--end-group"]
    arguments += LINK[compiler.name]
    try:
        compiler.run(arguments)
    except ToolchainError as error:
        too_large = overflow(str(error), target)
        if too_large:
            raise ImageError(too_large) from None
        raise


def memory_script(target: Port) -> str:
    """The linker script of a port: its memories, then ``firmware/cortexm/sections.ld``."""
    regions = [("FLASH", "rx", target.flash), ("RAM", "rw", target.ram)]
    lines = [
        f"    {name} ({mode}) : ORIGIN = {origin:#x}, LENGTH = {size:#x}"
        for name, mode, (origin, size) in regions
    ]
    sections = (FIRMWARE / "cortexm" / "sections.ld").read_text()
    memory = "\n".join(["MEMORY", "{", *lines, "}"])
    return f"{memory}\nSTACK_BYTES = {target.stack_bytes};\n{sections}"


def overflow(linker_output: str, target: Port) -> str:
    """What did not fit and by how much, from the output of GNU ld or LLD; "" if all did."""
    worst: dict[str, int] = {}
    sections: dict[str, list[str]] = {}
    for found in LLD_OVERFLOW.finditer(linker_output):
        sections.setdefault(found["region"], []).append(found["section"])
        worst[found["region"]] = max(worst.get(found["region"], 0), int(found["bytes"]))
    for found in OVERFLOW.finditer(linker_output):
        if found["section"]:
            names = sections.setdefault(found["region"], [])
            if found["section"] not in names:
                names.append(found["section"])
        elif found["r"]:
            worst[found["r"]] = int(found["b"])
    messages = []
    for region, excess in worst.items():
        size = (target.flash if region == "FLASH" else target.ram)[1]
        overflowing = ", ".join(sections.get(region, ["?"]))
        messages.append(
            f"the image exceeds the {size:,} B of {region} of {target.name} by {excess:,} B "
            f"(section {overflowing} does not fit)"
        )
    if not messages:
        return ""
    return "; ".join(messages) + ". Choose a smaller configuration, or a board with more memory."
