"""Residual blocks dropped: what computes, what is counted, what it costs."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers as L

from hwsearch.board import board
from hwsearch.compress import structured
from hwsearch.compress.depth import Block, blocks, least_salient, without
from hwsearch.compress.quantize import calibrate, quantize
from hwsearch.conversion import priced
from hwsearch.convert import to_float_tflite
from hwsearch.cost.columns import Columns
from hwsearch.graph import keras_channels, tflite
from hwsearch.space import Space
from tests import networks

BOARD = board("nucleo-l4r5zi")


def silent(model: keras.Model, block: Block) -> keras.Model:
    """A copy of the model whose branch ends in a normalisation that gives zeros."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    kind = keras.layers.BatchNormalization
    norm = [x for x in copy.layers if x.name in block.branch and isinstance(x, kind)][-1]
    scale, shift, *statistics = norm.get_weights()
    norm.set_weights([0 * scale, 0 * shift, *statistics])
    return copy


def test_blocks_by_hand() -> None:
    found = blocks(networks.resnet8())
    assert len(found) == 3
    for block in found:
        assert sum("conv" in name for name in block.branch) == 2, "the projection stays"
    assert len(blocks(networks.cnn())) == 0


def test_what_is_no_block() -> None:
    a, b = keras.Input((4,)), keras.Input((4,))
    towers = L.Add()([L.Dense(3)(a), L.Dense(3)(L.Dense(3)(b))])  # of two inputs
    x = L.Dense(3)(a)
    twice = L.Add()([x, L.ReLU()(x)])  # no weights go
    shared = L.Add()
    again = shared([shared([x, L.Dense(3)(x)]), L.Dense(3)(x)])
    model = keras.Model([a, b], [towers, twice, again])
    assert blocks(model) == ()
    operator = keras.Model(a, x + L.Dense(3)(L.Dense(3)(x)))
    (block,) = blocks(operator)
    assert block.shortcut == 0 and len(block.branch) == 2


def test_parallel_branches_are_no_block() -> None:
    inputs = keras.Input((6, 6, 2))
    x = L.Conv2D(4, 1)(inputs)
    both = L.Add()([L.Conv2D(4, 3, padding="same")(x), L.Conv2D(4, 1)(x)])
    assert blocks(keras.Model(inputs, both)) == ()


def test_what_is_read_elsewhere_stays_and_so_do_its_blocks() -> None:
    inputs = keras.Input((4,))
    x = L.Dense(4, name="first")(inputs)
    inside = L.Dense(4, name="down")(x)
    inside = L.Add(name="inner")([inside, L.Dense(4, name="mid")(inside)])
    whole = L.Add(name="outer")([x, L.Dense(4, name="up")(inside)])
    model = keras.Model(inputs, L.Concatenate()([whole, inside]))
    inner, outer = blocks(model)
    assert (inner.name, inner.branch) == ("inner", {"mid"})
    assert (outer.name, outer.branch) == ("outer", {"up"})
    found = least_salient(model, networks.random_inputs(model, batch=8), 2)
    assert {block.name for block in found} == {"inner", "outer"}


def test_a_dropped_block_is_its_shortcut() -> None:
    model = networks.randomise(networks.resnet8())
    (x,) = networks.random_inputs(model, batch=8)
    block = blocks(model)[1]
    shallow = without(model, [block])
    names = {layer.name for layer in model.layers}
    left = {layer.name for layer in shallow.layers}
    assert names - left == block.branch | {block.name} and left <= names
    made, whole = shallow.predict(x, verbose=0), model.predict(x, verbose=0)
    np.testing.assert_allclose(made, silent(model, block).predict(x, verbose=0), atol=1e-5)
    assert np.abs(made - whole).max() > 1e-4


def test_the_block_that_does_nothing_goes_first() -> None:
    model = networks.randomise(networks.resnet8())
    for block in blocks(model):
        order = least_salient(silent(model, block), networks.random_inputs(model, batch=8), 3)
        assert order[0] == block and len({b.name for b in order}) == 3


def test_a_shallower_network_costs_what_its_own_graph_does() -> None:
    """The price of a row is that of the network it stands for, converted and quantized."""
    model = networks.randomise(networks.resnet8())
    inputs = networks.random_inputs(model, batch=16)
    space = Space(
        pruning_ratio=(0.5,), multiple_of=(1,), drop_blocks=(0, 2), weight_bits=(8, 4),
        activation_bits=(8,),
    )  # fmt: skip
    found = priced(model, BOARD, inputs, ("aot", "tflm"), space)
    ranks = found.pricing.ranks
    place = {p.name: i for i, p in enumerate(ranks.parameters)}
    row = np.zeros(len(ranks.parameters), np.int64)
    row[place["drop_blocks"]] = 1
    row[[i for name, i in place.items() if name.startswith("bits/")]] = 1
    chosen = ranks.configuration(row)
    assert len(chosen.dropped) == 2 and chosen.dropped[0] in str(chosen)
    depth = ranks.layout.depth(chosen.dropped)
    assert depth is not None
    shallow = without(model, [b for b in blocks(model) if b.name in chosen.dropped])
    groups = keras_channels.groups(shallow)
    assert groups.names == depth.names
    keep = {
        name: np.arange(chosen.widths[i])
        for name, i in zip(depth.names, depth.groups, strict=True)
    }
    for i, (_, full, _) in enumerate(ranks.layout.groups):
        assert (i in depth.groups) or chosen.widths[i] == full
    content = to_float_tflite(structured.prune(shallow, groups, keep))
    low = {i: chosen.weight_bits[op] for i, op in zip(depth.op_indexes, depth.ops, strict=True)}
    low = {i: bits for i, bits in low.items() if bits < 8}
    real = tflite.read(quantize(calibrate(content, inputs), 8, low)).graph
    made = found.pricing.columns(chosen)
    truth = Columns.of(real)
    np.testing.assert_array_equal(made.shapes[0][:, -4:], truth.shapes[0][:, -4:])
    np.testing.assert_array_equal(made.bits[0], truth.bits[0])
    assert [op.kind for op in made.graph.ops] == [op.kind for op in real.ops]
    whole = ranks.configuration(np.zeros(len(ranks.parameters), np.int64))
    assert whole.dropped == () and whole.structure != chosen.structure
    assert found.pricing.cost(chosen).flash_bytes < found.pricing.cost(whole).flash_bytes
    for leaf in ranks.leaves(chosen):
        back = ranks.configuration(ranks.ranks(leaf, row.tolist()))
        assert back == leaf
