"""Whatever lets someone in is not shown, and nothing else is lost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hwsearch
from hwsearch.address import masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "postgresql+psycopg://me:s3cret@host:5432/db",
            "postgresql+psycopg://me:***@host:5432/db",
        ),
        ("postgresql://me:p@ss/w:rd@host/db", "postgresql://me:***@host/db"),
        ("postgresql://:s3cret@host/db", "postgresql://:***@host/db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("https://s3cret@host/x", "https://***@host/x"),
        ("https://me:s3cret@host/x", "https://me:***@host/x"),
        (
            "mysql://host/db?user=me&password=s3cret&ssl=1",
            "mysql://host/db?user=me&password=***&ssl=1",
        ),
        ("https://host/?access_token=s3cret#a", "https://host/?access_token=***#a"),
        ("sqlite:////home/me/mlruns/mlflow.db", "sqlite:////home/me/mlruns/mlflow.db"),
        ("http://127.0.0.1:5000/#/experiments/1?x=y", "http://127.0.0.1:5000/#/experiments/1?x=y"),
        (
            "could not reach postgresql://me:s3cret@host/db: mail root@host",
            "could not reach postgresql://me:***@host/db: mail root@host",
        ),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert masked(shown) == shown


@given(st.text(st.characters(exclude_characters="?#", exclude_categories=("Z", "C")), min_size=1))
def test_no_password_is_left(password: str) -> None:
    assert masked(f"postgresql://me:{password}@host/db") == "postgresql://me:***@host/db"


def test_one_place_masks() -> None:
    """No second way of doing it, which would miss what this one knows."""
    package = Path(hwsearch.__file__).parent
    found = [
        p.name for p in package.rglob("*.py") if re.search(r"def masked|\*\*\*@", p.read_text())
    ]
    assert found == ["address.py"]
