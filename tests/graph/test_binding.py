"""Shapes that the binding predicts against those of networks really pruned and converted."""

from __future__ import annotations

import contextlib
import functools
import io
import time
import warnings

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers as L

from hwsearch import convert
from hwsearch.compress import structured
from hwsearch.errors import ConversionError, InputError
from hwsearch.graph import Graph, binding, keras_channels, tflite
from tests import networks

DEFAULT = ("resnet8", "ds_cnn", "autoencoder", "concat", "squeeze_excite", "conv1d", "nested")


def bound(model: keras.Model):
    groups = keras_channels.groups(model)
    return groups, *structured.bind(model, groups)


def assert_same_network(predicted: np.ndarray, base: Graph, real: Graph) -> None:
    """Operator by operator: the same kinds, and every tensor that one names of the same shape."""
    assert [op.kind for op in base.ops] == [op.kind for op in real.ops]
    for here, there in zip(base.ops, real.ops, strict=True):
        for i, j in zip(here.inputs + here.outputs, there.inputs + there.outputs, strict=True):
            if i >= 0:
                shape = real.tensors[j].shape
                padding = (1,) * (predicted.shape[1] - len(shape))
                assert tuple(predicted[i]) == padding + shape, base.tensors[i].name
    activations = [
        [graph.tensors[i].dtype for op in graph.ops for i in op.outputs] for graph in (base, real)
    ]
    assert activations[0] == activations[1]


def keep_of(groups, bound_: binding.Binding, seed: int):
    """Random channels for each group, none under the least width that the binding takes."""
    keep = networks.random_keep(groups, seed)
    return {
        name: channels if len(channels) >= least else np.arange(least)
        for (name, channels), least in zip(keep.items(), bound_.least.tolist(), strict=True)
    }


@functools.cache
def small(name: str):
    """(model, groups, converted base, binding) of one of the small networks, random weights."""
    model = networks.randomise(networks.SMALL[name]())
    return model, *bound(model)


def assert_predicts(model: keras.Model, groups, base, shapes, seeds: range) -> None:
    assert shapes.groups == groups.names
    full = shapes.shapes(groups.widths[None])[0]
    assert_same_network(full, base.graph, base.graph)
    for seed in seeds:
        keep = keep_of(groups, shapes, seed)
        real = tflite.read(convert.to_float_tflite(structured.prune(model, groups, keep))).graph
        widths = np.array([[len(keep[name]) for name in groups.names]])
        assert_same_network(shapes.shapes(widths)[0], base.graph, real)


@pytest.mark.parametrize("name", DEFAULT)
def test_predicted_shapes_are_those_of_the_pruned_network(name: str) -> None:
    assert_predicts(*small(name), range(2))


@pytest.mark.slow
@pytest.mark.parametrize("name", networks.SMALL)
def test_predicted_shapes_of_many_prunings(name: str) -> None:
    assert_predicts(*small(name), range(10))


@pytest.mark.slow
@pytest.mark.parametrize("name", networks.LARGE)
def test_predicted_shapes_of_large_networks(name: str) -> None:
    model = networks.randomise(networks.LARGE[name]())
    assert_predicts(model, *bound(model), range(2))


@settings(max_examples=4, deadline=None, derandomize=True)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([s for s in networks.RANDOM_STEPS if s != "mask"]),
            st.integers(0, 5),
            st.sampled_from(["relu", "tanh", None]),
        ),
        min_size=3,
        max_size=8,
    ),
    seed=st.integers(0, 99),
)
def test_predicted_shapes_of_random_networks(steps, seed: int) -> None:
    model = networks.randomise(networks.random_network(steps))
    assert_predicts(model, *bound(model), range(seed, seed + 1))


def test_equal_constants_of_different_layers_are_split() -> None:
    model = networks.resnet8()  # not trained: many biases are 0 and equally long
    groups, base, shapes = bound(model)
    plain = tflite.read(convert.to_float_tflite(model)).graph
    assert len(base.graph.tensors) > len(plain.tensors)
    assert [t.shape for t in base.graph.tensors[: len(plain.tensors)]] == [
        t.shape for t in plain.tensors
    ]
    for i, tensor in enumerate(base.graph.tensors):
        if tensor.is_constant and tensor.dtype == "float32":
            base.constant(i)
    keep = networks.random_keep(groups)
    real = tflite.read(convert.to_float_tflite(structured.prune(model, groups, keep))).graph
    widths = np.array([[len(keep[name]) for name in groups.names]])
    assert_same_network(shapes.shapes(widths)[0], base.graph, real)


def test_groups_too_narrow_for_two_probes_take_more() -> None:
    inputs = keras.Input((6,))
    x = inputs
    for _ in range(5):
        x = L.Dense(2, activation="relu")(x)
    model = networks.randomise(keras.Model(inputs, L.Dense(2)(x)))
    groups, base, shapes = bound(model)
    keep = {name: [0] if i % 2 else [0, 1] for i, name in enumerate(groups.names)}
    real = tflite.read(convert.to_float_tflite(structured.prune(model, groups, keep))).graph
    widths = np.array([[len(keep[name]) for name in groups.names]])
    assert_same_network(shapes.shapes(widths)[0], base.graph, real)


