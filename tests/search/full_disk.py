"""Run by test_loop.py: a search whose files may not grow beyond what they are now."""

from __future__ import annotations

import resource
import signal
import sys
from pathlib import Path

from search.tasks import searching, task, trials

from hwsearch.budget import Budget
from hwsearch.errors import StudyError

if __name__ == "__main__":
    directory = Path(sys.argv[1])
    chosen = task(directory, Budget(flash="1 MiB"), trials=50)
    with searching(chosen, train=lambda job, limit, stopped: (None, "as told")) as search:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        size = (directory / "study.db").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 65536, resource.RLIM_INFINITY))
        try:
            search.run()
        except StudyError as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            told = [t for t in trials(chosen) if t.state.is_finished()]
            print(search.known.counts.failed, len(told), error)
