"""Schedules: how much is cut when, and that the last step leaves the widths asked for."""

from __future__ import annotations

import pytest

from hwsearch.compress.saliency import saliency
from hwsearch.compress.schedule import cut
from hwsearch.graph import keras_channels
from tests import networks


@pytest.mark.parametrize(
    ("schedule", "epochs", "seen", "trained"),
    [
        ("one-shot", 5, [4], [5]),
        ("iterative", 6, [13, 10, 7, 4], [1, 1, 1, 3]),
        ("agp", 4, [16 - round(12 * 37 / 64), 16 - round(12 * 7 / 8), 4, 4], [1, 1, 1, 1]),
        ("iterative", 2, [10, 4], [1, 1]),
        ("agp", 0, [4], [0]),
    ],
)
def test_widths_and_epochs_of_each_step(schedule, epochs, seen, trained) -> None:
    model = networks.randomise(networks.resnet8())
    first = keras_channels.groups(model).names[0]
    widths, told = [], []

    def tune(network, count):
        found = {g.name: g.width for g in keras_channels.groups(network).groups}
        widths.append(found[first])
        told.append(count)
        return count

    network, rankings, tuned = cut(
        model, {first: 4}, lambda m, g: saliency(m, g, "l2"), schedule, epochs, tune
    )
    assert widths == seen and told == tuned == trained and len(rankings) == len(seen)
    groups = {g.name: g.width for g in keras_channels.groups(network).groups}
    whole = {g.name: g.width for g in keras_channels.groups(model).groups}
    assert groups == whole | {first: 4}


@pytest.mark.parametrize("schedule", ["iterative", "agp"])
@pytest.mark.parametrize("whole", [False, True])
def test_nothing_to_cut_is_one_step(schedule, whole) -> None:
    model = networks.randomise(networks.cnn())
    group = keras_channels.groups(model).groups[0]
    widths = {group.name: group.width} if whole else {}
    _, _, trained = cut(
        model, widths, lambda m, g: saliency(m, g, "l2"), schedule, 8, lambda m, count: count
    )
    assert trained == [8]


def test_down_to_one_channel_in_steps() -> None:
    model = networks.randomise(networks.cnn())
    name = keras_channels.groups(model).names[0]
    network, _, _ = cut(
        model, {name: 1}, lambda m, g: saliency(m, g, "l2"), "agp", 4, lambda m, e: None
    )
    assert network.layers[1].filters == 1
