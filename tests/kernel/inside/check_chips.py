"""The MAX30102 and the ADS1115 through smbus2, i2c-dev and the kernel's I2C core, to simulated chips behind an adapter on USB.

The chips run by the host's clock and the drivers by the machine's, which is slow and stalls as it likes.
"""

from __future__ import annotations

import numpy as np
import pytest
import smbus2
from adapter import BROWN_OUT, HEART_RATE_BPM, SKIN_US, UNPLUG
from listen import Listener

from edge.clock import SystemClock
from edge.errors import SensorError
from edge.sensors import open_sensor
from edge.sensors.max30102 import PulseSensor
from edge.types import Chunk


def listening(source: str) -> Listener:
    return Listener(open_sensor(source, SystemClock()))


def heart_rate_bpm(chunks: list[Chunk]) -> float:
    """From the lag at which the wave is most like itself, between 40 and 180 beats a minute; gaps are bridged by straight lines."""
    rate_hz = chunks[0].rate_hz
    times = np.concatenate([chunk.t_ns / 1e9 + np.arange(len(chunk.samples)) / chunk.rate_hz for chunk in chunks])
    even = np.arange(times[0], times[-1], 1.0 / rate_hz)
    wave = np.interp(even, times, np.concatenate([chunk.samples for chunk in chunks]))
    wave -= wave.mean()
    likeness = np.correlate(wave, wave, "full")[len(wave) - 1 :]
    lags = np.arange(round(60.0 / 180.0 * rate_hz), round(60.0 / 40.0 * rate_hz))
    return 60.0 * rate_hz / lags[likeness[lags].argmax()]


def test_a_pulse_comes_through_the_kernel_at_its_rate(adapter):
    with listening(f"max30102:{adapter}") as listener:
        sensor = listener.sensor
        assert isinstance(sensor, PulseSensor)
        listener.wait(lambda it: it.seconds >= 8.0, 30.0)
        chip = sensor.chip
        assert sensor.finger_on and sensor.trouble is None
        assert (chip.revision, chip.restarts, chip.die_temperature_c) == (3, 0, 31.4375)
        first, last = listener.chunks[0], listener.chunks[-1]
    assert heart_rate_bpm(listener.chunks) == pytest.approx(HEART_RATE_BPM, abs=3.0)
    # Every sample is given out, left out or counted as lost: together they are as many as the time holds.
    seen = round(listener.seconds * 100) + chip.lost
    assert seen == pytest.approx((last.end_ns - first.t_ns) / 1e7, rel=0.03)
    with smbus2.SMBus(adapter) as bus:
        assert bus.read_byte_data(0x57, 0x09) == 0x80  # dark, as close promises


def test_skin_conductance_comes_through_the_kernel(adapter):
    with listening(f"ads1115:{adapter}") as listener:
        listener.wait(lambda it: it.seconds >= 3.0, 20.0)
        assert listener.sensor.contact == "on"
    values = np.concatenate([chunk.samples for chunk in listener.chunks])
    assert np.median(values) == pytest.approx(SKIN_US, rel=0.02)
    with smbus2.SMBus(adapter) as bus:
        assert bus.read_i2c_block_data(0x48, 0x01, 2)[0] & 0x01  # single-shot, so at rest


def test_both_chips_are_read_at_once(adapter):
    with listening(f"max30102:{adapter}") as pulse, listening(f"ads1115:{adapter}@0x48") as skin:
        pulse.wait(lambda it: it.seconds >= 2.0, 20.0)
        skin.wait(lambda it: it.seconds >= 2.0, 20.0)
        assert pulse.sensor.trouble is None and skin.sensor.trouble is None


def test_an_adapter_that_is_unplugged_is_named_and_taken_up_again_when_it_is_back(adapter, trouble):
    with listening(f"max30102:{adapter}") as listener:
        listener.wait(lambda it: it.seconds >= 1.0, 15.0)
        trouble(UNPLUG, 2.0)
        assert listener.wait(lambda it: it.sensor.trouble, 5.0) < 2.5
        before = listener.seconds
        listener.wait(lambda it: "no such bus" in (it.sensor.trouble or ""), 5.0)
        listener.wait(lambda it: it.sensor.trouble is None, 15.0)
        listener.wait(lambda it: it.seconds >= before + 1.0, 15.0)


def test_a_chip_that_loses_its_supply_is_set_anew(adapter, trouble):
    with listening(f"max30102:{adapter}") as listener:
        listener.wait(lambda it: it.seconds >= 1.0, 15.0)
        trouble(BROWN_OUT, 1.0)
        listener.wait(lambda it: "NACK" in (it.sensor.trouble or ""), 5.0)
        listener.wait(lambda it: it.sensor.trouble is None, 10.0)
        before = listener.seconds
        listener.wait(lambda it: it.seconds >= before + 1.0, 10.0)
        assert listener.sensor.chip.restarts >= 1


def test_what_the_ads1115_driver_writes_lies_in_the_registers_of_the_kernels_stub(stub):
    sensor = open_sensor(f"ads1115:{stub}", SystemClock())
    sensor.open()
    with smbus2.SMBus(stub) as bus:
        # Continuous, AIN0 against ground, 4.096 V, 64 conversions in a second, no comparator.
        assert bus.read_i2c_block_data(0x48, 0x01, 2) == [0x42, 0x63]
        sensor.close()
        assert bus.read_i2c_block_data(0x48, 0x01, 2) == [0x43, 0x63]


def test_another_chip_at_the_address_of_a_max30102_is_refused(stub):
    sensor = open_sensor(f"max30102:{stub}", SystemClock())
    with pytest.raises(SensorError, match="part id 0x00 instead of 0x15, another chip"):
        sensor.open()


def test_a_max30102_whose_reset_does_not_end_is_refused(stub):
    with smbus2.SMBus(stub) as bus:
        bus.write_byte_data(0x57, 0xFF, 0x15)  # an array of registers that says it is one
    with pytest.raises(SensorError, match="its reset does not end"):
        open_sensor(f"max30102:{stub}", SystemClock()).open()
    with smbus2.SMBus(stub) as bus:
        assert bus.read_byte_data(0x57, 0x09) == 0x40
        bus.write_byte_data(0x57, 0xFF, 0x00)
