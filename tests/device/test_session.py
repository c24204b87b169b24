import ast
import inspect
import random

import pytest

from hwsearch.device import protocol, wire
from hwsearch.device import session as session_module
from hwsearch.device.device import WireDevice
from hwsearch.device.loop import LoopLine
from hwsearch.device.protocol import Command, Status
from hwsearch.device.session import Patience, Session
from hwsearch.device.wire import Decoder, Frame, Ticks, encode
from hwsearch.errors import AbsentError, DeviceError, WireError
from tests.device.faulty_line import FaultyLine
from tests.firmware.images import image
from tests.firmware.models import expected

QUICK = Patience(retry_s=0.004, request_s=20.0, invoke_s=20.0)


def samples(count, size=700, seed=1):
    rng = random.Random(seed)
    return [[rng.randbytes(size)] for _ in range(count)]


def test_the_loop_answers_with_the_right_outputs_and_sizes():
    given = samples(20)
    with WireDevice(Session(LoopLine(image("host"))), "host") as device:
        measured = device.run(given, repeats=3)
    assert [o[0] for o in measured.outputs] == [expected(s[0]) for s in given]
    assert measured.hello.input_bytes == (700,)
    assert measured.hello.output_bytes == (10,)
    assert measured.memory.arena_bytes == 700
    assert measured.repeats == 60
    assert all(0 < t.least <= t.most <= t.total for t in measured.ticks)
    assert measured.instructions is None and measured.latency_s is None
    assert device.session.retries == device.session.dropped == 0


FAULTS = {
    "dropped": {"drop": 0.01},
    "flipped": {"flip": 0.01},
    "repeated": {"repeat": 0.01},
    "delayed": {"delay": 0.01},
    "cut short": {"cut": 0.3},
    "all": {"drop": 0.01, "flip": 0.01, "repeat": 0.01, "delay": 0.01, "cut": 0.01},
}


@pytest.mark.parametrize("kind", FAULTS)
def test_no_wrong_answer_over_a_faulty_line(kind):
    given = samples(6, seed=2)
    line = FaultyLine(LoopLine(image("host")), 3, **FAULTS[kind])
    with WireDevice(Session(line, patience=QUICK), "host") as device:
        measured = device.run(given)
    assert [o[0] for o in measured.outputs] == [expected(s[0]) for s in given]
    assert line.faults > 5
    assert device.session.retries > 0 or kind == "delayed"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_no_wrong_answer_in_many_samples_over_a_line_with_every_fault(seed):
    given = samples(100, seed=seed)
    line = FaultyLine(LoopLine(image("host")), seed, **FAULTS["all"])
    with WireDevice(Session(line, patience=QUICK), "host") as device:
        measured = device.run(given)
    assert [o[0] for o in measured.outputs] == [expected(s[0]) for s in given]
    assert line.faults > 5_000


class Replay:
    """A line whose far end is a function from request to the bytes of the reply."""

    in_waiting = 4096

    def __init__(self, answer):
        self.answer, self.decoder, self.waiting, self.sent = answer, Decoder(), b"", []

    def write(self, data):
        for request in self.decoder.feed(data):
            self.sent.append(request)
            self.waiting += self.answer(request, len(self.sent))

    def read(self, size=1):
        data, self.waiting = self.waiting, b""
        return data

    def close(self):
        pass


def firmware(line):
    """What the real firmware answers."""

    def answer(request, count):
        line.write(encode(request))
        return line.read(65536)

    return answer


def test_late_and_repeated_replies_are_dropped_by_their_sequence_number():
    real = firmware(LoopLine(image("host")))
    stale = []

    def answer(request, count):
        reply = real(request, count)
        late, stale[:] = b"".join(stale), [reply]
        return late + reply + reply  # the last one again, then this one twice

    given = samples(4)
    session = Session(Replay(answer), patience=QUICK)
    assert [session.run(s)[0][0] for s in given] == [expected(s[0]) for s in given]
    assert session.dropped > 10
    assert session.retries == 0


