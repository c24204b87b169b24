"""Kinds and cycles of single instructions, against the manuals' tables by hand."""

import pytest

capstone = pytest.importorskip("capstone", reason="capstone is not installed")

from hwsearch.device.timing import TIMINGS, kind_of  # noqa: E402

DISASSEMBLER = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)


def cycles(core, code):
    """Bounds of one instruction, given as its halfwords."""
    (instruction,) = DISASSEMBLER.disasm(
        b"".join(half.to_bytes(2, "little") for half in code), 0x1000
    )
    return TIMINGS[core].cycles(*kind_of(instruction))


@pytest.mark.parametrize(
    ("name", "code", "m0", "m3", "m4"),
    [
        ("adds r0, r1, r2", [0x1888], (1, 1), (1, 1), (1, 1)),
        ("ldr r0, [r1]", [0x6808], (2, 2), (1, 2), (1, 2)),
        ("ldrb r0, [r1]", [0x7808], (2, 2), (1, 2), (1, 2)),
        ("str r0, [r1]", [0x6008], (2, 2), (1, 2), (1, 2)),
        ("push {r4, r5, lr}", [0xB530], (4, 4), (4, 4), (4, 4)),
        ("pop {r4, r5, pc}", [0xBD30], (4, 4), (4, 4), (4, 4)),
        ("ldm r0!, {r1, r2, r3}", [0xC80E], (4, 4), (4, 4), (4, 4)),
        ("muls r0, r1, r0", [0x4348], (1, 32), (1, 1), (1, 1)),
        ("mla r0, r1, r2, r3", [0xFB01, 0x3002], None, (2, 2), (1, 1)),
        ("smull r0, r1, r2, r3", [0xFB82, 0x0103], None, (3, 5), (1, 1)),
        ("smlal r0, r1, r2, r3", [0xFBC2, 0x0103], None, (4, 7), (1, 1)),
        ("udiv r0, r1, r2", [0xFBB1, 0xF0F2], None, (2, 12), (2, 12)),
        ("ldrd r0, r1, [r2]", [0xE9D2, 0x0100], None, (3, 3), (3, 3)),
        ("smlad r0, r1, r2, r3", [0xFB21, 0x3002], None, None, (1, 1)),
        ("it eq", [0xBF08], None, (0, 1), (0, 1)),
        ("mrs r0, primask", [0xF3EF, 0x8010], (4, 4), (1, 2), (1, 2)),
        ("vmla.f32 s0, s1, s2", [0xEE00, 0x0A81], None, None, (3, 3)),
        ("vdiv.f32 s0, s1, s2", [0xEE80, 0x0A81], None, None, (14, 14)),
        ("vldr s0, [r0]", [0xED90, 0x0A00], None, None, (1, 2)),
        ("vpush {s16, s17, s18}", [0xED2D, 0x8A03], None, None, (4, 4)),
        ("bl", [0xF000, 0xF800], (2, 2), (1, 1), (1, 1)),
    ],
)
def test_cycles_of_one_instruction(name, code, m0, m3, m4):
    for core, bounds in (("M0", m0), ("M3", m3), ("M4", m4)):
        assert bounds is None or cycles(core, code) == bounds, (name, core)


def test_cores_that_issue_two_at_once_have_half_a_cycle_as_their_lower_bound():
    assert cycles("M7", [0x1888]) == (0.5, 1)
    assert cycles("M33", [0x6808]) == (0.5, 2)


def test_every_core_names_its_source():
    assert set(TIMINGS) == {"M0", "M0+", "M3", "M4", "M7", "M33"}
    assert all(t.source and t.refill[0] <= t.refill[1] for t in TIMINGS.values())
