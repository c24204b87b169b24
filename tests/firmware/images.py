"""Firmware images for tests, built once a process; and what tests need of this computer."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from hwsearch.device.image import Image, build
from tests.firmware.models import write_model


@functools.cache
def folder() -> Path:
    """A folder that is removed when the tests end."""
    path = Path(tempfile.mkdtemp(prefix="hwsearch-tests-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@functools.cache
def image(port: str, *, toolchain: str | None = None, layers: bool = False, **model: Any) -> Image:
    """An image of a small dense model; see tests.firmware.models.write_model for its options."""
    name = f"{port}-{toolchain}-{layers}-{abs(hash(tuple(sorted(model.items()))))}"
    sources = write_model(folder() / name / "model", **model)
    return build(sources, port, folder() / name, toolchain=toolchain, layers=layers)


def require(*needs: str) -> None:
    """Skip the test unless every program or package is here; fail where CI promised them.

    Args:
        needs: names of programs on PATH or of Python packages.
    """
    missing = [n for n in needs if shutil.which(n) is None and importlib.util.find_spec(n) is None]
    if missing:
        reason = f"{', '.join(missing)} is not installed"
        if os.environ.get("HWSEARCH_REQUIRE_EMULATOR") == "1":
            pytest.fail(reason + ", and HWSEARCH_REQUIRE_EMULATOR=1")
        pytest.skip(reason)
