"""A pruned network computes what the original computes when nothing reads the removed channels."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as L

from hwsearch.compress import structured
from hwsearch.errors import ModelError, UnknownNameError
from hwsearch.graph import keras_channels
from tests import networks


def outputs(model: keras.Model) -> list[np.ndarray]:
    tensors = keras.tree.pack_sequence_as(
        keras_channels.functional(model).input, networks.random_inputs(model)
    )
    made = model(tensors, training=False)
    return [_logits(np.asarray(y, np.float64)) for y in keras.tree.flatten(made)]


def _logits(y: np.ndarray) -> np.ndarray:
    """The numbers before a softmax, up to a shift: where it saturates it would hide errors."""
    if (y > 0).all() and np.allclose(y.sum(axis=-1), 1):
        return np.log(y) - np.log(y).mean(axis=-1, keepdims=True)
    return y


def relative_error(model: keras.Model, other: keras.Model) -> float:
    return max(
        np.abs(a - b).max() / np.abs(b).max()
        for a, b in zip(outputs(model), outputs(other), strict=True)
    )


def silenced(model: keras.Model, groups, keep) -> keras.Model:
    """A second oracle that knows only what layers put out: the weights that make a removed channel
    are 0, with every bias and shift after them. For networks of functions with f(0) = 0."""
    kept = groups.kept(keep)
    model = structured.prune(model, groups, {})
    for path, layer in keras_channels.layers(model):
        if path in groups.channels and type(layer).__name__ in keras_channels.KINDS:
            mask = kept[groups.channels[path][1]]
            for weight in layer.weights:
                if weight.shape[-1] == len(mask) and weight.name != "moving_variance":
                    weight.assign(weight.numpy() * mask)
    return model


@pytest.fixture
def float64():
    """Models built in 64 bits: rounding cannot excuse, or hide, anything."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def assert_prunes(model: keras.Model, seed: int = 0, tolerance: float = 1e-6) -> None:
    groups = keras_channels.groups(networks.randomise(model))
    keep = networks.random_keep(groups, seed)
    pruned = structured.prune(model, groups, keep)
    error = relative_error(pruned, structured.zeroed(model, groups, keep))
    parameters = model.count_params(), pruned.count_params()
    print(f"{model.name}: {len(groups.groups)} groups, {parameters} parameters, error {error:.1e}")
    assert error <= tolerance
    assert relative_error(pruned, model) > 1e-3  # what was removed did matter
    assert parameters[1] < 0.8 * parameters[0]
    names = [[path for path, _ in keras_channels.layers(m)] for m in (model, pruned)]
    assert names[0] == names[1] or isinstance(model, keras.Sequential)
    again = keras_channels.groups(pruned)  # a pruned model can be pruned again
    assert {g.name: g.width for g in again.groups}.items() <= {
        name: len(channels) for name, channels in keep.items()
    }.items()


@pytest.mark.parametrize("name", networks.SMALL)
def test_pruned_equals_zeroed(name: str) -> None:
    assert_prunes(networks.SMALL[name]())


def test_a_lambda_is_made_again_and_sees_its_module() -> None:
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(8, 3)(inputs)
    x = keras.layers.Lambda(lambda t, by: np.float32(by) * t, arguments={"by": 3})(x)
    x = keras.layers.Lambda(lambda t: t[:, 0], output_shape=(6, 8), dtype="float32")(x)
    model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(x)))
    for copy in (
        structured.prune(model, keras_channels.groups(model), {}),
        keras.models.clone_model(model, clone_function=structured.again),
    ):
        copy.set_weights(model.get_weights())
        images = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
        np.testing.assert_array_equal(copy(images), model(images))
        assert not {id(layer) for layer in copy.layers} & {id(layer) for layer in model.layers}


def test_pruned_equals_zeroed_for_mobilenet_v2() -> None:
    assert_prunes(networks.mobilenet_v2())


@pytest.mark.slow
@pytest.mark.parametrize("name", networks.LARGE)
@pytest.mark.usefixtures("float64")
def test_pruned_equals_zeroed_for_large_networks(name: str) -> None:
    assert_prunes(networks.LARGE[name](), tolerance=1e-12)


@pytest.mark.parametrize("name", networks.SMALL)
@pytest.mark.usefixtures("float64")
def test_pruned_equals_zeroed_to_the_last_bits(name: str) -> None:
    assert_prunes(networks.SMALL[name](), seed=2, tolerance=1e-12)


@pytest.mark.parametrize("name", ["resnet8", "ds_cnn", "mobilenet_v1", "autoencoder"])
def test_pruned_equals_the_network_whose_removed_channels_are_silent(name: str) -> None:
    model = networks.randomise(networks.SMALL[name]())
    groups = keras_channels.groups(model)
    keep = networks.random_keep(groups, 2)
    pruned = structured.prune(model, groups, keep)
    assert relative_error(pruned, silenced(model, groups, keep)) <= 1e-6


STEPS = st.lists(
    st.tuples(
        st.sampled_from(networks.RANDOM_STEPS),
        st.integers(0, 5),
        st.sampled_from(["relu", "sigmoid", "tanh", None]),
    ),
    min_size=2,
    max_size=8,
)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(steps=STEPS, seed=st.integers(0, 99), flatten=st.booleans())
def test_random_networks(steps, seed: int, flatten: bool) -> None:
    model = networks.randomise(networks.random_network(steps, flatten), seed)
    groups = keras_channels.groups(model)
    keep = networks.random_keep(groups, seed)
    pruned = structured.prune(model, groups, keep)
    assert relative_error(pruned, structured.zeroed(model, groups, keep)) <= 1e-6
    for path, layer in keras_channels.layers(pruned):
        for group in groups.groups:
            if group.layers == (path,) and type(layer).__name__ == "Conv2D":
                assert layer.filters == len(keep[group.name])


