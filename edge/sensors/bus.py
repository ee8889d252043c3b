"""One chip on an I2C bus, over smbus2: every transaction is tried a bounded number of times, and its errors say what to do.

smbus2 caches the address of the last transaction per open bus, so every driver opens a bus of its own.
"""

from __future__ import annotations

import collections.abc
import contextlib
import errno
import re
import threading
import typing

from edge.clock import Clock
from edge.errors import ConfigError, SensorError

BLOCK_BYTES = 32
"""Most that one block transfer carries: I2C_SMBUS_BLOCK_MAX of the kernel's ``uapi/linux/i2c.h``, which smbus2 enforces."""
MS = 1_000_000
_PAUSE_NS = 1 * MS
"""Between two attempts: longer than any transaction of the other chips on the bus."""


class SmBus(typing.Protocol):
    """The part of ``smbus2.SMBus`` that the drivers use; ``edge.sensors.simulated.bus`` has it too."""

    def read_byte_data(self, i2c_addr: int, register: int) -> int: ...
    def write_byte_data(self, i2c_addr: int, register: int, value: int) -> None: ...
    def read_i2c_block_data(self, i2c_addr: int, register: int, length: int) -> list[int]: ...
    def write_i2c_block_data(self, i2c_addr: int, register: int, data: list[int]) -> None: ...
    def close(self) -> None: ...


_ABSENT = "check its wiring and power, and its address with: i2cdetect -y"
_MEANINGS = {
    errno.ENOENT: ("no such bus", "switch I2C on (dtparam=i2c_arm=on in /boot/firmware/config.txt) or name another bus"),
    errno.EACCES: ("no permission", "let the user into the group: sudo usermod -aG i2c $USER, and log in again"),
    errno.EPERM: ("no permission", "let the user into the group: sudo usermod -aG i2c $USER, and log in again"),
    errno.ENXIO: ("no answer (NACK)", _ABSENT),
    errno.EREMOTEIO: ("no answer (NACK)", _ABSENT),
    errno.EIO: ("transfer broke off", "check the wiring; shorter wires or a slower bus help"),
    errno.ETIMEDOUT: ("bus stuck (a line is held low)", "take the power off the chips for a second"),
    errno.EBUSY: ("address taken or bus busy", "remove the dtoverlay that binds a kernel driver to the chip"),
    errno.EAGAIN: ("arbitration lost", "keep other masters off the bus"),
    errno.ENODEV: ("the bus is gone", "plug its adapter in again"),
    errno.EOPNOTSUPP: ("the adapter cannot do this transfer", "use a bus with I2C block transfers"),
}
"""Names and remedies, after ``Documentation/i2c/fault-codes.rst`` of the kernel; i2c-bcm2835 says EREMOTEIO for a NACK."""
_LASTING = frozenset({errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENODEV, errno.EOPNOTSUPP})
"""What another attempt does not mend."""


Result = typing.TypeVar("Result")


def parse_place(text: str, address: int) -> tuple[int | str, int]:
    """Bus and address that ``text`` names: "1", "i2c-1" or "/dev/i2c-1", each with "@0x49" behind it or not.

    Args:
        text: what follows the colon of a source.
        address: taken when ``text`` has none.

    Raises:
        ConfigError: it is not of that form, or the address is not one of 0x08 to 0x77.
    """
    match = re.fullmatch(r"(?:(?:i2c-)?(\d{1,3})|(/dev/[\w./-]+))(?:@(0[xX][0-9a-fA-F]{1,2}))?", text.strip())
    if match is None:
        raise ConfigError(f"I2C place {text!r}: write a bus such as 1, i2c-1 or /dev/i2c-1, and an address behind it such as 1@0x49")
    number, path, at = match.groups()
    address = int(at, 16) if at else address
    if not 0x08 <= address <= 0x77:
        raise ConfigError(f"I2C place {text!r}: {address:#04x} is no chip's address; it is 0x08 to 0x77")
    return (int(number) if number else path), address


def open_smbus(bus: int | str) -> SmBus:
    """``smbus2.SMBus``, opened; OSError if it cannot be, SensorError if smbus2 is not installed."""
    try:
        import smbus2
    except ImportError:
        raise SensorError(f"I2C bus {bus}: the package smbus2 is missing; install it: pip install 'affectkit[sensors]'") from None
    return smbus2.SMBus(bus)


