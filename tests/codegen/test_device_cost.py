"""What generated code takes on an emulated Cortex-M4: instructions, RAM, and the bytes it makes.

The bounds are shares of what CMSIS-NN takes under TFLite Micro (autumn 2026, gcc 12 -O2, the same
models): 7.70 M, 29.87 M and 0.596 M instructions; and our own stretch goals for RAM.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from codegen import generated_device
from codegen.generated_host import differences, oracle, random_samples
from tflite_network import Network

from hwsearch import codegen as compiler

MLPERF = Path(__file__).parents[2] / ".." / "shared" / "models" / "mlperf_tiny"
pytestmark = pytest.mark.emulator


def autoencoder() -> bytes:
    """640-128x4-8-128x4-640, the shape of MLPerf Tiny's."""
    net = Network(np.random.default_rng(1))
    x = net.input((1, 640))
    for units in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        x = net.dense(x, units, "relu")
    return net.finish(net.dense(x, 640))


def content_of(name: str) -> bytes:
    if name == "autoencoder":
        return autoencoder()
    if not MLPERF.is_dir():
        pytest.skip("no MLPerf Tiny models")
    return (MLPERF / name).read_bytes()


@pytest.mark.parametrize("name", ["gcc", pytest.param("zig", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("model", "instructions", "ram_bytes"),
    [
        ("kws_ref_model.tflite", 0.80 * 7.70e6, 10_500),
        ("pretrainedResnet_quant.tflite", 0.70 * 29.87e6, 36_000),
        ("autoencoder", 0.75 * 0.596e6, 16_000),
    ],
)
def test_cost_on_cortex_m4(
    model: str, instructions: float, ram_bytes: int, name: str, tmp_path: Path
) -> None:
    if name not in generated_device.compilers():
        pytest.skip(f"no {name} for Cortex-M here")
    content = content_of(model)
    made = compiler.generate(content, tmp_path / "made")
    program = generated_device.build([content], tmp_path, name, "cortex-m4")
    machine = generated_device.Machine(program, "cortex-m4")
    count, stack = machine.measure("net0_invoke")
    print(f"{model} {name}: {count} instructions, {made.arena_bytes} + {stack} B of RAM")
    assert count <= instructions
    assert made.arena_bytes + stack <= ram_bytes
    jobs = [(content, random_samples(content, 2, np.random.default_rng(5)))]
    assert differences(oracle(jobs), generated_device.run(program, "cortex-m4", jobs)) == [0]
