"""The examples run, with tiny settings."""

from __future__ import annotations

import ast
import difflib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
SEARCHED = " trained · "  # in the table of every report
DEFAULT = ("01_quickstart",)
"""Scripts that the default tests run; a search starts TensorFlow twice, so the rest is slow."""


def run(code: list[str], directory: Path, path: Path | None = None) -> str:
    found = os.pathsep.join(
        str(p) for p in (path, ROOT, os.environ.get("PYTHONPATH")) if p is not None
    )
    done = subprocess.run(
        [sys.executable, *code],
        cwd=directory,
        env=os.environ | {"HWSEARCH_QUICK": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": found},
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    return done.stdout


def scripts() -> list[object]:
    found = sorted(EXAMPLES.glob("[0-9]*.py"))
    slow = [() if path.stem in DEFAULT else pytest.mark.slow for path in found]
    return [pytest.param(p, id=p.stem, marks=m) for p, m in zip(found, slow, strict=True)]


def needs_espeak() -> None:
    sys.path.insert(0, str(EXAMPLES))
    import keywords

    if not keywords.available():
        assert not os.environ.get("HWSEARCH_REQUIRE_ESPEAK"), "espeak-ng is missing"
        pytest.skip("espeak-ng is not installed")


@pytest.mark.parametrize("path", scripts())
def test_an_example_runs(path: Path, tmp_path: Path) -> None:
    if path.stem == "04_keyword_spotting":
        needs_espeak()
    told = run([str(path)], tmp_path)
    if path.stem == "02_tighter_budget":  # prints its own table, one line a budget
        assert re.search(r"24 KiB +0\.\d+", told), told
        assert "nothing fits" in told
    else:
        assert SEARCHED in told


def test_a_keras_tuner_script_changes_two_lines() -> None:
    before = (ROOT / "examples" / "keras_tuner_before.py").read_text().splitlines()[1:]
    after = (ROOT / "examples" / "08_keras_tuner.py").read_text().splitlines()[1:]
    changed = [line for line in difflib.ndiff(before, after) if line.startswith(("+", "-"))]
    assert [line for line in changed if line[0] == "+" and line[1:].strip()] == [
        "+ import hwsearch",
        '+ tuner = hwsearch.HardwareTuner(build, budget=hwsearch.Budget(flash="32 KiB"), '
        "**settings)",
    ]
    assert len([line for line in changed if line[0] == "-" and line[1:].strip()]) == 2


def test_no_two_examples_have_a_number() -> None:
    names = {path.stem for path in EXAMPLES.glob("[0-9]*")}
    assert len({name[:2] for name in names}) == len(names)


def test_a_plugin_package_is_found_once_it_is_installed(tmp_path: Path) -> None:
    site = installed(tmp_path)
    told = run(["-m", "hwsearch.cli", "backends"], tmp_path, site)
    assert "ping-pong" in told
    assert "ping-pong" not in run(["-m", "hwsearch.cli", "backends"], tmp_path)


@pytest.mark.slow
def test_a_search_uses_the_plugin(tmp_path: Path) -> None:
    told = run([str(EXAMPLES / "07_own_backend" / "search.py")], tmp_path, installed(tmp_path))
    assert SEARCHED in told and "ping-pong" in told


def installed(folder: Path) -> Path:
    """The plugin package, installed by pip where nothing else is."""
    site = folder / "site"
    source = folder / "source"
    source.mkdir()
    for path in (EXAMPLES / "07_own_backend").iterdir():
        if path.is_file():
            (source / path.name).write_bytes(path.read_bytes())
    command = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
               "--no-index", "--target", str(site), str(source)]  # fmt: skip
    run(command, folder)
    return site


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:jupyter_client")
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("HWSEARCH_QUICK", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(EXAMPLES / "09_notebook.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": tmp_path}})
    client.execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("<table" in output.get("data", {}).get("text/html", "") for output in shown)
    assert any("image/png" in output.get("data", {}) for output in shown)
    assert (tmp_path / "out" / "notebook" / "model.tflite").is_file()


def test_the_notebook_is_kept_without_its_output() -> None:
    import nbformat

    notebook = nbformat.read(EXAMPLES / "09_notebook.ipynb", as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
            ast.parse(cell.source)


def test_keywords_are_spoken_and_heard() -> None:
    needs_espeak()
    import keywords

    yes, again = (keywords.speak("yes", "en-us+f3", 160) for _ in range(2))
    other = keywords.speak("no", "en-gb+m2", 130)
    assert yes.dtype == np.float32 and 2_000 < len(yes) < 20_000
    assert np.array_equal(yes, again)
    assert 0.05 < np.abs(yes).max() <= 1 and len(other) != len(yes)
    tone = np.sin(2 * np.pi * 1_000 * np.arange(keywords.RATE) / keywords.RATE)
    heard = keywords.mfcc(tone.astype(np.float32))
    assert heard.shape == (49, 10)
    assert np.allclose(heard, heard[0], atol=0.5)  # a steady tone sounds the same all along
    filters = keywords._mel_filters()
    bands = filters[round(1_000 * 1024 / keywords.RATE)]
    centre = 700 * (10 ** (2595 * np.log10(1 + 4000 / 700) * (bands.argmax() + 1) / 41 / 2595) - 1)
    assert 900 < centre < 1_100  # the loudest band is the one around the tone


def test_links_in_markdown_exist() -> None:
    missing = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *EXAMPLES.rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                missing.append(f"{page.name}: {target}")
    assert missing == []
