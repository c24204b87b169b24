"""Which formats weights are stored in, and what that is estimated to cost."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_writer import Network, random_network

from benchmarks.aot_networks import compressed, unseen
from benchmarks.compressed import clustered, pruned
from hwsearch import estimate
from hwsearch.backends import aot_formats, backend
from hwsearch.backends.aot import Aot
from hwsearch.backends.aot_cycles import instructions
from hwsearch.backends.aot_flash import code_bytes, constant_bytes, flash_bytes
from hwsearch.backends.aot_formats import chosen, formats_of
from hwsearch.backends.aot_memory import arena
from hwsearch.backends.aot_weights import values_of
from hwsearch.board import board
from hwsearch.budget import Budget
from hwsearch.codegen import generate, memory
from hwsearch.codegen.dead import without_dead_channels
from hwsearch.codegen.formats import counted, eligible
from hwsearch.codegen.layers import FORMATS
from hwsearch.cost.columns import Columns
from hwsearch.errors import InputError
from hwsearch.graph.tflite import TfliteModel, read
from tests.firmware.images import require

RUNTIME = Aot(core="M4", compiler="gcc")
BOARD = board("nucleo-l4r5zi")


def network(index: int = 0, style: str = "residual") -> bytes:
    found = (content for name, content in unseen(40) if name.startswith(f"{style}-int8"))
    return next(itertools.islice(found, index, None))


def columns_of(model: TfliteModel) -> Columns:
    return Columns.of(model.graph, counted(model))


def asked(content: bytes, sparsity: list[float], clusters: list[int]) -> Columns:
    """Candidates of one network that differ in what is asked of their weights."""
    one, n = Columns.of(read(content).graph), len(sparsity)
    shapes, bits = np.repeat(one.shapes, n, axis=0), np.repeat(one.bits, n, axis=0)
    tensors = shapes.shape[1]
    zeros, values = (np.repeat(np.array(a)[:, None], tensors, 1) for a in (sparsity, clusters))
    return Columns(one.graph, shapes, bits, zeros, values)


def cycles(columns: Columns, forms: np.ndarray | None) -> np.ndarray:
    _, low, high = instructions(columns, RUNTIME.measured, forms)
    return (low + high).sum(axis=1) / 2


@pytest.mark.parametrize("slowdown", [1.0, 1.2, 1.5, 3.0])
def test_the_image_is_smaller_and_within_the_slowdown(slowdown: float) -> None:
    for style, sparsity in (("residual", 0.6), ("plain", 0.8), ("dense", 0.9)):
        columns = columns_of(read(pruned(network(0, style), sparsity)))
        forms = chosen(columns, RUNTIME.measured, slowdown)
        if forms is None:
            continue
        assert cycles(columns, forms)[0] <= slowdown * cycles(columns, None)[0] * (1 + 1e-9)
        smaller = flash_bytes(columns, RUNTIME.measured, forms)
        assert smaller[0] < flash_bytes(columns, RUNTIME.measured, None)[0]


def test_the_smallest_image_that_meets_a_latency() -> None:
    """Half of the weights zero: sparse ones are slower. A limit between takes some of them."""
    for style in ("residual", "plain", "dense"):
        columns = columns_of(read(pruned(network(0, style), 0.5)))
        free = chosen(columns, RUNTIME.measured, 1.5)
        dense, sparse = cycles(columns, None)[0], cycles(columns, free)[0]
        sizes = [int(flash_bytes(columns, RUNTIME.measured, None)[0])]
        assert sparse > dense
        for share in (0.0, 0.4, 0.7, 1.0):
            most = dense + share * (sparse - dense)
            forms = chosen(columns, RUNTIME.measured, 1.5, most)
            assert cycles(columns, forms)[0] <= most * (1 + 1e-9)
            sizes.append(int(flash_bytes(columns, RUNTIME.measured, forms)[0]))
            limited = RUNTIME.within(most)
            assert limited.flash(columns)[0] == sizes[-1]
        assert sizes == sorted(sizes, reverse=True) and sizes[-1] < sizes[0]


def test_a_limit_holds_for_cycles_as_a_device_corrects_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each class of kernels by a factor of its own, so that no factor of the network would do."""

    def corrections(columns: Columns, core: str) -> np.ndarray:
        kinds = [op.kind for op in columns.graph.ops]
        return np.array([[2.0 if "conv" in kind else 0.5 for kind in kinds]])

    monkeypatch.setattr(aot_formats.latency, "corrections", corrections)
    for style in ("residual", "plain", "dense"):
        columns = columns_of(read(pruned(network(0, style), 0.5)))

        def timed(forms: np.ndarray | None, columns: Columns = columns) -> float:
            _, low, high = instructions(columns, RUNTIME.measured, forms)
            return float(((low + high) / 2 * corrections(columns, "M4")).sum())

        free = chosen(columns, RUNTIME.measured, 3.0)
        dense, sparse = timed(None), timed(free)
        for share in (0.1, 0.3, 0.5, 0.7, 0.9):
            most = dense + share * (sparse - dense)
            assert timed(chosen(columns, RUNTIME.measured, 3.0, most)) <= most * (1 + 1e-9)
        assert timed(chosen(columns, RUNTIME.measured, 1.2)) <= 1.2 * dense * (1 + 1e-9)


