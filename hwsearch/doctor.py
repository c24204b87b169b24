"""Findings: what this machine has of what hwsearch needs, and the command that mends the rest."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from hwsearch import oracle
from hwsearch.device import toolchain
from hwsearch.device.qemu import find_qemu
from hwsearch.errors import ToolchainError

FLASHERS = {
    "pyocd": "pip install pyocd",
    "st-flash": "sudo apt install stlink-tools",
    "openocd": "sudo apt install openocd",
    "picotool": "build it: https://github.com/raspberrypi/picotool",
}
"""Tools that write images to boards; one that knows the board is enough."""

WHEELS = (("unicorn", "emulated cores", "unicorn"), ("capstone", "their disassembler", "capstone"),
          ("elftools", "sizes by section", "pyelftools"))  # fmt: skip
"""Module, what it is for, name of its package."""

CHECKED = ("hwsearch", "tensorflow", "keras", "tf-keras", "tensorflow-model-optimization",
           "keras-tuner", "tensorboard", "litert-quantizer", "mlflow", "optuna")  # fmt: skip
"""Packages whose own requirements are held against what is installed: the known clashes
(protobuf, NumPy, a tf-keras of another TensorFlow) all show there."""

PYTHONS = ((3, 11), (3, 13))
"""First and last that TensorFlow 2.21 and the tflite-micro wheel exist for."""


@dataclass(frozen=True)
class Examined:
    """One thing that was looked for.

    Attributes:
        what: it.
        found: where or which, "" if it is missing or wrong.
        needed: whether hwsearch cannot do without.
        remedy: what to type or to do; "" where nothing is missing.
    """

    what: str
    found: str
    needed: bool = False
    remedy: str = ""

    @property
    def wrong(self) -> bool:
        """Whether something that is needed is missing."""
        return self.needed and not self.found


def examine() -> Iterator[Examined]:
    """Looks for everything, in the order in which hwsearch would."""
    yield from _compilers()
    for module, what, package in WHEELS:
        there = importlib.util.find_spec(module) is not None
        yield _present(f"{what}: {module}", there, f"pip install {package}", needed=True)
    yield _tool("emulated boards: QEMU", find_qemu)
    yield _present(
        "host oracle: tflite-micro",
        oracle.available(),
        "pip install --pre tflite-micro (Linux x86-64, Python 3.10 to 3.13)",
    )
    yield _program("builds exported firmware: make", "make", "sudo apt install make")
    for name, remedy in FLASHERS.items():
        yield _program(f"writes images: {name}", name, remedy)
    yield from _serial()
    yield from _environment(os.environ)
    yield from _versions()
    yield from _folders()


def _compilers() -> Iterator[Examined]:
    found = [_tool(f"cross compiler: {name}", partial(toolchain.find, name))
             for name in ("gcc", "zig")]  # fmt: skip
    yield from found
    if not any(f.found for f in found):
        yield Examined("a cross compiler", "", True, "pip install ziglang")
    yield _tool("compiler of this computer", toolchain.find_host)


def _present(what: str, there: bool, remedy: str, needed: bool = False) -> Examined:
    return Examined(what, "yes" if there else "", needed, "" if there else remedy)


def _program(what: str, name: str, remedy: str) -> Examined:
    found = shutil.which(name) or ""
    return Examined(what, found, remedy="" if found else remedy)


def _tool(what: str, find: Callable[[], object]) -> Examined:
    try:
        return Examined(what, str(find()))
    except ToolchainError as error:
        return Examined(what, "", False, str(error).split(". ", 1)[-1])


def _serial() -> Iterator[Examined]:
    from serial.tools.list_ports import comports

    ports = [p for p in comports() if p.hwid != "n/a"]  # a socket of the PC with nothing behind
    listed = ", ".join(f"{p.device} ({p.description})" for p in ports)
    yield Examined("serial ports", listed, remedy="" if ports else "connect a board")
    for found in ports:
        yield permission(found.device)


def permission(device: str) -> Examined:
    """Whether this user may open a serial port, and how to be allowed to."""
    what = f"may use {device}"
    if os.access(device, os.R_OK | os.W_OK):
        return Examined(what, "yes")
    try:
        group = Path(device).group()
    except (KeyError, OSError):
        group = "dialout"
    remedy = f'sudo usermod -aG {group} "$USER", then log in again'
    return Examined(what, "", remedy=remedy)


def _environment(variables: os._Environ[str] | dict[str, str]) -> Iterator[Examined]:
    """Python, and environment variables that make Keras another one."""
    here = sys.version_info[:2]
    known = PYTHONS[0] <= here <= PYTHONS[1]
    text = ".".join(map(str, here))
    yield Examined("Python", text if known else "", True,
                   "" if known else f"{text} is not supported: use 3.11 to 3.13")  # fmt: skip
    legacy = variables.get("TF_USE_LEGACY_KERAS", "0").lower() not in ("0", "false", "")
    yield Examined("Keras 3 inside TensorFlow", "" if legacy else "yes", True,
                   "unset TF_USE_LEGACY_KERAS" if legacy else "")  # fmt: skip
    backend = variables.get("KERAS_BACKEND", "tensorflow")
    right = backend == "tensorflow"
    yield Examined("Keras on TensorFlow", "yes" if right else "", True,
                   "" if right else f"unset KERAS_BACKEND (it is {backend})")  # fmt: skip


def _versions() -> Iterator[Examined]:
    """The packages that are installed, and whose requirements are not met."""
    for name in CHECKED:
        try:
            own = version(name)
        except PackageNotFoundError:
            if name != "hwsearch":  # a checkout on PYTHONPATH is not installed
                yield Examined(name, "", True, f"pip install {name}")
            continue
        clashes = unmet(name)
        yield Examined(
            name,
            "" if clashes else own,
            True,
            f"pip install {' '.join(clashes)} (needed by {name} {own})" if clashes else "",
        )


def unmet(name: str) -> list[str]:
    """Requirements of an installed package that what is installed does not meet, quoted."""
    found = []
    for line in requires(name) or ():
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            continue
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            holds = wanted.specifier.contains(version(wanted.name), prereleases=True)
        except PackageNotFoundError:
            holds = False
        if not holds:
            found.append(f"'{wanted.name}{wanted.specifier}'")
    return found


def _folders() -> Iterator[Examined]:
    here = Path.cwd()
    may = os.access(here, os.W_OK)
    yield _present(f"may write to {here}", may, "cd to a folder of yours", needed=True)
    free = shutil.disk_usage(here).free
    enough = free > 2 << 30
    yield Examined(
        "free disk", f"{free / 2**30:.1f} GiB" if enough else "", True,
        "" if enough else f"{free / 2**30:.1f} GiB are free: make room for 2 GiB",
    )  # fmt: skip
