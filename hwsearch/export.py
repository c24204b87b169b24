"""The bundle of one deployable model: artefact, C sources, firmware project, report, digests.

Made twice it is byte for byte the same: no dates, no paths of the machine.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsearch.candidate import Verified
from hwsearch.codegen import generate
from hwsearch.device import port_of
from hwsearch.device.port import Port, port, ports
from hwsearch.device.project import MODEL, project
from hwsearch.errors import InputError, RefusedError
from hwsearch.graph import tflite
from hwsearch.graph.tflite import Quantization, TfliteModel
from hwsearch.proof import emulator_of

if TYPE_CHECKING:
    from hwsearch.report import Report

SUMS = "SHA256SUMS"
"""Digests of all other files, as ``sha256sum --check`` reads them."""

MAX_ENDS = 4
"""Inputs or outputs; ``firmware/engines/aot/engine.c`` has tables of so many."""

BUILT = "firmware/build/"
"""What ``make`` adds to a bundle; a new export may remove it."""

_VERSIONS = (
    "hwsearch",
    "tensorflow",
    "keras",
    "litert-quantizer",
    "ai-edge-litert",
    "tflite-micro",
)


def export(verified: Verified, out: Path, report: Report, port_name: str | None = None) -> Path:
    """Writes the bundle of one model into a folder; an unchanged earlier bundle is replaced.

    ``model.tflite``; ``model_data.c`` and ``.h``, the same bytes as a C array; ``c/``, the network
    compiled ahead of time, and ``firmware/``, a project around it that ``make`` builds, where the
    compiler runs its operators; ``report.json``; ``MODEL_CARD.md``; ``SHA256SUMS``.

    Args:
        verified: the model.
        out: the folder; made where it is missing.
        report: that the model is of.
        port_name: of the firmware project; default that of the report's board, else the emulated
            core nearest to it.

    Returns:
        The folder.

    Raises:
        InputError: the artefact is gone, or ``out`` holds something that no export made.
        UnknownNameError: no such port.
        ModelFileError: the artefact is damaged.
    """
    source = verified.trained.tflite
    if not source.is_file():
        raise InputError(
            f"the artefact {source} is gone. Run the search again with the same study name: "
            f"it goes on where it stopped."
        )
    _check_free(out)
    content = source.read_bytes()
    model = tflite.read(content, source.name)
    files = {
        "model.tflite": content,
        "model_data.c": c_array(content).encode(),
        "model_data.h": _HEADER.encode(),
        "report.json": _report(verified, report).encode(),
    }
    target = _target(port_name, report)
    bands = verified.trained.candidate.cost.bands
    try:
        files |= _sources(model, target, report.budget.most_cycles(report.board, bands))
        refused = ""
    except RefusedError as error:  # an interpreter may still run it
        refused = str(error).splitlines()[0]
    files["MODEL_CARD.md"] = _card(verified, report, model, target, refused).encode()
    files[SUMS] = sums(files).encode()
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for name, data in files.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).write_bytes(data)
        if out.exists():
            shutil.rmtree(out)
        partial.rename(out)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return out


def _target(name: str | None, report: Report) -> Port:
    """The port asked for, the board's own, or that of the emulated core nearest to it."""
    if name is None:
        own = report.board.port or report.board.name
        name = own if own in ports() else port_of(emulator_of(report.board.core))
    found = port(str(name))
    if found.is_host:
        raise InputError("port 'host' has no firmware project. Name a board's or an emulator's.")
    return found


def _sources(model: TfliteModel, target: Port, most_cycles: float) -> dict[str, bytes]:
    """The network's C in ``c/``, and the project around it."""
    ends = max(len(model.graph.inputs), len(model.graph.outputs))
    if ends > MAX_ENDS:
        raise RefusedError(f"the firmware takes {MAX_ENDS} inputs and outputs, this has {ends}.")
    with tempfile.TemporaryDirectory() as folder:
        made = generate(model, Path(folder), core=target.core, most_cycles=most_cycles)
        generated = {p.name: p.read_bytes() for p in made.files}
    sources = {f"{MODEL}/{name}": content for name, content in generated.items()}
    return sources | project(target, tuple(generated))


def sums(files: dict[str, bytes]) -> str:
    """Digests in the form of ``sha256sum``, by name."""
    return "".join(f"{hashlib.sha256(files[n]).hexdigest()}  {n}\n" for n in sorted(files))


def _check_free(out: Path) -> None:
    """Refuses a folder that holds anything but an unchanged bundle."""
    if not out.exists():
        return
    hint = "Name a new folder, or remove this one yourself."
    if not out.is_dir():
        raise InputError(f"{out} is a file, expected a folder to write the bundle into. {hint}")
    present = {p.relative_to(out).as_posix() for p in out.rglob("*") if not p.is_dir()}
    present = {name for name in present if not name.startswith(BUILT)}
    if not present:
        return
    known: dict[str, str] = {}
    if SUMS in present:
        for line in (out / SUMS).read_text(encoding="utf-8", errors="replace").splitlines():
            digest, _, name = line.partition("  ")
            known[name] = digest
    for name in sorted(present - {SUMS}):
        if name not in known:
            raise InputError(f"{out} holds {name}, which no export made. {hint}")
        if hashlib.sha256((out / name).read_bytes()).hexdigest() != known[name]:
            raise InputError(f"{out} holds {name}, changed since it was exported. {hint}")
    if present == {SUMS}:
        raise InputError(f"{out} holds only {SUMS}, which no export leaves. {hint}")


