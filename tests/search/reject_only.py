"""Run by test_loop.py in a fresh interpreter: a search in which every ask is over budget."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from search.tasks import task

from hwsearch.budget import Budget
from hwsearch.search import children
from hwsearch.search.loop import ASKS_A_TRIAL, Search
from hwsearch.search.sampler import tpe
from hwsearch.search.study import open_study

if __name__ == "__main__":
    directory = Path(sys.argv[1])
    chosen = task(directory, Budget(flash="1 KiB"), trials=2)
    study = open_study(directory, "by-hand", ["maximize", "minimize"], {})
    study.sampler = tpe(0, 0)
    search = Search(chosen, study, lambda trained, excess: None, lambda search: None)
    search.run()
    print(
        json.dumps(
            {
                "asked": search.counts.asked,
                "rejected": search.counts.rejected,
                "expected": ASKS_A_TRIAL * chosen.trials,
                "children": len(children._running),
                "modules": [m for m in ("tensorflow", "keras", "mlflow") if m in sys.modules],
                "states": sorted({t.state.name for t in study.get_trials()}),
                "constraints": [t.constraints for t in study.get_trials()][:1],
                "rows": len(search.rejected),
            }
        )
    )
