"""An I2C adapter on USB whose chips are simulated: the guest's own kernel drives it, as it would drive the one on a shelf.

The adapter is an i2c-tiny-usb (Till Harbaum; kernel driver ``drivers/i2c/busses/i2c-tiny-usb.c``). It lives in a thread here and
is plugged into the emulated machine through QEMU's ``usb-redir`` device, whose messages are those of usbredir's
``usbredirproto.h`` 0.7. So a driver's transaction walks through smbus2, i2c-dev, the kernel's I2C core, a USB host controller, and
ends at ``edge.sensors.simulated``: the kernel's path of an adapter that can do messages and no SMBus of its own, as the Pi's can.

Run by itself it serves one guest: ``python adapter.py SOCKET``, the socket being a ``-chardev socket,server=on`` of QEMU.
"""

from __future__ import annotations

import logging
import pathlib
import socket
import struct
import sys
import threading
import time
import typing

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from edge.clock import Clock, SystemClock
from edge.sensors.simulated.ads1115 import SimulatedAds1115, grove
from edge.sensors.simulated.bus import Chip
from edge.sensors.simulated.max30102 import SimulatedMax30102
from edge.sensors.simulated.signals import finger, pulse

log = logging.getLogger("adapter")

HEART_RATE_BPM, SKIN_US = 72.0, 5.0
"""What the simulated person shows; the checks in the guest expect it."""
CONTROL_ADDRESS = 0x10
UNPLUG, NACK, BREAK, BROWN_OUT = 1, 2, 3, 4
"""Registers of the chip at ``CONTROL_ADDRESS``: tenths of a second for which the adapter is unplugged, nobody acknowledges,
transfers break off (the adapter stalls), the MAX30102 has no supply. It begins a tenth of a second after the write."""

# usbredirproto.h
_HELLO, _CONNECT, _DISCONNECT, _RESET, _INTERFACES, _ENDPOINTS = 0, 1, 2, 3, 4, 5
_SET_CONFIGURATION, _GET_CONFIGURATION, _CONFIGURATION = 6, 7, 8
_SET_ALTERNATIVE, _GET_ALTERNATIVE, _ALTERNATIVE = 9, 10, 11
_CANCEL, _CONTROL = 21, 100
_CAPABILITIES = 1 << 4 | 1 << 5 | 1 << 6  # packet sizes of endpoints, ids of 64 bits, long bulk packets: QEMU's xHCI wants them
_OK, _STALL = 0, 4
_FULL_SPEED, _INVALID_ENDPOINT = 1, 255

# USB 2.0, chapter 9, and the ids and requests of i2c-tiny-usb.c
_VENDOR, _PRODUCT, _RELEASE = 0x0403, 0xC631, 0x0205
_DEVICE = struct.pack("<BBHBBBBHHHBBBB", 18, 1, 0x0110, 0xFF, 0, 0, 64, _VENDOR, _PRODUCT, _RELEASE, 1, 2, 0, 1)
_CONFIG = struct.pack("<BBHBBBBB", 9, 2, 18, 1, 1, 0, 0x80, 5) + struct.pack("<BBBBBBBBB", 9, 4, 0, 0, 0, 0xFF, 0, 0, 0)
_STRINGS = ("", "affectkit", "simulated i2c-tiny-usb")
_GET_DESCRIPTOR = 6
_FUNCTIONS, _STATUS, _IO, _BEGIN, _END = 1, 3, 4, 1, 2
_CAN = 0x00000001 | 0x0EFF0008  # I2C_FUNC_I2C and I2C_FUNC_SMBUS_EMUL of uapi/linux/i2c.h
_ACK, _NAK = 1, 2
_READ = 0x0001  # I2C_M_RD