def test_what_is_over_a_latency_gets_what_is_quicker_alone() -> None:
    columns = columns_of(read(pruned(network(0, "residual"), 0.9)))
    dense = cycles(columns, None)[0]
    forms = chosen(columns, RUNTIME.measured, 1.5, 0.5 * dense)
    assert forms is not None and cycles(columns, forms)[0] < dense


def test_a_search_and_its_artefacts_keep_a_latency(tmp_path: Path) -> None:
    content = pruned(network(0, "residual"), 0.5)
    columns = columns_of(read(content))
    free = chosen(columns, RUNTIME.measured, 1.5)
    most = (cycles(columns, None)[0] + cycles(columns, free)[0]) / 2
    limits = Budget(latency=float(most) / BOARD.clock_hz)
    assert limits.most_cycles(BOARD, {}) == pytest.approx(most)
    wide = generate(content, tmp_path / "a").flash_bytes["weights"]
    kept = generate(content, tmp_path / "b", most_cycles=most).flash_bytes["weights"]
    dense = generate(content, tmp_path / "c", formats={}).flash_bytes["weights"]
    assert wide < kept <= dense


def test_sparser_weights_are_smaller_and_quicker() -> None:
    columns = asked(network(), [0.0, 0.5, 0.7, 0.9], [0] * 4)
    flash, time = RUNTIME.flash(columns), RUNTIME.cycles(columns, "M4")
    assert time is not None
    assert (np.diff(flash) < 0).all() and flash[3] < 0.75 * flash[0]
    assert np.diff(time.sum(axis=1))[1:].max() < 0


def test_a_palette_halves_the_weights() -> None:
    content = network(1, "dense")
    columns = asked(content, [0.0] * 3, [0, 16, 32])
    flash, ram = RUNTIME.flash(columns), RUNTIME.ram(columns).total
    weights = sum(
        columns.graph.tensors[columns.graph.ops[i].inputs[1]].elements
        for i in eligible(columns.graph)
    )
    assert flash[0] == flash[2]  # a palette holds 16
    assert flash[0] - flash[1] == pytest.approx(weights / 2, rel=0.15)
    assert 0 <= ram[1] - ram[0] <= 1024 + 32


def test_a_batch_is_its_candidates() -> None:
    sparsity, clusters = [0.0, 0.0, 0.5, 0.8, 0.95, 0.6], [0, 16, 0, 0, 0, 16]
    columns = asked(network(), sparsity, clusters)
    plain = Columns.of(columns.graph)
    flash, ram = RUNTIME.flash(columns), RUNTIME.ram(columns).total
    time = RUNTIME.cycles(columns, "M4")
    assert time is not None
    for row in range(len(columns)):
        alone = columns.take([row])
        assert (RUNTIME.flash(alone)[0], RUNTIME.ram(alone).total[0]) == (flash[row], ram[row])
        assert np.allclose(RUNTIME.cycles(alone, "M4"), time[row])
    assert (RUNTIME.flash(plain)[0], RUNTIME.ram(plain).total[0]) == (flash[0], ram[0])
    assert len(set(flash.tolist())) == len(columns)


def test_runtimes_without_such_kernels_give_no_credit() -> None:
    columns = asked(network(), [0.0, 0.9, 0.0], [0, 0, 16])
    for name in ("tflm", "tflm-cmsis-nn", "x-cube-ai", "microtvm-native"):
        runtime = backend(name, None)
        assert len(set(runtime.flash(columns).tolist())) == 1, name
        found = runtime.cycles(columns, "M4")
        assert found is None or np.ptp(found.sum(axis=1)) == 0, name


def test_what_is_expected_of_weights_is_what_random_ones_are_like() -> None:
    rng = np.random.default_rng(0)
    net = Network(rng)
    net.dense(net.input((1, 300)), 200)
    model = read(net.finish())
    tensor = model.graph.ops[0].inputs[1]
    for sparsity in (0.1, 0.5, 0.8, 0.9, 0.97, 1.0):
        weights = np.where(rng.random((200, 300)) < sparsity, 0, 7).astype(np.int8)
        content = bytearray(model.content)
        start, size = model._spans[tensor]
        content[start : start + size] = weights.tobytes()
        real = counted(read(bytes(content))).fours[0, tensor]
        expected = values_of(asked(model.content, [sparsity], [0]))
        assert expected is not None
        assert expected.fours[0, tensor] == pytest.approx(real, rel=0.03)


