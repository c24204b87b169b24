"""The folder's rows as observations; the layers' quantities against those of the same graph."""

from __future__ import annotations

import numpy as np
import pytest
from architectures import PUBLISHED, Builder, needs_published

from hwsearch.cost.published import _layer_table, observations, table_of
from hwsearch.errors import DataError
from hwsearch.graph.architecture import from_architecture


@pytest.mark.parametrize(
    ("cin", "cout", "window"), [(1, 100, 3), (100, 60, 3), (101, 60, 1), (3, 7, 1), (102, 60, 1)]
)
def test_a_layer_counts_like_the_same_layer_in_a_network(cin, cout, window):
    net = Builder((1, 8, 8, cin))
    net.conv(0, cout, window)
    macs, out = 64 * cout * cin * window**2, 64 * cout
    expected = table_of(from_architecture(net.entry()))
    np.testing.assert_allclose(_layer_table("conv", cin, cout, window, macs, out), expected)


@pytest.mark.parametrize("inputs", [440, 441, 442, 443, 444, 460])
def test_a_dense_layer_too(inputs):
    net = Builder((1, inputs))
    net.dense(0, 10)
    expected = table_of(from_architecture(net.entry()))
    found = _layer_table("dense", inputs, 10, 1, 10 * inputs, 10)
    np.testing.assert_allclose(found, expected)


def test_a_depthwise_layer_too():
    net = Builder((1, 8, 8, 101))
    net.depthwise(0, 3)
    expected = table_of(from_architecture(net.entry()))
    found = _layer_table("depthwise", 101, 101, 3, 64 * 101 * 9, 64 * 101)
    np.testing.assert_allclose(found, expected)


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="not a folder of published measurements"):
        observations(tmp_path)


@needs_published
def test_published_rows():
    rows = observations(PUBLISHED)
    cells = {row.cell for row in rows}
    assert ("M7", "x-cube-ai", "7.3") in cells
    assert not any(row.board == "nrf5340-dk" and row.cell[0] == "M4" for row in rows)
    resnet = next(
        row
        for row in rows
        if row.network == "pretrainedResnet_quant" and row.cell == ("M4", "x-cube-ai", "9.0")
    )
    assert resnet.cycles == pytest.approx(165.12e-3 * 120e6, rel=1e-3)  # MLPerf Tiny v1.2
    layers = [row for row in rows if row.kind == "layer"]
    assert len({(row.network, row.cell) for row in layers}) == len(layers)
