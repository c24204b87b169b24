"""Where images run: the wire, boards and emulated boards behind it, and the images themselves."""

from hwsearch.device.device import Cycles, Device, Measured, WireDevice
from hwsearch.device.image import Image, build
from hwsearch.device.serial import open, port_of
from hwsearch.device.session import Patience
from hwsearch.device.wire import Hello, Memory, Ticks

__all__ = [
    "Cycles",
    "Device",
    "Hello",
    "Image",
    "Measured",
    "Memory",
    "Patience",
    "Ticks",
    "WireDevice",
    "build",
    "open",
    "port_of",
]
