from __future__ import annotations

import errno
import os

import pytest

from edge.clock import ManualClock
from edge.errors import ConfigError, SensorError
from edge.sensors.bus import I2cDevice, parse_place

MS = 1_000_000


class Wire:
    """A bus that fails as told before it answers; each failure takes ``takes_ms``."""

    def __init__(self, clock: ManualClock, *errors: int, takes_ms: float = 0.1):
        self.clock, self.errors, self.takes_ns, self.calls, self.closed = clock, list(errors), round(takes_ms * MS), [], False

    def _call(self, *call):
        self.calls.append(call)
        self.clock.advance_to(self.clock.now_ns() + self.takes_ns)
        if self.errors:
            code = self.errors.pop(0)
            raise OSError(code, os.strerror(code))

    def read_byte_data(self, i2c_addr, register):
        self._call("byte", i2c_addr, register)
        return 0xA5

    def write_byte_data(self, i2c_addr, register, value):
        self._call("write", i2c_addr, register, value)

    def read_i2c_block_data(self, i2c_addr, register, length):
        self._call("block", i2c_addr, register, length)
        return list(range(length))

    def write_i2c_block_data(self, i2c_addr, register, data):
        self._call("write", i2c_addr, register, *data)

    def close(self):
        self.closed = True


def device(*errors: int, takes_ms: float = 0.1, attempts: int = 3) -> tuple[I2cDevice, Wire]:
    clock = ManualClock()
    wire = Wire(clock, *errors, takes_ms=takes_ms)
    return I2cDevice(1, 0x57, clock, smbus=wire, attempts=attempts), wire


def test_registers_are_read_and_written_singly_and_in_blocks():
    chip, wire = device()
    assert chip.read(0x04) == b"\xa5"
    assert chip.read(0x04, 3) == b"\x00\x01\x02"
    chip.write(0x09, (7,))
    chip.write(0x04, (1, 2, 3))
    assert wire.calls == [("byte", 0x57, 4), ("block", 0x57, 4, 3), ("write", 0x57, 9, 7), ("write", 0x57, 4, 1, 2, 3)]
    assert chip.retries == 0


@pytest.mark.parametrize("code", [errno.EREMOTEIO, errno.ENXIO, errno.EIO, errno.EAGAIN, errno.ETIMEDOUT, errno.EBUSY, errno.EPROTO])
def test_a_passing_fault_is_tried_again_and_counted(code: int):
    chip, wire = device(code, code)
    assert chip.read(0x04, 2) == b"\x00\x01"
    assert len(wire.calls) == 3
    assert chip.retries == 2


def test_attempts_are_bounded():
    chip, wire = device(*[errno.EREMOTEIO] * 9)
    with pytest.raises(SensorError, match="3 attempts"):
        chip.read(0xFF)
    assert len(wire.calls) == 3


def test_no_attempt_begins_after_the_deadline():
    chip, wire = device(*[errno.ETIMEDOUT] * 9, takes_ms=1000)
    with pytest.raises(SensorError, match="stuck"):
        chip.read(0xFF)
    assert len(wire.calls) == 1, "each attempt on a stuck bus takes a second"


def test_what_is_changed_by_being_read_is_read_once():
    chip, wire = device(errno.EIO)
    with pytest.raises(SensorError):
        chip.read_once(0x07, 30)
    assert len(wire.calls) == 1


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENODEV, errno.EOPNOTSUPP])
def test_what_another_attempt_does_not_mend_is_not_tried_again(code: int):
    chip, wire = device(code)
    with pytest.raises(SensorError):
        chip.read(0xFF)
    assert len(wire.calls) == 1


