"""What a zip archive that nobody trusts may hold, checked before anything of it is unpacked."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path, PurePosixPath

from hwsearch.errors import InputError

MAX_MEMBERS = 10_000
MAX_BYTES = 16 << 30
"""Unpacked, all members together."""

MAX_RATIO = 200
"""Unpacked to packed, of a member of more than :data:`RATIO_FROM` bytes. Weights and samples are
seldom below a half; DEFLATE's most is 1,032."""

RATIO_FROM = 64 << 20


def check(path: Path, error: type[InputError]) -> None:
    """Refuses an archive whose names lead out of it, or that unpacks to far more than it is.

    Args:
        path: the file; one that is no zip archive is left to whoever reads it.
        error: what to raise.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as broken:
        raise error(f"{path} is damaged: {broken}. Save it again.") from broken
    hint = "Do not open it unless you know where it comes from."
    names = [member.filename for member in members]
    if len(members) > MAX_MEMBERS or len(set(names)) != len(names):
        raise error(f"{path} has {len(names):,} members, some of them twice or too many. {hint}")
    for member in members:
        name = PurePosixPath(member.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or ":" in member.filename:
            raise error(f"{path} has a member {member.filename!r} that leads out of it. {hint}")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise error(f"{path} has a link {member.filename!r}, expected files alone. {hint}")
        ratio = member.file_size / max(member.compress_size, 1)
        if member.file_size > RATIO_FROM and ratio > MAX_RATIO:
            raise error(
                f"{path} has a member {member.filename!r} of {member.compress_size:,} B that "
                f"unpacks to {member.file_size:,} B. {hint}"
            )
    if sum(member.file_size for member in members) > MAX_BYTES:
        raise error(f"{path} unpacks to more than {MAX_BYTES >> 30} GiB. {hint}")
