"""A generated network gives the oracle's bytes on every device, and takes the same everywhere."""

import numpy as np
import pytest
from tflite_network import Network

from hwsearch import oracle
from hwsearch.codegen import generate
from hwsearch.device import build, port_of
from hwsearch.device import open as open_device
from tests.firmware.images import folder, require


def network():
    """A small depthwise-separable network with a residual, as keyword spotters are."""
    net = Network(np.random.default_rng(3))
    x = net.conv(net.input((1, 12, 10, 1)), 9, (3, 3), (2, 2), activation="relu")
    y = net.conv(net.depthwise(x, activation="relu"), 9, (1, 1), activation="relu")
    x = net.mean(net.binary("add", x, y))
    return net.finish(net.unary("softmax")(net.dense(x, 5)))


@pytest.fixture(scope="module")
def case():
    """(model folder, samples, outputs of TFLite Micro)."""
    if not oracle.available():
        pytest.skip("the tflite-micro wheel is not installed")
    content = network()
    sources = folder() / "generated"
    generate(content, sources)
    samples = np.random.default_rng(4).integers(-128, 128, (4, 1, 12, 10, 1)).astype(np.int8)
    said = oracle.run(content, [samples], 65536)
    return sources, [[s.tobytes()] for s in samples], [o.tobytes() for o in said.outputs[0]]


DEVICES = [
    ("loop://", "gcc"), ("emulator:cortex-m0", "gcc"), ("emulator:cortex-m3", "gcc"),
    ("emulator:cortex-m4", "gcc"), ("emulator:cortex-m4", "zig"), ("emulator:cortex-m7", "gcc"),
    ("emulator:cortex-m33", "gcc"), ("qemu:mps2-an386", "gcc"), ("qemu:mps3-an547", "gcc"),
]  # fmt: skip


@pytest.mark.emulator
@pytest.mark.parametrize(("url", "toolchain"), DEVICES)
def test_every_device_gives_the_bytes_of_tflite_micro(case, url, toolchain):
    sources, samples, expected = case
    if url.startswith("emulator"):
        require("unicorn", "capstone")
    if url.startswith("qemu"):
        require("qemu-system-arm")
    require({"gcc": "arm-none-eabi-gcc", "zig": "ziglang"}[toolchain])
    name = f"{url}-{toolchain}".replace(":", "-").replace("/", "")
    image = build(sources, str(port_of(url)), folder() / name, toolchain=toolchain)
    with open_device(url, image) as device:
        measured = device.run(samples)
    assert [o[0] for o in measured.outputs] == expected
    header = (sources / "model.h").read_text()
    assert f"#define MODEL_ARENA_BYTES {measured.memory.arena_bytes}" in header
    if url != "loop://":
        assert measured.instructions > 10_000
        assert 0 < measured.memory.stack_used_bytes < 2048
        assert measured.memory.arena_bytes <= image.ram_bytes < measured.memory.arena_bytes + 16
