"""Dataclasses through JSON and back."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import factories
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsearch.budget import Budget
from hwsearch.candidate import Score, Trained
from hwsearch.cost.cost import Band, Cost
from hwsearch.errors import ModelFileError
from hwsearch.record import from_json, to_json


def through_text(value: object, directory: Path | None = None) -> Any:
    return json.loads(json.dumps(to_json(value, directory), allow_nan=False))


@given(st.builds(Band, st.floats(allow_nan=False), st.floats(allow_nan=False), st.text()))
def test_any_band_comes_back(band: Band) -> None:
    assert from_json(Band, through_text(band)) == band


def test_a_trial_comes_back_with_its_path_below_the_directory(tmp_path: Path) -> None:
    trial = factories.trained(tmp_path, 3)
    written = through_text(trial, tmp_path)
    assert written["tflite"] == "trial_0003.tflite"
    assert from_json(Trained, written, tmp_path) == trial


def test_keys_carry_the_units_that_the_command_line_prints() -> None:
    budget = through_text(Budget(flash="1 KiB", latency="2 ms"))
    assert budget["flash_bytes"] == 1024 and budget["latency_s"] == 0.002
    cost = through_text(factories.cost())
    assert {"flash_bytes", "ram_bytes", "latency_s", "energy_j", "macs", "cycles", "ops"} <= set(
        cost
    )
    assert set(cost["bands"]["latency_s"]) == {"error_low", "error_high", "basis"}
    assert from_json(Cost, cost) == factories.cost()


def test_numbers_that_are_not_finite_survive() -> None:
    back = from_json(Score, through_text(Score(math.nan, -math.inf, math.inf, 0, "none")))
    assert math.isnan(back.value) and back.low == -math.inf and back.high == math.inf


def test_numpy_scalars_are_numbers() -> None:
    assert through_text({"a": np.float64(0.5), "b": np.int64(3)}) == {"a": 0.5, "b": 3}


@pytest.mark.parametrize(
    "broken",
    [
        {"value": "high"},
        {"value": True},
        {"samples": 2.5},
        {"oracle": 3},
        [],
        {"value": 1.0},
    ],
)
def test_what_another_program_wrote_is_refused_in_words(broken: Any) -> None:
    whole = through_text(factories.score())
    record = (
        {**whole, **broken} if isinstance(broken, dict) and broken != {"value": 1.0} else broken
    )
    with pytest.raises(ModelFileError, match="another version"):
        from_json(Score, record)


def test_what_has_no_json_form_is_a_bug() -> None:
    @dataclass(frozen=True)
    class Odd:
        value: object

    with pytest.raises(TypeError, match="no JSON form"):
        to_json(Odd(object()))
