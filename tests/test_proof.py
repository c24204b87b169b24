"""verify(): real images on emulated cores, bytes compared with TFLite Micro's."""

from __future__ import annotations

import numpy as np
import pytest
from tflite_network import Network

import hwsearch
from hwsearch import oracle, proof
from hwsearch.errors import InputError, RefusedError, UnknownNameError
from hwsearch.evaluate import quantized
from hwsearch.graph.tflite import read


@pytest.fixture(scope="module")
def content() -> bytes:
    network = Network(np.random.default_rng(3))
    x = network.input((1, 9, 7, 3))
    x = network.conv(x, 8, activation="relu")
    x = network.depthwise(x)
    return network.finish(network.dense(network.mean(x, (1, 2)), 5))


@pytest.mark.emulator
def test_an_image_gives_tflite_micros_bytes_and_counts_repeat(content: bytes) -> None:
    first = hwsearch.verify(content, "emulator:cortex-m4")
    again = hwsearch.verify(content, "emulator:cortex-m4")
    assert first.kind == "emulator"
    assert first.compared_outputs == 5 * proof.GENERATED
    assert first.mismatched_outputs == 0
    assert first.instructions == again.instructions
    assert first.latency_s is None and first.energy_j is None
    assert first.ram_bytes is not None and first.arena_bytes is not None
    assert first.ram_bytes > first.arena_bytes


@pytest.mark.emulator
def test_a_byte_that_differs_is_counted(content: bytes) -> None:
    model = read(content)
    x = np.zeros((2, 9, 7, 3), np.float32)
    outputs = oracle.run(content, [quantized(x, model, model.graph.inputs[0])]).outputs
    wrong = outputs[0].copy()
    wrong[1, 3] ^= 1
    found = proof.verify(content, "emulator:cortex-m4", x, expected=[wrong])
    assert (found.compared_outputs, found.mismatched_outputs) == (10, 1)


@pytest.mark.emulator
@pytest.mark.parametrize("core", ["M0+", "M3", "M7", "M33"])
def test_every_core_gives_the_same_bytes(content: bytes, core: str) -> None:
    found = proof.verify(content, proof.emulator_of(core))
    assert found.compared_outputs > 0 and found.mismatched_outputs == 0


def test_a_board_needs_its_port(content: bytes) -> None:
    with pytest.raises(InputError, match="port="):
        hwsearch.verify(content, "serial:///dev/ttyACM0")


def test_inputs_of_another_count_are_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="expected 1"):
        proof.verify(content, samples=[np.zeros((1, 2)), np.zeros((1, 2))])


def test_an_operator_that_the_compiler_lacks_is_named() -> None:
    network = Network(np.random.default_rng(0))
    x = network.input((1, 4, 4, 2))
    y = network.op("floor", [x], network.activation((1, 4, 4, 2), *network.quantization(x)))
    with pytest.raises(RefusedError, match="floor"):
        proof.verify(network.finish(y))


def test_a_float_network_is_refused_and_a_device_is_looked_at_first() -> None:
    import keras

    from hwsearch.convert import to_float_tflite

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(RefusedError, match=r"float32.*Quantize"):
        hwsearch.verify(to_float_tflite(model))
    with pytest.raises(UnknownNameError, match="toaster"):
        hwsearch.verify(b"", "toaster")
