"""``edge.sensors.bus`` on the kernel's I2C: what its errors are really called, and blocks of 32 bytes."""

from __future__ import annotations

import collections.abc
import contextlib
import os
import pathlib
import time

import pytest
import smbus2
from adapter import BREAK, NACK

from edge.clock import SystemClock
from edge.errors import SensorError
from edge.sensors.bus import I2cDevice


@contextlib.contextmanager
def opened(bus: int | str, address: int) -> collections.abc.Iterator[I2cDevice]:
    device = I2cDevice(bus, address, SystemClock())
    device.open()
    try:
        yield device
    finally:
        device.close()


def test_an_address_without_a_chip_is_a_nack_with_the_command_to_look_for_chips(adapter):
    with opened(adapter, 0x30) as device, pytest.raises(SensorError) as caught:
        device.read(0xFF)
    text = f"I2C bus {adapter}, address 0x30, register 0xff: no answer (NACK) [ENXIO, "
    assert str(caught.value).startswith(text)
    assert str(caught.value).endswith(f"i2cdetect -y {adapter}")


def test_it_is_one_on_the_adapter_of_a_chipset_too(chipset):
    with opened(chipset, 0x30) as device, pytest.raises(SensorError, match=r"no answer \(NACK\) \[ENXIO"):
        device.read(0xFF)


def test_a_block_of_32_bytes_comes_in_one_read(adapter):
    with opened(f"/dev/i2c-{adapter}", 0x57) as device:
        block = device.read(0xE0, 32)
    assert len(block) == 32 and block[-2:] == b"\x03\x15"  # revision and part id of the simulated MAX30102


def test_a_block_of_32_bytes_comes_back_as_it_was_written(stub):
    with opened(stub, 0x57) as device:
        device.write(0x20, range(32))
        assert device.read(0x20, 32) == bytes(range(32))
        assert device.read(0x21) == b"\x01"


def test_a_bus_that_is_not_there_says_how_to_switch_it_on():
    with pytest.raises(SensorError, match=r"I2C bus 99, .*no such bus \[ENOENT\]; switch I2C on"):
        I2cDevice(99, 0x57, SystemClock()).open()


def test_a_user_without_rights_is_told_which_group_to_join(adapter):
    pathlib.Path(f"/dev/i2c-{adapter}").chmod(0o600)
    os.seteuid(65534)
    try:
        with pytest.raises(SensorError, match=r"no permission \[EACCES\]; let the user into the group"):
            I2cDevice(adapter, 0x57, SystemClock()).open()
    finally:
        os.seteuid(0)


def test_a_chip_that_the_kernel_has_taken_is_said_to_be_taken(adapter):
    folder = pathlib.Path(f"/sys/bus/i2c/devices/i2c-{adapter}")
    os.system("modprobe lm75")
    (folder / "new_device").write_text("lm75 0x48")
    try:
        with opened(adapter, 0x48) as device, pytest.raises(SensorError, match=r"address taken or bus busy \[EBUSY"):
            device.read(0)
    finally:
        (folder / "delete_device").write_text("0x48")


def test_a_transfer_that_breaks_off_is_tried_three_times(adapter, trouble):
    with opened(adapter, 0x57) as device:
        trouble(BREAK, 1.0)
        time.sleep(0.3)
        with pytest.raises(SensorError, match=r"transfer broke off \[EIO, 3 attempts\]"):
            device.read(0xFF)
        assert device.retries == 2
        time.sleep(1.0)
        assert device.read(0xFF) == b"\x15"


def test_silence_that_passes_is_outlived_without_opening_the_bus_anew(adapter, trouble):
    with opened(adapter, 0x57) as device:
        trouble(NACK, 0.5)
        time.sleep(0.3)
        with pytest.raises(SensorError, match="NACK"):
            device.read(0xFF)
        time.sleep(0.5)
        assert device.read(0xFF) == b"\x15"


def test_two_chips_on_one_bus_do_not_take_each_others_answers(adapter):
    with opened(adapter, 0x57) as one, opened(adapter, 0x48) as other:
        for _ in range(5):
            other.write(0x02, (0x12, 0x34))  # the low threshold of an ADS1115
            assert one.read(0xFF) == b"\x15"
            assert other.read(0x02, 2) == b"\x12\x34"


def test_the_kernel_says_what_the_adapter_can(adapter):
    with smbus2.SMBus(adapter) as bus:
        assert bus.funcs & smbus2.I2cFunc.I2C
        assert bus.funcs & smbus2.I2cFunc.SMBUS_READ_I2C_BLOCK
