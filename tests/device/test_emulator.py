import contextlib
import os
import random
import signal

import pytest

from hwsearch.device import emulator
from hwsearch.device import open as open_device
from hwsearch.device.device import WireDevice
from hwsearch.device.protocol import Command
from hwsearch.device.session import Patience, Session
from hwsearch.device.wire import Decoder, Frame, encode
from hwsearch.errors import DeviceError, ImageError, UnknownNameError, WireError
from tests.device.faulty_line import FaultyLine
from tests.firmware.images import image, require
from tests.firmware.models import expected

pytestmark = pytest.mark.emulator

UNDEFINED = '__asm__ volatile("udf #0");'
COMPILER = {"gcc": "arm-none-eabi-gcc", "zig": "ziglang"}


def samples(count, seed=1):
    rng = random.Random(seed)
    return [[rng.randbytes(700)] for _ in range(count)]


def emulated(core="m4", **options):
    require("unicorn", "capstone", COMPILER[options.get("toolchain") or "gcc"])
    return open_device(f"emulator:cortex-{core}", image(f"emulator-cortex-{core}", **options))


@pytest.mark.parametrize(
    ("core", "toolchain"),
    [(core, "gcc") for core in ("m0", "m3", "m4", "m7", "m33")] + [("m0", "zig"), ("m4", "zig")],
)
def test_every_core_answers_right_and_counts_the_same_every_time(core, toolchain):
    given = samples(3)
    with emulated(core, toolchain=toolchain) as device:
        measured = device.run(given, repeats=3)
        again = device.run(given)
    assert [o[0] for o in measured.outputs] == [expected(s[0]) for s in given]
    assert measured.hello.core == core.upper()
    assert measured.spread == 0 and measured.instructions == again.instructions
    # 7,000 multiply-accumulates of a byte: at least load, multiply, add and a quarter of a branch.
    assert 7_000 * 1.5 < measured.instructions < 7_000 * 9
    assert 16 <= measured.memory.stack_used_bytes < measured.memory.stack_bytes == 4096
    assert measured.cycles.low < measured.cycles.high
    assert measured.latency_s is None


# r0 counts down 100 times; the IT blocks run one of their two sides each time.
LOOP_WITH_IT = """__asm__ volatile(
    ".syntax unified\\n movs r0, #100\\n movs r1, #0\\n .balign 4\\n"
    "1: tst r0, #1\\n itete eq\\n addeq r1, #1\\n subne r1, #1\\n addeq r1, #2\\n subne r1, #2\\n"
    "subs r0, #1\\n bne 1b\\n" ::: "r0", "r1", "cc");"""
INSTRUCTIONS_OF_A_ROUND = 8


def test_instructions_that_an_it_block_skips_are_counted():
    plain = LOOP_WITH_IT.replace("#100", "#1")
    with emulated(extra=plain) as one, emulated(extra=LOOP_WITH_IT) as hundred:
        more = hundred.run(samples(1)).instructions - one.run(samples(1)).instructions
    assert more == 99 * INSTRUCTIONS_OF_A_ROUND


def test_the_hook_in_python_counts_as_the_compiled_one(monkeypatch):
    with emulated() as device:
        compiled = device.run(samples(1))
    monkeypatch.setenv("HWSEARCH_PYTHON_BLOCKS", "1")
    with emulated() as device:
        interpreted = device.run(samples(1))
    assert interpreted.instructions == compiled.instructions
    assert interpreted.cycles == compiled.cycles


def test_cycle_bounds_of_a_loop_are_those_of_the_manual():
    """DDI 0439 table 3-1: tst, four of the IT block and subs take 1 each, IT 0 to 1, the branch
    1 + P when taken with P from 1 to 3."""
    plain = LOOP_WITH_IT.replace("#100", "#1")
    with emulated(extra=plain) as one, emulated(extra=LOOP_WITH_IT) as hundred:
        few, many = one.run(samples(1)).cycles, hundred.run(samples(1)).cycles
    assert many.low - few.low == 99 * (6 + 0 + 2)
    assert many.high - few.high == 99 * (6 + 1 + 4)
    assert "no silicon seen" in many.basis


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ("*(volatile uint32_t *)0xF0000000u = 1u;", r"cfsr=0x00008200 .*bfar=0xf0000000"),
        (UNDEFINED, r"cfsr=0x00010000"),
        (
            "volatile uintptr_t at = 0x100u; *(volatile uint32_t *)at = 1u;",
            r"cfsr=0x00008200 .*bfar=0x00000100",
        ),
        (
            "volatile uint8_t deep[8192]; for (uint32_t i = 0; i < 8192u; i += 64u)"
            "{ deep[8191u - i] = 1u; } (void)deep[0];",
            r"cfsr=0x00009200",
        ),
    ],
)
def test_a_hard_fault_reports_its_registers_until_the_reset(extra, told):
    with emulated(extra=extra) as device:
        for _ in range(2):
            with pytest.raises(DeviceError, match=r"hard fault during IN(VOKE|PUT): pc=.*" + told):
                device.run(samples(1))
        device.session.reset()
        assert device.hello.board == "emulator"


