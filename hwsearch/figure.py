"""What all figures share: colours, units of axes, style, panels, and how one becomes a file.

Colours are those of Okabe and Ito, told apart with any colour vision ("Color Universal Design",
2008); nothing is said by colour alone. matplotlib's global state stays as it was.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hwsearch.errors import InputError

BLUE, ORANGE, GREEN, RED, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9"
GREY, INK, GRID = "#9A9A9A", "#222222", "#E4E4E4"

AXES = {
    "flash_bytes": ("flash", 1024.0, "KiB"),
    "ram_bytes": ("RAM", 1024.0, "KiB"),
    "latency_s": ("latency", 1e-3, "ms"),
    "energy_j": ("energy", 1e-3, "mJ"),
}
"""Per cost: name, unit's factor, unit."""

WIDTH, PANEL = 8.0, 4.2
"""Inches of a figure and of the height of one of its panels; 100 dots an inch."""

_STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "svg.hashsalt": "hwsearch",
    "svg.fonttype": "path",
}


def save(figure: Any, path: Path) -> Path:
    """Writes a figure as ``.png`` or ``.svg``; the same figure gives the same bytes.

    Raises:
        InputError: another suffix.
    """
    if path.suffix not in (".png", ".svg"):
        raise InputError(f"cannot draw {path.name!r}: the name must end in .png or .svg.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(svg(figure).encode() if path.suffix == ".svg" else png(figure))
    return path


def png(figure: Any) -> bytes:
    """A figure as PNG, without date or version."""
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Any) -> str:
    """A figure as an ``<svg>`` element that can stand in an HTML page."""
    buffer = io.BytesIO()
    with styled():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return re.sub(r"^.*?(?=<svg)", "", buffer.getvalue().decode(), count=1, flags=re.DOTALL)


def styled() -> Any:
    import matplotlib

    return matplotlib.rc_context(_STYLE)


def blank(width: float, height: float) -> Any:
    """An empty figure of so many inches, which a notebook shows where it is a cell's value."""
    from matplotlib.figure import Figure

    class Shown(Figure):
        def _repr_png_(self) -> bytes:
            return png(self)

    return Shown(figsize=(width, height), dpi=100, layout="constrained")


def panels(count: int, width: float = WIDTH) -> tuple[Any, list[Any]]:
    """A figure of so many panels, two a row, so many inches wide; its axes."""
    columns = 1 if count == 1 else 2
    rows = -(-count // columns)
    height = PANEL * min(1.0, width / WIDTH + 0.2) if rows == 1 else rows * 3.5
    figure = blank(width, height)
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for ax in axes[count:]:
        ax.remove()
    return figure, axes[:count]


def legend(figure: Any, axes: Sequence[Any]) -> None:
    """One legend for all panels, below them; what several show is named once."""
    found: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        figure.legend(found.values(), found, loc="outside lower center", ncols=min(len(found), 5))
