"""What a search at scale costs: ``make bench-scale`` prints the tables of docs/search-at-scale.md.

Processes and databases are real, trainings replay a table (tests/search/replay.py), so what is
measured is everything but training. ``python -m benchmarks.scale [steps|front|workers|sleeping|
memory|log]`` runs a part.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS)]

import numpy as np  # noqa: E402
from optuna.trial import TrialState  # noqa: E402
from search.postgres import Postgres, binaries  # noqa: E402
from search.replay import replayed, trains, value  # noqa: E402
from search.tasks import searching  # noqa: E402

from hwsearch.candidate import Candidate, Score, Trained  # noqa: E402
from hwsearch.search.database import Database  # noqa: E402
from hwsearch.search.loop import Search  # noqa: E402
from hwsearch.search.outcome import scored  # noqa: E402
from hwsearch.search.study import RESULT, result  # noqa: E402
from hwsearch.search.task import Task  # noqa: E402

SIZES = (100, 1_000, 5_000, 20_000)
MEASURED = 10
"""Trainings timed at each size."""

SLEEP_S = 2.0


def fill(search: Search, task: Task, count: int) -> None:
    """Adds told trials to a study until it has so many, and lets the search read them."""
    storage, ranks = search.storage, task.pricing.ranks
    rng = np.random.default_rng(count)
    distributions = storage.rows.distributions
    missing = count - storage.told()
    rows = ranks.pruned(rng, 4 * missing + 100)
    costs = task.budget.excesses(task.pricing.price(ranks.decode(rows)))
    rows = rows[(costs <= 0).all(axis=1)][:missing]
    trials = []
    for row in rows:
        configuration = ranks.configuration(row)
        number = value(configuration.structure, task.precision(configuration))
        folder = task.directory / "trained" / configuration.structure
        trained = Trained(
            Candidate(0, configuration, task.pricing.cost(configuration)),
            folder / task.precision(configuration).name,
            Score(number, 0.0, 1.0, 100, "table"),
            (),
            1.0,
        )
        names = ranks.names(row)
        params = {name: names[name] for name in distributions}
        marks = {RESULT: result(trained, task.directory)}
        trials.append(scored(task, trained, marks, params, distributions))

    def work(c: Any) -> None:
        storage.rows.lock(c)
        for trial in trials:
            storage.rows.insert(c, trial)

    storage.base.write(work)


@contextmanager
def timed(search: Search) -> Iterator[dict[str, list[float]]]:
    """Seconds of each call of the steps that the loop is made of."""
    seconds: dict[str, list[float]] = {}

    def wrap(owner: Any, name: str) -> None:
        inner = getattr(owner, name)

        def call(*given: Any, **named: Any) -> Any:
            begin, cpu = time.perf_counter(), time.thread_time()
            try:
                return inner(*given, **named)
            finally:
                seconds.setdefault(name, []).append(time.perf_counter() - begin)
                seconds.setdefault(f"{name} cpu", []).append(time.thread_time() - cpu)

        setattr(owner, name, call)

    wrap(search._memory, "ask")
    for name in ("begin", "tell", "news"):
        wrap(search.storage, name)
    yield seconds


def steps(urls: dict[str, Callable[[str], str]], sampler: str = "tpe") -> None:
    """Ask, begin, tell, news and all of the owner's time a trained trial, by size of the study.

    Each as "CPU / wall": on a machine that does other things too the first is what counts.
    """
    print(f"\nsampler: {sampler}")
    print("\n| trials in the study | database | ask | begin | tell | news | a trained trial |")
    print("|---|---|---|---|---|---|---|")
    for size, (kind, make) in itertools.product(SIZES, urls.items()):
        with tempfile.TemporaryDirectory() as folder:
            url = make(f"steps{sampler}{size}")
            task = replace(replayed(Path(folder), 10**6), sampler=sampler)
            with searching(task, url=url) as search:
                fill(search, task, size)
            # A new session, as after a night: the study is read, and the search goes on.
            spent: list[tuple[float, float]] = []
            with searching(task, url=url, train=trains(0.0)) as search, timed(search) as seconds:
                last = (time.thread_time(), time.perf_counter())
                while len(spent) < MEASURED:
                    before = search.begun
                    assert search._turn()
                    if search.begun > before:
                        now = (time.thread_time(), time.perf_counter())
                        spent.append((now[0] - last[0], now[1] - last[1]))
                        last = now
            print(
                f"| {size:,} | {kind} | "
                + " | ".join(
                    f"{middle(seconds[f'{n} cpu'])} / {middle(seconds[n])} ms"
                    for n in ("ask", "begin", "tell", "news")
                )
                + f" | {middle([c for c, _ in spent])} / {middle([w for _, w in spent])} ms |",
                flush=True,
            )


def middle(seconds: list[float]) -> str:
    """The median in milliseconds."""
    return f"{1000 * statistics.median(seconds):.1f}"


def run(role: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(TESTS / "search" / "replay.py"), role, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])},
    )


def rate(url: str, processes: int, trials: int, seconds: float) -> float:
    """Trained trials a second of so many processes, from when all are at work."""
    with tempfile.TemporaryDirectory() as folder:
        started = [run("own", url, folder, str(trials), str(seconds))]
        base = Database(url)
        end = time.monotonic() + 120
        while len(started) < processes and time.monotonic() < end:
            try:
                base.check()
                started += [run("join", url, folder, str(seconds)) for _ in range(processes - 1)]
            except Exception:
                time.sleep(0.1)
        for process in started:
            process.communicate(timeout=900)
            assert process.returncode == 0
        done: list[float] = []
        first: dict[str, float] = {}
        with base.optuna(create=False) as storage:
            import optuna

            for trial in optuna.load_study(study_name="by-hand", storage=storage).get_trials():
                if trial.state == TrialState.COMPLETE and "worker" in trial.user_attrs:
                    assert trial.datetime_start and trial.datetime_complete
                    done.append(trial.datetime_complete.timestamp())
                    worker, begun = trial.user_attrs["worker"], trial.datetime_start.timestamp()
                    first[worker] = min(first.get(worker, begun), begun)
        base.close()
        assert len(first) == processes, f"{len(first)} of {processes} took part: more trials"
        begin = max(first.values())
        return sum(t > begin for t in done) / (max(done) - begin)


def workers(urls: dict[str, Callable[[str], str]]) -> None:
    """Trials a second against processes, trainings that take no time: the storage's limit."""
    print("\n| database | 1 | 2 | 4 | 8 processes, trained trials a second, trainings of 0 s |")
    print("|---|---|---|---|---|")
    for kind, make in urls.items():
        found = [rate(make(f"rate{n}"), n, 60 + 100 * n, 0.0) for n in (1, 2, 4, 8)]
        print(f"| {kind} | " + " | ".join(f"{r:.1f}" for r in found) + " |", flush=True)


