"""What is ranked before any training: all channels of a model together, residual blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsearch.board import board
from hwsearch.compress.saliency import Evidence, keep, saliency
from hwsearch.conversion import _runnable, priced
from hwsearch.graph import keras_channels
from hwsearch.space import Space
from tests import networks


class Sixteen:
    """A runtime that refuses 8-bit activations of this model."""

    name, activation_bits = "sixteen", (8, 16)

    def refusals(self, graph: Any) -> list[str]:
        return ["not these"] if graph == 8 else []


BOARD = board("nucleo-l4r5zi")


def test_one_ratio_keeps_the_most_salient_channels_of_the_network() -> None:
    model = networks.randomise(networks.cnn())
    inputs = networks.random_inputs(model, batch=4)
    groups = keras_channels.groups(model)
    weak = groups.groups[-1]
    layer = model.get_layer(weak.layers[0])
    # Half of one group's channels matter a thousand times less than the others of that group.
    kernel, *rest = layer.get_weights()
    kernel[..., ::2] /= 1000
    layer.set_weights([kernel, *rest])
    space = Space(
        pruning_ratio=(0.0, 0.1, 0.97), multiple_of=(1,), saliency=("l2", "random"),
        activation_bits=(8,), ratios=("global",),
    )  # fmt: skip
    found = priced(model, BOARD, inputs, ("tflm",), space, Evidence(seed=3))
    ranks = found.pricing.ranks
    place = {p.name: i for i, p in enumerate(ranks.parameters)}
    rows = np.zeros((6, len(ranks.parameters)), np.int64)
    rows[:, place["prune"]] = [0, 1, 2, 0, 1, 2]
    rows[:, place["saliency"]] = [0, 0, 0, 1, 1, 1]
    widths = ranks.decode(rows).widths
    full, least = groups.widths, np.array([least for _, _, least in ranks.layout.groups])
    for kind, start in (("l2", 0), ("random", 3)):
        values = saliency(model, groups, kind, Evidence(seed=3)).values
        assert (widths[start] == full).all()
        every = np.sort(np.concatenate(list(values.values())))
        for row, ratio in ((start + 1, 0.1), (start + 2, 0.97)):
            bar = every[round(ratio * len(every))]
            wanted = [int((values[name] >= bar).sum()) for name in groups.names]
            assert widths[row].tolist() == np.maximum(wanted, np.maximum(least, 1)).tolist()
    assert widths[1][-1] < full[-1], "its weak channels go first"
    kept = keep(saliency(model, groups, "l2").values, {weak.name: int(widths[1][-1])})[weak.name]
    assert set(range(1, weak.width, 2)) <= set(kept.tolist())
    assert any("would take all channels of" in note for note in found.notes), found.notes


def test_a_ratio_that_takes_a_whole_group_is_said() -> None:
    model = networks.randomise(networks.cnn())
    inputs = networks.random_inputs(model, batch=4)
    groups = keras_channels.groups(model)
    said = "would take all channels of "
    for ratio in (0.5, 0.99):
        space = Space(pruning_ratio=(0.0, ratio), activation_bits=(8,))
        notes = [n for n in priced(model, BOARD, inputs, ("tflm",), space).notes if said in n]
        if ratio == 0.5:
            assert not notes
        else:
            assert len(notes) == 1 and "99%" in notes[0] and groups.names[0] in notes[0]


def test_fewer_blocks_than_asked_for_are_said() -> None:
    model = networks.randomise(networks.cnn())
    space = Space(drop_blocks=(0, 1), activation_bits=(8,))
    found = priced(model, BOARD, networks.random_inputs(model, batch=4), ("tflm",), space)
    assert found.space.drop_blocks == (0,)
    assert any("0 residual blocks can be dropped" in note for note in found.notes)


def test_qat_is_left_out_where_8_bits_do_not_run() -> None:
    found, space, notes = _runnable((Sixteen(),), Space(qat=(False, True)), {8: 8, 16: 16})
    assert len(found) == 1 and space.activation_bits == (16,) and space.qat == (False,)
    assert any("no QAT" in note for note in notes)
