"""Toolchain: the C compiler of images: arm-none-eabi-gcc, else the PyPI wheel ziglang."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hwsearch.device.port import HOST
from hwsearch.errors import ToolchainError, UnknownNameError

WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion")

INSTALL = (
    "Install Debian's gcc-arm-none-eabi and libnewlib-arm-none-eabi, "
    "or without root the wheel: pip install ziglang."
)

GCC_CORES = {
    "M0": ("-mcpu=cortex-m0", "-mfloat-abi=soft"),
    "M0+": ("-mcpu=cortex-m0plus", "-mfloat-abi=soft"),
    "M3": ("-mcpu=cortex-m3", "-mfloat-abi=soft"),
    "M4": ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
    "M7": ("-mcpu=cortex-m7", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"),
    "M33": ("-mcpu=cortex-m33", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"),
    "M55": ("-mcpu=cortex-m55", "-mfloat-abi=hard"),
}
ZIG_CORES = {
    "M0": ("thumb-freestanding-eabi", "cortex_m0"),
    "M0+": ("thumb-freestanding-eabi", "cortex_m0plus"),
    "M3": ("thumb-freestanding-eabi", "cortex_m3"),
    "M4": ("thumb-freestanding-eabihf", "cortex_m4"),
    "M7": ("thumb-freestanding-eabihf", "cortex_m7-fp64"),
    "M33": ("thumb-freestanding-eabihf", "cortex_m33+dsp"),
    "M55": ("thumb-freestanding-eabihf", "cortex_m55+mve"),
}

COMPILE = {
    "gcc": (),
    "cc": (),
    "zig": (
        "-g", "-fno-sanitize=undefined", "-fno-unwind-tables", "-fno-exceptions",
        "-fno-asynchronous-unwind-tables",
    ),
}  # fmt: skip
"""What each compiler is told beside warnings, core and optimization."""

LINK = {"gcc": ("-lgcc", "-Wl,--no-warn-rwx-segments"), "zig": ("-lcompiler_rt", "-g")}
"""What each linker of images is told last."""


@dataclass(frozen=True)
class Toolchain:
    """A C compiler and linker.

    Attributes:
        name: ``"gcc"`` (arm-none-eabi), ``"zig"``, or ``"cc"`` (this computer's own).
        command: what calls it.
        version: as it says itself, first line.
    """

    name: str
    command: tuple[str, ...]
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def core_flags(self, core: str) -> tuple[str, ...]:
        """The flags that choose a core; none for the host.

        Raises:
            ToolchainError: this compiler builds for no such core.
        """
        if core == HOST:
            return ()
        if self.name == "zig" and core in ZIG_CORES:
            target, cpu = ZIG_CORES[core]
            return ("-target", target, f"-mcpu={cpu}")
        if self.name == "gcc" and core in GCC_CORES:
            return (*GCC_CORES[core], "-mthumb")
        raise ToolchainError(
            f"{self} does not build for core {core!r}; known: {', '.join(GCC_CORES)}. {INSTALL}"
        )

    def run(self, arguments: Sequence[str | Path]) -> str:
        """Call it; what it printed.

        Raises:
            ToolchainError: it failed; carries its output.
        """
        command = [*self.command, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ToolchainError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr


@cache
def _toolchain(name: str) -> Toolchain | None:
    if name == "zig":
        if importlib.util.find_spec("ziglang") is None:
            return None
        python_zig = (sys.executable, "-m", "ziglang")
        return Toolchain("zig", (*python_zig, "cc"), _first_line(*python_zig, "version"))
    names = {"gcc": ("arm-none-eabi-gcc",), "cc": ("cc", "gcc", "clang")}[name]
    path = next(filter(None, map(shutil.which, names)), None)
    return Toolchain(name, (path,), _first_line(path, "--version")) if path else None


def _first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or [""])[0].strip()


def find(name: str | None = None) -> Toolchain:
    """The cross compiler: arm-none-eabi-gcc where it is on PATH, else ziglang.

    Args:
        name: ``"gcc"`` or ``"zig"`` to have that one.

    Raises:
        ToolchainError: it is not here, or neither is; says what to install.
    """
    if name not in (None, "gcc", "zig"):
        raise UnknownNameError("toolchain", name, ("gcc", "zig"))
    for candidate in (name,) if name else ("gcc", "zig"):
        found = _toolchain(candidate)
        if found:
            return found
    raise ToolchainError(f"no {name or 'cross'} compiler for Cortex-M found. {INSTALL}")


def find_host() -> Toolchain:
    """A compiler for this computer: cc, gcc or clang on PATH, else ziglang.

    Raises:
        ToolchainError: none is here.
    """
    found = _toolchain("cc") or _toolchain("zig")
    if found is None:
        raise ToolchainError(
            "no C compiler for this computer found. Install gcc or clang, or the wheel: "
            "pip install ziglang."
        )
    return found
