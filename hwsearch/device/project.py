"""A firmware project as files: a network's C sources, one port, and a Makefile.

It builds what :func:`hwsearch.device.build` builds: the same sources, flags and linker script.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from hwsearch.device.image import defines, memory_script, sources
from hwsearch.device.port import FIRMWARE, Port
from hwsearch.device.toolchain import COMPILE, GCC_CORES, LINK, WARNINGS, ZIG_CORES

MODEL = "c"
"""Folder of the network's own C files, beside the project's."""

FOLDER = "firmware"


def project(target: Port, model: Sequence[str]) -> dict[str, bytes]:
    """The files of a project, by path.

    Args:
        target: where it runs; not the host.
        model: names of the network's C files and headers, which lie in :data:`MODEL`.

    Returns:
        ``firmware/Makefile``, ``firmware/image.ld``, ``firmware/README.md`` and the sources.
    """
    groups = {
        group: [_inside(p) for p in paths] for group, paths in sources(target, "aot").items()
    }
    groups["model"] = [f"../{MODEL}/{name}" for name in sorted(model) if name.endswith(".c")]
    paths = {path for group in groups.values() for path in group if not path.startswith("..")}
    folders = sorted({str(PurePosixPath(path).parent) for path in paths} | {"cortexm", "lib"})
    headers = [p for folder in folders for p in (FIRMWARE / folder).glob("*.h")]
    paths |= {_inside(path) for path in headers}
    files = {path: (FIRMWARE / path).read_bytes() for path in paths}
    files["image.ld"] = memory_script(target).encode()
    files["Makefile"] = _makefile(target, groups, folders).encode()
    files["README.md"] = _readme(target).encode()
    return {f"{FOLDER}/{name}": files[name] for name in sorted(files)}


def _inside(path: Path) -> str:
    return path.relative_to(FIRMWARE).as_posix()


def _makefile(target: Port, groups: dict[str, list[str]], folders: list[str]) -> str:
    objects = {
        f"build/{group}/{PurePosixPath(path).stem}.o": path
        for group, paths in groups.items()
        for path in paths
    }
    rules = "\n".join(
        f"{made}: {path} Makefile\n\t@mkdir -p $(@D)\n\t$(COMPILE) -c $< -o $@\n"
        for made, path in objects.items()
    )
    warnings = " ".join(flag for flag in WARNINGS if flag != "-Werror")
    includes = " ".join(f"-I{folder}" for folder in folders if folder != "lib")
    shell = "".join(f" '{flag}'" for flag in defines(target))
    zig_target, zig_core = ZIG_CORES[target.core]
    checksum = "\n\t$(PYTHON) -m hwsearch.device.boot2 $@" if target.boot2 else ""
    return f"""\
# make: build/image.elf for {target.name}, with arm-none-eabi-gcc, else zig (pip install ziglang).
# make flash: writes it to the board. TOOLCHAIN=gcc or zig chooses; FLAGS optimizes.
TOOLCHAIN ?= $(if $(shell command -v arm-none-eabi-gcc),gcc,zig)
PYTHON ?= python3
FLAGS ?= -O2

ifeq ($(TOOLCHAIN),gcc)
CC := arm-none-eabi-gcc
CORE := {" ".join(GCC_CORES[target.core])} -mthumb {" ".join(COMPILE["gcc"])}
LINK := {" ".join(LINK["gcc"])}
else
CC := $(PYTHON) -m ziglang cc
CORE := -target {zig_target} -mcpu={zig_core} {" ".join(COMPILE["zig"])}
LINK := {" ".join(LINK["zig"])}
endif

COMPILE = $(CC) {warnings} $(CORE) $(FLAGS) -MMD -MP -I../{MODEL} {includes} \\
  -isystem lib{shell}

OBJECTS := {" ".join(objects)}

build/image.elf: $(OBJECTS) image.ld
	$(CC) $(CORE) -O2 -nostdlib -Wl,--gc-sections $(OBJECTS) -T image.ld -o $@ $(LINK){checksum}

{rules}
{_flash(target)}
clean:
	rm -rf build

.PHONY: flash clean
-include $(OBJECTS:.o=.d)
"""


def _flash(target: Port) -> str:
    command = next((c for c in target.flash_command if "{bin}" not in c), "")
    if not command:
        return f'flash:\n\t@echo "{target.name} is emulated: there is no board to write to."\n'
    return f"flash: build/image.elf\n\t{command.format(elf='build/image.elf')}\n"


def _readme(target: Port) -> str:
    place = f"`{target.name}` (Cortex-{target.core})"
    checksum = (
        "\nThe boot loader's checksum is written by hwsearch, which must be installed.\n"
        if target.boot2
        else ""
    )
    device = "serial:///dev/ttyACM0" if target.flash_command else _emulated(target)
    return f"""\
# Firmware for {target.name}

`make` builds `build/image.elf` for {place}:
the network of `../{MODEL}`, start-up code, and a loop that runs the network on request over a
serial line. It needs make, and arm-none-eabi-gcc or zig (`pip install ziglang`). `make flash`
writes it to the board.
{checksum}
`hwsearch verify ../model.tflite --device {device} --port {target.name}`
builds an image of the same model, runs it and compares every output byte with TFLite Micro's.

In a project of your own: compile the C files of `../{MODEL}`. Nothing is allocated, and no C
library is needed but `memcpy` and `memset`.

```c
#include "model.h"

model_init();                        /* once */
memcpy(model_input(0), samples, MODEL_INPUT_0_BYTES);
model_invoke();
const MODEL_OUTPUT_0_TYPE *scores = model_output(0);
```
"""


def _emulated(target: Port) -> str:
    return f"qemu:{target.qemu}" if target.qemu else target.name.replace("-", ":", 1)