class I2cDevice:
    """One chip: reads and writes its registers; an injected bus wins, and only a bus opened here is closed here.

    Args:
        bus: number, or path such as "/dev/i2c-1".
        address: 7 bits.
        clock: times the attempts.
        smbus: an open ``smbus2.SMBus`` or what looks like one; opened by ``open`` if None.
        attempts: most transactions for one read or write.
        patience_ms: no new attempt begins later than this after the first; a stuck bus blocks each for up to a second.
    """

    def __init__(self, bus: int | str, address: int, clock: Clock, *, smbus: SmBus | None = None, attempts: int = 3, patience_ms: int = 50):
        self.bus, self.address = bus, address
        self.retries = 0
        """Transactions that had to be tried again."""
        self._clock, self._attempts, self._patience_ns = clock, attempts, patience_ms * MS
        self._given, self._smbus = smbus, smbus
        self._never = threading.Event()

    def open(self) -> None:
        """Raises SensorError: no such bus, no permission, or smbus2 is missing."""
        if self._smbus is None:
            try:
                self._smbus = open_smbus(self.bus)
            except SensorError:
                raise
            except OSError as error:
                raise self._failed(error, None, 1) from error

    def close(self) -> None:
        """Close the bus if it was opened here."""
        if self._given is None and self._smbus is not None:
            smbus, self._smbus = self._smbus, None
            with contextlib.suppress(OSError):
                smbus.close()

    def reopen(self) -> None:
        """Open the bus anew: an adapter that was unplugged comes back as another device. Raises SensorError."""
        self.close()
        self.open()

    def read(self, register: int, count: int = 1) -> bytes:
        """``count`` bytes from ``register`` on, at most 32. Raises SensorError."""
        return self._tried(lambda bus: _read(bus, self.address, register, count), register, self._attempts)

    def read_once(self, register: int, count: int) -> bytes:
        """As ``read``, in one attempt: for registers that change by being read. Raises SensorError."""
        return self._tried(lambda bus: _read(bus, self.address, register, count), register, 1)

    def write(self, register: int, values: collections.abc.Sequence[int]) -> None:
        """Write ``values``, at most 32 bytes, to ``register`` and those behind it. Raises SensorError."""
        self._tried(lambda bus: _write(bus, self.address, register, values), register, self._attempts)

    def _tried(self, transact: typing.Callable[[SmBus], Result], register: int, attempts: int) -> Result:
        if self._smbus is None:
            raise SensorError(f"{self._where(register)}: used before it was opened; call open() first")
        until_ns = self._clock.now_ns() + self._patience_ns
        attempt = 1
        while True:
            try:
                return transact(self._smbus)
            except OSError as error:
                if attempt == attempts or error.errno in _LASTING or self._clock.now_ns() + _PAUSE_NS > until_ns:
                    raise self._failed(error, register, attempt) from error
            attempt += 1
            self.retries += 1
            self._clock.wait(self._never, self._clock.now_ns() + _PAUSE_NS)

    def _where(self, register: int | None) -> str:
        place = f"I2C bus {self.bus}, address {self.address:#04x}"
        return place if register is None else f"{place}, register {register:#04x}"

    def _failed(self, error: OSError, register: int | None, attempts: int) -> SensorError:
        code = error.errno or 0
        what, remedy = _MEANINGS.get(code, (error.strerror or str(error) or "unknown error", "check the bus"))
        if remedy is _ABSENT:
            remedy = f"{remedy} {self.bus}" if isinstance(self.bus, int) else _ABSENT
        name = errno.errorcode.get(code, "no errno")
        times = "" if attempts == 1 else f", {attempts} attempts"
        return SensorError(f"{self._where(register)}: {what} [{name}{times}]; {remedy}")


def _read(bus: SmBus, address: int, register: int, count: int) -> bytes:
    if count == 1:
        return bytes((bus.read_byte_data(address, register),))
    data = bytes(bus.read_i2c_block_data(address, register, count))
    if len(data) != count:
        raise OSError(errno.EIO, f"{len(data)} bytes instead of {count}")
    return data


def _write(bus: SmBus, address: int, register: int, values: collections.abc.Sequence[int]) -> None:
    if len(values) == 1:
        bus.write_byte_data(address, register, values[0])
    else:
        bus.write_i2c_block_data(address, register, list(values))
