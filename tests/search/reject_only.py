"""Run by test_loop.py in a fresh interpreter: a search in which every ask is over budget."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from search.tasks import searching, task

from hwsearch.budget import Budget
from hwsearch.search import children
from hwsearch.search.loop import ASKS_IN_A_ROW

if __name__ == "__main__":
    directory = Path(sys.argv[1])
    chosen = task(directory, Budget(flash="1 KiB"), trials=2)
    with searching(chosen) as search:
        search.run()
        seen = search._memory.study.get_trials()
        told = search.storage.told()
    print(
        json.dumps(
            {
                "asked": search.known.counts.asked,
                "rejected": search.known.counts.rejected,
                "expected": ASKS_IN_A_ROW,
                "children": len(children._running),
                "modules": [m for m in ("tensorflow", "keras", "mlflow") if m in sys.modules],
                "states": sorted({t.state.name for t in seen}),
                "constraints": [t.constraints for t in seen][:1],
                "told": told,
                "rows": len(search.rejected),
            }
        )
    )
