"""Every command and every piece of Python in the documentation runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from snippets import RUN, SHOWN, snippets

ROOT = Path(__file__).parents[1]
PAGES = [p for folder in (".", "docs", "docs/reference", "examples", "firmware", "search_spaces")
         for p in sorted((ROOT / folder).glob("*.md"))]  # fmt: skip
IN_MINUTES = ("README.md", "quickstart.md")
"""Pages whose searches the default tests run; those of the others are left to the slow ones."""


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def searches(page: Path) -> bool:
    return any("optimize(" in s.code for s in snippets(page) if s.language == "python")


def to_run(slow: bool) -> list[Path]:
    found = []
    for page in PAGES:
        marks = {s.mark for s in snippets(page) if s.language in RUN}
        later = "slow" in marks or ("" in marks and searches(page) and page.name not in IN_MINUTES)
        if (later and slow) or ("" in marks and not later and not slow):
            found.append(page)
    return found


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    script([], folder)
    return folder


def script(arguments: list[str], folder: Path) -> str:
    commands = folder / "bin"
    commands.mkdir(exist_ok=True)
    command = commands / "hwsearch"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m hwsearch.cli "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join((str(commands), str(Path(sys.executable).parent), os.environ["PATH"]))
    found = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "snippets.py"), *arguments],
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": found, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def ran(page: Path, prepared: Path, folder: Path, slow: bool) -> None:
    for path in prepared.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    told = script([str(page), *(["--slow"] if slow else [])], folder)
    due = [s for s in snippets(page) if s.language in RUN and s.mark != "not run"]
    assert told.count(f"--- {page.name}:") == sum(slow or s.mark == "" for s in due)


@pytest.mark.parametrize("page", to_run(slow=False), ids=named)
def test_the_snippets_of_a_page_run(page: Path, prepared: Path, tmp_path: Path) -> None:
    ran(page, prepared, tmp_path, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", to_run(slow=True), ids=named)
def test_the_slow_snippets_of_a_page_run(page: Path, prepared: Path, tmp_path: Path) -> None:
    ran(page, prepared, tmp_path, slow=True)


def test_every_fence_says_what_it_is() -> None:
    found = [(named(p), s) for p in PAGES for s in snippets(p)]
    assert len([s for _, s in found if s.language in RUN and s.mark == ""]) >= 15
    strange = [f"{n}:{s.line}: {s.language!r}" for n, s in found if s.language not in RUN + SHOWN]
    assert strange == []
    for name, snippet in found:
        fences = (ROOT / name).read_text().count("```")
        assert fences == 2 * len(snippets(ROOT / name)), f"{name}: a fence is not closed"
        if snippet.language == "toml":
            tomllib.loads(snippet.code)


def test_the_snippet_in_the_readme_is_short() -> None:
    first = next(s for s in snippets(ROOT / "README.md") if s.language == "python")
    assert len(first.code.strip().splitlines()) <= 12, "the README promises a ten-line snippet"
