"""``hwsearch check``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwsearch.board import GENERIC
from hwsearch.board import board as board_of
from hwsearch.commands import NO, print_json, print_table, subcommand
from hwsearch.quiet import silence
from hwsearch.record import to_json

if TYPE_CHECKING:
    from hwsearch.preflight import Preflight


@subcommand
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--board", "board_name", help="That gains are estimated for.")
@click.option("--backend", "backends", multiple=True, help="To ask; may be given again.")
def command(
    source: Path, board_name: str | None, backends: tuple[str, ...], as_json: bool
) -> int | None:
    """Check the model in FILE before a search: what runs it, what to mend, what that buys.

    FILE is a .tflite, .keras or .h5. Exit code 1: no backend runs it, or one that was named does
    not.
    """
    on = GENERIC if board_name is None else board_of(board_name)
    with silence():  # TensorFlow greets whoever imports it
        from hwsearch.preflight import preflight

        found = preflight(source, on, backends)
    runs = found.runs_on(backends)
    if as_json:
        support = [{**to_json(s), "runs": s.runs} for s in found.support]
        findings = [{**to_json(f), "gain": f.gain} for f in found.findings]
        print_json({"source": found.source, "support": support, "findings": findings})
        return None if runs else NO
    precisions = list(dict.fromkeys(s.precision for s in found.support))
    answers = {
        (s.backend, s.precision): "runs" if s.runs else f"refuses {len(s.refusals)}"
        for s in found.support
    }
    names = list(dict.fromkeys(s.backend for s in found.support))
    print_table(
        ("backend", *precisions),
        ((name, *(answers.get((name, p), "") for p in precisions)) for name in names),
        left=1 + len(precisions),
    )
    refused = _refused(found)
    if refused:
        click.echo("\nRefused:")
    for text, (kinds, where) in refused.items():
        click.echo(f"- {text}\n  {', '.join(kinds)}: {', '.join(where)}")
    if found.findings:
        click.echo("\nTo mend:")
    for i, finding in enumerate(found.findings, 1):
        click.echo(f"{i}. {finding.problem}\n   {finding.remedy}")
        if finding.gain:
            click.echo(f"   Buys at least: {finding.gain} ({finding.backend}, estimated).")
    if not found.findings and not refused:
        click.echo("\nNothing to mend.")
    return None if runs else NO


def _refused(found: Preflight) -> dict[str, tuple[list[str], list[str]]]:
    """By reason and remedy the kinds of operators, and the backends with their precisions."""
    told: dict[str, tuple[dict[str, None], dict[str, dict[str, None]]]] = {}
    for s in found.support:
        for refusal in s.refusals:
            kinds, where = told.setdefault(f"{refusal.reason} {refusal.remedy}", ({}, {}))
            kinds[refusal.kind] = None
            where.setdefault(s.backend, {})[s.precision] = None
    return {
        text: (list(kinds), [f"{name} ({', '.join(at)})" for name, at in where.items()])
        for text, (kinds, where) in told.items()
    }
