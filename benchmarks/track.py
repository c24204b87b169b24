"""What tracking costs a trial: milliseconds in the search, and in the thread that logs.

    python benchmarks/track.py [trials]

On MLflow's sqlite store in a temporary folder, with 20 channel groups, 20 operators, 5 epochs and
a ``.tflite`` of 40 KiB a trial. Fails when logging a trial takes over 40 ms of processor time (on
an idle machine the wall time is about the same), or over 1 ms of the search's.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hwsearch.candidate import Candidate, Epoch, Score, Trained
from hwsearch.configuration import Configuration
from hwsearch.cost.cost import Cost, OpCost
from hwsearch.track import Tracker


def trial(number: int, directory: Path) -> Trained:
    """A trial of the size that a ResNet-8 or a DS-CNN has."""
    rng = np.random.default_rng(number)
    widths = tuple(int(w) for w in rng.integers(4, 64, 20))
    configuration = Configuration(widths, "l1", "tflm", 8, (8,) * 20)
    ops = tuple(OpCost(i, "conv_2d", 100_000, 1e6, 2_000, 16_000) for i in range(20))
    cost = Cost(90_000, 20_000, 0.05, 0.002, 2_000_000, 6e6, None, {}, ops)
    path = directory / f"{number}.tflite"
    path.write_bytes(rng.bytes(40 << 10))
    curve = tuple(Epoch(1 / (1 + i)) for i in range(5))
    return Trained(
        Candidate(number, configuration, cost),
        path,
        Score(0.88, 0.87, 0.89, 5000, "LiteRT"),
        curve,
        6.0,
    )


def main() -> None:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        drawn = [trial(i, directory) for i in range(trials)]
        tracker = Tracker(None, "hwsearch", "benchmark", directory)
        begin = time.perf_counter()
        tracker.start({"metric": "accuracy"})
        tracker.logged()
        opened = time.perf_counter() - begin
        blocked = logged = busy = 0.0
        for each in drawn:
            begin, processor = time.perf_counter(), time.process_time()
            tracker.trial(each, {"flash_bytes": -0.1, "ram_bytes": -0.2})
            blocked += time.perf_counter() - begin
            tracker.logged()
            logged += time.perf_counter() - begin
            busy += time.process_time() - processor
        assert len(tracker.logged()) == trials, tracker.trouble
    print(f"opening the store: {opened:.1f} s, in its own thread")
    print(
        f"a trial: {1e3 * logged / trials:.1f} ms to log ({1e3 * busy / trials:.1f} ms of "
        f"processor time), {1e3 * blocked / trials:.3f} ms of the search's"
    )
    if busy / trials > 0.040 or blocked / trials > 0.001:
        sys.exit("slower than promised: 40 ms to log, 1 ms of the search")


if __name__ == "__main__":
    main()
