"""Archives whose names lead out, that unpack to far more than they are, or that carry code."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from hwsearch import archive
from hwsearch.errors import DataError, ModelFileError


def packed(path: Path, *names: str, content: bytes = b"x") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name in names:
            made.writestr(name, content)
    return path


def test_a_sound_archive_and_other_files_pass(tmp_path: Path) -> None:
    archive.check(packed(tmp_path / "a.keras", "config.json", "assets/words.txt"), ModelFileError)
    np.savez_compressed(tmp_path / "zeros.npz", x=np.zeros((1000, 1000)))  # small, if squeezed
    archive.check(tmp_path / "zeros.npz", DataError)
    (tmp_path / "b.h5").write_bytes(b"\x89HDF")
    archive.check(tmp_path / "b.h5", ModelFileError)


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "C:/x", "..\\evil"])
def test_names_that_lead_out(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelFileError, match="leads out of it"):
        archive.check(packed(tmp_path / "a.keras", "config.json", name), ModelFileError)


def test_links(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("weights")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as made:
        made.writestr(info, "/etc/passwd")
    with pytest.raises(ModelFileError, match="link 'weights'"):
        archive.check(tmp_path / "a.keras", ModelFileError)


def test_a_bomb(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.keras", "model.weights.h5", content=bytes(archive.RATIO_FROM + 1))
    assert path.stat().st_size < 100_000
    with pytest.raises(ModelFileError, match="unpacks to 67,108,865 B"):
        archive.check(path, ModelFileError)


def test_too_many_or_twice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="some of them twice"), pytest.warns(UserWarning):
        archive.check(packed(tmp_path / "a.npz", "x.npy", "x.npy"), DataError)


def test_a_damaged_archive(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.npz", "x.npy")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02")] = 0
    path.write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        archive.check(path, DataError)
