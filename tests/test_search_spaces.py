"""The presets of search_spaces/, and what is said of a file that is not one."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsearch import Space
from hwsearch.errors import SpaceError
from hwsearch.space_schema import KEYS, presets
from hwsearch.toml_file import TomlFile

HERE = Path(__file__).parents[1] / "search_spaces"
FILES = sorted(HERE.glob("*.toml"))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_preset_loads_by_path_and_by_name(path: Path) -> None:
    assert Space.load(path) == Space.load(path.stem) != Space()
    text = path.read_text()
    assert text.startswith(f"# {path.stem}:"), "the first line says what it is for"
    assert f'space="{path.stem}"' in text
    assert f"[{path.name}]({path.name})" in (HERE / "README.md").read_text()


def test_presets_differ_and_are_all_there() -> None:
    wanted = {
        "fast",
        "thorough",
        "int8-only",
        "mixed-precision",
        "mlp",
        "cnn",
        "ds_cnn",
        "resnet",
        "sparse",
        "differentiable",
    }
    assert set(presets()) == wanted
    assert len({repr(Space.load(name)) for name in wanted}) == len(wanted)


def test_the_schema_has_a_line_for_every_attribute() -> None:
    assert list(KEYS) == [f.name for f in fields(Space)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# mine\n\nepochs = 2\nepoch = 3\n", "line 4: unknown key 'epoch'. Did you mean epochs?"),
        ("zzz = 1\n", "line 1: unknown key 'zzz'. Known: activation_bits"),
        ("pruning_ratio = [\n  0.0,\n  1.5,\n]\n", "line 1: pruning_ratio=[0.0, 1.5] cannot"),
        ('a = """\nepochs = 1\n"""\n\n# x\nepochs = "two"\n', "line 6: epochs='two' cannot"),
        ("epochs = true\n", "line 1: epochs=True cannot be searched, expected a whole number"),
        ("weight_bits = [8, 2]\n", "line 1: weight_bits=[8, 2] cannot be searched, expected some"),
        ("weight_bits = [[8]]\n", "line 1: weight_bits=[[8]] cannot"),
        ("saliency = []\nbatch_size = 0\n", "line 2: batch_size=0 cannot"),
        ("[saliency]\nl1 = 1\n", "line 1: saliency={'l1': 1} cannot"),
        ("epochs = \n", "at line 1"),
        ("epochs = 1\nepochs = 2\n", "line 2"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(SpaceError) as caught:
        Space.load(path)
    assert said in str(caught.value) and "mine.toml" in str(caught.value)


def test_all_problems_are_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("epochs = -1\nsamples = 0.5\n")
    with pytest.raises(SpaceError, match=r"line 1: epochs=-1 .*; .*line 2: samples=0\.5"):
        Space.load(path)


def test_a_name_that_is_no_preset_lists_them() -> None:
    with pytest.raises(SpaceError, match=r"'cn'.*presets cnn, differentiable, ds_cnn, fast"):
        Space.load("cn")


values = st.one_of(
    st.integers(-5, 5).map(str),
    st.lists(st.integers(), max_size=4).map(lambda v: "[\n" + ",\n".join(map(str, v)) + "]"),
    st.text("ab\n=#", max_size=8).map(lambda v: f"'''{v}'''"),
)


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.tuples(values, st.integers(0, 3)), min_size=1)
)
def test_lines_are_where_the_keys_were_written(written: dict[str, tuple[str, int]]) -> None:
    text, expected = "", {}
    for name, (value, blanks) in written.items():
        text += "\n" * blanks + "# note\n"[: 7 * (blanks % 2)]
        expected[name] = text.count("\n") + 1
        text += f"{name} = {value}\n"
    tomllib.loads(text)
    assert TomlFile(Path("x"), text, {}).lines == {(name,): n for name, n in expected.items()}


@pytest.mark.slow
def test_an_installed_wheel_has_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*command, "-w", str(tmp_path), str(HERE.parent)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"hwsearch/search_spaces/{path.name}" for path in FILES} <= names
