import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsearch.device.protocol import PAYLOAD_MAX_BYTES, Command
from hwsearch.device.wire import (
    Decoder,
    Frame,
    Hello,
    Memory,
    Ticks,
    cobs_decode,
    cobs_encode,
    decode,
    encode,
    fault_text,
)
from hwsearch.errors import WireError

frames = st.builds(
    Frame,
    sequence=st.integers(0, 0xFFFF),
    command=st.integers(0, 255),
    status=st.integers(0, 255),
    payload=st.binary(max_size=PAYLOAD_MAX_BYTES),
)


@given(st.lists(frames, max_size=4), st.integers(1, 40))
def test_frames_come_back_however_the_line_cuts_them(sent, piece):
    line = b"".join(map(encode, sent))
    decoder = Decoder()
    got = [f for i in range(0, len(line), piece) for f in decoder.feed(line[i : i + piece])]
    assert got == sent
    assert decoder.broken == 0


@pytest.mark.parametrize(
    ("data", "encoded"),
    [  # the examples of Cheshire and Baker's paper and of its usual test vectors
        ("00", "0101"),
        ("0000", "010101"),
        ("11220033", "0311220233"),
        ("11223344", "0511223344"),
        ("11000000", "0211010101"),
        (bytes(range(1, 255)).hex(), "ff" + bytes(range(1, 255)).hex()),
        ("00" + bytes(range(1, 255)).hex(), "01ff" + bytes(range(1, 255)).hex()),
        (bytes(range(1, 256)).hex(), "ff" + bytes(range(1, 255)).hex() + "02ff"),
        (bytes(range(2, 256)).hex() + "00", "ff" + bytes(range(2, 256)).hex() + "0101"),
    ],
)
def test_cobs_examples(data, encoded):
    assert cobs_encode(bytes.fromhex(data)).hex() == encoded
    assert cobs_decode(bytes.fromhex(encoded)).hex() == data


@given(st.binary(max_size=600))
def test_cobs_has_no_zero_and_comes_back(data):
    assert 0 not in cobs_encode(data)
    assert cobs_decode(cobs_encode(data)) == data


def test_crc_is_that_of_zlib():
    body = encode(Frame(0x1234, Command.HELLO))[1:-1]
    plain = cobs_decode(body)
    assert plain[:6] == bytes([0, 0, 0x34, 0x12, 1, 0])
    assert int.from_bytes(plain[6:], "little") == zlib.crc32(plain[:6])


@given(frames, st.data())
def test_a_changed_byte_is_never_taken_for_a_frame(frame, data):
    line = bytearray(encode(frame)[1:-1])
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] = data.draw(st.integers(1, 255).filter(lambda b: b != line[at]))
    assert decode(bytes(line)) is None


@given(frames, st.data())
def test_a_lost_or_repeated_byte_is_never_taken_for_another_frame(frame, data):
    line = bytearray(encode(frame)[1:-1])
    at = data.draw(st.integers(0, len(line) - 1))
    if data.draw(st.booleans()):
        del line[at]
    else:
        line.insert(at, line[at])
    assert decode(bytes(line)) is None


@given(st.binary(max_size=2000), frames)
def test_a_frame_after_noise_is_read(noise, frame):
    decoder = Decoder()
    assert decoder.feed(noise + encode(frame))[-1] == frame


def test_an_endless_run_of_noise_takes_no_memory():
    decoder = Decoder()
    for _ in range(100):
        decoder.feed(b"\x55" * 10_000)
    assert len(decoder._pending) < 600
    assert decoder.feed(b"\0" + encode(Frame(1, 2)))[-1] == Frame(1, 2)
    assert decoder.broken == 1


def test_a_payload_too_long_is_refused():
    with pytest.raises(WireError, match="chunks"):
        encode(Frame(1, 2, 0, bytes(PAYLOAD_MAX_BYTES + 1)))


@given(st.binary(max_size=200))
def test_any_payload_is_a_greeting_or_a_wire_error(payload):
    try:
        hello = Hello.parse(payload)
    except WireError:
        return
    assert len(hello.input_bytes) + len(hello.output_bytes) <= len(payload) // 4


def test_replies_of_another_size_are_refused():
    with pytest.raises(WireError, match="INVOKE of 3 B; expected 16 B"):
        Ticks.parse(b"abc", 1)
    with pytest.raises(WireError, match="MEMORY of 0 B; expected 12 B"):
        Memory.parse(b"")


def test_fault_text_names_the_registers_that_matter_first():
    words = b"".join(i.to_bytes(4, "little") for i in range(12))
    assert fault_text(words).startswith(
        "pc=0x00000006 lr=0x00000005 cfsr=0x00000008 r0=0x00000000"
    )
