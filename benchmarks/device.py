"""Print what generated networks take of an emulated Cortex-M4: ``make bench-device``.

Instructions are counted by Unicorn's basic blocks and, where qemu-system-arm is installed, by
QEMU's ``-icount`` on an mps2-an386; RAM is arena + scratch + stack of an invoke, by painting; the
image is weights, kernels and start-up, without wire and commands. MODELS defaults to
``../shared/models/mlperf_tiny``; the autoencoder is written here, since instructions do not depend
on its weights. Every output byte is compared with TFLite Micro's.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hwsearch.codegen import generate
from hwsearch.device import Image, Measured, build, port_of
from hwsearch.device import open as open_device
from hwsearch.errors import ToolchainError
from tests.tflite_network import Network

MODELS = Path(__file__).parents[1] / ".." / "shared" / "models" / "mlperf_tiny"
RIVALS = {  # TFLite Micro with CMSIS-NN of autumn 2026, gcc 12 -O2, QEMU mps2-an386: issue 3
    "DS-CNN": (7.70e6, 22_820, 158.0e3),
    "ResNet-8": (29.87e6, 54_996, 207.7e3),
    "autoencoder": (0.596e6, 15_940, None),
}
TARGETS = {"DS-CNN": (0.80, 16_000), "ResNet-8": (0.70, 49_152), "autoencoder": (0.75, None)}
COLUMNS = (
    "model", "compiler", "instructions", "QEMU", "of CMSIS-NN", "target", "cycles, bounds",
    "arena B", "stack B", "RAM B", "image B", "differ",
)  # fmt: skip


def autoencoder() -> bytes:
    """The MLPerf Tiny anomaly detector: dense 640-128x4-8-128x4-640, int8, random weights."""
    net = Network(np.random.default_rng(0))
    x = net.input((1, 640))
    for units in (128,) * 4 + (8,) + (128,) * 4:
        x = net.dense(x, units, "relu")
    net.dense(x, 640)
    return net.finish()


def models(folder: Path) -> dict[str, bytes]:
    """The networks by name; those whose file is absent are left out, with a line that says so."""
    found = {}
    for name, file in (
        ("DS-CNN", "kws_ref_model.tflite"),
        ("ResNet-8", "pretrainedResnet_quant.tflite"),
    ):
        if (folder / file).exists():
            found[name] = (folder / file).read_bytes()
        else:
            print(f"{name} left out: {folder / file} is not here", file=sys.stderr)
    return {**found, "autoencoder": autoencoder()}


def run(url: str, image: Image, samples: list[bytes]) -> Measured:
    """What a device measures of an image."""
    with open_device(url, image) as device:
        return device.run([[sample] for sample in samples])


def oracle(content: bytes, samples: list[bytes]) -> list[bytes] | None:
    """TFLite Micro's outputs; None where its wheel is missing."""
    try:
        from tflite_micro.python.tflite_micro import runtime
    except ImportError:
        return None
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=1 << 20)
    details = interpreter.get_input_details(0)
    outputs = []
    for sample in samples:
        shape = tuple(details["shape"])
        interpreter.set_input(np.frombuffer(sample, np.int8).reshape(shape), 0)
        interpreter.invoke()
        outputs.append(bytes(interpreter.get_output(0).tobytes()))
    return outputs


def row(name: str, content: bytes, compiler: str, flags: Sequence[str], count: int) -> list[str]:
    """One line of the table."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="hwsearch-bench-") as folder:
        sources = Path(folder) / "model"
        generate(content, sources)
        images = {
            url: build(
                sources, str(port_of(url)), Path(folder) / url.replace(":", "-"),
                toolchain=compiler, flags=flags,
            )
            for url in ("emulator:cortex-m4", "qemu:mps2-an386")
        }  # fmt: skip
        header = (sources / "model.h").read_text()
        size = int(header.split("MODEL_INPUT_0_BYTES ")[1].split()[0])
        samples = [rng.integers(-128, 128, size, np.int8).tobytes() for _ in range(count)]
        core = run("emulator:cortex-m4", images["emulator:cortex-m4"], samples)
        whole = None
        if shutil.which("qemu-system-arm"):
            whole = run("qemu:mps2-an386", images["qemu:mps2-an386"], samples)
    expected = oracle(content, samples)
    differ = "?"
    if expected is not None:
        runs = [core] + ([whole] if whole else [])
        differ = str(
            sum(
                a != b
                for measured in runs
                for got, wanted in zip(measured.outputs, expected, strict=True)
                for a, b in zip(got[0], wanted, strict=True)
            )
        )
    image = images["emulator:cortex-m4"]
    instructions = core.instructions or 0
    stack = core.memory.stack_used_bytes
    rival, target = RIVALS[name], TARGETS[name]
    bounds = f"{core.cycles.low / 1e6:.2f}–{core.cycles.high / 1e6:.2f} M" if core.cycles else "?"
    return [
        name, f"{compiler} {' '.join(flags)}", f"{instructions:,}",
        f"{whole.instructions:,}" if whole else "not installed",
        f"{instructions / rival[0]:.2f}", f"{target[0]:.2f}", bounds,
        f"{core.memory.arena_bytes:,}", f"{stack:,}", f"{image.ram_bytes + stack:,}",
        f"{image.flash_bytes:,}", differ,
    ]  # fmt: skip


def main() -> int:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="?", type=Path, default=MODELS)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--flags", default="-O2", help="compiler flags, e.g. -Os")
    arguments = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    for name, content in models(arguments.models).items():
        for compiler in ("gcc", "zig"):
            try:
                cells = row(name, content, compiler, arguments.flags.split(), arguments.samples)
            except ToolchainError as error:
                cells = [name, compiler, str(error).splitlines()[0]]
            print(f"| {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
