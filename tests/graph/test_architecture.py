import json

import pytest
from architectures import MODELS, PUBLISHED, needs_published, small_cnn

from hwsearch.errors import ModelFileError
from hwsearch.graph import tflite
from hwsearch.graph.architecture import from_architecture


def test_shapes_kinds_and_macs():
    graph = from_architecture(small_cnn())
    assert [op.kind for op in graph.ops][:4] == [
        "conv_2d",
        "depthwise_conv_2d",
        "conv_2d",
        "add",
    ]
    assert graph.macs[0] == 12 * 12 * 16 * 3 * 3 * 3
    assert graph.macs[1] == 12 * 12 * 16 * 3 * 3
    assert graph.ops[1].depth_multiplier == 1
    assert graph.tensors[graph.outputs[0]].shape == (1, 10)


def test_concatenation_axis_follows_from_the_shapes():
    entry = {
        "tensors": [
            {"shape": [1, 4, 4, 3], "dtype": "int8"},
            {"shape": [1, 4, 4, 5], "dtype": "int8"},
            {"shape": [1, 4, 4, 8], "dtype": "int8"},
        ],
        "operators": [{"kind": "CONCATENATION", "inputs": [0, 1], "outputs": [2]}],
        "inputs": [0, 1],
        "outputs": [2],
    }
    assert from_architecture(entry).ops[0].axis == 3


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda e: e.pop("operators"), "operators"),
        (lambda e: e["tensors"][0].update(dtype="complex64"), "complex64"),
        (lambda e: e["tensors"][0].update(shape=[1, 0, 12, 3]), "positive"),
        (lambda e: e["operators"][0].update(inputs=[999, 1]), "not a network|not there"),
        (lambda e: e["operators"][0].update(stride=[1]), "not a network"),
        (lambda e: e.update(outputs=[10_000]), "not there"),
    ],
)
def test_a_damaged_entry_says_what_is_wrong(change, word):
    entry = small_cnn()
    change(entry)
    with pytest.raises(ModelFileError, match=word):
        from_architecture(entry)


@needs_published
def test_equals_the_file_it_was_written_from():
    entry = json.loads((PUBLISHED / "architectures.json").read_text())["kws_ref_model"]
    described = from_architecture(entry)
    read = tflite.read(MODELS / "kws_ref_model.tflite").graph
    assert described.macs == read.macs
    assert described.file_bytes == read.file_bytes
    assert [t.shape for t in described.tensors] == [t.shape for t in read.tensors]
    assert [t.constant_bytes for t in described.tensors] == [
        t.constant_bytes for t in read.tensors
    ]
    for a, b in zip(described.ops, read.ops, strict=True):
        assert (a.kind, a.inputs, a.outputs, a.stride, a.window, a.activation) == (
            b.kind,
            b.inputs,
            b.outputs,
            b.stride,
            b.window,
            b.activation,
        )


@needs_published
def test_every_published_architecture_reads():
    for name, entry in json.loads((PUBLISHED / "architectures.json").read_text()).items():
        graph = from_architecture(entry, name)
        assert sum(graph.macs) > 0, name
