"""Processes of benchmarks that train."""

from __future__ import annotations

import multiprocessing
import os
import threading


def follow() -> None:
    """Ends this process with the one that started it, however that ends.

    Raises:
        RuntimeError: this process was not started by :mod:`multiprocessing`.
    """
    owner = multiprocessing.parent_process()
    if owner is None:
        raise RuntimeError("only a process that multiprocessing started has one to follow")
    threading.Thread(target=lambda: (owner.join(), os._exit(1)), daemon=True).start()