class Control:
    """A chip that makes trouble on request: a register and how long, in tenths of a second, in one write."""

    def __init__(self, clock: Clock):
        self._clock = clock
        self._bytes: list[int] = []
        self._spells: dict[int, tuple[int, int]] = {}

    def begin(self, reading: bool) -> bool:
        self._bytes = []
        return True

    def write(self, value: int) -> bool:
        self._bytes.append(value)
        return True

    def read(self) -> int:
        return 0

    def end(self) -> None:
        if len(self._bytes) == 2:
            from_ns = self._clock.now_ns() + 100_000_000
            self._spells[self._bytes[0]] = (from_ns, from_ns + self._bytes[1] * 100_000_000)
            log.info("trouble %d for %.1f s", self._bytes[0], self._bytes[1] / 10)
        self._bytes = []

    def take(self, trouble: int) -> tuple[int, int] | None:
        """The spell [from_ns, until_ns) of a trouble that has begun and was not yet taken."""
        return self._spells.pop(trouble) if self.on(trouble) else None

    def on(self, trouble: int) -> bool:
        """Whether it is on now."""
        from_ns, until_ns = self._spells.get(trouble, (0, 0))
        return from_ns <= self._clock.now_ns() < until_ns


class TinyUsb:
    """The adapter's firmware: control requests in, bytes out, chips behind it."""

    def __init__(self, chips: typing.Mapping[int, Chip], control: Control):
        self._chips = {**chips, CONTROL_ADDRESS: control}
        self._control = control
        self._status = 0
        self._open: list[Chip] = []  # chips addressed since the last stop

    def request(self, kind: int, request: int, value: int, index: int, length: int, data: bytes) -> bytes | None:
        """What a control request answers (empty for a host's write); None stalls."""
        if kind == 0x80 and request == _GET_DESCRIPTOR:
            return self._descriptor(value >> 8, value & 0xFF, length)
        if kind & 0x60 != 0x40:  # no vendor's request; QEMU answers the other standard ones itself
            return b"" if not kind & 0x80 else bytes(length)
        if request == _FUNCTIONS:
            return struct.pack("<I", _CAN)[:length]
        if request == _STATUS:
            return bytes((self._status,))[:length]
        if _IO <= request <= _IO | _BEGIN | _END:
            return self._transfer(request, value, index, length, data)
        return b""

    def _descriptor(self, kind: int, number: int, length: int) -> bytes | None:
        if kind == 1:
            return _DEVICE[:length]
        if kind == 2:
            return _CONFIG[:length]
        if kind == 3 and number < len(_STRINGS):
            text = struct.pack("<H", 0x0409) if number == 0 else _STRINGS[number].encode("utf-16-le")
            return (struct.pack("<BB", 2 + len(text), 3) + text)[:length]
        return None

    def _transfer(self, request: int, flags: int, address: int, length: int, data: bytes) -> bytes | None:
        reading = bool(flags & _READ)
        chip = self._chips.get(address)
        if self._control.on(BREAK) and chip is not self._control:
            self._stop()
            return None
        if chip is None or (self._control.on(NACK) and chip is not self._control) or not chip.begin(reading):
            self._status = _NAK
            self._stop()
            return bytes(length) if reading else b""
        self._status = _ACK
        self._open.append(chip)
        answer = bytes(chip.read() for _ in range(length)) if reading else b""
        for value in data if not reading else b"":
            chip.write(value)
        if request & _END:
            self._stop()
        return answer

    def _stop(self) -> None:
        while self._open:
            self._open.pop().end()