def test_nothing_removed_is_the_same_network_with_weights_of_its_own() -> None:
    model = networks.randomise(networks.squeeze_excite())
    copy = structured.prune(model, keras_channels.groups(model), {})
    assert relative_error(copy, model) == 0
    for a, b in zip(model.weights, copy.weights, strict=True):
        assert a is not b and (a.numpy() == b.numpy()).all()
    copy.weights[0].assign(copy.weights[0] * 0)
    assert relative_error(copy, model) > 0


def test_configuration_of_layers_survives() -> None:
    inputs = keras.Input((8, 8, 3), name="image")
    first = L.Conv2D(
        8, 3, name="c", strides=2, dilation_rate=1, kernel_regularizer="l2", trainable=False
    )
    x = L.Dropout(0.25, name="d")(first(inputs))
    model = keras.Model(inputs, L.Dense(2, name="out")(L.Flatten()(x)), name="mine")
    pruned = structured.prune(model, keras_channels.groups(model), {"c": [1, 4]})
    layer = pruned.get_layer("c")
    assert (pruned.name, pruned.inputs[0].name, layer.filters) == ("mine", "image", 2)
    assert layer.strides == (2, 2) and not layer.trainable and layer.kernel_regularizer is not None
    assert pruned.get_layer("d").rate == 0.25 and pruned.get_layer("out").trainable
    assert (layer.kernel.numpy() == first.kernel.numpy()[..., [1, 4]]).all()


def test_dictionaries_of_inputs_and_outputs_stay_dictionaries() -> None:
    inputs = {"b": keras.Input((4,), name="b"), "a": keras.Input((6,), name="a")}
    x = L.Concatenate()([L.Dense(5, name="p")(inputs["b"]), L.Dense(7, name="q")(inputs["a"])])
    model = keras.Model(inputs, {"two": L.Dense(2)(x), "one": L.Dense(3)(x)})
    groups = keras_channels.groups(networks.randomise(model))
    keep = {"p": [0, 3], "q": [1, 2, 6]}
    pruned, zeroed = (f(model, groups, keep) for f in (structured.prune, structured.zeroed))
    batch = {"a": np.ones((2, 6), np.float32), "b": np.ones((2, 4), np.float32)}
    got, expected = pruned(batch), zeroed(batch)
    assert set(got) == {"one", "two"}
    for key in got:
        np.testing.assert_allclose(got[key], expected[key], rtol=1e-5, atol=1e-6)


def test_layers_that_are_not_understood_are_copied_whole() -> None:
    image, words = keras.Input((6, 6, 3)), keras.Input((8,), dtype="int32")
    x = L.Normalization(name="normal")(image)
    x = L.GroupNormalization(3)(L.Conv2D(6, 3)(L.Conv2D(5, 3, padding="same", name="cut")(x)))
    x = L.Reshape((-1, 6))(x)
    y = L.Conv1D(9, 3, name="cut_too")(L.Embedding(20, 7, name="words")(words))
    y = L.Bidirectional(L.LSTM(3, return_sequences=True))(y)
    y = L.TimeDistributed(L.Dense(6))(L.LayerNormalization()(y))
    x = L.MultiHeadAttention(2, 4)(x, y)
    z = L.Flatten()(L.Conv1D(4, 2, name="cut_last")(x))
    model = networks.randomise(keras.Model([image, words], L.Dense(2)(z)))
    groups = keras_channels.groups(model)
    assert set(groups.names) == {"cut", "words", "cut_last"}
    keep = networks.random_keep(groups)
    pruned = structured.prune(model, groups, keep)
    assert pruned.get_layer("words").output_dim == len(keep["words"])
    assert relative_error(pruned, structured.zeroed(model, groups, keep)) <= 1e-6


def test_frozen_reasons_name_every_layer_that_is_not_understood() -> None:
    inputs = keras.Input((8, 3))
    x = L.LSTM(4, name="lstm")(L.Conv1D(6, 3, name="conv")(inputs))
    groups = keras_channels.groups(keras.Model(inputs, L.Dense(2)(x)))
    assert groups.names == ()
    (reason,) = [reason for layer, reason in groups.frozen if layer == "lstm"]
    assert "LSTM" in reason and "'conv'" in reason


def test_a_pruned_model_trains_and_saves(tmp_path) -> None:
    model = networks.randomise(networks.nested())
    groups = keras_channels.groups(model)
    pruned = structured.prune(model, groups, networks.random_keep(groups))
    pruned.compile("sgd", ["mse", "mse"])
    inputs, targets = networks.random_inputs(pruned), [np.zeros((2, 4))] * 2
    pruned.fit(inputs, targets, verbose=0)
    pruned.save(tmp_path / "pruned.keras")
    loaded = keras.models.load_model(tmp_path / "pruned.keras")
    assert relative_error(loaded, pruned) == 0


def test_a_group_that_does_not_exist_is_an_error() -> None:
    model = networks.cnn()
    with pytest.raises(UnknownNameError, match="channel group 'nothing'"):
        structured.prune(model, keras_channels.groups(model), {"nothing": [0]})


class Forgetful(L.Layer):
    """A layer whose configuration does not say how it was made."""

    def __init__(self, factor: float) -> None:
        super().__init__(name="forgetful")
        self.factor = factor

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return {}


def test_a_layer_that_cannot_be_made_again_is_an_error() -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, L.Dense(2)(L.Dense(5, name="d")(Forgetful(2.0)(inputs))))
    with pytest.raises(ModelError, match=r"'forgetful' .* cannot be made again"):
        structured.prune(model, keras_channels.groups(model), {"d": [0]})
