"""``hwsearch doctor``."""

from __future__ import annotations

from hwsearch.commands import NO, print_json, print_table, subcommand
from hwsearch.doctor import examine


@subcommand
def command(as_json: bool) -> int | None:
    """Print what hwsearch needs of this machine, and the command that mends what is missing.

    Compilers, emulators, boards on serial ports and the permission to use them, environment
    variables, versions that clash. Exit code 1: something is missing that hwsearch cannot do
    without (marked !).
    """
    found = list(examine())
    wrong = any(e.wrong for e in found)
    if as_json:
        print_json({"findings": [
            {"what": e.what, "found": e.found, "needed": e.needed, "remedy": e.remedy}
            for e in found
        ]})  # fmt: skip
        return NO if wrong else None
    print_table(
        ("", "what", "found", "to have it"),
        (("!" if e.wrong else "", e.what, e.found or "no", e.remedy) for e in found),
        left=4,
    )
    return NO if wrong else None
