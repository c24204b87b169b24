"""Ctrl-C as a call, not as an exception at whatever line the main thread is.

An exception there is lost in a finalizer or a callback ("Exception ignored in …"), and in
``Thread.join`` of Python before 3.13 it marks a thread that runs as ended
(https://github.com/python/cpython/issues/90882): a search would report while it trains.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible(act: Callable[[], None]) -> Iterator[None]:
    """Within it the first Ctrl-C calls ``act``; the next one does what it did before.

    Outside the main thread, and where the signal is ignored, nothing changes.
    """
    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if not main or before in (None, signal.SIG_IGN):
        yield
        return

    def first(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        act()

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