@pytest.mark.parametrize(
    ("code", "what", "remedy"),
    [
        (errno.EREMOTEIO, r"no answer \(NACK\)", "i2cdetect -y 1"),
        (errno.ENXIO, r"no answer \(NACK\)", "wiring and power"),
        (errno.ETIMEDOUT, "stuck", "take the power off"),
        (errno.EIO, "broke off", "shorter wires"),
        (errno.EBUSY, "address taken", "dtoverlay"),
        (errno.EACCES, "no permission", "usermod -aG i2c"),
        (errno.ENOENT, "no such bus", "dtparam=i2c_arm=on"),
        (errno.ENODEV, "gone", "plug its adapter"),
        (errno.EOVERFLOW, "too large", "check the bus"),
    ],
)
def test_an_error_names_bus_address_register_errno_and_remedy_in_one_line(code: int, what: str, remedy: str):
    chip, _ = device(*[code] * 3)
    with pytest.raises(SensorError, match=what) as caught:
        chip.write(0x2A, (1,))
    message = str(caught.value)
    for part in ("I2C bus 1", "0x57", "register 0x2a", errno.errorcode[code], remedy):
        assert part in message
    assert "\n" not in message
    assert caught.value.__cause__.errno == code


def test_a_block_that_comes_back_short_is_an_error():
    chip, wire = device()
    wire.read_i2c_block_data = lambda i2c_addr, register, length: [1, 2]
    with pytest.raises(SensorError, match="broke off"):
        chip.read(0x04, 7)


def test_an_injected_bus_is_never_closed():
    chip, wire = device()
    chip.open()
    chip.reopen()
    chip.close()
    assert not wire.closed
    assert chip.read(0x00) == b"\xa5"


def test_using_it_before_it_is_open_is_an_error():
    with pytest.raises(SensorError, match="call open"):
        I2cDevice(1, 0x57, ManualClock()).read(0)


@pytest.mark.parametrize(
    ("text", "bus", "address"),
    [("1", 1, 0x57), ("i2c-3", 3, 0x57), ("/dev/i2c-1", "/dev/i2c-1", 0x57), ("1@0x49", 1, 0x49), ("/dev/i2c-0@0x4B", "/dev/i2c-0", 0x4B)],
)
def test_a_place_names_a_bus_and_an_address(text: str, bus: int | str, address: int):
    assert parse_place(text, 0x57) == (bus, address)


@pytest.mark.parametrize("text", ["", "one", "i2c", "1@57", "1@0x80", "1@0x03", "-1", "/etc/passwd", "1@"])
def test_another_text_is_no_place(text: str):
    with pytest.raises(ConfigError, match="I2C place"):
        parse_place(text, 0x57)


class TestWithTheRealPackage:
    """smbus2 itself, on a bus that no machine has."""

    @pytest.fixture(autouse=True)
    def smbus2(self):
        return pytest.importorskip("smbus2")

    @pytest.mark.parametrize("bus", [250, "/dev/i2c-250"])
    def test_a_bus_that_is_not_there_is_said_in_one_line(self, bus: int | str):
        with pytest.raises(SensorError) as caught:
            I2cDevice(bus, 0x57, ManualClock()).open()
        message = str(caught.value)
        assert message == (
            f"I2C bus {bus}, address 0x57: no such bus [ENOENT]; "
            "switch I2C on (dtparam=i2c_arm=on in /boot/firmware/config.txt) or name another bus"
        )

    def test_a_file_that_is_no_bus_is_said_in_one_line(self, tmp_path):
        (tmp_path / "i2c-1").touch()
        with pytest.raises(SensorError, match="ENOTTY") as caught:
            I2cDevice(str(tmp_path / "i2c-1"), 0x57, ManualClock()).open()
        assert "\n" not in str(caught.value)

    def test_a_failed_opening_leaves_it_closed(self):
        chip = I2cDevice(250, 0x57, ManualClock())
        with pytest.raises(SensorError, match="no such bus"):
            chip.open()
        with pytest.raises(SensorError, match="call open"):
            chip.read(0)


def test_without_smbus2_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "smbus2", None)
    with pytest.raises(SensorError, match=r"pip install 'affectkit\[sensors\]'"):
        I2cDevice(1, 0x57, ManualClock()).open()