def test_a_request_that_comes_twice_runs_once():
    line = LoopLine(image("host"))
    given = samples(1)[0]
    session = Session(line)
    session._load_and_invoke(given, 1)
    invoke = Frame(session._sequence, Command.INVOKE, payload=b"\1\0")
    decoder = Decoder()
    line.write(encode(invoke))
    first = decoder.feed(line.read(65536))
    # A second run would read the input that the first overwrote, and would be refused.
    assert [f.status for f in first] == [Status.OK]
    assert session._output(0) == expected(given[0])
    line.write(encode(Frame(7, Command.INVOKE, payload=b"\1\0")))
    assert [f.status for f in decoder.feed(line.read(65536))] == [Status.STATE]


def test_a_lost_reply_to_invoke_does_not_run_the_model_again():
    real = firmware(LoopLine(image("host")))
    lost = []

    def answer(request, count):
        reply = real(request, count)
        if request.command == Command.INVOKE and len(lost) < 3:
            lost.append(reply)
            return b""
        return reply

    given = samples(1)[0]
    session = Session(Replay(answer), patience=QUICK)
    assert session.run(given)[0][0] == expected(given[0])
    assert len(lost) == 3 and session.retries == 3 and session.restarts == 0


@pytest.mark.parametrize("moment", [Command.INPUT, Command.INVOKE, Command.OUTPUT])
def test_a_reset_in_mid_run_restarts_the_sample(moment):
    line = LoopLine(image("host"))
    real = firmware(line)
    resets = []

    def answer(request, count):
        # The offset of a first chunk is 0: a device that has lost nothing yet has nothing to say.
        started = moment != Command.INPUT or any(request.payload[1:5])
        if request.command == moment and started and count > 3 and len(resets) < 2:
            resets.append(count)
            line._library.loop_start()
        return real(request, count)

    given = samples(3)
    session = Session(Replay(answer), patience=QUICK)
    assert [session.run(s)[0][0] for s in given] == [expected(s[0]) for s in given]
    assert session.restarts == 2


def test_a_device_that_keeps_resetting_is_given_up():
    line = LoopLine(image("host"))
    real = firmware(line)

    def answer(request, count):
        if request.command == Command.INVOKE:
            line._library.loop_start()
        return real(request, count)

    session = Session(Replay(answer), patience=QUICK)
    with pytest.raises(WireError, match=r"keeps resetting"):
        session.run(samples(1)[0])


def test_another_model_after_a_reset_is_refused():
    lines = [LoopLine(image("host")), LoopLine(image("host", digest=0xBAD))]

    def answer(request, count):
        if request.command == Command.OUTPUT and len(lines) == 2:
            del lines[0]
        return firmware(lines[0])(request, count)

    session = Session(Replay(answer), patience=QUICK)
    with pytest.raises(WireError, match=r"digest 0x00000bad, expected 0x12345678"):
        session.run(samples(1)[0])


def test_the_wrong_model_is_refused():
    with pytest.raises(WireError, match=r"digest 0x12345678, expected 0x00000007"):
        Session(LoopLine(image("host")), digest=7)


@pytest.mark.parametrize("what", ["PROTOCOL_VERSION", "FIRMWARE_VERSION"])
def test_the_wrong_version_is_refused(monkeypatch, what):
    monkeypatch.setattr(session_module, what, 99)
    with pytest.raises(WireError, match=r"expected 99. Flash the firmware"):
        Session(LoopLine(image("host")))


def test_a_device_that_hangs_is_given_up_with_a_reason():
    quick = Patience(retry_s=0.004, request_s=0.05, invoke_s=0.05)
    with pytest.raises(AbsentError, match=r"no valid reply to HELLO within 0.05 s"):
        Session(Replay(lambda request, count: b""), patience=quick)
    real = firmware(LoopLine(image("host")))
    hangs = Replay(lambda r, n: b"" if r.command == Command.INVOKE else real(r, n))
    with pytest.raises(WireError, match=r"no valid reply to INVOKE .* hangs") as raised:
        Session(hangs, patience=quick).run(samples(1)[0])
    assert not isinstance(raised.value, AbsentError), "who greeted was there"


