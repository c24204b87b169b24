"""Generated networks compiled for a Cortex-M and run function by function in Unicorn."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import capstone
import numpy as np
import unicorn
from codegen.generated_host import FLAGS, Job, Sample
from elftools.elf.elffile import ELFFile
from unicorn import arm_const as arm

from hwsearch import codegen as compiler
from hwsearch.graph import tflite

CORES = {
    "cortex-m0plus": arm.UC_CPU_ARM_CORTEX_M0,
    "cortex-m3": arm.UC_CPU_ARM_CORTEX_M3,
    "cortex-m4": arm.UC_CPU_ARM_CORTEX_M4,
    "cortex-m7": arm.UC_CPU_ARM_CORTEX_M7,
    "cortex-m33": arm.UC_CPU_ARM_CORTEX_M33,
}

_LINK = """
MEMORY {
  CODE (rx) : ORIGIN = 0x00010000, LENGTH = 8M
  DATA (rwx) : ORIGIN = 0x20000000, LENGTH = 4M
}
SECTIONS {
  .text : { KEEP(*(.keep*)) *(.text*) *(.rodata*) } > CODE
  .ARM.exidx : { *(.ARM.exidx*) } > CODE
  .data : { *(.data*) } > DATA
  .bss (NOLOAD) : { *(.bss*) *(COMMON) } > DATA
}
"""
_MEMORY = """
#include <stddef.h>
void *memcpy(void *to, const void *from, size_t n)
{
    char *t = to;
    const char *f = from;
    while (n--) *t++ = *f++;
    return to;
}
void *memset(void *to, int c, size_t n)
{
    char *t = to;
    while (n--) *t++ = (char)c;
    return to;
}
void __aeabi_memclr(void *to, size_t n) { (void)memset(to, 0, n); }
void __aeabi_memclr4(void *to, size_t n) { (void)memset(to, 0, n); }
void __aeabi_memclr8(void *to, size_t n) { (void)memset(to, 0, n); }
void __aeabi_memset(void *to, size_t n, int c) { (void)memset(to, c, n); }
void __aeabi_memcpy(void *to, const void *from, size_t n) { (void)memcpy(to, from, n); }
void __aeabi_memcpy4(void *to, const void *from, size_t n) { (void)memcpy(to, from, n); }
"""
RETURN = 0x00008000
STACK = 0x20400000 + 0x10000
PAINTED = 8192


def compilers() -> dict[str, list[str]]:
    """The cross compilers there are, by name."""
    found = {}
    if shutil.which("arm-none-eabi-gcc"):
        found["gcc"] = ["arm-none-eabi-gcc", "-mthumb", "-nostartfiles", "-specs=nosys.specs"]
    try:
        import ziglang  # noqa: F401
    except ImportError:
        return found
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabi"]
    return {**found, "zig": zig}


def build(
    contents: Sequence[bytes],
    folder: Path,
    name: str,
    core: str,
    formats: Sequence[Mapping[int, str]] | None = None,
) -> Path:
    """An ELF with all these networks, to be called function by function; formats where given."""
    sources: set[str] = set()
    keep = []
    for n, content in enumerate(contents):
        made = compiler.generate(
            content, folder, f"net{n}", formats=formats[n] if formats else None
        )
        sources |= {str(p) for p in made.files if p.suffix == ".c"}
        keep += [f"net{n}_invoke", f"net{n}_input", f"net{n}_output"]
    (folder / "link.ld").write_text(_LINK)
    (folder / "memory.c").write_text(_MEMORY)
    table = "".join(f"void {name}(void);\n" for name in keep)
    table += '__attribute__((used, section(".keep"))) void (*const keep[])(void) = {'
    (folder / "keep.c").write_text(table + ", ".join(keep) + "};\n")
    cpu = core
    if name == "zig":
        cpu = core.replace("-", "_") + ("+dsp" if core == "cortex-m33" else "")
    program = folder / f"{name}-{core}.elf"
    extra = [str(folder / "memory.c")] if name == "zig" else []
    subprocess.run(
        [*compilers()[name], f"-mcpu={cpu}", *FLAGS, "-O2", "-fno-builtin", "-T",
         str(folder / "link.ld"), "-Wl,-e,net0_invoke", *sorted(sources), *extra,
         str(folder / "keep.c"), "-o", str(program)],
        check=True,
    )  # fmt: skip
    return program


class Machine:
    """A core with a program in its memory."""

    def __init__(self, program: Path, core: str) -> None:
        self.engine = unicorn.Uc(
            unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS
        )
        self.engine.ctl_set_cpu_model(CORES[core])
        self.engine.mem_map(0, 16 << 20)
        self.engine.mem_map(0x20000000, 8 << 20)
        self.symbols: dict[str, int] = {}
        with program.open("rb") as file:
            elf = ELFFile(file)
            for segment in elf.iter_segments("PT_LOAD"):
                self.engine.mem_write(segment["p_vaddr"], segment.data())
            for symbol in elf.get_section_by_name(".symtab").iter_symbols():
                self.symbols[symbol.name] = symbol["st_value"]

    def call(self, function: str, argument: int = 0) -> int:
        """Run a function to its end; gives what it returns."""
        engine = self.engine
        engine.reg_write(arm.UC_ARM_REG_R0, argument)
        engine.reg_write(arm.UC_ARM_REG_SP, STACK)
        engine.reg_write(arm.UC_ARM_REG_LR, RETURN | 1)
        engine.emu_start(self.symbols[function] | 1, RETURN)
        return int(engine.reg_read(arm.UC_ARM_REG_R0))

    def measure(self, function: str) -> tuple[int, int]:
        """(instructions, bytes of stack) of one call; blocks are decoded once and counted."""
        decoder = capstone.Cs(
            capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS
        )
        lengths: dict[int, int] = {}
        total = 0

        def block(engine: unicorn.Uc, address: int, size: int, _: object) -> None:
            nonlocal total
            if address not in lengths:
                code = bytes(engine.mem_read(address, size))
                lengths[address] = sum(1 for _ in decoder.disasm_lite(code, address))
            total += lengths[address]

        paint = b"\xa5" * PAINTED
        self.engine.mem_write(STACK - PAINTED, paint)
        hook = self.engine.hook_add(unicorn.UC_HOOK_BLOCK, block)
        assert self.call(function) == 0
        self.engine.hook_del(hook)
        left = bytes(self.engine.mem_read(STACK - PAINTED, PAINTED))
        untouched = len(left) - len(left.lstrip(b"\xa5"))
        return total, PAINTED - untouched


def run(program: Path, core: str, jobs: Sequence[Job]) -> list[list[Sample]]:
    """Outputs of a program made by :func:`build`, per network and sample."""
    machine = Machine(program, core)
    outputs = []
    for n, (content, samples) in enumerate(jobs):
        graph = tflite.read(content).graph
        made: list[Sample] = []
        for sample in samples:
            for i, x in enumerate(sample):
                machine.engine.mem_write(machine.call(f"net{n}_input", i), x.tobytes())
            assert machine.call(f"net{n}_invoke") == 0
            got: Sample = []
            for i, index in enumerate(graph.outputs):
                tensor = graph.tensors[index]
                at = machine.call(f"net{n}_output", i)
                raw = bytes(machine.engine.mem_read(at, tensor.size_bytes))
                got.append(np.frombuffer(raw, tensor.dtype).reshape(tensor.shape))
            made.append(got)
        outputs.append(made)
    return outputs
