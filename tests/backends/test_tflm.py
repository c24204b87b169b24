"""TFLite Micro's memory, code and refusals against its own wheel and against linked images."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np
import operators
import pytest
import wheel
from tflite_network import Network
from tflite_writer import random_network

from hwsearch import oracle
from hwsearch.backends import backend
from hwsearch.backends.tflm import BACKENDS, CMSIS_NN, FLOAT_ONLY, INT16, REFERENCE, SUPPORTED
from hwsearch.cost.columns import Columns
from hwsearch.graph import Graph, Op, Tensor
from hwsearch.graph.tflite import read

needs_wheel = pytest.mark.skipif(not oracle.available(), reason="no tflite-micro wheel here")
SHARED = Path(__file__).parents[2] / ".." / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared is not here")
TINY = SHARED / "models" / "mlperf_tiny"
SCHEMES = (("int8", 8), ("int16", 8), ("int8", 4))


def _compare(contents: list[bytes]) -> int:
    """Holds predictions to the wheel; gives how many networks it ran."""
    tflm = backend("tflm")
    for number, (content, run) in enumerate(zip(contents, wheel.run(contents), strict=True)):
        graph = read(content).graph
        kinds = [op.kind for op in graph.ops]
        assert run.arena is not None, (number, kinds, run.said)
        assert not tflm.refusals(graph), (number, kinds)
        ram = tflm.ram(Columns.of(graph))
        assert ram.arena.tolist() == [run.arena], (number, kinds)
        # Of a 64-bit host: pointers make it larger, by no more than half again and a constant.
        assert ram.persistent[0] < run.persistent <= 1.6 * ram.persistent[0] + 1200, number
    return len(contents)


@needs_wheel
def test_arena_is_that_of_the_wheel() -> None:
    contents = [
        random_network(np.random.default_rng(seed), dtype, bits)
        for dtype, bits in SCHEMES
        for seed in range(15)
    ]
    assert _compare(contents) == 45


@needs_wheel
@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "bits"), SCHEMES)
def test_arena_is_that_of_the_wheel_on_many(dtype: str, bits: int) -> None:
    rngs = (np.random.default_rng([seed, bits]) for seed in range(150))
    contents = [random_network(rng, dtype, bits, layers=1 + k % 8) for k, rng in enumerate(rngs)]
    assert _compare(contents) == 150


@needs_wheel
def test_arena_of_odd_topologies() -> None:
    """Unread inputs, an input that is an output, outputs in the middle, siblings."""

    def start() -> tuple[Network, int]:
        net = Network(np.random.default_rng(0))
        return net, net.input((1, 64))

    net, x = start()
    net.input((1, 4096))
    contents = [net.finish(net.unary("relu")(x))]
    net, x = start()
    net.input((1, 40))
    contents.append(net.finish(net.unary("relu")(net.unary("relu")(x))))
    net, x = start()
    other = net.input((1, 48))
    contents.append(net.finish(net.unary("relu")(x), other))
    net, x = start()
    y = net.unary("relu")(x)
    contents.append(net.finish(y, net.unary("relu")(y)))
    net, x = start()
    net.unary("relu")(x)  # nothing reads its output
    contents.append(net.finish(net.unary("relu6")(net.unary("relu")(x))))
    assert _compare(contents) == 5


@needs_wheel
@needs_shared
def test_arena_of_the_mlperf_models() -> None:
    assert _compare([(TINY / name).read_bytes() for name in _MLPERF.values()]) == 2


@needs_wheel
@pytest.mark.parametrize("dtype", ["int8", "int16", "float32"])
def test_refusals_and_arena_of_every_operator(dtype: str) -> None:
    """What it accepts runs, with this arena; what it refuses, the wheel refuses."""
    tflm = backend("tflm")
    networks = operators.single(dtype)
    wrong = {}
    for (name, content), run in zip(
        networks.items(), wheel.run(list(networks.values())), strict=True
    ):
        graph = read(content).graph
        refused = tflm.refusals(graph)
        if bool(refused) != (run.arena is None):
            wrong[name] = [str(r) for r in refused] or run.said[-200:]
        elif run.arena is not None and tflm.ram(Columns.of(graph)).arena[0] != run.arena:
            wrong[name] = (int(tflm.ram(Columns.of(graph)).arena[0]), run.arena)
    assert wrong == {}
    assert len(networks) > 70


@needs_wheel
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_refusals_of_low_bits(dtype: str, per_channel: bool, bits: int) -> None:
    def conv(net: Network) -> bytes:
        return net.finish(net.conv(net.input((1, 6, 6, 4)), 6, per_channel=per_channel))

    def depthwise(net: Network) -> bytes:
        return net.finish(net.depthwise(net.input((1, 6, 6, 4)), per_channel=per_channel))

    def dense(net: Network) -> bytes:
        return net.finish(net.dense(net.input((1, 12)), 6, per_channel=per_channel))

    builders = (conv, depthwise, dense)
    contents = [build(Network(np.random.default_rng(0), dtype, bits)) for build in builders]
    for build, content, run in zip(builders, contents, wheel.run(contents), strict=True):
        refused = backend("tflm").refusals(read(content).graph)
        assert bool(refused) == (run.arena is None), (build.__name__, refused, run.said[-300:])


def test_a_refusal_says_which_why_and_what_helps() -> None:
    net = Network(np.random.default_rng(0), "int16")
    content = net.finish(net.unary("hard_swish")(net.conv(net.input((1, 4, 4, 2)), 3)))
    (refusal,) = backend("tflm").refusals(read(content).graph)
    assert (refusal.op_index, refusal.kind) == (1, "hard_swish")
    assert "16-bit" in str(refusal) and "Space(activation_bits=(8,))" in str(refusal)


def test_tables_are_consistent() -> None:
    assert INT16 <= SUPPORTED and FLOAT_ONLY <= SUPPORTED and not FLOAT_ONLY & INT16


def test_hybrid_operators_are_refused() -> None:
    tensors = (
        Tensor("x", (1, 4), "float32"),
        Tensor("w", (3, 4), "int8", 12, 1),
        Tensor("y", (1, 3), "float32"),
    )
    graph = Graph(tensors, (Op("fully_connected", (0, 1, -1), (2,)),), (0,), (2,))
    assert "float activations" in str(backend("tflm").refusals(graph)[0])


# RAM in all, on 32 bits

_MLPERF = {"mlperf_kws": "kws_ref_model.tflite", "mlperf_ic": "pretrainedResnet_quant.tflite"}
_AUTOENCODER = "dense_autoencoder_640_128x4_8_128x4_640"


def _autoencoder() -> bytes:
    net = Network(np.random.default_rng(0))
    x = net.input((1, 640))
    for units in (128,) * 4 + (8,) + (128,) * 4:
        x = net.dense(x, units, "relu", per_channel=True)
    return net.finish(net.dense(x, 640, per_channel=True))


@needs_shared
def test_totals_measured_on_32_bits() -> None:
    checked = 0
    with (SHARED / "data" / "published" / "tflm_on_m4.csv").open() as file:
        for row in csv.DictReader(file):
            if row["model"] in _MLPERF:
                content = (TINY / _MLPERF[row["model"]]).read_bytes()
            elif row["model"] == _AUTOENCODER:
                content = _autoencoder()
            else:
                continue
            runtime = backend("tflm" if row["kernels"] == "reference" else "tflm-cmsis-nn")
            total = int(runtime.ram(Columns.of(read(content).graph)).total[0])
            assert total == pytest.approx(int(row["arena_bytes"]), rel=1e-3), row
            checked += 1
    assert checked == 8


# Flash

_LINKED = {"reference": REFERENCE, "cmsis-nn": CMSIS_NN}


@needs_shared
def test_image_sizes_of_every_linked_set() -> None:
    checked = 0
    with (SHARED / "data" / "published" / "tflm_link_sizes.csv").open() as file:
        for row in csv.DictReader(file):
            kinds = row["registered_ops"].split()
            graph = Graph((), tuple(Op(kind, (), ()) for kind in kinds), (), ())
            measured = int(row["text_bytes"]) + int(row["data_bytes"])
            predicted = _LINKED[row["kernels"]].image_bytes(graph)
            assert predicted == pytest.approx(measured, rel=1e-3), row
            checked += 1
    assert checked == 26


@pytest.mark.parametrize("kernels", [REFERENCE, CMSIS_NN])
def test_images_grow_with_every_kernel(kernels) -> None:
    """No set of kernels is smaller than a part of it, in any order of registration."""
    rng = np.random.default_rng(0)
    kinds = [*sorted(kernels.kernel_bytes), "gather", "split"]
    for _ in range(50):
        order = rng.permutation(kinds).tolist()
        sizes = [
            kernels.image_bytes(Graph((), tuple(Op(k, (), ()) for k in order[:count]), (), ()))
            for count in range(len(order) + 1)
        ]
        assert sizes[0] == kernels.runtime_bytes
        assert all(a < b for a, b in itertools.pairwise(sizes)), order


def test_flash_is_file_and_kernels() -> None:
    graph = read(_autoencoder()).graph
    for runtime in BACKENDS:
        kernels = CMSIS_NN if runtime.cmsis_nn else REFERENCE
        expected = graph.file_bytes + kernels.image_bytes(graph)
        assert runtime.flash(Columns.of(graph)).tolist() == [expected]


# Batches


@pytest.mark.parametrize("runtime", BACKENDS, ids=lambda b: b.name)
@pytest.mark.parametrize(("dtype", "bits"), SCHEMES)
def test_a_batch_costs_what_its_members_cost(runtime, dtype: str, bits: int) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        columns = Columns.of(read(random_network(rng, dtype, bits)).graph)
        shapes = np.repeat(columns.shapes, 7, axis=0)
        shapes[..., -1] = np.maximum(1, shapes[..., -1] * rng.integers(1, 5, (7, 1)) // 2)
        batch = Columns(columns.graph, shapes, np.repeat(columns.bits, 7, axis=0))
        ram, flash = runtime.ram(batch), runtime.flash(batch)
        for row in range(7):
            alone = batch.take([row])
            one = runtime.ram(alone)
            assert (one.arena[0], one.persistent[0]) == (ram.arena[row], ram.persistent[row])
            assert runtime.flash(alone)[0] == flash[row]
