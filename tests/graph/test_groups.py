"""The coupling engine against groups worked out by hand, and the reader of Keras models on top."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers as L

from hwsearch.errors import InputError, ModelError, UnknownNameError
from hwsearch.graph import keras_channels
from hwsearch.graph.groups import ChannelOp, couple
from tests import networks

IN = ChannelOp("freeze", "in", (), 0, 3, "network input")


def out(tensor: int, layer: str = "out") -> ChannelOp:
    return ChannelOp("freeze", layer, (tensor,), reason="network output")


def made(groups) -> list[tuple[str, int, tuple[str, ...]]]:
    return [(g.name, g.width, g.layers) for g in groups.groups]


def test_a_chain_makes_one_group_a_layer_and_freezes_the_last() -> None:
    groups = couple(
        [
            IN,
            ChannelOp("make", "a", (0,), 1, 8),
            ChannelOp("tie", "relu", (1,), 2, 8),
            ChannelOp("make", "b", (2,), 3, 5),
            out(3, "b"),
        ]
    )
    assert made(groups) == [("a", 8, ("a",))]
    assert groups.frozen == (("b", "network output: keeps channels of 'b'"),)
    assert groups.sizes.tolist() == [[0, 1], [3, 0], [5, 0]]
    assert groups.channels["b"][0].tolist() == list(range(8))
    assert groups.channels["b"][1].tolist() == [-1] * 5


def test_a_sum_ties_its_inputs() -> None:
    groups = couple(
        [
            IN,
            ChannelOp("make", "a", (0,), 1, 8),
            ChannelOp("make", "b", (1,), 2, 8),
            ChannelOp("tie", "add", (1, 2), 3, 8),
            ChannelOp("make", "c", (3,), 4, 2),
            out(4),
        ]
    )
    assert made(groups) == [("a", 8, ("a", "b"))]


def test_a_sum_with_the_network_input_freezes_what_it_ties() -> None:
    groups = couple(
        [
            IN,
            ChannelOp("make", "a", (0,), 1, 3),
            ChannelOp("tie", "add", (0, 1), 2, 3),
            ChannelOp("make", "b", (2,), 3, 2),
            out(3),
        ]
    )
    assert made(groups) == []
    assert ("in", "network input: keeps channels of 'a'") in groups.frozen


def test_a_sum_with_a_concatenation_splits_the_other_side() -> None:
    groups = couple(
        [
            IN,
            ChannelOp("make", "a", (0,), 1, 4),
            ChannelOp("make", "b", (0,), 2, 6),
            ChannelOp("concat", "cat", (1, 2), 3, 10),
            ChannelOp("make", "c", (0,), 4, 10),
            ChannelOp("tie", "add", (4, 3), 5, 10),
            ChannelOp("make", "d", (5,), 6, 2),
            out(6),
        ]
    )
    assert made(groups) == [("a", 4, ("a", "c")), ("b", 6, ("b", "c"))]
    assert groups.channels["c"][1].tolist() == list(range(10))
    assert [0, 1, 1] in groups.sizes.tolist()


def test_one_layer_split_twice_has_numbered_groups() -> None:
    groups = couple(
        [
            IN,
            ChannelOp("make", "c", (0,), 1, 10),
            ChannelOp("make", "a", (0,), 2, 4),
            ChannelOp("make", "b", (0,), 3, 6),
            ChannelOp("concat", "cat", (2, 3), 4, 10),
            ChannelOp("tie", "add", (1, 4), 5, 10),
            ChannelOp("make", "d", (5,), 6, 2),
            out(6),
        ]
    )
    assert made(groups) == [("c", 4, ("c", "a")), ("c#2", 6, ("c", "b"))]


def test_a_multiplier_repeats_and_a_flatten_tiles() -> None:
    groups = couple(
        [
            IN,
            ChannelOp("make", "a", (0,), 1, 3),
            ChannelOp("each", "depthwise", (1,), 2, 6),
            ChannelOp("reshape", "flatten", (2,), 3, 24),
            ChannelOp("make", "b", (3,), 4, 2),
            out(4),
        ]
    )
    assert made(groups) == [("a", 3, ("a",))]
    assert groups.channels["depthwise"][1].tolist() == [0, 0, 1, 1, 2, 2]
    assert groups.channels["b"][0].tolist() == [0, 0, 1, 1, 2, 2] * 4
    assert groups.sizes.tolist() == [[0, 1], [0, 2], [0, 8], [2, 0], [3, 0]]


def test_a_reshape_back_ties_the_places() -> None:
    groups = couple(
        [
            IN,
            ChannelOp("make", "dense", (0,), 1, 12),
            ChannelOp("reshape", "fold", (1,), 2, 3),
            ChannelOp("make", "b", (2,), 3, 2),
            out(3),
        ]
    )
    assert made(groups) == [("dense", 3, ("dense",))]
    assert groups.channels["dense"][1].tolist() == [0, 1, 2] * 4


def test_a_shared_layer_ties_what_it_reads() -> None:
    groups = couple(
        [
            IN,
            ChannelOp("make", "a", (0,), 1, 4),
            ChannelOp("make", "b", (0,), 2, 4),
            ChannelOp("make", "shared", (1,), 3, 5),
            ChannelOp("make", "shared", (2,), 4, 5),
            ChannelOp("concat", "cat", (3, 4), 5, 10),
            ChannelOp("make", "c", (5,), 6, 2),
            out(6),
        ]
    )
    assert made(groups) == [("a", 4, ("a", "b")), ("shared", 5, ("shared",))]
    assert groups.channels["c"][0].tolist() == [4, 5, 6, 7, 8] * 2


def test_one_channel_is_broadcast_and_never_cut() -> None:
    groups = couple(
        [
            IN,
            ChannelOp("make", "a", (0,), 1, 4),
            ChannelOp("make", "mask", (0,), 2, 1),
            ChannelOp("tie", "mul", (2, 1), 3, 4),
            ChannelOp("make", "c", (3,), 4, 2),
            out(4),
        ]
    )
    assert made(groups) == [("a", 4, ("a",))]
    assert ("mask", "has one channel that can be cut, and one must stay") in groups.frozen


def test_half_a_layer_may_be_frozen() -> None:
    groups = couple(
        [
            IN,
            ChannelOp("make", "a", (0,), 1, 4),
            ChannelOp("concat", "cat", (0, 1), 2, 7),
            ChannelOp("make", "c", (0,), 3, 7),
            ChannelOp("tie", "add", (2, 3), 4, 7),
            ChannelOp("make", "d", (4,), 5, 2),
            out(5),
        ]
    )
    assert made(groups) == [("a", 4, ("a", "c"))]
    assert groups.channels["c"][1].tolist() == [-1, -1, -1, 0, 1, 2, 3]
    assert [3, 1] in groups.sizes.tolist()


def test_unequal_numbers_are_an_error() -> None:
    with pytest.raises(ModelError, match="ties 4 channels to 5"):
        couple(
            [
                IN,
                ChannelOp("make", "a", (0,), 1, 4),
                ChannelOp("make", "b", (0,), 2, 5),
                ChannelOp("tie", "add", (1, 2), 3, 5),
            ]
        )


def test_kept_checks_what_it_is_given() -> None:
    groups = couple(
        [IN, ChannelOp("make", "a", (0,), 1, 4), ChannelOp("make", "b", (1,), 2, 2), out(2)]
    )
    assert groups.kept({}).tolist() == [True] * 5
    assert groups.kept({"a": [3, 0]}).tolist() == [True, False, False, True, True]
    with pytest.raises(UnknownNameError, match="Known: a"):
        groups.kept({"z": [0]})
    with pytest.raises(InputError, match="at least one"):
        groups.kept({"a": np.zeros(0, np.int64)})
    for wrong in ([4], [-1], [1, 1], [0.5]):
        with pytest.raises(InputError, match="from 0 to 3"):
            groups.kept({"a": wrong})


def test_resnet8_has_the_groups_that_its_drawing_shows() -> None:
    model = networks.resnet8()
    groups = keras_channels.groups(model)
    convs = [layer.name for layer in model.layers if isinstance(layer, L.Conv2D)]
    stem, a1, a2, b1, b2, bs, c1, c2, cs = convs
    assert [(set(g.layers), g.width) for g in groups.groups] == [
        ({stem, a2}, 16),
        ({a1}, 16),
        ({b1}, 32),
        ({b2, bs}, 32),
        ({c1}, 64),
        ({c2, cs}, 64),
    ]


def test_a_gate_belongs_to_what_it_gates() -> None:
    model = networks.squeeze_excite()
    groups = keras_channels.groups(model)
    convs = [layer.name for layer in model.layers if isinstance(layer, L.Conv2D)]
    dense = [layer.name for layer in model.layers if isinstance(layer, L.Dense)]
    assert [set(g.layers) for g in groups.groups] == [
        {convs[0], convs[2]},
        {convs[1]},
        {convs[3], dense[1]},
        {dense[0]},
    ]


def test_nested_models_have_paths_and_calls_share_weights() -> None:
    groups = keras_channels.groups(networks.nested())
    assert [(g.name, set(g.layers)) for g in groups.groups] == [
        ("conv", {"conv", "core/proj"}),
        ("core/conv", {"core/conv", "other"}),
        ("tail/conv", {"tail/conv"}),
    ]


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (lambda: L.Softmax(), "Softmax needs all its channels"),
        (lambda: L.LayerNormalization(), "LayerNormalization needs all its channels"),
        (lambda: L.GroupNormalization(2), "GroupNormalization needs all its channels"),
        (lambda: L.Conv2D(4, 3, groups=2), "Conv2D is grouped"),
        (lambda: L.BatchNormalization(axis=1), "not along the last dimension"),
        (lambda: L.Activation("softmax"), "'softmax' mixes channels"),
        (lambda: L.Permute((3, 1, 2)), "Permute needs all its channels"),
        (lambda: L.Reshape((32, 12)), "tears channels apart"),
        (lambda: L.Rescaling([1.0] * 8), "scale of its own for each channel"),
    ],
)
def test_layers_that_need_every_channel_freeze_and_say_so(layer, reason: str) -> None:
    inputs = keras.Input((8, 6, 3))
    x = layer()(L.Conv2D(8, 3, padding="same", name="first")(inputs))
    x = L.Conv1D(2, 1)(x) if len(x.shape) == 3 else L.Conv2D(2, 1)(x)
    groups = keras_channels.groups(keras.Model(inputs, x))
    assert "first" not in groups.names
    assert any(reason in why and "'first'" in why for _, why in groups.frozen)


def test_an_activation_that_mixes_channels_freezes_only_what_it_mixes() -> None:
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(4, 3, name="a")(inputs)
    x = L.Conv2D(4, 3, activation="softmax", name="b")(x)
    groups = keras_channels.groups(keras.Model(inputs, L.Conv2D(2, 1)(x)))
    assert groups.names == ("a",)


def test_a_layer_of_the_user_freezes_even_if_it_is_a_kind_of_dense() -> None:
    class Odd(L.Dense):
        pass

    inputs = keras.Input((4,))
    x = Odd(5)(L.Dense(6, name="first")(inputs))
    groups = keras_channels.groups(keras.Model(inputs, L.Dense(2)(x)))
    assert groups.names == ()
    assert any("Odd is not a layer of Keras" in why for _, why in groups.frozen)


def test_the_same_model_gives_the_same_groups() -> None:
    model = networks.concat()
    one, two = keras_channels.groups(model), keras_channels.groups(model)
    assert made(one) == made(two)
    assert one.frozen == two.frozen


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.dense = L.Dense(2)

    def call(self, x):
        return self.dense(x)


def test_models_that_cannot_be_searched_say_why() -> None:
    with pytest.raises(ModelError, match="is subclassed"):
        keras_channels.check_model(Subclassed())
    with pytest.raises(ModelError, match="is not built"):
        keras_channels.check_model(keras.Sequential([L.Dense(2)]))
    with pytest.raises(ModelError, match="open shape"):
        inputs = keras.Input((None, None, 3))
        keras_channels.check_model(keras.Model(inputs, L.Conv2D(2, 3)(inputs)))
    with pytest.raises(ModelError, match="expected a Keras 3 model, got"):
        keras_channels.check_model("model.keras")
    model = networks.autoencoder()
    model.layers[1].kernel.assign(np.full((64, 32), np.nan))
    with pytest.raises(ModelError, match="NaN"):
        keras_channels.check_model(model)
