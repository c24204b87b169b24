"""The cache of trainings and the disk of a study: caps, eviction, many processes, kills."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from search.replay import replayed, trains
from search.tasks import searching, trials

from hwsearch.search.cache import Cache
from hwsearch.search.disk import Disk
from hwsearch.search.finals import restored
from hwsearch.search.training import TRAINED

PUTS = """
import os, sys
from pathlib import Path
from hwsearch.search.cache import Cache
cache, own = Cache(Path(sys.argv[1]), 20_000), Path(sys.argv[2])
own.mkdir()
for i in range(60):
    key = f"k{i % 40}"
    if not cache.take(key, own / f"got{i}"):
        path = own / f"f{i}"
        path.write_bytes(key.encode() * 500)
        cache.put(key, [path])
    else:
        files = list((own / f"got{i}").iterdir())
        assert len(files) == 1 and files[0].read_bytes() == key.encode() * 500, files
"""


def put(cache: Cache, key: str, size: int, folder: Path) -> None:
    path = folder / f"of-{key}"
    path.write_bytes(b"x" * size)
    cache.put(key, [path])


def test_the_least_recently_used_go_first_and_the_cap_holds(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 10_000)
    for i in range(9):
        put(cache, f"k{i}", 1000, tmp_path)
        old = time.time() - 1000 + i
        os.utime(cache.directory / f"k{i}", (old, old))
    assert cache.take("k0", tmp_path / "used")
    put(cache, "new", 1500, tmp_path)
    assert cache.size() <= 9_000
    assert cache.take("k0", tmp_path / "again") and cache.take("new", tmp_path / "again")
    assert not cache.take("k1", tmp_path / "again")
    put(cache, "huge", 20_000, tmp_path)
    assert cache.size() <= 9_000, "what is larger than the cap is not kept"
    assert (tmp_path / "used" / "of-k0").read_bytes() == b"x" * 1000


def test_what_was_taken_outlives_its_eviction(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 3_000)
    put(cache, "a", 2_000, tmp_path)
    assert cache.take("a", tmp_path / "study")
    put(cache, "b", 2_000, tmp_path)
    assert not cache.take("a", tmp_path / "other")
    assert (tmp_path / "study" / "of-a").stat().st_size == 2_000


def test_many_processes_and_a_kill_leave_whole_entries_under_the_cap(tmp_path: Path) -> None:
    def start(i: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", PUTS, str(tmp_path / "cache"), str(tmp_path / f"p{i}")],
            stderr=subprocess.PIPE,
        )

    processes = [start(i) for i in range(4)]
    time.sleep(0.3)
    processes[3].kill()
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0 or process is processes[3], err.decode()
    cache = Cache(tmp_path / "cache", 20_000)
    put(cache, "last", 100, tmp_path)
    assert 0 < cache.size() <= 20_000
    for entry in cache.directory.iterdir():
        if not entry.name.startswith("."):
            assert [p.stat().st_size > 0 for p in entry.iterdir()] == [True]


def test_a_studys_disk_keeps_what_it_must(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 5_000)
    for i in range(5):
        (tmp_path / f"s{i}").mkdir()
        (tmp_path / f"s{i}" / "a.tflite").write_bytes(bytes(1_000))
        disk.add(f"s{i}")
    assert not disk.is_over()
    (tmp_path / "s4" / "b.tflite").write_bytes(bytes(1_000))
    disk.add("s4")
    assert disk.total == 6_000 and disk.is_over()
    assert disk.evict({"s0", "s4"}) == ["s1", "s2"]
    assert disk.total == 4_000 == sum(p.stat().st_size for p in tmp_path.rglob("*.tflite"))


def test_a_search_stays_under_its_cap_and_keeps_its_front(tmp_path: Path) -> None:
    """Files of 1 KiB an artefact, a cap that the front fits and all do not."""
    from dataclasses import replace

    task = replayed(tmp_path, 40)
    quick, cap = trains(0.0), 60_000

    def large(job, timeout_s, stopped):  # type: ignore[no-untyped-def]
        result, reason = quick(job, timeout_s, stopped)
        for path in job.folder.glob("*.tflite"):
            path.write_bytes(bytes(1024))
        return result, reason

    task = replace(task, cache=Cache(tmp_path / "cache", cap))
    peak = 0

    def look(search: object) -> None:
        nonlocal peak
        peak = max(peak, sum(p.stat().st_size for p in home.rglob("*") if p.is_file()))

    home = task.directory / TRAINED
    with searching(task, train=large, on_change=look) as search:
        search.run()
        front = search.known.front
        assert all(t.tflite.is_file() for t in front)
        gone = [t for t in search.history() if not t.tflite.is_file()]
        assert gone, "nothing was evicted"
        structures = {t.candidate.configuration.structure for t in front}
        most = cap + 9 * 1024 + len(structures) * 9 * 1024  # a training more, and the front
        assert peak <= most, f"{peak:,} B at the peak"
        scored = len(search.history())
        assert scored == len(trials(task)), "a told trial was forgotten"
        made = restored(search, gone[0])
        assert made is not None and made.tflite.is_file() and np.isfinite(made.score.value)
    with searching(task, train=large) as again:
        assert len(again.history()) == scored == len(again.known.scores), "they stay told"
