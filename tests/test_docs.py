"""The documentation's site: builds without a warning, fetches nothing, tells of what is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import hwsearch
from hwsearch.cli import COMMANDS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Fetched(HTMLParser):
    """What a browser loads to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source", "video"):
            self.addresses.append(given.get("src") or "")
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.addresses.append(given.get("href") or "")


def test_pages_fetch_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15
    for page in pages:
        fetched = Fetched()
        fetched.feed(page.read_text())
        outside = [a for a in fetched.addresses if "//" in a]
        assert fetched.addresses and outside == [], page.name


def test_tables_are_made_and_roles_are_links(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert "<!-- made" not in text, page.name
        assert not re.search(r":(class|func|meth|mod|data):", text), page.name
    assert "disco-f746ng" in (site / "boards.html").read_text()


def test_the_reference_has_every_public_name(site: Path) -> None:
    text = "".join(page.read_text() for page in (site / "reference").glob("*.html"))
    for name in hwsearch.__all__:
        if name != "device":  # a package: its names are on a page of their own
            assert f'id="hwsearch.{name}"' in text, name
    for name in hwsearch.device.__all__:
        assert f'id="hwsearch.device.{name}"' in text, name


def test_the_reference_has_every_command(site: Path) -> None:
    text = (site / "reference" / "command-line.html").read_text()
    for name in COMMANDS:
        assert f"<code>hwsearch {name}</code>" in text, name


def test_every_example_is_listed(site: Path) -> None:
    text = (site / "examples.html").read_text()
    for path in (ROOT / "examples").glob("[0-9]*"):
        assert f"examples/{path.name}<" in text, path.name
