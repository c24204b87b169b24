from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import fields

import numpy as np
import pytest
from architectures import PUBLISHED, needs_published

from hwsearch.board import Board, board, boards
from hwsearch.errors import InputError, UnknownNameError

FACTS = [f.name for f in fields(Board) if f.name not in ("name", "mcu", "sources")]


def test_every_fact_has_its_source():
    for name, known in boards().items():
        stated = {fact for fact in FACTS if getattr(known, fact) not in (None, "")}
        assert stated == set(known.sources), name
        assert all(len(source) > 5 for source in known.sources.values()), name


def test_facts_are_plausible():
    for name, known in boards().items():
        assert name == name.lower(), name
        assert 16e6 <= known.clock_hz <= 1e9, name
        for size in (known.flash_bytes, known.ram_bytes):
            assert size is None or 2**13 <= size <= 2**24, name
        assert known.power_w is None or 1e-3 <= known.power_w <= 1, name
        assert known.flash_wait_states is None or known.flash_wait_states < 16, name


@pytest.mark.parametrize(
    "name",
    """nucleo-l4r5zi nucleo-l496zg nucleo-f446re nucleo-f746zg disco-f746ng nucleo-f767zi
    nucleo-h743zi2 nucleo-h7a3zi-q nucleo-u575zi-q nucleo-g0b1re arduino-nano-33-ble
    raspberry-pi-pico ek-ra6m4""".split(),
)
def test_the_boards_that_must_be_there(name):
    assert board(name.upper().replace("-", "_")).name == name


def test_an_unknown_board_lists_the_known():
    with pytest.raises(UnknownNameError, match="nucleo-l4r5zi"):
        board("no-such-board")


@needs_published
def test_every_measured_board_is_there_with_its_core_and_clock():
    with (PUBLISHED / "measured.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        known = board(row["board"])
        if row["board"] != "nrf5340-dk":  # one of its rows calls an M33 an M4, at 120 MHz
            assert known.core == row["core"], known.name
            assert known.clock_hz == float(row["clock_mhz"]) * 1e6, known.name


@needs_published
def test_power_is_that_of_published_rows():
    powers = defaultdict(list)
    with (PUBLISHED / "measured.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["energy_uj"] and row["latency_ms"]:
                key = (row["board"], row["submitter"], row["runtime_version"])
                powers[key].append(float(row["energy_uj"]) / float(row["latency_ms"]) / 1e3)
    measured = {name for name, _, _ in powers}
    assert measured == {name for name, known in boards().items() if known.power_w}
    for name in measured:
        means = [np.mean(p) for (where, _, _), p in powers.items() if where == name]
        nearest = min(means, key=lambda p: abs(p / board(name).power_w - 1))
        assert board(name).power_w == pytest.approx(nearest, rel=0.03), name


MINE = '[mine]\ncore = "M4"\nclock_hz = 80_000_000\nflash_bytes = 131072\n'


def test_a_file_of_the_users_holds_boards(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(MINE + '[mine.sources]\nclock_hz = "data sheet"\n')
    assert board(str(path)) == Board(
        "mine", "M4", 80_000_000, 131072, sources={"clock_hz": "data sheet"}
    )
    path.write_text(MINE + '[other]\ncore = "M0+"\n')
    assert board(f"{path}:other") == Board("other", "M0+")
    with pytest.raises(InputError, match=r"2 boards\. Name one: .*my\.toml:mine"):
        board(str(path))
    with pytest.raises(UnknownNameError, match="mine"):
        board(f"{path}:third")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no boards"),
        ('core = "M4"', "line 1: 'core' is in no board's table"),
        ("[mine", "cannot read"),
        ('[mine]\ncore = "A53"', "core='A53', expected one of M0"),
        ("[mine]\nclock_hz = 8e6", r"line 1, \[mine\]: no core, expected one of M0"),
        ('[mine]\ncore = "M4"\nclock = 8', r"my.toml, line 3, \[mine\]: unknown fact 'clock'"),
        (
            '[mine]\ncore = "M4"\nclock_hz = -8',
            "line 3, .*clock_hz=-8, expected a positive number",
        ),
        ('[mine]\ncore = "M4"\nram_bytes = 8.5', "ram_bytes=8.5, expected a positive whole"),
        ('[mine]\ncore = "M4"\npower_w = true', "power_w=True"),
        ('[mine]\ncore = "M4"\nsources = "mine"', "line 3, .*expected a table of texts"),
    ],
)
def test_what_is_no_board_is_said(tmp_path, text, said):
    path = tmp_path / "my.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        board(str(path))


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match="cannot read the boards"):
        board(str(tmp_path / "my.toml"))
