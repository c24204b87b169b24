"""What `import hwsearch` gives and costs, and which file may import which."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import hwsearch

PACKAGE = Path(hwsearch.__file__).parent

PUBLIC = [
    "Board", "Budget", "FrontSampler", "HardwareTuner", "HwsearchError", "Report", "Space",
    "boards", "device",
    "estimate", "optimize", "verify",
]  # fmt: skip

ORDER = [
    "errors", "address", "identity", "archive", "lock", "quiet", "toml_file", "graph", "board",
    "cost",
    "backends.backend",
    "codegen", "backends", "convert", "data", "data_files", "distillation",
    "compress", "source", "estimation", "budget", "space_schema",
    "configuration",
    "space", "layout", "ranks",
    "candidate", "pricing",
    "compress.soft_cost",
    "compress.projection", "compress.goal",
    "train",
    "compress.differentiable", "compress.straight_through", "compress.tfmot",
    "compress.legacy_model", "compress.tfmot_worker", "compress.tuning",
    "metric", "oracle", "evaluate", "compress.sensitivity", "microbenchmarks", "device",
    "proof", "objectives", "pareto", "record", "choice", "explanation", "table", "figure",
    "plot_model", "plot", "page", "export", "report", "links", "mlflow_settings",
    "mlflow_client",
    "notes", "runs", "registry", "track", "artefacts", "progress", "verification", "conversion",
    "problem",
    "compress.fitted",
    "search",
    "finalists", "relief", "arguments", "tuner", "calibrate", "calibrate_device", "outcome",
    "screening",
    "optimization", "comparison", "preflight", "doctor", "commands", "cli",
]  # fmt: skip
"""A file imports only from lines before its own; see DESIGN. The costs come before the backends,
which are put together from them."""

UPWARDS = {
    # Drawn and written by name of a Report's method, so that a report can be made without them.
    ("explanation", "report"), ("table", "report"), ("plot_model", "report"), ("plot", "report"),
    ("page", "report"), ("export", "report"), ("choice", "report"), ("choice", "export"),
    # The compiler chooses formats by its own costs, which are put together from its layers.
    ("codegen", "backends"),
}  # fmt: skip
"""Imports for a type's sake, or inside a function, that go the other way; with the reason."""


def layer(module: str) -> int:
    """The line of a module: that of the longest name in ORDER that it starts with."""
    parts = module.split(".")[1:]
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in ORDER:
            return ORDER.index(".".join(parts[:length]))
    raise AssertionError(f"{module} has no line in ORDER: write it where it belongs")


def imports(path: Path) -> list[tuple[str, bool]]:
    """(module, whether it is imported when the file is) of every import of the package's own."""
    found = []
    tree = ast.parse(path.read_text())
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hwsearch":
            base = PACKAGE.parent.joinpath(*str(node.module).split("."))
            for alias in node.names:
                is_module = (base / f"{alias.name}.py").exists() or (base / alias.name).is_dir()
                name = f"{node.module}.{alias.name}" if is_module else str(node.module)
                found.append((name, id(node) in top))
        elif isinstance(node, ast.Import):
            found += [
                (a.name, id(node) in top) for a in node.names if a.name.startswith("hwsearch.")
            ]
    return [(name, at_once) for name, at_once in found if name != "hwsearch"]


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_imports_only_from_lines_above_its_own(path: Path) -> None:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    own = ".".join(parts).removesuffix(".__init__")
    for name, at_once in imports(path):
        if layer(name) <= layer(own):
            continue
        pair = (ORDER[layer(own)], ORDER[layer(name)])
        assert pair in UPWARDS and not at_once, f"{own} imports {name}, which is above it"


def test_mlflow_is_imported_by_the_tracker_alone() -> None:
    """With its client and the registry; and by the store of files shared through MLflow."""
    found = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "mlflow" for name in names):
                found.add(path.name)
    assert found == {"track.py", "mlflow_client.py", "registry.py", "artefacts.py"}


# The surface


def test_public_names() -> None:
    assert sorted(hwsearch.__all__) == hwsearch.__all__ == PUBLIC
    for name in PUBLIC:
        assert getattr(hwsearch, name).__doc__
        assert name in dir(hwsearch)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'optimise'"):
        _ = hwsearch.optimise


def _fresh(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, check=True
    )


HEAVY = ("tensorflow", "keras", "mlflow", "optuna", "matplotlib", "pandas", "sklearn")
COST_PATH = (
    "hwsearch.board", "hwsearch.graph.tflite", "hwsearch.backends", "hwsearch.budget",
    "hwsearch.space", "hwsearch.pricing", "hwsearch.estimation",
)  # fmt: skip


def test_import_is_cheap() -> None:
    """Under 0.2 s, the best of three: the machine may be busy."""
    seconds = []
    for _ in range(3):
        lines = _fresh("import hwsearch", "-X", "importtime").stderr.splitlines()
        own = [line for line in lines if line.split("|")[-1].strip() == "hwsearch"]
        seconds.append(int(own[0].split("|")[1]) / 1e6)
    assert min(seconds) < 0.2


@pytest.mark.parametrize("modules", [("hwsearch",), COST_PATH], ids=["hwsearch", "cost path"])
def test_what_is_not_imported(modules: tuple[str, ...]) -> None:
    code = f"import json, sys, {', '.join(modules)}; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(_fresh(code).stdout))
    assert set(modules) <= loaded
    assert not loaded & set(HEAVY)


def test_a_cost_needs_no_tensorflow() -> None:
    """Backends load and price a network, and TensorFlow is still not there."""
    code = """
import sys
from hwsearch import estimation
from hwsearch.backends import backends
from hwsearch.board import boards
from hwsearch.cost.columns import Columns
from hwsearch.graph import Graph, Op, Tensor
x, y = Tensor("x", (1, 8), "int8"), Tensor("y", (1, 4), "int8")
w = Tensor("w", (4, 8), "int8", 32, 4)
graph = Graph((x, w, y), (Op("fully_connected", (0, 1, -1), (2,)),), (0,), (2,))
for backend in backends().values():
    found = estimation.costs(Columns.of(graph), backend, boards()["nucleo-l4r5zi"])
    assert found.ram_bytes[0] > 0 and found.flash_bytes[0] > 0, backend.name
print(sorted({"tensorflow", "keras", "mlflow", "optuna"} & set(sys.modules)))
"""
    assert _fresh(code).stdout.strip() == "[]"
