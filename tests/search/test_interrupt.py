"""Ctrl-C ends a search in order: what trains is told to stop, and waited for."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from search.tasks import searching, task

from hwsearch.budget import Budget
from hwsearch.search.interrupt import interruptible
from hwsearch.search.training import Job, Result


class Ignored:
    """Sends Ctrl-C from where Python reports exceptions and goes on: a finalizer."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)


def test_a_search_waits_for_what_trains(tmp_path: Path) -> None:
    ended: list[float] = []

    def trains(
        job: Job, limit: float | None, stop: Callable[[], bool]
    ) -> tuple[Result | None, str]:
        os.kill(os.getpid(), signal.SIGINT)
        while not stop():
            time.sleep(0.01)
        time.sleep(0.5)  # a training takes its time to end
        ended.append(time.monotonic())
        return None, "stopped"

    with searching(task(tmp_path, Budget(flash="1 MiB"), trials=5), train=trains) as search:
        search.run()
        now = time.monotonic()
    assert search.interrupted
    assert len(ended) == 1 and ended[0] <= now, "the search ended before its training"


def test_an_interrupt_that_python_would_ignore_is_heard() -> None:
    heard: list[bool] = []
    with interruptible(lambda: heard.append(True)):
        Ignored()
    assert heard == [True]


def test_the_second_interrupt_is_python_s() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interruptible(lambda: None):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    assert signal.getsignal(signal.SIGINT) is before


def test_threads_and_ignored_signals_are_left_alone() -> None:
    found: list[object] = []

    def look() -> None:
        with interruptible(lambda: None):
            found.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        look()
    finally:
        signal.signal(signal.SIGINT, before)
    assert found == [before, signal.SIG_IGN]
