"""Sparse and palette weights: packed and back, and byte for byte what TFLite Micro computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from codegen import generated_device
from codegen.generated_host import (
    SANITIZERS,
    build,
    differences,
    oracle,
    random_samples,
    run,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from tflite_writer import Network, random_network

from benchmarks.compressed import clustered, pruned
from hwsearch import codegen as compiler
from hwsearch.codegen import packing
from hwsearch.codegen.formats import counted, eligible
from hwsearch.errors import InputError
from hwsearch.graph import tflite

SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, max_side=70)


@st.composite
def sparse_weights(draw: st.DrawFn) -> NDArray[np.int8]:
    weights = draw(arrays.arrays(np.int8, SHAPES))
    kept = np.random.default_rng(draw(st.integers(0, 99))).random(weights.shape)
    return np.where(kept < draw(st.sampled_from([0.01, 0.1, 0.5, 1.0])), weights, 0)


def unpacked(stream: bytes, rows: int, values: int) -> NDArray[np.int8]:
    """What nn.h says of the layout, byte by byte."""
    weights, at = np.zeros((rows, values), np.int8), 0
    for row in range(rows):
        fours, place = int.from_bytes(stream[at : at + 2], "little"), 0
        at += 2
        for _ in range(fours):
            steps = int.from_bytes(stream[at : at + 2], "little")
            for n in range(4):
                place += steps >> 4 * n & 15
                weights[row, place] += int.from_bytes(stream[at + 2 + n : at + 3 + n], signed=True)
            at += 6
    assert at == len(stream)
    return weights


@given(sparse_weights())
@settings(max_examples=150, deadline=None)
def test_sparse_weights_and_back(weights: NDArray[np.int8]) -> None:
    stream = packing.sparse(weights)
    assert np.array_equal(unpacked(stream.tobytes(), *weights.shape), weights)
    fours = sum(-(-len(packing.entries(row)[0]) // 4) for row in weights)
    assert len(stream) == 2 * len(weights) + 6 * fours


@given(arrays.arrays(np.int8, SHAPES), st.lists(st.integers(-128, 127), min_size=1, max_size=16))
@settings(max_examples=150, deadline=None)
def test_palettes_and_back(drawn: NDArray[np.int8], values: list[int]) -> None:
    weights = np.array(values, np.int8)[drawn % len(values)]
    depth = weights.shape[1]
    palette, packed = packing.palette(weights, depth)
    halves = np.stack([packed.view(np.uint8) & 15, packed.view(np.uint8) >> 4], axis=-1)
    pairs = (len(weights) + 1) // 2
    # [pair, group, channel, k] -> [channel, place]
    places = palette[halves].reshape(pairs, -1, 2, 2).transpose(0, 2, 1, 3).reshape(2 * pairs, -1)
    order = packing.order(depth, depth, 8)
    found = np.zeros_like(weights)
    found[:, order[order >= 0]] = places[: len(weights), order >= 0]
    assert np.array_equal(found, weights)


def forced(content: bytes, name: str) -> dict[int, str]:
    return dict.fromkeys(eligible(tflite.read(content).graph), name)


def compressed(count: int, start: int) -> tuple[list[bytes], list[dict[int, str]]]:
    """Random networks, some pruned, some clustered, each in the format made for it."""
    contents, formats = [], []
    for seed in range(start, start + count):
        rng = np.random.default_rng(seed)
        content = random_network(rng)
        if seed % 2:
            content = pruned(content, float(rng.choice([0.2, 0.5, 0.8, 0.95, 1.0])))
            formats.append(forced(content, "sparse"))
        else:
            content = clustered(content, int(rng.integers(1, 17)))
            formats.append(forced(content, "palette"))
        contents.append(content)
    return contents, formats


def wide() -> tuple[list[bytes], list[dict[int, str]]]:
    """Blocks of many turns, odd and even groups, whole tiles and rests, rows of several kinds."""
    contents, formats = [], []
    for channels, made in ((64, 10), (101, 9), (3, 8)):
        net = Network(np.random.default_rng(channels))
        x = net.input((1, 7, 5, channels))
        x = net.conv(net.conv(x, made, (3, 3)), made + 3, (1, 1), activation="relu")
        content = net.finish(net.dense(net.reshape(x, (1, 35 * (made + 3))), 7))
        contents += [pruned(content, 0.7), clustered(content, 16)]
        formats += [forced(content, "sparse"), forced(content, "palette")]
    return contents, formats


def check_on_host(contents: list[bytes], formats: list[dict[int, str]], folder: Path) -> None:
    jobs = [(c, random_samples(c, 4, np.random.default_rng(1))) for c in contents]
    got = run(build(contents, folder, ["-O1", *SANITIZERS], formats), jobs)
    assert differences(oracle(jobs), got) == [0] * len(contents)


def test_wide_networks_on_host(tmp_path: Path) -> None:
    check_on_host(*wide(), tmp_path)


def test_random_networks_on_host(tmp_path: Path) -> None:
    check_on_host(*compressed(30, 0), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("start", [1000, 2000])
def test_many_random_networks_on_host(start: int, tmp_path: Path) -> None:
    check_on_host(*compressed(100, start), tmp_path)


def check_on_core(name: str, core: str, count: int, folder: Path) -> None:
    if name not in generated_device.compilers():
        pytest.skip(f"no {name} for Cortex-M here")
    contents, formats = (a + b for a, b in zip(compressed(count, 700), wide(), strict=True))
    jobs = [(c, random_samples(c, 3, np.random.default_rng(1))) for c in contents]
    program = generated_device.build(contents, folder, name, core, formats)
    wrong = differences(oracle(jobs), generated_device.run(program, core, jobs))
    assert wrong == [0] * len(contents)


@pytest.mark.emulator
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus"])
def test_networks_on_a_core(core: str, tmp_path: Path) -> None:
    found = generated_device.compilers()
    check_on_core("gcc" if "gcc" in found else "zig", core, 10, tmp_path)


@pytest.mark.slow
@pytest.mark.emulator
@pytest.mark.parametrize("compiler", ["gcc", "zig"])
@pytest.mark.parametrize("core", list(generated_device.CORES))
def test_networks_on_every_core(core: str, compiler: str, tmp_path: Path) -> None:
    check_on_core(compiler, core, 40, tmp_path)


def test_what_weights_are_like() -> None:
    net = Network(np.random.default_rng(0))
    net.dense(net.input((1, 40)), 3)
    model = tflite.read(pruned(net.finish(), 1.0))
    values, weights = counted(model), model.graph.ops[0].inputs[1]
    assert (values.fours[0, weights], values.distinct[0, weights]) == (0, 1)


@pytest.mark.parametrize(
    ("formats", "word"),
    [({0: "zip"}, "Expected dense"), ({1: "sparse"}, "convolution"), ({0: "palette"}, "16")],
)
def test_formats_that_weights_cannot_have(
    formats: dict[int, str], word: str, tmp_path: Path
) -> None:
    net = Network(np.random.default_rng(0))
    net.unary("tanh")(net.conv(net.input((1, 4, 4, 8)), 8))
    with pytest.raises(InputError, match=word):
        compiler.generate(net.finish(), tmp_path, formats=formats)
