"""loop://: the firmware's commands compiled for this computer, in this process."""

from __future__ import annotations

import ctypes
import shutil
import tempfile

from hwsearch.device.image import Image
from hwsearch.errors import ImageError


class LoopLine:
    """A line to the firmware in a shared library; looks like a pyserial port.

    Each line loads its own copy of the library, so that each has a device of its own.

    Raises:
        ImageError: the image is not one for the host.
    """

    def __init__(self, image: Image) -> None:
        if not image.port.is_host:
            raise ImageError(f"loop:// needs an image of port 'host', not of {image.port.name!r}.")
        with tempfile.TemporaryDirectory(prefix="hwsearch-") as folder:
            copy = shutil.copy(image.path, folder)
            self._library = ctypes.CDLL(copy)
        self._library.loop_read.restype = ctypes.c_uint32
        self._buffer = ctypes.create_string_buffer(65536)
        self._library.loop_start()

    def read(self, size: int = 1) -> bytes:
        """At most size bytes of the replies; never waits."""
        count = self._library.loop_read(self._buffer, ctypes.c_uint32(min(size, 65536)))
        return self._buffer.raw[:count]

    @property
    def in_waiting(self) -> int:
        """More than a frame: reading never waits."""
        return 65536

    def write(self, data: bytes) -> int:
        """Send data; the firmware runs before this returns."""
        self._library.loop_write(data, ctypes.c_uint32(len(data)))
        return len(data)

    def close(self) -> None:
        """Nothing to give back."""
