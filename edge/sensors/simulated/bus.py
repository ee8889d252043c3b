"""An I2C bus with simulated chips on it, which looks like ``smbus2.SMBus``: the same methods, limits and errors.

It works byte by byte. Under a ``ManualClock`` each byte takes its time on the wire, so what a chip does meanwhile is seen as it
would be; other clocks pass by themselves.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import errno
import os
import typing

from edge.clock import Clock, ManualClock

_MOST_BYTES = 32
_READ_FLAG = 0x0001  # I2C_M_RD of uapi/linux/i2c.h
SECOND_NS = 1_000_000_000


class Chip(typing.Protocol):
    """One address on the bus."""

    def begin(self, reading: bool) -> bool:
        """A start, or a repeated one, with its address; whether it acknowledges."""
        ...

    def write(self, value: int) -> bool:
        """A byte from the host; whether it acknowledges."""
        ...

    def read(self) -> int:
        """A byte for the host."""
        ...

    def end(self) -> None:
        """A stop."""
        ...


@dataclasses.dataclass
class Fault:
    """What goes wrong on the bus in [from_ns, until_ns), with every ``every``-th transaction of one chip or all.

    nack: nobody acknowledges. stuck: a line is held low, and the host gives up after ``timeout_ns``. break: the transfer
    fails once ``after_bytes`` data bytes have passed.
    """

    kind: typing.Literal["nack", "stuck", "break"]
    from_ns: int
    until_ns: int
    address: int | None = None
    every: int = 1
    after_bytes: int = 0
    timeout_ns: int = SECOND_NS
    """A second is the default of the kernel's adapters."""
    met: int = 0
    """Transactions that it could have hit."""

    def hits(self, now_ns: int, address: int) -> bool:
        """Whether it strikes the transaction that begins now; counts it."""
        if not self.from_ns <= now_ns < self.until_ns or self.address not in (None, address):
            return False
        self.met += 1
        return self.met % self.every == 0


class Message(typing.Protocol):
    """``smbus2.i2c_msg``."""

    addr: int
    flags: int
    len: int
    buf: typing.Any


class SimulatedBus:
    """Chips by address; put it where an open ``smbus2.SMBus`` is wanted.

    Args:
        clock: when a transaction happens.
        chips: by their address.
        baud_hz: clock of the bus; 400000 is "fast mode", which the Pi's overlay sets with ``i2c_arm_baudrate``.
    """

    def __init__(self, clock: Clock, chips: collections.abc.Mapping[int, Chip], *, baud_hz: int = 400_000):
        self.faults: list[Fault] = []
        """Add to it, at any time."""
        self.transactions = 0
        self.closed = False
        self._clock, self._chips = clock, chips
        self._byte_ns = round(9e9 / baud_hz)  # eight bits and the acknowledgement

    def open(self, bus: int | str) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True

    def write_quick(self, i2c_addr: int, force: bool | None = None) -> None:
        self._transact((i2c_addr, b""))

    def read_byte(self, i2c_addr: int, force: bool | None = None) -> int:
        return self._transact((i2c_addr, 1))[0]

    def write_byte(self, i2c_addr: int, value: int, force: bool | None = None) -> None:
        self._transact((i2c_addr, _bytes(value)))

    def read_byte_data(self, i2c_addr: int, register: int, force: bool | None = None) -> int:
        return self._transact((i2c_addr, _bytes(register)), (i2c_addr, 1))[0]

    def write_byte_data(self, i2c_addr: int, register: int, value: int, force: bool | None = None) -> None:
        self._transact((i2c_addr, _bytes(register, value)))

    def read_word_data(self, i2c_addr: int, register: int, force: bool | None = None) -> int:
        return int.from_bytes(self._transact((i2c_addr, _bytes(register)), (i2c_addr, 2)), "little")

    def write_word_data(self, i2c_addr: int, register: int, value: int, force: bool | None = None) -> None:
        self._transact((i2c_addr, _bytes(register, value, value >> 8)))

    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int, force: bool | None = None) -> list[int]:
        if length > _MOST_BYTES:
            raise ValueError(f"Desired block length over {_MOST_BYTES} bytes")
        if length < 1:
            raise _error(errno.EINVAL)
        return list(self._transact((i2c_addr, _bytes(register)), (i2c_addr, length)))

    def write_i2c_block_data(self, i2c_addr: int, register: int, data: collections.abc.Sequence[int], force: bool | None = None) -> None:
        if len(data) > _MOST_BYTES:
            raise ValueError(f"Data length cannot exceed {_MOST_BYTES} bytes")
        self._transact((i2c_addr, _bytes(register, *data)))

    def i2c_rdwr(self, *i2c_msgs: Message) -> None:
        """Messages of any length in one transaction, as made by ``smbus2.i2c_msg.read`` and ``write``."""
        steps: list[tuple[int, bytes | int]] = []
        for message in i2c_msgs:
            reading = message.flags & _READ_FLAG
            steps.append((message.addr, message.len if reading else bytes(typing.cast(typing.Any, message))))
        data = iter(self._transact(*steps))
        for message in i2c_msgs:
            if message.flags & _READ_FLAG:
                for at in range(message.len):
                    message.buf[at] = next(data)

    def _transact(self, *steps: tuple[int, bytes | int]) -> bytes:
        """Run the messages of one transaction, each to an address: bytes to write, or how many to read; return what was read."""
        if self.closed:
            raise _error(errno.EBADF)
        self.transactions += 1
        address = steps[0][0]
        struck = [fault for fault in self.faults if fault.hits(self._clock.now_ns(), address)]
        for fault in struck:
            if fault.kind == "stuck":
                self._pass(fault.timeout_ns)
                raise _error(errno.ETIMEDOUT)
        nack = any(fault.kind == "nack" for fault in struck)
        left = min((fault.after_bytes for fault in struck if fault.kind == "break"), default=None)
        read = bytearray()
        for address, job in steps:
            self._pass(self._byte_ns)
            chip = self._chips.get(address)
            if nack or chip is None or not chip.begin(isinstance(job, int)):
                raise _error(errno.EREMOTEIO)
            try:
                for item in range(job) if isinstance(job, int) else job:
                    if left is not None and isinstance(job, int):
                        if left == 0:
                            raise _error(errno.EIO)
                        left -= 1
                    self._pass(self._byte_ns)
                    if isinstance(job, int):
                        read.append(chip.read())
                    elif not chip.write(item):
                        raise _error(errno.EREMOTEIO)
            except OSError:
                chip.end()
                raise
        for address in {address for address, _ in steps}:
            self._chips[address].end()
        return bytes(read)

    def _pass(self, duration_ns: int) -> None:
        if isinstance(self._clock, ManualClock):
            self._clock.advance_to(self._clock.now_ns() + duration_ns)


def _bytes(*values: int) -> bytes:
    """As ctypes stores them: the low eight bits."""
    return bytes(value & 0xFF for value in values)


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))
