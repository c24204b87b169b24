"""What no network in a file may say; and the corpus of files that fuzzing found worth keeping."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from fuzz_tflite import CORPUS, survives
from tflite_network import Network

from hwsearch.backends import backend
from hwsearch.errors import ModelFileError
from hwsearch.graph.tflite import read

FILES = sorted(CORPUS.iterdir())


def convolution() -> Network:
    """One 3x3 convolution of an 8x8 image and a dense layer, whose fields a test breaks."""
    net = Network(np.random.default_rng(0))
    x = net.conv(net.input((1, 8, 8, 4)), 8, (3, 3), activation="relu")
    net.dense(net.mean(x), 3)
    return net


def _set(path: str, value: object) -> Callable[[Network], None]:
    def change(net: Network) -> None:
        *names, last = path.split(".")
        found = net.subgraph
        for name in names:
            found = found[int(name)] if name.isdigit() else getattr(found, name)
        setattr(found, last, value)

    return change


def test_the_network_as_it_stands_is_sound() -> None:
    net = convolution()
    assert len(read(net.finish(net.subgraph.operators[-1].outputs[0])).graph.ops) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set("operators.0.builtinOptions.strideH", 0), "strides and padding"),
        (_set("operators.0.builtinOptions.strideW", 2), "strides and padding"),
        (_set("operators.0.builtinOptions.padding", 1), "strides and padding"),
        (_set("operators.0.builtinOptions.dilationHFactor", -1), "strides and padding"),
        (_set("operators.2.outputs", []), "nothing makes one of its outputs"),
        (_set("operators.0.inputs", [-1, -1, -1]), "an input and an output"),
        (lambda net: net.subgraph.operators.reverse(), "reads what nothing has made"),
        (_set("operators.2.outputs", [0]), "writes what is made already"),
        (_set("tensors.0.shape", [1, 8, 8, 5]), "channels in"),
        (_set("tensors.0.shape", [2, 8, 8, 4]), "as many out as in"),
        (_set("tensors.0.shape", [1 << 20, 1 << 20, 8, 4]), "has the shape"),
        (_set("tensors.0.shape", [1] * 9), "has the shape"),
        (_set("tensors.0.quantization.scale", [0.0]), "positive scales"),
        (_set("tensors.0.quantization.scale", [float("nan")]), "positive scales"),
        (_set("tensors.0.quantization.zeroPoint", [0, 0]), "positive scales"),
        (_set("inputs", []), "no input"),
        (_set("inputs", [0, 0]), "not distinct"),
        (_set("operators", []), "no operator"),
    ],
)
def test_what_cannot_be(change: Callable[[Network], None], said: str) -> None:
    net = convolution()
    net.subgraph.outputs = [net.subgraph.operators[-1].outputs[0]]
    change(net)
    with pytest.raises(ModelFileError, match=said):
        read(net.finish())


def test_a_softmax_that_tflite_would_abort_on_is_refused() -> None:
    net = Network(np.random.default_rng(0))
    x = net.input((1, 4))
    y = net.unary("softmax")(x)
    net.subgraph.tensors[x].quantization.scale = [1e-12]
    model = read(net.finish(y))
    (found,) = backend("aot").refusals(model.graph)
    assert "below what softmax can resolve" in found.reason


@pytest.mark.parametrize("part", range(4))
def test_the_corpus_survives(part: int) -> None:
    """Each file that fuzzing kept: read and costed, or an error of ours."""
    assert FILES[part::4], "the corpus is gone"
    for path in FILES[part::4]:
        survives(path.read_bytes())