_HEADER = """\
/* The network of model.tflite as an array in flash, aligned for TFLite Micro. */
#ifndef MODEL_DATA_H
#define MODEL_DATA_H

#ifdef __cplusplus
extern "C" {
#endif

extern const unsigned char model_data[];
extern const unsigned int model_data_size; /* bytes */

#ifdef __cplusplus
}
#endif

#endif /* MODEL_DATA_H */
"""


def c_array(content: bytes) -> str:
    """A file as C11 (or C++11): ``const``, aligned to 16 bytes, twelve bytes a line."""
    lines = [
        "  " + " ".join(f"0x{b:02x}," for b in content[i : i + 12])
        for i in range(0, len(content), 12)
    ]
    return (
        '#include "model_data.h"\n\n#include <stdalign.h>\n\n'
        "alignas(16) const unsigned char model_data[] = {\n"
        + "\n".join(lines)
        + f"\n}};\n\nconst unsigned int model_data_size = {len(content)};\n"
    )


def _report(verified: Verified, report: Report) -> str:
    """The report without what is of this machine: paths and the tracking link."""
    from hwsearch.report import as_text

    number = verified.trained.candidate.number
    record = replace(report, tracking="").to_dict() | {"directory": ".", "exported": number}
    return as_text(_portable(record, number))


def _portable(value: Any, exported: int) -> Any:
    if isinstance(value, list):
        return [_portable(v, exported) for v in value]
    if not isinstance(value, dict):
        return value
    value = {k: _portable(v, exported) for k, v in value.items()}
    if "tflite" in value and "candidate" in value:
        is_exported = value["candidate"]["number"] == exported
        path = Path(value["tflite"])
        name = path.name if path.is_absolute() else path.as_posix()
        value["tflite"] = "model.tflite" if is_exported else name
    return value


def _card(
    verified: Verified, report: Report, model: TfliteModel, target: Port, refused: str
) -> str:
    from hwsearch.explanation import explain
    from hwsearch.table import counts, markdown_table

    number = verified.trained.candidate.number
    network = model.graph
    kinds = sorted({op.kind for op in network.ops})
    cost, measured = verified.trained.candidate.cost, verified.measurement
    lines = [
        f"# Model card: {report.study}, trial {number}",
        "",
        f"For **{report.board.name}** ({report.board.mcu or report.board.core}) "
        f"within {report.budget}.",
        "",
        "## Input and output",
        "",
        *(_tensor(model, "input", i) for i in network.inputs),
        *(_tensor(model, "output", i) for i in network.outputs),
        "",
        "## To deploy",
        "",
        f"- Runtime: `{verified.trained.candidate.configuration.backend}`.",
        f"- Operators to register: {', '.join(f'`{k}`' for k in kinds)}.",
        f"- Multiply-accumulates of one inference: {cost.macs:,}.",
    ]
    if cost.ram_bytes is not None:
        lines.append(f"- RAM of one inference, estimated: {cost.ram_bytes:,} B in all.")
    if measured is not None and measured.arena_bytes is not None:
        lines.append(
            f"- Arena for activations and scratch, measured by {measured.device}: "
            f"{measured.arena_bytes:,} B."
        )
    lines += [
        "- For an interpreter: add `model_data.c` and include `model_data.h`; the array is "
        "`model_data`.",
        f"- No ahead-of-time C: {refused}"
        if refused
        else "- Without an interpreter: `c/` has the network as C, whose outputs are TFLite "
        f"Micro's byte for byte; `make -C firmware` builds an image of it for {target.name}.",
        "",
        "## How it was found",
        "",
        *_others(number, report),
        explain(report),
        "",
        markdown_table(report),
        counts(report) + ".",
        "",
        *(f"- {note}" for note in report.notes),
        "",
        "## Versions",
        "",
        *(f"- {name} {found}" for name in _VERSIONS if (found := _version(name))),
        "",
    ]
    return "\n".join(lines)


def _others(number: int, report: Report) -> list[str]:
    """Where this is not the model that the search chose."""
    if report.chosen is not None and report.chosen.number == number:
        return []
    chosen = "none" if report.chosen is None else f"trial {report.chosen.number}"
    return [f"Trial {number} is a finalist; the search chose {chosen}.", ""]


def _tensor(model: TfliteModel, role: str, index: int) -> str:
    tensor = model.graph.tensors[index]
    return (
        f"- {role} `{tensor.name}`: {tensor.dtype} {list(tensor.shape)}"
        f"{_quantized(model.quantization[index])}"
    )


def _quantized(quantization: Quantization | None) -> str:
    if quantization is None or len(quantization.scale) != 1:
        return ""
    scale, zero = float(quantization.scale[0]), int(quantization.zero_point[0])
    shift = f"value {'−' if zero >= 0 else '+'} {abs(zero)}"
    return f", real = {scale:.9g} × ({shift})"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