def test_noise_alone_is_no_answer():
    rng = random.Random(5)
    quick = Patience(retry_s=0.004, request_s=0.2, invoke_s=0.2)
    with pytest.raises(WireError, match=r"\d+ broken frames seen"):
        Session(Replay(lambda request, count: rng.randbytes(300)), patience=quick)


def test_an_unplugged_device_says_so():
    line = FaultyLine(LoopLine(image("host")), 1, unplug_after=500)
    session = Session(line, patience=QUICK)
    with pytest.raises(AbsentError, match=r"during INPUT: the device was unplugged"):
        session.run(samples(1)[0])


def test_inputs_of_another_size_are_refused_before_the_wire():
    session = Session(LoopLine(image("host")))
    with pytest.raises(DeviceError, match=r"\[3\] B were given; the device's model takes \[700\]"):
        session.run([b"abc"])


def test_an_engine_that_fails_reports_its_code():
    session = Session(LoopLine(image("host", extra="if (arena[0] != 0u) { return -7; }")))
    with pytest.raises(DeviceError, match=r"code -7 during INVOKE"):
        for sample in samples(8):
            session.run(sample)


def test_requests_beyond_the_model_are_refused_by_the_firmware():
    line = LoopLine(image("host"))
    Session(line)
    bad = [
        (Command.INPUT, b"", Status.ARGUMENT),
        (Command.INPUT, b"\x01" + bytes(4) + b"x", Status.ARGUMENT),
        (Command.INPUT, b"\0" + (700).to_bytes(4, "little") + b"x", Status.ARGUMENT),
        (Command.INPUT, b"\0" + b"\xff" * 4 + b"x", Status.ARGUMENT),
        (Command.INPUT, b"\0" + (5).to_bytes(4, "little") + b"x", Status.STATE),
        (Command.OUTPUT, b"\0" + bytes(4) + b"\x0b\0", Status.ARGUMENT),
        (Command.OUTPUT, b"\0" + bytes(4) + b"\x0a\0", Status.STATE),
        (Command.INVOKE, b"\1\0", Status.STATE),
        (Command.INVOKE, b"\0\0", Status.ARGUMENT),
        (Command.LAYERS, b"\0\0", Status.ARGUMENT),
        (99, b"", Status.COMMAND),
    ]
    for sequence, (command, payload, status) in enumerate(bad, 1):
        line.write(encode(Frame(sequence, command, payload=payload)))
        (reply,) = Decoder().feed(line.read(65536))
        assert (reply.sequence, reply.command, reply.status) == (sequence, command, status)


def test_layer_ticks_come_from_images_built_with_them():
    with WireDevice(Session(LoopLine(image("host", layers=True))), "host") as device:
        measured = device.run(samples(1))
    assert device.hello.layers == len(measured.layer_ticks) == 2
    assert 0 < sum(measured.layer_ticks) <= measured.ticks[0].total


def test_reset_forgets_the_input():
    session = Session(LoopLine(image("host")))
    given = samples(1)[0]
    session._load_and_invoke(given, 1)
    session.reset()
    with pytest.raises(session_module._Restarted):
        session._output(0)
    assert session.run(given)[0][0] == expected(given[0])


def test_ticks_are_parsed():
    assert Ticks.parse(bytes.fromhex("0a00000001000000 03000000 04000000"), 3) == Ticks(
        3, 0x1_0000_000A, 3, 4
    )


@pytest.mark.parametrize("module", [wire, protocol])
def test_the_wire_imports_nothing_that_does_io(module):
    tree = ast.parse(inspect.getsource(module))
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    imported |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert not imported & {"serial", "socket", "os", "select", "subprocess"}
