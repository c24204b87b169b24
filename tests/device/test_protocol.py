from hwsearch.device.header import c_header
from hwsearch.device.port import FIRMWARE


def test_the_header_of_the_firmware_is_not_stale():
    assert (FIRMWARE / "protocol.h").read_text() == c_header(), (
        "run: python -m hwsearch.device.header"
    )
