from __future__ import annotations

import numpy as np
import pytest

from hwsearch.board import Board
from hwsearch.cost import energy
from hwsearch.cost.cost import Band

BOARD = Board("b", "M4", 80e6, power_w=0.05)


def test_power_times_time():
    found = energy.energy_j(np.array([0.1, 0.2]), BOARD)
    assert found == pytest.approx([0.005, 0.010])


def test_at_another_clock_a_cycle_takes_the_same_energy():
    cycles = np.array([8e6])
    at_80 = energy.energy_j(cycles / 80e6, BOARD)
    at_40 = energy.energy_j(cycles / 40e6, BOARD, clock_hz=40e6)
    assert at_40 == pytest.approx(at_80)


def test_unknown_stays_unknown():
    assert energy.energy_j(None, BOARD) is None
    assert energy.energy_j(np.array([0.1]), Board("b", "M4", 80e6)) is None


def test_the_band_is_wider_than_the_latency_s():
    latency = Band(-0.1, 0.2, "why")
    found = energy.band(latency)
    assert found.low < latency.low
    assert found.high > latency.high
    assert "why" in found.basis
    assert energy.band(latency, other_clock=True).high > found.high
    assert energy.band(Band(-0.99, 3.0, "")).low >= -1