@given(
    st.integers(1, 6).flatmap(
        lambda n: st.lists(
            st.tuples(
                st.integers(0, 999), st.integers(-99, 99), st.integers(0, 999),
                st.integers(-99, 99),
            ),
            min_size=n, max_size=n,
        )
    ),
    st.integers(0, 300),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_greedy_against_every_choice(layers: list[tuple[int, ...]], spare: int) -> None:
    saved = np.array([[a[0::2] for a in layers]], float)
    added = np.array([[a[1::2] for a in layers]], float)
    forms = aot_formats._greedy(saved, added, np.array([spare]))[0]

    def totals(choice: tuple[int, ...]) -> tuple[float, float]:
        picks = [(i, f - 1) for i, f in enumerate(choice) if f]
        return sum(saved[0, i, f] for i, f in picks), sum(added[0, i, f] for i, f in picks)

    have, spent = totals(tuple(forms))
    assert spent <= spare
    best = max(
        gain for gain, cost in map(totals, itertools.product(range(3), repeat=len(layers)))
        if cost <= spare
    )  # fmt: skip
    widest = sum(max(*a[0::2]) for a in layers)
    assert have <= best
    if spare >= 99 * len(layers):  # no limit at all
        assert have == widest


def test_arena_and_constants_are_the_compilers(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for seed in range(40):
        content = random_network(np.random.default_rng(seed + 4000))
        content = clustered(pruned(content, float(rng.uniform(0, 1))), 16)
        model = without_dead_channels(read(content))
        names = {i: FORMATS[rng.integers(3)] for i in eligible(model.graph)}
        forms = np.zeros((1, len(model.graph.ops)), np.int64)
        for op, name in names.items():
            forms[0, op] = FORMATS.index(name)
        columns = columns_of(model)
        assert arena(columns, forms)[0] == memory(model.graph, names).arena_bytes, seed
        made = generate(model, tmp_path / str(seed), formats=names)
        spare = constant_bytes(columns, forms)[0] - sum(made.flash_bytes.values())
        assert 0 <= spare <= 16 * len(made.layers), seed


def test_the_compiler_and_the_estimate_choose_alike(tmp_path: Path) -> None:
    for i, (_, content) in enumerate(compressed(6)):
        made = generate(content, tmp_path / str(i), core="M4")
        wanted = formats_of(without_dead_channels(read(content)), "M4", 1.5)
        assert {x.op_index: x.format for x in made.layers if x.format != "dense"} == wanted
        if i < 3:
            cost = estimate(tmp_path_with(content, tmp_path), board="nucleo-l4r5zi", backend="aot")
            assert cost.flash_bytes < Aot().flash(Columns.of(read(content).graph))[0]


def tmp_path_with(content: bytes, folder: Path) -> str:
    (folder / "network.tflite").write_bytes(content)
    return str(folder / "network.tflite")


def test_a_file_that_the_compiler_refuses_still_has_a_cost() -> None:
    net = Network(np.random.default_rng(0))
    y = net.conv(net.input((1, 6, 6, 4)), 8)
    net.subgraph.tensors[y].quantization = None
    model = read(net.finish())
    columns = Aot().columns_of(model)
    assert columns.values is None
    assert Aot().flash(columns)[0] == Aot().flash(Columns.of(model.graph))[0]


def test_dead_channels_are_left_out_of_a_files_estimate(tmp_path: Path) -> None:
    net = Network(np.random.default_rng(2))
    x = net.conv(net.input((1, 8, 8, 4)), 16, activation="relu")
    content = net.finish(net.conv(x, 6))
    model = read(content)
    weights, bias = model.graph.ops[0].inputs[1:3]
    changed = bytearray(content)
    for tensor, stride in ((weights, 36), (bias, 4)):
        start, _ = model._spans[tensor]
        changed[start : start + 8 * stride] = bytes(8 * stride)  # the first half
    content = bytes(changed)
    made = generate(content, tmp_path)
    columns = Aot().columns_of(read(content))
    assert columns.shapes[0, model.graph.ops[0].outputs[0], -1] == 8
    forms = Aot().forms(columns)
    spare = constant_bytes(columns, forms)[0] - sum(made.flash_bytes.values())
    assert 0 <= spare <= 16
    assert Aot().ram(columns).arena[0] == made.arena_bytes


def test_a_slowdown_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="slowdown"):
        generate(network(), tmp_path, slowdown=0.5)


@pytest.mark.emulator
@pytest.mark.parametrize("core", ["M4", "M0"])
def test_estimates_are_what_is_linked_and_run(core: str) -> None:
    """Networks that no fit has seen, in the formats chosen for them."""
    require("arm-none-eabi-gcc", "unicorn", "capstone")
    from benchmarks.aot_fit import observe

    runtime = Aot(core=core, compiler="gcc")
    formats = lambda model: formats_of(model, core, 1.5)  # noqa: E731
    fresh = itertools.islice(compressed(104), 100, None)
    for observed in observe(fresh, core, "gcc", formats):
        columns, measured = observed.columns, runtime.measured
        forms = runtime.forms(columns)
        assert forms is not None
        assert runtime.ram(columns).arena[0] == observed.arena_bytes
        flash = code_bytes(columns, measured, forms) + constant_bytes(columns, forms)
        assert flash[0] == pytest.approx(observed.image.flash_bytes, rel=0.02), observed.name
        executed = instructions(columns, measured, forms)[0].sum()
        assert executed == pytest.approx(observed.instructions, rel=0.05), observed.name
