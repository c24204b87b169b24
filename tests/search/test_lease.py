"""Leases: two owners, dead and sleeping processes, clocks that disagree."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState, create_trial

from hwsearch.errors import StudyError
from hwsearch.ranks import Parameter
from hwsearch.search import lease
from hwsearch.search.lease import Leases, is_gone, place
from hwsearch.search.storage import Storage
from hwsearch.search.study import distributions, open_study

BEAT_S, LEASE_S = 0.5, 3.0
ROW = {"a": 1}


@pytest.fixture
def elsewhere(url: str) -> Iterator[Callable[[], Leases]]:
    """Makes leases of processes of which nothing but the counter is known: of other machines."""
    made: list[Leases] = []

    def make() -> Leases:
        storage = open_study(url, "s", ["maximize"], {}, distributions([Parameter("a", 4, True)]))
        storage.start(100, b"", [])
        leases = Leases(storage, BEAT_S, LEASE_S)
        leases._place = ""
        made.append(leases)
        return leases

    yield make
    for leases in made:
        leases.storage.base.close()


def states(storage: Storage) -> list[TrialState]:
    with storage.base.optuna() as through:
        from optuna import load_study

        return [t.state for t in load_study(study_name="s", storage=through).get_trials()]


def test_two_owners_of_one_study(elsewhere: Callable[[], Leases]) -> None:
    first, second = elsewhere(), elsewhere()
    first.own()
    with first, pytest.raises(StudyError, match="another search owns"):
        second.own()
    second.own()  # the first gave it up
    assert second.owns


def test_a_dead_owners_lease_is_taken_when_it_stood_still(elsewhere: Callable[[], Leases]) -> None:
    dead, next_ = elsewhere(), elsewhere()
    dead.own()  # and never beats
    begin = time.monotonic()
    next_.own()
    assert LEASE_S <= time.monotonic() - begin
    with pytest.raises(StudyError, match="took this study over"):
        dead.beat()


def test_of_two_that_take_a_dead_owners_lease_one_has_it(elsewhere: Callable[[], Leases]) -> None:
    elsewhere().own()
    takers = [elsewhere() for _ in range(3)]
    refused = []

    def take(leases: Leases) -> None:
        try:
            leases.own()
        except StudyError as error:
            refused.append(error)

    threads = [threading.Thread(target=take, args=(leases,)) for leases in takers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [leases.owns for leases in takers].count(True) == 1 and len(refused) == 2


def test_a_dead_workers_trial_is_enqueued_once_whatever_the_clocks_say(
    elsewhere: Callable[[], Leases], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, living, watchers = elsewhere(), elsewhere(), [elsewhere(), elsewhere()]
    dead.join()
    lost = dead.storage.begin(ROW, {})
    with living:
        kept = living.storage.begin(ROW, {})
        assert lost is not None and kept is not None
        living.mine.add(kept.trial_id)
        monkeypatch.setattr(time, "time", lambda: 0.0)  # a clock that is decades behind
        end = time.monotonic() + 60  # three watch: both watchers and the living worker itself
        while TrialState.WAITING not in states(dead.storage) and time.monotonic() < end:
            for watcher in watchers:
                watcher.watch()
            time.sleep(BEAT_S)
        for watcher in watchers:
            watcher.watch()
    found = states(dead.storage)
    assert found.count(TrialState.FAIL) == found.count(TrialState.WAITING) == 1
    assert found.count(TrialState.RUNNING) == 1


def test_a_watcher_that_slept_does_not_judge_by_its_sleep(
    elsewhere: Callable[[], Leases],
) -> None:
    worker, watcher = elsewhere(), elsewhere()
    worker.join()
    worker.storage.begin(ROW, {})
    watcher.watch()
    time.sleep(2 * LEASE_S)  # nobody beat: the machine, or the database, was away
    assert watcher.watch() == 0
    worker.beat()
    assert watcher.watch() == 0


def test_a_worker_taken_for_dead_goes_on_under_a_new_lease(
    elsewhere: Callable[[], Leases],
) -> None:
    slept, watcher = elsewhere(), elsewhere()
    slept.join()
    begun = slept.storage.begin(ROW, {})
    assert begun is not None
    while not watcher.watch():
        time.sleep(BEAT_S)
    slept.beat()
    assert not slept.storage.tell(begun, create_trial(values=[1.0]))
    assert slept.storage.begin(ROW, {}) is not None
    assert slept.holder in slept._read()


def test_a_trial_begun_without_an_answer_is_given_back(elsewhere: Callable[[], Leases]) -> None:
    leases = elsewhere()
    leases.join()
    leases.storage.begin(ROW, {})  # committed, and the answer lost: nobody added it to mine
    assert leases.watch() == 0, "it may be about to be added"
    assert leases.watch() == 1
    assert states(leases.storage) == [TrialState.FAIL, TrialState.WAITING]


def test_a_process_of_this_machine_that_ended_is_known_at_once(tmp_path: Path) -> None:
    assert not is_gone(place())
    said = (
        "import sys; from hwsearch.search.lease import place; print(place()); sys.stdout.flush()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", f"{said}; input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    where = process.stdout.readline().strip()
    assert where and not is_gone(where)
    process.kill()
    process.wait()
    assert is_gone(where)
    process.communicate()
    elsewhere = " ".join(["another-boot", *where.split()[1:]])
    assert not is_gone(elsewhere), "another machine's may live"
    assert not is_gone("")
    assert lease.LEASE_S > 3 * lease.BEAT_S
