from __future__ import annotations

import ast
import errno
import inspect
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import edge.sensors.simulated
from edge.clock import ManualClock, SystemClock
from edge.sensors.simulated.bus import Fault, SimulatedBus

MS = 1_000_000


class Memory:
    """A chip of 256 registers that counts up its pointer, and keeps a diary."""

    def __init__(self):
        self.registers, self.pointer, self.diary, self.first = bytearray(range(256)), 0, [], False

    def begin(self, reading: bool) -> bool:
        self.diary.append("read" if reading else "write")
        self.first = not reading
        return True

    def write(self, value: int) -> bool:
        if self.first:
            self.pointer, self.first = value, False
        else:
            self.registers[self.pointer] = value
            self.pointer = (self.pointer + 1) & 0xFF
        return True

    def read(self) -> int:
        self.pointer = (self.pointer + 1) & 0xFF
        return self.registers[self.pointer - 1]

    def end(self) -> None:
        self.diary.append("stop")


def wired(**keywords) -> tuple[SimulatedBus, Memory, ManualClock]:
    clock, chip = ManualClock(), Memory()
    return SimulatedBus(clock, {0x20: chip}, **keywords), chip, clock


def test_transactions_are_those_of_the_smbus_protocol():
    bus, chip, _ = wired()
    assert bus.read_byte_data(0x20, 7) == 7
    assert chip.diary == ["write", "read", "stop"], "a repeated start between register and data, one stop"
    assert bus.read_i2c_block_data(0x20, 250, 8) == [250, 251, 252, 253, 254, 255, 0, 1]
    assert bus.read_word_data(0x20, 0x10) == 0x1110, "SMBus words have the low byte first"
    bus.write_word_data(0x20, 0x30, 0xBEEF)
    bus.write_byte_data(0x20, 0x40, 0x1FF)
    bus.write_i2c_block_data(0x20, 0x50, [1, 2, 3])
    assert chip.registers[0x30:0x32] == b"\xef\xbe" and chip.registers[0x40] == 0xFF and chip.registers[0x50:0x53] == b"\x01\x02\x03"
    bus.write_byte(0x20, 0x50)
    assert bus.read_byte(0x20) == 1


def test_the_limits_are_those_of_smbus2():
    bus, _, _ = wired()
    assert len(bus.read_i2c_block_data(0x20, 0, 32)) == 32
    with pytest.raises(ValueError, match="32 bytes"):
        bus.read_i2c_block_data(0x20, 0, 33)
    with pytest.raises(ValueError, match="32 bytes"):
        bus.write_i2c_block_data(0x20, 0, [0] * 33)
    with pytest.raises(OSError, match="Invalid argument"):
        bus.read_i2c_block_data(0x20, 0, 0)


def test_nobody_answers_at_an_empty_address_or_on_a_closed_bus():
    bus, _, _ = wired()
    with pytest.raises(OSError) as caught:
        bus.read_byte_data(0x21, 0)
    assert caught.value.errno == errno.EREMOTEIO
    bus.close()
    with pytest.raises(OSError) as caught:
        bus.read_byte_data(0x20, 0)
    assert caught.value.errno == errno.EBADF


def test_its_methods_are_called_as_those_of_smbus2():
    smbus2 = pytest.importorskip("smbus2")
    for name, method in inspect.getmembers(SimulatedBus, inspect.isfunction):
        if not name.startswith("_"):
            real = inspect.signature(getattr(smbus2.SMBus, name))
            ours = inspect.signature(method)
            assert list(ours.parameters) == list(real.parameters), name


def test_combined_transactions_take_the_messages_of_smbus2():
    i2c_msg = pytest.importorskip("smbus2").i2c_msg
    bus, chip, _ = wired()
    write, read = i2c_msg.write(0x20, [100]), i2c_msg.read(0x20, 96)
    bus.i2c_rdwr(write, read)
    assert list(read) == list(range(100, 196))
    bus.i2c_rdwr(i2c_msg.write(0x20, [5, 77, 78]))
    assert chip.registers[5:7] == b"\x4d\x4e"


def test_a_byte_takes_nine_clocks_of_the_bus_under_a_manual_clock():
    bus, _, clock = wired(baud_hz=100_000)
    bus.read_i2c_block_data(0x20, 0, 30)
    assert clock.now_ns() == 33 * 90_000, "two addresses, a register, 30 data bytes"


def test_other_clocks_pass_by_themselves():
    bus = SimulatedBus(SystemClock(), {0x20: Memory()}, baud_hz=1)
    assert bus.read_byte_data(0x20, 9) == 9


def test_a_nack_hits_its_chip_while_it_lasts():
    bus, _, clock = wired()
    bus.faults.append(Fault("nack", 10 * MS, 20 * MS, address=0x20))
    bus.read_byte_data(0x20, 0)
    clock.advance_to(10 * MS)
    with pytest.raises(OSError) as caught:
        bus.read_byte_data(0x20, 0)
    assert caught.value.errno == errno.EREMOTEIO
    clock.advance_to(20 * MS)
    assert bus.read_byte_data(0x20, 3) == 3


@given(st.integers(1, 9))
def test_every_so_many_transactions_fail(every: int):
    bus, _, _ = wired()
    bus.faults.append(Fault("nack", 0, 10**12, every=every))
    failed = 0
    for _ in range(36):
        try:
            bus.read_byte_data(0x20, 0)
        except OSError:
            failed += 1
    assert failed == 36 // every


def test_a_stuck_bus_takes_a_second_to_give_up():
    bus, _, clock = wired()
    bus.faults.append(Fault("stuck", 0, 10 * MS))
    with pytest.raises(OSError) as caught:
        bus.read_byte_data(0x20, 0)
    assert caught.value.errno == errno.ETIMEDOUT
    assert clock.now_ns() == 1000 * MS
    assert bus.read_byte_data(0x20, 4) == 4


def test_a_broken_transfer_has_passed_some_bytes():
    bus, chip, _ = wired()
    bus.faults.append(Fault("break", 0, 10**12, after_bytes=5))
    with pytest.raises(OSError) as caught:
        bus.read_i2c_block_data(0x20, 0, 30)
    assert caught.value.errno == errno.EIO
    assert chip.pointer == 5 and chip.diary[-1] == "stop"


def test_no_simulated_chip_knows_anything_of_a_driver():
    folder = pathlib.Path(edge.sensors.simulated.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            foreign = [name for name in names if name.startswith("edge") and not name.startswith(("edge.sensors.simulated", "edge.clock"))]
            assert not foreign, f"{path.name} imports {foreign}"
