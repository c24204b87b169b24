"""Data named on a command line: what each form gives, and that no file's code runs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from hwsearch.data_files import DataSource, read
from hwsearch.errors import DataError

X, Y = np.arange(12.0).reshape(4, 3), np.arange(4)


def saved(path: Path, **arrays: object) -> str:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return str(path)


def test_x_and_y(tmp_path: Path) -> None:
    found = read(saved(tmp_path / "d.npz", x=X, y=Y))
    assert found.validation_data is None and found.test_data is None
    np.testing.assert_array_equal(found.data[0], X)
    np.testing.assert_array_equal(found.data[1], Y)


def test_inputs_alone(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(saved(tmp_path / "d.npz", x=X)).data, X)


def test_all_splits_in_the_form_that_keras_publishes(tmp_path: Path) -> None:
    arrays = {f"{s}_{n}": a for n in ("train", "val", "test") for s, a in (("x", X), ("y", Y))}
    found = read(saved(tmp_path / "d.npz", **arrays))
    for pair in (found.data, found.validation_data, found.test_data):
        assert len(pair) == 2


def test_several_inputs(tmp_path: Path) -> None:
    found = read(saved(tmp_path / "d.npz", **{"x.left": X, "x.right": X, "y": Y}))
    assert set(found.data[0]) == {"left", "right"}


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"images": X}, "array 'images'. Expected arrays x and y"),
        ({"y": Y}, "has the arrays y. Expected"),
        ({"x": X, "x_train": X}, "Expected arrays x and y"),
        ({"x": X, "x.left": X}, "both with and without a name"),
        ({}, "none. Expected"),
    ],
)
def test_other_arrays(tmp_path: Path, arrays: dict[str, object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(saved(tmp_path / "d.npz", **arrays))


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return Path.touch, (Path("pwned"),)


def test_pickles_are_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="holds Python objects"):
        read(saved(tmp_path / "d.npz", x=np.array([Evil()], object)))
    (tmp_path / "raw.npz").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(DataError, match=r"raw\.npz cannot be read"):
        read("raw.npz")
    assert not Path("pwned").exists()


def test_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import numpy as np\ndef load():\n    return np.zeros((2, 3)), np.ones(2)\n"
    (tmp_path / "my_own_data.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for source in ("my_own_data:load", f"{tmp_path}/my_own_data.py:load"):
        x, y = read(source).data
        assert x.shape == (2, 3) and y.shape == (2,)


def test_a_function_that_gives_all(tmp_path: Path) -> None:
    path = tmp_path / "all_data.py"
    path.write_text("def load():\n    return {'data': (1, 2), 'test_data': (3, 4)}\n")
    assert read(f"{path}:load") == DataSource((1, 2), None, (3, 4))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("data.csv", "Give a .npz file, or a function"),
        ("nothing.npz", "there is no file"),
        ("no_such_module_at_all:load", "No module named"),
        ("nowhere.py:load", "cannot be loaded"),
        ("json:no_such_function", "no attribute"),
    ],
)
def test_what_is_no_data(source: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(source)
