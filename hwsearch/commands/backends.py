"""``hwsearch backends``."""

from __future__ import annotations

from hwsearch.backends import backends, versions
from hwsearch.commands import print_json, print_table, subcommand


@subcommand
def command(as_json: bool) -> None:
    """Print the deployment backends: what they run, and whether artefacts can be built here.

    "estimate" backends are only priced. A version may be part of the name where several were
    measured: tflm-cmsis-nn-2.3.1. Packages add backends as entry points "hwsearch.backends".
    """
    rows = [
        {
            "name": backend.name,
            "activation_bits": backend.activation_bits,
            "weight_bits": backend.weight_bits,
            "buildable": backend.buildable,
            "versions": versions(backend.name),
        }
        for backend in backends().values()
    ]
    if as_json:
        print_json({"backends": rows})
        return
    print_table(
        ("backend", "here", "activations", "low-bit weights", "versions of latency"),
        (
            (
                backend.name,
                "built and run" if backend.buildable else "estimate",
                ", ".join(map(str, backend.activation_bits)) + " bits",
                ", ".join(
                    f"{kind} {min(bits)}"
                    for kind, bits in backend.weight_bits.items()
                    if min(bits) < 8
                )
                or "-",
                ", ".join(versions(backend.name)) or "-",
            )
            for backend in backends().values()
        ),
        left=5,
    )
