"""``hwsearch ui``."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import click

from hwsearch.address import masked
from hwsearch.commands import directory_option, print_json, study_folder, subcommand
from hwsearch.errors import HwsearchError, InputError, UnknownNameError

LOOPBACK = "127.0.0.1"


@subcommand
@click.argument("search", required=False)
@directory_option
@click.option("--tracking-uri", help="MLflow's store. Default: the database in the directory.")
@click.option("--host", default=LOOPBACK, show_default=True,
              help="Address to listen on. Others than this computer's own let whoever reaches "
              "them read and change every run: MLflow asks for no password.")  # fmt: skip
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535))
def command(
    search: str | None,
    directory: Path,
    tracking_uri: str | None,
    host: str,
    port: int,
    as_json: bool,
) -> int | None:
    """Start MLflow's page and print the links to the trials of each search, best first.

    SEARCH, the name or folder of a study, picks one. With --json links and command are printed,
    and nothing is started. Ctrl-C ends it.
    """
    folder = study_folder(search, directory) if search is not None else directory
    if folder.parent.name == "studies":
        search, directory = folder.name, folder.parent.parent
    if tracking_uri is None:
        database = directory.absolute() / "mlflow.db"
        if not database.is_file():
            raise InputError(
                f"there is no {database}. Name the directory of a search (--directory), or its "
                "MLflow store (--tracking-uri)."
            )
        tracking_uri = f"sqlite:///{database.as_posix()}"
    serves = not tracking_uri.startswith("http")
    if serves and not as_json:
        _check_free(host, port)
    base = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    links = _links(tracking_uri, base if serves else tracking_uri, search)
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    if as_json:
        store = masked(tracking_uri)
        print_json({"links": links, "store": store, "command": command if serves else []})
        return None
    for study, link in links.items():
        click.echo(f"{study}: {link}")
    if not serves:
        return None
    click.echo(f"{base} until Ctrl-C")
    sys.stdout.flush()
    # The address goes by the environment: it may hold a password, and ps shows arguments.
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": tracking_uri}
    process = subprocess.Popen(command, env=environment)
    signal.signal(signal.SIGTERM, lambda number, frame: process.terminate())
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()
        code = process.wait()
    if code > 0:
        raise HwsearchError(f"MLflow's server ended with code {code}; what it printed says why.")
    return None


def _links(uri: str, base: str, search: str | None) -> dict[str, str]:
    """By study the address of its trials."""
    from hwsearch.track import pages

    found = pages(uri, masked(base))
    if search is None:
        return found
    if search not in found:
        raise UnknownNameError("study", search, found)
    return {search: found[search]}


def _check_free(host: str, port: int) -> None:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise InputError(
            f"{host}, port {port}, cannot be listened on: {error.strerror}. Give another --port "
            "or --host."
        ) from error
