"""The examples run, with tiny settings; so does the snippet in the README."""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))


def run(code: list[str], directory: Path) -> str:
    done = subprocess.run(
        [sys.executable, *code],
        cwd=directory,
        env=os.environ | {"HWSEARCH_QUICK": "1", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_an_example_runs(path: Path, tmp_path: Path) -> None:
    assert " trained · " in run([str(path)], tmp_path)


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


def test_the_snippet_in_the_readme_runs(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    snippet = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert snippet is not None
    lines = snippet[1].strip().splitlines()
    assert len(lines) <= 12, "the README promises a ten-line snippet"
    prepare = (
        "import sys; sys.path.insert(0, {tests!r})\n"
        "import digits\n"
        "train, val = digits.data()\n"
        "model = digits.network(train, 4)\n"
        "(x_train, y_train), (x_val, y_val) = train, val\n"
    ).format(tests=str(ROOT / "tests"))
    quick = snippet[1].replace("trials=40", "trials=1")
    assert quick != snippet[1], "the snippet's trials=40 was not found"
    (tmp_path / "snippet.py").write_text(prepare + quick)
    assert "original" in run(["snippet.py"], tmp_path)
    assert (tmp_path / "out" / "model.tflite").is_file()


def test_links_in_markdown_exist() -> None:
    missing = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                missing.append(f"{page.name}: {target}")
    assert missing == []
