"""A real PostgreSQL in a folder of its own, for tests and benchmarks; Debian's or any other's."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PLACES = ("/usr/lib/postgresql", "/usr/local/pgsql")
SETTINGS = "-c fsync=on -c max_connections=60 -c listen_addresses=127.0.0.1"


def binaries() -> Path | None:
    """The newest installed server's folder, None where there is none."""
    found = [p.parent for place in PLACES for p in Path(place).glob("**/bin/initdb")]
    known = shutil.which("initdb")
    found += [Path(known).parent] if known else []
    return max(found, key=lambda p: [int(n) for n in p.parts if n.isdigit()], default=None)


class Postgres:
    """A server; start, kill and start again."""

    def __init__(self) -> None:
        where = binaries()
        assert where is not None
        self.bin, self.folder = where, Path(tempfile.mkdtemp(prefix="hwsearch-pg-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.as_user: list[str] = []
        if os.geteuid() == 0:  # the server refuses root
            shutil.chown(self.folder, "postgres", "postgres")
            self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        self._run("initdb", "--auth=trust", "--username=me", "--no-sync", "-D", self.data)
        self.start()

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+psycopg://me@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Starts the server, and waits until it answers."""
        options = f"{SETTINGS} -p {self.port} -k {self.folder}"
        log = str(self.folder / "log")
        start = ("pg_ctl", "-w", "-t", "60", "-D", self.data, "-o", options, "-l", log, "start")
        end = time.monotonic() + 30
        while not self._run(*start, check=time.monotonic() > end):
            time.sleep(0.2)  # processes of one that was killed still hold its memory

    def kill(self) -> None:
        """kill -9: connections are cut, the next start recovers from the log."""
        pid = int((Path(self.data) / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)

    def make(self, database: str) -> str:
        """A new database's address."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "me", database)
        return self.url(database)

    def end(self) -> None:
        self._run("pg_ctl", "-D", self.data, "-m", "immediate", "stop", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str, check: bool = True) -> bool:
        done = subprocess.run(
            [*self.as_user, str(self.bin / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
            stderr=subprocess.PIPE if program != "pg_ctl" else subprocess.DEVNULL,
            cwd=self.folder,
            check=False,
        )
        assert not check or done.returncode == 0, f"{program}: {done.stderr!r}"
        return done.returncode == 0
