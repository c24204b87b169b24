"""``hwsearch worker``."""

from __future__ import annotations

import signal
import sys
from dataclasses import asdict
from pathlib import Path

import click

from hwsearch.address import masked
from hwsearch.artefacts import RunArtefacts
from hwsearch.commands import print_json, subcommand
from hwsearch.errors import InputError
from hwsearch.search.join import joined
from hwsearch.search.loop import Search
from hwsearch.search.resident import parse_bytes


@subcommand
@click.option(
    "--storage",
    required=True,
    envvar="HWSEARCH_STORAGE",
    help="The search's database, as optimize(storage=) has it; the environment variable "
    "HWSEARCH_STORAGE keeps a password off the command line.",
)
@click.option("--study", required=True, help="The search's name.")
@click.option("--workers", default=1, show_default=True, help="Trainings at once.")
@click.option("--memory", help='That each may hold, e.g. "4 GiB". Default: shared out.')
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    help="What optimize(directory=) was given, as this machine sees it; elsewhere a directory "
    "of this machine's own, and MLflow carries the files.",
)
@click.option("--tracking-uri", help="Of MLflow's server, if it differs or needs a password.")
def command(
    storage: str,
    study: str,
    workers: int,
    memory: str | None,
    directory: Path | None,
    tracking_uri: str | None,
    as_json: bool,
) -> None:
    """Join a search: train its trials on this machine until it is done.

    Loads code from the search's owner: trust whoever may write to the database. SIGTERM and
    Ctrl-C give its trials back, for another worker.
    """
    if workers < 1:
        raise InputError(f"--workers {workers} is not a number from 1.")
    limit = None if memory is None else parse_bytes("--memory", memory)
    with joined(
        storage,
        study,
        directory,
        workers,
        limit,
        lambda address, name: RunArtefacts(tracking_uri or address, name),
        _Said(),
    ) as search:
        click.echo(f"hwsearch: helps {study} in {masked(storage)}, {workers} at once", err=True)
        signal.signal(signal.SIGTERM, lambda number, frame: search.stop())
        search.run()
        counts = search.known.counts
    if as_json:
        print_json({"study": study, "begun": search.begun, "counts": asdict(counts)})
    else:
        click.echo(
            f"hwsearch: {study}: {search.begun} trials trained here, {counts.evaluated} in all",
            err=True,
        )


class _Said:
    """Says how the search is, when that has changed."""

    def __init__(self) -> None:
        self._last = -1

    def __call__(self, search: Search) -> None:
        if search.begun != self._last:
            self._last = search.begun
            counts = search.known.counts
            sys.stderr.write(
                f"hwsearch: {counts.evaluated}/{search.task.trials} trials, "
                f"{search.begun} of them begun here\n"
            )
