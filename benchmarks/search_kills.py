"""Fifty kills at random moments: ``make bench-search-kills`` (KILLS=50).

Searches whose trainings replay a table, with real processes, a real PostgreSQL and a real MLflow
server; after each the study is held against the table and against MLflow (tests/search/kills.py).
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "tests")]

from search.kills import Scene, check, kill_at_random, mlflow_server  # noqa: E402
from search.postgres import Postgres  # noqa: E402

KINDS = ("owner", "worker", "postgres", "worker", "owner", "mlflow", "postgres", "worker",
         "owner", "postgres")  # fmt: skip


def main(kills: int) -> None:
    """Searches of ten kills each; prints what was killed and what was found afterwards."""
    killed: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    begin, server = time.monotonic(), Postgres()
    try:
        for turn in range(-(-kills // len(KINDS))):
            count = min(len(KINDS), kills - turn * len(KINDS))
            with tempfile.TemporaryDirectory() as folder, mlflow_server() as mlflow:
                url = server.make(f"kills{turn}")
                scene = Scene(url, Path(folder), 30 + 8 * count, 0.3, mlflow.uri)
                said = kill_at_random(scene, KINDS[:count], count, server, mlflow, seed=turn)
                found = check(scene, said)
            killed += scene.killed
            sums += Counter(found)
            print(f"search {turn + 1}: {dict(scene.killed)} killed; {found}", flush=True)
    finally:
        server.end()
    minutes = (time.monotonic() - begin) / 60
    print(f"\n{sum(killed.values())} kills in {minutes:.0f} min: {dict(killed)}; {dict(sums)}")
    print("lost 0, double 0, fronts equal to the table's, MLflow equal to the studies")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