def sleeping(urls: dict[str, Callable[[str], str]]) -> None:
    """Four processes against one, trainings that sleep."""
    kind, make = list(urls.items())[-1]
    one = rate(make("sleep1"), 1, 16, SLEEP_S)
    four = rate(make("sleep4"), 4, 72, SLEEP_S)
    print(
        f"\n{kind}, trainings of {SLEEP_S:g} s: 1 worker {one:.3f} trials/s, 4 workers "
        f"{four:.3f} trials/s: {four / one:.2f} times",
        flush=True,
    )


def memory(trials: int = 2_000) -> None:
    """Resident memory of a process that runs a search, and the size of its database."""
    with tempfile.TemporaryDirectory() as folder:
        task = replayed(Path(folder), trials)
        seen: list[tuple[int, float]] = []

        def look(search: Search) -> None:
            done = search.known.counts.evaluated
            if done >= 200 * (len(seen) + 1):
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                seen.append((done, pages * os.sysconf("SC_PAGE_SIZE") / 2**20))

        begin = time.monotonic()
        with searching(task, train=trains(0.0), on_change=look) as search:
            search.run()
            told = search.storage.told()
        size = sum(p.stat().st_size for p in task.directory.glob("study.db*"))
        print(f"\n{trials:,} trained trials, {told:,} told, in {time.monotonic() - begin:.0f} s")
        print("resident MiB: " + ", ".join(f"{n}: {mib:.0f}" for n, mib in seen))
        print(f"last against first: {seen[-1][1] / seen[0][1] - 1:+.1%}")
        print(f"study.db: {size / told:,.0f} B a told trial, {size / trials:,.0f} B a trained one")


def log() -> None:
    """What a trial costs to log, in the tracker's own thread."""
    from hwsearch.track import Tracker

    with tempfile.TemporaryDirectory() as folder:
        task = replayed(Path(folder), 1)
        tracker = Tracker(None, "hwsearch", "s", Path(folder))
        tracker.start({"metric": "accuracy", "mode": "max"}, {}, task.pricing.ranks.layout)
        tracker.logged()
        row = task.pricing.ranks.random(np.random.default_rng(0), 1)[0]
        configuration = task.pricing.ranks.configuration(row)
        cost, number = task.pricing.cost(configuration), 0
        print("\n| runs in MLflow | log, a trial |\n|---|---|")
        for size in (100, 1_000, 3_000):
            begin, first = time.perf_counter(), number
            while number < size:
                score = Score(0.5, 0.4, 0.6, 100, "table")
                made = Trained(
                    Candidate(number, configuration, cost), Path("none"), score, (), 1.0
                )
                tracker.trial(made, task.budget.excess(cost))
                number += 1
                if number % 100 == 0:
                    tracker.logged()
            spent = (time.perf_counter() - begin) / (size - first)
            print(f"| {first:,} to {size:,} | {1000 * spent:.0f} ms |", flush=True)


def main(parts: list[str]) -> None:
    """Runs the parts, all if none is named."""
    with tempfile.TemporaryDirectory() as folder:
        urls: dict[str, Callable[[str], str]] = {
            "sqlite": lambda name: f"sqlite:///{folder}/{name}.db"
        }
        server = Postgres() if binaries() is not None else None
        if server is not None:
            urls["PostgreSQL"] = server.make
        try:
            known = {
                "steps": partial(steps, urls),
                "front": partial(steps, {"sqlite": urls["sqlite"]}, "front"),
                "workers": partial(workers, urls),
                "sleeping": partial(sleeping, urls),
                "memory": memory,
                "log": log,
            }
            for name in parts or known:
                known[name]()
        finally:
            if server is not None:
                server.end()


if __name__ == "__main__":
    main(sys.argv[1:])