class Plug(threading.Thread):
    """Plugs an adapter with a MAX30102 and an ADS1115 on it into the machine at the other end of ``path``, a Unix socket.

    Args:
        patience_s: how long the socket may take to appear.
    """

    def __init__(self, path: pathlib.Path, *, patience_s: float = 60.0):
        super().__init__(name="adapter", daemon=True)
        clock = SystemClock()
        self.pulse = SimulatedMax30102(clock, finger(pulse(HEART_RATE_BPM)), drift_percent=1.5, noise_na=0.4)
        skin = SimulatedAds1115(clock, lambda t_s: np.full_like(t_s, SKIN_US), grove(), noise_v=0.0002)
        self._control = Control(clock)
        self._firmware = TinyUsb({0x57: self.pulse, 0x48: skin}, self._control)
        self._path, self._patience_s, self._clock = path, patience_s, clock
        self.requests = 0
        """Control requests answered."""

    def run(self) -> None:
        try:
            with self._connected() as line:
                self._serve(line)
        except (OSError, EOFError) as error:
            log.info("the machine went away: %s", error)

    def _connected(self) -> socket.socket:
        until_s = time.monotonic() + self._patience_s
        while True:
            line = socket.socket(socket.AF_UNIX)
            try:
                line.connect(str(self._path))
                return line
            except OSError:
                line.close()
                if time.monotonic() > until_s:
                    raise
                time.sleep(0.05)

    def _serve(self, line: socket.socket) -> None:
        # The greetings come before the capabilities are known: their ids have 32 bits.
        hello = b"affectkit test rig".ljust(64, b"\0") + struct.pack("<I", _CAPABILITIES)
        line.sendall(struct.pack("<III", _HELLO, len(hello), 0) + hello)
        _, length, _ = struct.unpack("<III", _exactly(line, 12))
        _exactly(line, length)
        self._plug_in(line)
        back_ns: int | None = None
        while True:
            if back_ns is None:
                if spell := self._control.take(UNPLUG):
                    _send(line, _DISCONNECT, 0, b"")
                    back_ns = spell[1]
            elif self._clock.now_ns() >= back_ns:
                back_ns = None
                self._plug_in(line)
            if spell := self._control.take(BROWN_OUT):
                self.pulse.brown_out(*spell)
            line.settimeout(0.05)
            try:
                first = line.recv(1)
            except TimeoutError:
                continue
            line.settimeout(5.0)
            if not first:
                raise EOFError("end of the connection")
            kind, length, number = struct.unpack("<IIQ", first + _exactly(line, 15))
            self._answer(line, kind, number, _exactly(line, length))

    def _plug_in(self, line: socket.socket) -> None:
        types = bytearray([_INVALID_ENDPOINT] * 32)
        types[0] = types[16] = 0  # control, both ways
        _send(line, _ENDPOINTS, 0, bytes(types) + bytes(64) + struct.pack("<32H", *[64] * 32))
        _send(line, _INTERFACES, 0, struct.pack("<I", 1) + bytes(32) + b"\xff" + bytes(31) + bytes(64))
        _send(line, _CONNECT, 0, struct.pack("<BBBBHH", _FULL_SPEED, 0xFF, 0, 0, _VENDOR, _PRODUCT))

    def _answer(self, line: socket.socket, kind: int, number: int, body: bytes) -> None:
        if kind == _CONTROL:
            endpoint, request, request_kind, _, value, index, length = struct.unpack("<BBBBHHH", body[:10])
            answer = self._firmware.request(request_kind, request, value, index, length, body[10:])
            self.requests += 1
            status, data = (_STALL, b"") if answer is None else (_OK, answer)
            done = len(data) if request_kind & 0x80 else (length if answer is not None else 0)
            _send(line, _CONTROL, number, struct.pack("<BBBBHHH", endpoint, request, request_kind, status, value, index, done) + data)
        elif kind in (_SET_CONFIGURATION, _GET_CONFIGURATION):
            _send(line, _CONFIGURATION, number, struct.pack("<BB", _OK, 1))
        elif kind in (_SET_ALTERNATIVE, _GET_ALTERNATIVE):
            _send(line, _ALTERNATIVE, number, struct.pack("<BBB", _OK, 0, 0))
        elif kind not in (_RESET, _CANCEL):
            log.info("message %d of the machine left unanswered", kind)


def _send(line: socket.socket, kind: int, number: int, body: bytes) -> None:
    line.sendall(struct.pack("<IIQ", kind, len(body), number) + body)


def _exactly(line: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = line.recv(count - len(data))
        if not part:
            raise EOFError("end of the connection")
        data += part
    return data


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    Plug(pathlib.Path(sys.argv[1])).run()
