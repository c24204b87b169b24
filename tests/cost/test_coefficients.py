from __future__ import annotations

import pytest

from hwsearch.cost.coefficients import Coefficients, shipped
from hwsearch.errors import ModelFileError


def test_every_set_says_where_it_is_from():
    sets = shipped().sets
    assert len(shipped().by_name) == len(sets)
    for known in sets:
        name = (known.core, known.runtime, known.version)
        assert known.version, name
        if known.rows:
            assert known.boards, name
            assert known.date, name
            assert known.families >= 1, name
        else:
            assert "borrowed" in known.note, name
        assert all(value > 0 for value in known.cycles.values()), name


def test_residuals_are_edges_of_an_interval():
    for found in shipped().residuals:
        assert -1 < found.low < 0 < found.high
        assert found.rows >= found.families >= 1


def test_a_file_comes_back(tmp_path):
    path = tmp_path / "coefficients.json"
    path.write_text(shipped().to_json())
    assert Coefficients.load(path) == shipped()


@pytest.mark.parametrize("text", ["", "{}", '{"format": 99, "sets": [], "residuals": []}'])
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "coefficients.json"
    path.write_text(text)
    with pytest.raises(ModelFileError, match="holds no coefficients"):
        Coefficients.load(path)
