import random

import pytest

from hwsearch.device import open as open_device
from hwsearch.device.qemu import instructions_per_tick
from hwsearch.errors import DeviceError, UnknownNameError
from tests.firmware.images import image, require
from tests.firmware.models import expected

pytestmark = pytest.mark.emulator

MACHINES = {
    "mps2-an385": "M3",
    "mps2-an386": "M4",
    "mps2-an500": "M7",
    "mps2-an505": "M33",
    "mps3-an547": "M55",
    "netduinoplus2": "M4",
}


def samples(count):
    rng = random.Random(4)
    return [[rng.randbytes(700)] for _ in range(count)]


def board(machine, **options):
    require("qemu-system-arm", "arm-none-eabi-gcc")
    return open_device(f"qemu:{machine}", image(machine, **options))


@pytest.mark.parametrize("machine", MACHINES)
def test_every_board_answers_right_and_counts_the_same_every_time(machine):
    given = samples(2)
    with board(machine) as device:
        measured = device.run(given, repeats=3)
    assert [o[0] for o in measured.outputs] == [expected(s[0]) for s in given]
    assert (measured.hello.board, measured.hello.core) == (machine, MACHINES[machine])
    assert measured.kind == "emulator" and measured.latency_s is None
    # The timer's resolution: an instruction is 1.28 to 2 ticks.
    assert max(t.most for t in measured.ticks) - min(t.least for t in measured.ticks) <= 2
    assert 16 <= measured.memory.stack_used_bytes < 4096


@pytest.mark.parametrize(
    ("machine", "core"),
    [("mps2-an385", "m3"), ("mps2-an386", "m4"), ("mps2-an500", "m7"), ("mps2-an505", "m33"),
     ("netduinoplus2", "m4")],
)  # fmt: skip
def test_qemu_and_unicorn_agree_to_a_handful_of_instructions(machine, core):
    require("unicorn", "capstone")
    with board(machine) as here:
        whole_board = here.run(samples(1), repeats=2).instructions
    with open_device(f"emulator:cortex-{core}", image(f"emulator-cortex-{core}")) as there:
        core_alone = there.run(samples(1), repeats=2).instructions
    assert abs(whole_board - core_alone) <= 6


def test_instructions_of_a_tick():
    assert instructions_per_tick(25_000_000) == 0.625  # 40 ns of 64


def test_a_hard_fault_on_a_whole_board_reports_its_registers():
    with (
        board("mps2-an386", extra='__asm__ volatile("udf #0");') as device,
        pytest.raises(DeviceError, match=r"hard fault during INVOKE: pc=0x0.*cfsr=0x00010000"),
    ):
        device.run(samples(1))


def test_a_stack_overflow_is_a_fault():
    """QEMU's mps2 boards do not fault on memory that is not there; the mps3 does, as silicon."""
    deep = (
        "volatile uint8_t deep[8192]; for (uint32_t i = 0; i < 8192u; i += 64u)"
        "{ deep[8191u - i] = 1u; } (void)deep[0];"
    )
    with (
        board("mps3-an547", extra=deep) as device,
        pytest.raises(DeviceError, match=r"hard fault"),
    ):
        device.run(samples(1))


def test_reset_restarts_the_board():
    with board("mps2-an386") as device:
        device.session.reset()
        given = samples(1)
        assert device.run(given).outputs[0][0] == expected(given[0][0])


def test_an_unknown_machine_lists_those_there_are():
    with pytest.raises(UnknownNameError, match=r"Known: mps2-an385, mps2-an386"):
        open_device("qemu:raspi3")
