"""Addresses of databases and servers, as they may be shown: without what lets someone in."""

from __future__ import annotations

import re

_HTTP_USER = re.compile(r"(?<=http://|ttps://)[^\s:/@?#]+@")
_PASSWORD = re.compile(r"(?<=://)([^\s:/@?#]*):[^\s?#]*@")
_KEY = re.compile(
    r"(?<=[?&;])((?:\w*(?:password|passwd|pwd|passphrase|token|secret))|(?:api_?key))=[^\s&#;]*",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """A text whose addresses have no passwords: ``postgresql://me:***@host/db``.

    Hidden are passwords before the host, also with ``@`` or ``/`` in them; what stands alone
    before the host of an HTTP address, which is a token; and values of keys such as
    ``password`` or ``token`` after the question mark.
    """
    return _KEY.sub(r"\1=***", _PASSWORD.sub(r"\1:***@", _HTTP_USER.sub("***@", text)))


def words(error: BaseException) -> str:
    """An error of another library in one line: its kind and the first line, without passwords."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {masked(lines[0])[:200]}"
