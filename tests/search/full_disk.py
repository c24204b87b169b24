"""Run by test_loop.py: a search whose files may not grow beyond what they are now."""

from __future__ import annotations

import resource
import signal
import sys
from pathlib import Path

from search.tasks import task

from hwsearch.budget import Budget
from hwsearch.errors import StudyError
from hwsearch.search.loop import Search
from hwsearch.search.sampler import tpe
from hwsearch.search.study import open_study

if __name__ == "__main__":
    directory = Path(sys.argv[1])
    study = open_study(directory, "by-hand", ["maximize", "minimize"], {})
    study.sampler = tpe(0, 0)
    chosen = task(directory, Budget(flash="1 KiB"), trials=50)
    search = Search(chosen, study, lambda trained, excess: None, lambda search: None)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = (directory / "study.db").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 8192, resource.RLIM_INFINITY))
    try:
        search.run()
    except StudyError as error:
        told = search.counts.asked
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        print(told, len([t for t in study.get_trials() if t.state.is_finished()]), error)