def test_a_network_without_groups_is_bound_to_nothing() -> None:
    inputs = keras.Input((6,))
    _, base, shapes = bound(keras.Model(inputs, L.Dense(2)(inputs)))
    assert shapes.groups == ()
    assert shapes.shapes(np.zeros((3, 0), np.int64)).shape == (3, len(base.graph.tensors), 4)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda a, b: (a, b[:-1]), "ambiguous"),
        (lambda a, b: (a, a), "no tensor of the converted network depends on"),
    ],
)
def test_probes_that_come_out_otherwise_than_asked_are_an_error(wrong, message: str) -> None:
    model = networks.randomise(networks.ds_cnn())
    groups = keras_channels.groups(model)
    one, two, *_ = groups.names

    def convert_wrongly(keep):
        if keep:
            keep = {**keep, **dict(zip((one, two), wrong(keep[one], keep[two]), strict=True))}
        return convert.to_float_tflite(structured.prune(model, groups, keep))

    with pytest.raises(ConversionError, match=message):
        binding.bind(groups, convert_wrongly)


def test_widths_out_of_range_are_an_error() -> None:
    _, groups, _, shapes = small("ds_cnn")
    with pytest.raises(InputError, match=r"expected \[n, 4\]"):
        shapes.shapes(np.ones((2, 3), np.int64))
    with pytest.raises(InputError, match="takes 1 to 24"):
        shapes.shapes(groups.widths[None] + 1)
    with pytest.raises(InputError, match="takes 1 to 24"):
        shapes.shapes(groups.widths[None] * 0)


def test_a_batch_is_fast() -> None:
    _, groups, _, shapes = small("resnet8")
    widths = np.random.default_rng(0).integers(1, groups.widths + 1, (256, len(groups.groups)))
    seconds = []
    for _ in range(20):
        begin = time.perf_counter()
        shapes.shapes(widths)
        seconds.append(time.perf_counter() - begin)
    print(f"256 x the shapes of ResNet-8: {min(seconds) * 1e3:.2f} ms")
    assert min(seconds) < 2.5e-3  # measured 0.1 ms


def quantized(content: bytes, model: keras.Model, in_float: str = "") -> Graph:
    """Quantized to 8 bits; operators whose output's name holds ``in_float`` stay float."""
    from litert_quantizer import recipe
    from litert_quantizer.quantizer import Quantizer

    quantizer = Quantizer(content)
    quantizer.load_quantization_recipe(recipe.static_wi8_ai8())
    if in_float:
        quantizer.update_quantization_recipe(
            regex=in_float, operation_name="*", algorithm_key="no_quantize"
        )
    names, _ = convert.names(model)
    samples = [
        dict(zip(names, networks.random_inputs(model, 1, seed), strict=True)) for seed in range(3)
    ]
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        ranges = quantizer.calibrate({convert.SIGNATURE: samples})
        made = quantizer.quantize(ranges).quantized_model
    return tflite.read(bytes(made)).graph


@pytest.mark.parametrize(("name", "trained"), [("resnet8", True), ("ds_cnn", False)])
def test_a_quantized_network_follows_the_same_widths(name: str, trained: bool) -> None:
    model = networks.SMALL[name]()
    model, groups, base, shapes = small(name) if trained else (model, *bound(model))
    graph = quantized(base.content, model)
    onto = shapes.onto(graph, base.graph)
    keep = networks.random_keep(groups)
    pruned = structured.prune(model, groups, keep)
    real = quantized(convert.to_float_tflite(pruned), pruned)
    widths = np.array([[len(keep[name]) for name in groups.names]])
    assert_same_network(onto.shapes(widths)[0], graph, real)


def test_operators_left_in_float_bring_boundaries() -> None:
    model, groups, base, shapes = small("resnet8")
    name = base.graph.tensors[base.graph.ops[4].outputs[0]].name
    graph = quantized(base.content, model, name.split(";")[0])
    assert {"quantize", "dequantize"} & {op.kind for op in graph.ops[1:-1]}
    assert len(graph.tensors) > len(base.graph.tensors)
    onto = shapes.onto(graph, base.graph)
    assert_same_network(onto.shapes(groups.widths[None])[0], graph, graph)
    narrow = onto.shapes(onto.least[None])[0]
    for op in graph.ops:
        if op.kind in ("quantize", "dequantize"):
            assert (narrow[op.inputs[0]] == narrow[op.outputs[0]]).all()


def test_a_quantized_network_of_another_model_is_an_error() -> None:
    _, _, base, shapes = small("ds_cnn")
    other, _, plain, _ = small("autoencoder")
    graph = quantized(plain.content, other)
    with pytest.raises(ConversionError, match=r"Quantize the \.tflite of bind"):
        shapes.onto(graph, base.graph)