def test_the_program_counter_of_a_fault_lies_in_the_model():
    with (
        emulated(extra=UNDEFINED) as device,
        pytest.raises(DeviceError, match=r"hard fault") as error,
    ):
        device.run(samples(1))
    pc = int(str(error.value).split("pc=")[1][:10], 16)
    from elftools.elf.elffile import ELFFile

    built = image("emulator-cortex-m4", extra=UNDEFINED)
    with built.path.open("rb") as file:
        symbol = ELFFile(file).get_section_by_name(".symtab").get_symbol_by_name("model_invoke")[0]
    start = symbol["st_value"] & ~1
    assert start <= pc < start + symbol["st_size"]


def test_a_model_that_hangs_is_given_up():
    require("unicorn", "capstone", "arm-none-eabi-gcc")
    built = image("emulator-cortex-m4", extra='for (;;) { __asm__ volatile("nop"); }')
    patience = Patience(retry_s=0.05, invoke_s=0.5)
    with (
        open_device("emulator:cortex-m4", built, patience=patience) as device,
        pytest.raises(WireError, match=r"no valid reply to INVOKE within 0.5 s"),
    ):
        device.run(samples(1))


def test_an_emulator_that_dies_in_mid_run_is_an_unplugged_device():
    require("unicorn", "capstone", "arm-none-eabi-gcc")
    line, stop, _ = emulator.start(image("emulator-cortex-m4"))
    device = WireDevice(Session(line), "emulator", on_close=stop)
    stop()
    with pytest.raises(WireError, match=r"unplugged"):
        device.run(samples(1))
    device.close()


def test_no_wrong_answer_over_a_faulty_line_to_an_emulated_board():
    require("unicorn", "capstone", "arm-none-eabi-gcc")
    line, stop, cycles = emulator.start(image("emulator-cortex-m4"))
    line.timeout = 0.001
    faulty = FaultyLine(line, 7, drop=0.01, flip=0.01, repeat=0.01, delay=0.01, cut=0.01)
    session = Session(faulty, patience=Patience(retry_s=0.03))
    given = samples(3, seed=9)
    with WireDevice(session, "emulator", cycles=cycles, on_close=stop) as device:
        assert [o[0] for o in device.run(given).outputs] == [expected(s[0]) for s in given]
    assert faulty.faults > 10


def test_layers_have_ticks_of_their_own():
    with emulated(layers=True) as device:
        measured = device.run(samples(1))
    assert len(measured.layer_ticks) == 2
    dense, rest = measured.layer_ticks
    assert dense > 10_000 and rest < 100
    assert dense + rest <= measured.instructions


def test_reset_starts_the_image_anew():
    with emulated() as device:
        before = device.run(samples(1))
        device.session.reset()
        after = device.run(samples(1))
    assert (after.instructions, after.memory) == (before.instructions, before.memory)


def test_an_image_for_another_core_is_refused():
    require("arm-none-eabi-gcc")
    with pytest.raises(ImageError, match=r"needs an image of port 'emulator-cortex-m3'"):
        open_device("emulator:cortex-m3", image("emulator-cortex-m4"))
    with pytest.raises(ImageError, match=r"needs an image to run"):
        open_device("emulator:cortex-m4")
    with pytest.raises(UnknownNameError, match=r"Known: cortex-m0, cortex-m3"):
        open_device("emulator:cortex-m85")


def test_the_process_ends_when_its_parent_does():
    """A parent that dies closes the pipe; here it only closes the pipe."""
    require("unicorn", "capstone", "arm-none-eabi-gcc")
    built = image("emulator-cortex-m4")
    with popen_kept() as started:
        line, stop, _ = emulator.start(built)
    line.close()
    started[0].stdin.close()
    assert started[0].wait(10) == 0
    started[0].stdin = None
    stop()


def test_a_host_that_does_not_read_only_stops_the_board():
    """More replies than a terminal holds wait for the host, and none is lost."""
    require("unicorn", "capstone", "arm-none-eabi-gcc")
    line, stop, _ = emulator.start(image("emulator-cortex-m4"))
    decoder = Decoder()
    for sequence in range(1, 301):
        line.write(encode(Frame(sequence, Command.HELLO)))
    got = []
    while len(got) < 300:
        data = line.read(4096)
        assert data, f"only {len(got)} replies"
        got += [frame.sequence for frame in decoder.feed(data)]
    assert got == list(range(1, 301))
    line.close()
    stop()


@contextlib.contextmanager
def popen_kept():
    """The processes that the emulator starts."""
    started = []
    popen = emulator.subprocess.Popen

    def keep(*args, **kwargs):
        started.append(popen(*args, **kwargs))
        return started[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emulator.subprocess, "Popen", keep)
        yield started


def test_the_process_ends_with_the_device():
    require("unicorn", "capstone", "arm-none-eabi-gcc")
    built = image("emulator-cortex-m4")
    with popen_kept() as started:
        open_device("emulator:cortex-m4", built).close()
    assert started[0].returncode == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(started[0].pid, 0)


@pytest.mark.parametrize("core", ["m0", "m4", "m7", "m33"])
def test_floating_point_runs_in_hardware_where_there_is_some(core):
    code = (
        "volatile float third = (float)arena[0] / 3.0f; third = third * 7.0f + 0.5f;"
        "arena[0] = (uint8_t)(uint32_t)third;"
    )
    given = samples(1)
    with emulated(core, extra=code) as device:
        made = device.run(given).outputs[0][0]
    plain = expected(given[0][0])
    assert made == bytes([int(plain[0] / 3 * 7 + 0.5) & 255]) + plain[1:]
