"""The corpus of the fuzzers, replayed; ``make fuzz-wire`` extends it."""

import pytest

from hwsearch.device.wire import Frame, encode
from tests.firmware import fuzz


@pytest.fixture(scope="module")
def wire_c(tmp_path_factory):
    return fuzz.WireC(tmp_path_factory.mktemp("wire"))


def test_both_decoders_read_the_same_of_the_corpus_and_of_its_mutations():
    executions, sound = fuzz.fuzz_python(3000, seed=1)
    assert executions == 3000
    assert sound > 1000


def test_the_corpus_is_kept():
    assert len(list(fuzz.CORPUS.iterdir())) > 100


@pytest.mark.parametrize("payload", [0, 1, 253, 254, 255, 507, 508, 509, 512])
@pytest.mark.parametrize("byte", [b"\0", b"\x55"])
def test_frames_around_the_length_of_a_group(wire_c, payload, byte):
    assert fuzz.compare(encode(Frame(0x0102, 3, 0, byte * payload)), 3, wire_c) == 1


def test_a_frame_one_byte_too_long_is_broken_for_both(wire_c):
    line = (
        b"\0" + b"\xff" + b"\x01" * 254 + b"\xff" + b"\x01" * 254 + b"\x20" + b"\x01" * 31 + b"\0"
    )
    assert fuzz.compare(line, 1, wire_c) == 0
    assert wire_c.decode(line) == ([], 1)
