"""The snippets of a page of documentation, and a script that runs them as a reader would.

``python snippets.py PAGE`` runs a page's snippets in order, in the working directory; Python ones
share their names. ``python snippets.py`` prepares that directory: ``model.keras``,
``model.tflite``, ``data.npz``, and the arrays that the pages call ``x_train`` and so on.

An HTML comment before a fence keeps a snippet from being run, and says why:
``<!-- not run: needs a board -->``; ``<!-- slow: … -->`` leaves it to the slow tests.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FENCE = re.compile(
    r"(?:^[ ]*<!-- (?P<mark>not run|slow): (?P<reason>[^\n]+) -->\n)?"
    r"^(?P<indent>[ ]*)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```[ ]*$",
    re.MULTILINE | re.DOTALL,
)
RUN = ("bash", "sh", "python")
SHOWN = ("c", "diff", "ini", "json", "make", "text", "toml", "yaml")


@dataclass(frozen=True)
class Snippet:
    """One fenced piece of code.

    Attributes:
        language: as the fence says.
        code: what is in it.
        line: of the page, from 1.
        mark, reason: ``"not run"`` or ``"slow"`` and why; empty where it is run.
    """

    language: str
    code: str
    line: int
    mark: str
    reason: str


def snippets(page: Path) -> list[Snippet]:
    """All fenced pieces of a page, in order."""
    text = page.read_text()
    return [
        Snippet(
            found["language"],
            re.sub(rf"^{found['indent']}", "", found["code"], flags=re.MULTILINE),
            text[: found.start("code")].count("\n") + 1,
            found["mark"] or "",
            found["reason"] or "",
        )
        for found in FENCE.finditer(text)
    ]


def quick(code: str) -> str:
    """The same with a single trial."""
    return re.sub(r"trials=\d+", "trials=1", re.sub(r"--trials \d+", "--trials 1", code))


def run(page: Path, slow: bool) -> None:
    """Runs what is to be run, here."""
    names: dict[str, Any] = {"__name__": "__main__"}
    chosen = [
        s for s in snippets(page) if s.language in RUN and s.mark in ("", *(["slow"] * slow))
    ]
    if any("x_train" in s.code for s in chosen if s.language == "python"):
        names |= setting()
    for snippet in chosen:
        print(f"--- {page.name}:{snippet.line}", flush=True)
        if snippet.language == "python":
            code = "\n" * (snippet.line - 1) + quick(snippet.code)
            exec(compile(code, str(page), "exec"), names)
        else:
            subprocess.run(["bash", "-euo", "pipefail", "-c", quick(snippet.code)], check=True)


def setting() -> dict[str, Any]:
    """What the pages' Python starts from: a trained model, a budget, arrays."""
    import keras
    import numpy as np

    import hwsearch

    arrays = dict(np.load("data.npz"))
    model = keras.models.load_model("model.keras")
    return arrays | {"model": model, "budget": hwsearch.Budget(flash="192 KiB", ram="24 KiB")}


def prepare() -> None:
    """Writes a trained network of scikit-learn's digits, as Keras and quantized, and the data."""
    import digits
    import numpy as np

    from hwsearch.compress.quantize import calibrate, quantize
    from hwsearch.convert import to_float_tflite

    (x, y), (x_val, y_val) = digits.data()
    model = digits.network((x, y), 4)
    model.save("model.keras")
    calibration = calibrate(to_float_tflite(model), (x,))
    Path("model.tflite").write_bytes(quantize(calibration, 8, {}))
    np.savez(
        "data.npz", x_train=x, y_train=y, x_val=x_val[:300], y_val=y_val[:300],
        x_test=x_val[300:], y_test=y_val[300:], images=x_val,
    )  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) == 1:
        prepare()
    else:
        run(Path(sys.argv[1]), "--slow" in sys.argv)
