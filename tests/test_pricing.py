"""The invariant of the search: what is priced before training is what comes out after it."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pytest
import wheel
from search.tasks import pricing as dense

from hwsearch import estimation, oracle
from hwsearch.backends import backend
from hwsearch.board import boards
from hwsearch.budget import Budget
from hwsearch.compress import structured
from hwsearch.compress.quantize import calibrate, quantize
from hwsearch.configuration import Configuration
from hwsearch.convert import to_float_tflite
from hwsearch.cost.columns import Columns
from hwsearch.cost.flash import model_bytes
from hwsearch.errors import BudgetError
from hwsearch.graph import Graph, keras_channels
from hwsearch.graph.tflite import read
from hwsearch.pricing import Pricing, layout, scheme
from hwsearch.ranks import Ranks
from hwsearch.space import Space

needs_wheel = pytest.mark.skipif(not oracle.available(), reason="no tflite-micro wheel here")
BOARD = boards()["nucleo-l4r5zi"]
FLASH_ERROR, FLASH_BYTES = 0.01, 100
"""Of the ``.tflite``: relative, and in bytes for files of a few KB."""

MERGED_BYTES = 140
"""Of a constant that equals another in the narrow network alone and is then stored once: the
prediction counts both, on the safe side."""


def branches() -> Any:
    """A concatenation of a tensor that others read too, a gate and a residual."""
    steps = [("conv", 5, "relu"), ("concat", 0, None), ("gate", 3, None), ("conv", 6, "relu")]
    return networks.random_network([*steps, ("add", 1, None), ("concat", 2, None)])


def resnet() -> Any:
    return networks.resnet8(8, 8)


BUILDERS = {**networks.SMALL, "branches": branches, "resnet": resnet}


@dataclass(frozen=True)
class Case:
    """A Keras model and the pricing of its configurations, as a search sets it up."""

    model: Any
    groups: Any
    inputs: list[Any]
    pricing: Pricing
    op_indexes: tuple[int, ...]

    def artefact(self, configuration: Configuration, rng: np.random.Generator) -> bytes:
        """What this configuration produces: pruned, converted, calibrated, quantized."""
        widths = zip(self.groups.groups, configuration.widths, strict=True)
        keep = {g.name: np.sort(rng.choice(g.width, w, replace=False)) for g, w in widths}
        content = to_float_tflite(structured.prune(self.model, self.groups, keep))
        bits = dict(zip(self.op_indexes, configuration.weight_bits, strict=True))
        return quantize(calibrate(content, self.inputs), configuration.activation_bits, bits)


@cache
def case(name: str) -> Case:
    model = networks.randomise(BUILDERS[name]())
    groups = keras_channels.groups(model)
    base, binding = structured.bind(model, groups)
    inputs = networks.random_inputs(model, 4)
    calibration = calibrate(base.content, inputs)
    found, indexes = layout(binding, calibration.model.graph)
    schemes = {
        bits: scheme(
            read(quantize(calibration, bits, {})).graph, binding, calibration.model.graph, indexes
        )
        for bits in (8, 16)
    }
    ranks = Ranks(Space(multiple_of=(1, 4)), found, (backend("tflm"), backend("tflm-cmsis-nn")))
    return Case(model, groups, inputs, Pricing(BOARD, ranks, schemes), indexes)


def assert_same(predicted: Columns, graph: Graph) -> None:
    """One network but for the numbering of constants: equal ones may be stored once."""
    real = Columns.of(graph)
    assert [op.kind for op in predicted.graph.ops] == [op.kind for op in graph.ops]
    there: dict[int, int] = {}
    for step, (op, other) in enumerate(zip(predicted.graph.ops, graph.ops, strict=True)):
        for name in ("stride", "dilation", "window", "padding", "activation", "axis", "keep_dims"):
            assert getattr(op, name) == getattr(other, name), (step, name)
        pairs = zip(op.inputs + op.outputs, other.inputs + other.outputs, strict=True)
        for tensor, match in pairs:
            assert (tensor < 0) == (match < 0)
            if tensor < 0:
                continue
            assert there.setdefault(tensor, match) == match
            assert predicted.shapes[0, tensor].tolist() == real.shapes[0, match].tolist(), step
            assert predicted.bits[0, tensor] == real.bits[0, match], step
            assert predicted.graph.tensors[tensor].is_constant == graph.tensors[match].is_constant
    activations = [i for i in sorted(there) if not predicted.graph.tensors[i].is_constant]
    numbers = [there[i] for i in activations]
    assert numbers == sorted(set(numbers))  # the planner breaks ties by this order
    assert [there[i] for i in predicted.graph.inputs] == list(graph.inputs)
    assert [there[i] for i in predicted.graph.outputs] == list(graph.outputs)


def hold(name: str, count: int, seed: int) -> None:
    """Holds ``count`` random configurations of a network to what they produce."""
    this, rng = case(name), np.random.default_rng(seed)
    ranks = this.pricing.ranks
    artefacts, arenas = [], []
    for number in range(count):
        row = ranks.random(rng, 1)[0]
        row[len(ranks.layout.groups) + 3] = number % 2  # 8 and 16 bits in turn
        configuration = ranks.configuration(row)
        predicted = this.pricing.columns(configuration)
        content = this.artefact(configuration, rng)
        assert_same(predicted, read(content).graph)
        flash = int(model_bytes(predicted)[0])
        allowed = max(FLASH_ERROR * len(content), FLASH_BYTES)
        merged = len(predicted.graph.tensors) - len(read(content).graph.tensors)
        assert merged >= 0
        assert -allowed <= flash - len(content) <= allowed + MERGED_BYTES * merged
        artefacts.append(content)
        arenas.append(int(backend("tflm").ram(predicted).arena[0]))
    if oracle.available() and not backend("tflm").refusals(this.pricing.schemes[8].graph):
        runs = wheel.run(artefacts)
        assert [run.arena for run in runs] == arenas, [r.said for r in runs if r.arena is None]


@pytest.mark.parametrize("name", ["resnet", "conv1d", "nested", "branches", "autoencoder"])
def test_predicted_network_is_the_one_produced(name: str) -> None:
    hold(name, 2, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_predicted_network_is_the_one_produced_by_many(name: str) -> None:
    hold(name, 10, 1)


def test_price_of_a_batch_is_the_cost_of_each() -> None:
    pricing = case("resnet").pricing
    rows = pricing.ranks.random(np.random.default_rng(0), 40)
    decoded = pricing.ranks.decode(rows)
    prices = pricing.price(decoded)
    for i, configuration in enumerate(pricing.ranks.configurations(decoded)):
        cost = pricing.cost(configuration)
        assert (cost.flash_bytes, cost.ram_bytes) == (prices.flash_bytes[i], prices.ram_bytes[i])
        assert cost.latency_s == pytest.approx(prices.latency_s[i])
        assert cost.energy_j == pytest.approx(prices.energy_j[i])
        assert cost.macs == sum(op.macs for op in cost.ops)
        assert cost.cycles == pytest.approx(sum(op.cycles for op in cost.ops))


def test_smaller_is_never_dearer() -> None:
    """Every channel that goes takes flash, RAM and time along, or leaves them."""
    pricing = case("resnet").pricing
    full = [width for _, width, _ in pricing.ranks.layout.groups]
    for name in ("tflm", "tflm-cmsis-nn"):
        bits = (8,) * len(pricing.ranks.layout.ops)
        costs = [
            pricing.cost(
                Configuration(tuple(max(1, w * s // 4) for w in full), "l1", name, 8, bits)
            )
            for s in (4, 3, 2, 1)
        ]
        for larger, smaller in itertools.pairwise(costs):
            assert smaller.flash_bytes < larger.flash_bytes
            assert smaller.ram_bytes < larger.ram_bytes
            assert smaller.macs < larger.macs


def test_weight_bits_shrink_flash_by_half_of_those_weights() -> None:
    pricing = case("resnet").pricing
    widths = tuple(width for _, width, _ in pricing.ranks.layout.groups)
    ops = pricing.ranks.layout.ops
    tflm = backend("tflm")
    high = pricing.columns(Configuration(widths, "l1", "tflm", 8, (8,) * len(ops)))
    for i, (_, _, elements) in enumerate(ops):
        bits = tuple(4 if k == i else 8 for k in range(len(ops)))
        low = pricing.columns(Configuration(widths, "l1", "tflm", 8, bits))
        assert tflm.flash(high)[0] - tflm.flash(low)[0] >= elements // 2 - 4
        assert tflm.ram(low).arena[0] >= tflm.ram(high).arena[0]  # the kernel unpacks them there


def test_layers_that_share_weights_share_their_bits() -> None:
    this = case("nested")
    graph = this.pricing.schemes[8].graph
    assert len(this.op_indexes) == len({op.inputs[1] for op in graph.ops if len(op.inputs) == 3})


@pytest.mark.skipif(
    not (Path(__file__).parents[1] / ".." / "shared").is_dir(), reason="../shared is not here"
)
@pytest.mark.slow
def test_speed_on_resnet8() -> None:
    """One candidate within 1 ms, 256 within 100 ms; ``benchmarks/pricing.py`` says how long."""
    tiny = Path(__file__).parents[1] / ".." / "shared" / "models" / "mlperf_tiny"
    columns = Columns.of(read(tiny / "pretrainedResnet_quant.tflite").graph)
    many = columns.take([0] * 256)
    for runtime in (backend("tflm"), backend("tflm-cmsis-nn")):
        for given, limit in ((columns, 1e-3), (many, 0.1)):
            best = np.inf
            for _ in range(30):
                fresh = Columns(given.graph, given.shapes.copy(), given.bits.copy())
                start = time.perf_counter()
                estimation.costs(fresh, runtime, BOARD)
                best = min(best, time.perf_counter() - start)
            assert best <= limit, (runtime.name, len(given), best)


def test_a_backend_that_cannot_tell_a_limited_cost_is_left_out() -> None:
    """X-CUBE-AI was never measured on an M85: its latency there is unknown, aot's is not."""
    given = dense(Space())
    runtimes = (backend("aot"), backend("x-cube-ai-9.0"))
    mixed = replace(
        given,
        board=boards()["ek-ra8d1"],
        ranks=Ranks(given.ranks.space, given.ranks.layout, runtimes),
    )
    same, said = mixed.knowing(["flash_bytes", "ram_bytes"])
    assert same is mixed and not said
    kept, said = mixed.knowing(["flash_bytes", "latency_s"])
    assert [b.name for b in kept.ranks.backends] == ["aot"]
    assert said == ["x-cube-ai-9.0 is left out: its latency on ek-ra8d1 (M85) is not known."]
    with pytest.raises(BudgetError, match="energy on ek-ra8d1"):
        mixed.knowing(["energy_j"])


def test_backends_know_the_latency_limit() -> None:
    found = dense(Space())
    found = replace(
        found,
        ranks=Ranks(found.ranks.space, found.ranks.layout, (backend("aot"), backend("tflm"))),
    )
    limited = found.within(Budget(latency="5 ms"))
    generated, interpreted = limited.ranks.backends
    assert generated == replace(backend("aot"), most_cycles=0.005 * found.board.clock_hz)
    assert interpreted == backend("tflm")
    assert limited.within(Budget(flash="1 MiB")).ranks.backends == found.ranks.backends
    sure = found.within(Budget(latency="5 ms", strictness="sure")).ranks.backends[0]
    high = backend("aot").bands["latency_s"].high
    assert sure.most_cycles == pytest.approx(generated.most_cycles / (1 + high))
    power = found.board.power_w
    assert power
    energy = found.within(Budget(latency="9 ms", energy=0.005 * power)).ranks.backends[0]
    assert energy.most_cycles == pytest.approx(generated.most_cycles)
