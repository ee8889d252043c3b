"""The simulated ADS1115 against its data sheet, SBAS444D."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.clock import ManualClock
from edge.sensors.simulated.ads1115 import SimulatedAds1115, divider, grove
from edge.sensors.simulated.bus import SimulatedBus

MS = 1_000_000
AT = 0x48


class Bench:
    """A chip on whose input lie ``volts``, a function of time or a number."""

    def __init__(self, volts, **chip):
        self.clock = ManualClock()
        signal = volts if callable(volts) else lambda t_s: np.full_like(t_s, volts)
        self.chip = SimulatedAds1115(self.clock, signal, lambda v: v, **chip)
        self.bus = SimulatedBus(self.clock, {AT: self.chip}, baud_hz=400_000_000)

    def get(self, register: int) -> int:
        high, low = self.bus.read_i2c_block_data(AT, register, 2)
        return high << 8 | low

    def put(self, register: int, value: int) -> None:
        self.bus.write_i2c_block_data(AT, register, [value >> 8, value & 0xFF])

    def pass_ms(self, duration_ms: float) -> None:
        self.clock.advance_to(self.clock.now_ns() + round(duration_ms * MS))


def test_power_on_state():
    bench = Bench(1.0)
    assert [bench.get(register) for register in range(4)] == [0, 0x8583, 0x8000, 0x7FFF]
    bench.pass_ms(1000)
    assert bench.get(0) == 0, "single-shot mode: nothing converts before it is told to"


def test_a_word_register_has_the_high_byte_first():
    bench = Bench(0.0)
    assert bench.bus.read_word_data(AT, 1) == 0x8385, "SMBus words come the other way round"


def test_the_pointer_stays_where_it_was_set():
    bench = Bench(0.0)
    bench.bus.write_byte(AT, 2)
    assert bench.bus.read_byte(AT) == 0x80
    assert bench.bus.read_byte(AT) == 0x80


def test_a_single_shot_is_busy_for_one_conversion():
    bench = Bench(1.0)
    bench.put(1, 0xC583)  # AIN0 against ground, 2.048 V, 128 a second
    assert bench.get(1) == 0x4583, "OS reads 0 while it converts"
    bench.pass_ms(7.7)
    assert bench.get(1) & 0x8000 == 0
    bench.pass_ms(0.2)
    assert bench.get(1) == 0xC583
    assert bench.get(0) == 16000
    bench.pass_ms(100)
    assert bench.chip.conversions == 1


@pytest.mark.parametrize(("code", "rate_sps"), list(enumerate([8, 16, 32, 64, 128, 250, 475, 860])))
@pytest.mark.parametrize("drift_percent", [-10.0, 0.0, 10.0])
def test_data_rates(code: int, rate_sps: int, drift_percent: float):
    bench = Bench(1.0, drift_percent=drift_percent)
    bench.put(1, 0x4403 | code << 5)
    bench.pass_ms(10_000)
    bench.get(0)
    assert bench.chip.conversions == pytest.approx(10 * rate_sps * (1 + drift_percent / 100), abs=1.01)


@pytest.mark.parametrize(("code", "full_scale_v"), list(enumerate([6.144, 4.096, 2.048, 1.024, 0.512, 0.256, 0.256, 0.256])))
@given(share=st.floats(-1.3, 1.3))
def test_ranges_and_clipping(code: int, full_scale_v: float, share: float):
    bench = Bench(share * full_scale_v)
    bench.put(1, 0x40E3 | code << 9)
    bench.pass_ms(5)
    value = bench.get(0)
    signed = value - 0x10000 if value & 0x8000 else value
    assert signed == pytest.approx(max(-32768, min(32767, share * 32768)), abs=0.51)


@pytest.mark.parametrize(("mux", "sign"), [(0, 0), (1, 0), (2, 1), (3, 0), (4, 0), (5, 1), (6, 0), (7, 0)])
def test_the_multiplexer_selects_the_inputs(mux: int, sign: int):
    bench = Bench(1.0, channel=1)
    bench.put(1, 0x84E3 | mux << 12)
    bench.pass_ms(5)
    expected = sign * 16000 if mux != 0 else -16000
    assert (bench.get(0) ^ 0x8000) - 0x8000 == expected


def test_a_conversion_under_way_ends_with_the_settings_it_began_with():
    bench = Bench(0.5)
    bench.put(1, 0x4403)  # continuous, 2.048 V, 8 a second
    bench.pass_ms(150)
    assert bench.get(0) == 8000
    bench.put(1, 0x4603)  # 1.024 V
    assert bench.get(1) & 0x7FFF == 0x4603
    bench.pass_ms(99)  # until just before the end of the second conversion
    assert bench.get(0) == 8000
    bench.pass_ms(10)
    assert bench.get(0) == 8000, "the second was begun with 2.048 V"
    bench.pass_ms(126)
    assert bench.get(0) == 16000


def test_a_conversion_is_the_mean_over_its_time():
    bench = Bench(lambda t_s: t_s)
    bench.put(1, 0x4403)
    bench.pass_ms(126)
    assert bench.get(0) / 16000 == pytest.approx(0.0625, abs=1e-3)


def test_back_in_single_shot_mode_it_stops():
    bench = Bench(1.0)
    bench.put(1, 0x4483)
    bench.pass_ms(100)
    bench.put(1, 0x4583)
    bench.pass_ms(100)
    bench.get(0)
    done = bench.chip.conversions
    bench.pass_ms(1000)
    assert bench.get(1) & 0x8000
    assert bench.chip.conversions == done


def test_without_supply_it_does_not_answer_and_comes_back_as_after_power_on():
    bench = Bench(1.0)
    bench.put(1, 0x4483)
    bench.chip.brown_out(100 * MS, 200 * MS)
    bench.clock.advance_to(150 * MS)
    with pytest.raises(OSError, match="Remote I/O"):
        bench.get(0)
    bench.clock.advance_to(250 * MS)
    assert (bench.get(1), bench.get(0)) == (0x8583, 0)


@given(st.floats(0.01, 45.0))
def test_circuits_follow_their_currents(conductance_us: float):
    """Kirchhoff for the divider, Seeed's formula for the Grove."""
    skin = np.array([conductance_us])
    volts = float(divider(supply_v=3.3, resistor_ohm=100e3)(skin)[0])
    assert (3.3 - volts) * conductance_us * 1e-6 == pytest.approx(volts / 100e3, rel=1e-9)
    reading = float(grove(supply_v=3.3)(skin)[0]) / 3.3 * 1024
    assert (1024 + 2 * reading) * 10_000 / (512 - reading) == pytest.approx(1e6 / conductance_us, rel=1e-6)


def test_open_and_short_circuits():
    ends = np.array([np.nan, 0.0, np.inf])
    assert divider()(ends) == pytest.approx([0.0, 0.0, 3.3], abs=1e-6)
    assert grove()(ends) == pytest.approx([1.65, 1.65, 0.005], abs=1e-6)
