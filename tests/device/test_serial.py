import errno
import os
import socket
import threading
import tty

import pytest
import serial

from hwsearch.device import build, toolchain
from hwsearch.device import open as open_device
from hwsearch.device import serial as device_serial
from hwsearch.device.loop import LoopLine
from hwsearch.device.session import Patience
from hwsearch.errors import ImageError, ToolchainError, UnknownNameError, WireError
from tests.firmware.images import image
from tests.firmware.models import expected, write_model

QUICK = Patience(retry_s=0.02, request_s=0.3)
SAMPLE = bytes(range(250)) * 2 + bytes(200)


@pytest.fixture
def terminal():
    """A pseudo-terminal with the firmware at its far end."""
    far, near = os.openpty()
    tty.setraw(near)
    line = LoopLine(image("host"))
    stopped = threading.Event()

    def serve():
        while not stopped.is_set():
            try:
                line.write(os.read(far, 4096))
                os.write(far, line.read(65536))
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield os.ttyname(near)
    stopped.set()
    os.write(near, b"\0")
    thread.join()
    os.close(near)
    os.close(far)


def test_a_board_behind_a_serial_port(terminal):
    with open_device(f"serial://{terminal}?baudrate=921600", digest=0x12345678) as device:
        measured = device.run([[SAMPLE]], repeats=2)
    assert measured.outputs == ((expected(SAMPLE),),)
    assert measured.kind == "board"
    assert measured.latency_s == pytest.approx(measured.ticks[0].total / 2 / 1e9)
    assert measured.instructions is None and measured.cycles is None


def test_a_board_behind_a_socket():
    with socket.create_server(("127.0.0.1", 0)) as server:
        line = LoopLine(image("host"))

        def serve():
            with server.accept()[0] as connection:
                while data := connection.recv(4096):
                    line.write(data)
                    connection.sendall(line.read(65536))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with open_device(f"socket://127.0.0.1:{server.getsockname()[1]}") as device:
            assert device.run([[SAMPLE]]).outputs == ((expected(SAMPLE),),)
        thread.join()


def test_a_busy_port_says_so(terminal):
    with (
        open_device(terminal),
        pytest.raises(WireError, match=r"Another program has it open"),
    ):
        open_device(terminal)


def test_an_absent_port_says_so():
    with pytest.raises(WireError, match=r"cannot be opened: .* Is the board connected\?"):
        open_device("serial:///dev/ttyHWSEARCH?baudrate=115200")


def test_a_port_without_permission_says_so(monkeypatch):
    def refuse(*args, **kwargs):
        raise serial.SerialException(errno.EACCES, "Permission denied: '/dev/ttyACM0'")

    monkeypatch.setattr(device_serial.serial, "serial_for_url", refuse)
    with pytest.raises(WireError, match=r"Permission denied.*dialout"):
        open_device("/dev/ttyACM0")


def test_a_port_with_nobody_behind_it_is_given_up():
    far, near = os.openpty()
    tty.setraw(near)
    with pytest.raises(WireError, match=r"no valid reply to HELLO within 0.3 s"):
        open_device(os.ttyname(near), patience=QUICK)
    os.close(near)
    os.close(far)


def test_a_port_with_another_model_behind_it_is_refused(terminal):
    with pytest.raises(WireError, match=r"expected 0x00000001. Flash the image"):
        open_device(terminal, digest=1)


def test_the_loop_runs_an_image_of_the_host():
    with open_device("loop://", image("host")) as device:
        assert device.run([[SAMPLE]]).outputs == ((expected(SAMPLE),),)
    with pytest.raises(ImageError, match=r"loop:// needs an image to run"):
        open_device("loop://")


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(toolchain, "_toolchain", lambda name: None)
    sources = write_model(tmp_path / "model")
    with pytest.raises(ToolchainError, match=r"gcc-arm-none-eabi.*pip install ziglang"):
        build(sources, "mps2-an386", tmp_path)
    with pytest.raises(ToolchainError, match=r"no C compiler for this computer"):
        build(sources, "host", tmp_path)
    with pytest.raises(UnknownNameError, match=r"Known: gcc, zig"):
        toolchain.find("armcc")


def test_without_qemu_the_error_says_what_to_install(monkeypatch):
    from hwsearch.device import qemu

    monkeypatch.setattr(qemu.shutil, "which", lambda name: None)
    with pytest.raises(ToolchainError, match=r"qemu-system-arm is not on PATH. Install"):
        qemu.find_qemu()
