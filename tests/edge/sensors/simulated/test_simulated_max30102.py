"""The simulated MAX30102 against its data sheet, 19-7740 Rev 1, register by register."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.clock import ManualClock
from edge.sensors.simulated.bus import Fault, SimulatedBus
from edge.sensors.simulated.max30102 import SimulatedMax30102

MS = 1_000_000
AT = 0x57


class Bench:
    """A chip whose light rises by 1 nA/mA a second, so a sample shows when it was taken."""

    def __init__(self, light=None, **chip):
        self.clock = ManualClock()
        self.chip = SimulatedMax30102(self.clock, light or (lambda t_s: 100.0 + t_s), **chip)
        self.bus = SimulatedBus(self.clock, {AT: self.chip}, baud_hz=400_000_000)

    def get(self, register: int) -> int:
        return self.bus.read_byte_data(AT, register)

    def put(self, register: int, *values: int) -> None:
        self.bus.write_i2c_block_data(AT, register, list(values))

    def pass_ms(self, duration_ms: float) -> None:
        self.clock.advance_to(self.clock.now_ns() + round(duration_ms * MS))

    def sampling(self, *, mode: int = 7, spo2: int = 0x27, fifo: int = 0, led: int = 0x20) -> Bench:
        """100 conversions a second of 411 us, 4096 nA, the infrared LED at 6.4 mA."""
        self.put(0x08, fifo)
        self.put(0x0A, spo2)
        self.put(0x0C, led, led)
        self.put(0x11, 2)
        self.put(0x04, 0, 0, 0)
        self.put(0x09, mode)
        return self

    def pointers(self) -> tuple[int, int, int]:
        """Write pointer, overflow counter, read pointer."""
        return tuple(self.bus.read_i2c_block_data(AT, 0x04, 3))

    def samples(self, count: int, channels: int = 1) -> np.ndarray:
        """int (count, channels), the undefined bits masked."""
        data = [self.bus.read_i2c_block_data(AT, 0x07, 3 * channels) for _ in range(count)]
        triplets = np.array(data).reshape(count, channels, 3)
        return (triplets[..., 0] << 16 | triplets[..., 1] << 8 | triplets[..., 2]) & 0x3FFFF


def test_power_on_state():
    bench = Bench()
    assert bench.get(0xFF) == 0x15
    assert bench.get(0x00) == 0x01, "power ready"
    assert bench.get(0x00) == 0x00, "cleared by being read"
    for register in (*range(0x01, 0x07), 0x08, 0x09, 0x0A, 0x0C, 0x0D, 0x11, 0x12, 0x1F, 0x20, 0x21):
        assert bench.get(register) == 0


def test_identity_and_unknown_registers_cannot_be_written():
    bench = Bench(revision=9)
    for register in (0xFE, 0xFF, 0x00, 0x1F, 0x50):
        bench.put(register, 0x77)
    assert (bench.get(0xFE), bench.get(0xFF), bench.get(0x1F), bench.get(0x50)) == (9, 0x15, 0, 0)


def test_nothing_is_sampled_before_a_mode_is_set_nor_in_shutdown():
    bench = Bench()
    bench.pass_ms(500)
    assert bench.pointers() == (0, 0, 0)
    bench.sampling()
    bench.pass_ms(55)
    assert bench.pointers() == (5, 0, 0)
    bench.put(0x09, 0x87)
    bench.pass_ms(500)
    assert bench.pointers() == (5, 0, 0)


@pytest.mark.parametrize(("code", "rate_hz"), [(0, 50), (1, 100), (2, 200), (3, 400)])
@pytest.mark.parametrize(("average_code", "averaged"), [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 32), (7, 32)])
def test_rates_and_averaging(code: int, rate_hz: int, average_code: int, averaged: int):
    bench = Bench().sampling(spo2=0x23 | code << 2, fifo=average_code << 5)
    bench.pass_ms(10.5 * 1000 * averaged / rate_hz)
    assert bench.pointers() == (10, 0, 0)


def test_a_pulse_too_long_for_the_rate_slows_it_down():
    bench = Bench().sampling(spo2=0x23 | 7 << 2)  # 3200 a second with 411 us: no more than 400
    bench.pass_ms(26)
    assert bench.pointers()[0] == 10


@given(st.floats(-5.0, 5.0))
def test_its_clock_is_off_by_per_cent(drift_percent: float):
    bench = Bench(drift_percent=drift_percent).sampling(fifo=0x10)
    bench.pass_ms(100_000)
    bench.get(0xFF)
    assert bench.chip.taken == pytest.approx(10_000 * (1 + drift_percent / 100), abs=1)


@pytest.mark.parametrize(("range_code", "range_na"), [(0, 2048), (1, 4096), (2, 8192), (3, 16384)])
def test_counts_are_the_photocurrent_over_the_range(range_code: int, range_na: int):
    bench = Bench(light=lambda t_s: np.full_like(t_s, 150.0)).sampling(spo2=0x07 | range_code << 5, led=50)
    bench.pass_ms(11)
    assert bench.samples(1)[0, 0] == pytest.approx(150.0 * 50 * 0.2 / range_na * 2**18, abs=1)


@pytest.mark.parametrize(("width", "bits"), [(0, 15), (1, 16), (2, 17), (3, 18)])
def test_shorter_pulses_have_fewer_bits_left_justified(width: int, bits: int):
    bench = Bench(light=lambda t_s: np.full_like(t_s, 333.0)).sampling(spo2=0x24 | width)
    bench.pass_ms(11)
    sample = int(bench.samples(1)[0, 0])
    assert sample == int(333.0 * 6.4 / 4096 * 2**bits) << (18 - bits)


def test_too_much_light_is_full_scale_and_no_current_is_dark():
    bright = Bench(light=lambda t_s: np.full_like(t_s, 1e6)).sampling()
    dark = Bench().sampling(led=0)
    for bench in (bright, dark):
        bench.pass_ms(11)
    assert bright.samples(1)[0, 0] == 0x3FFFF
    assert dark.samples(1)[0, 0] == 0


def test_modes_choose_the_channels():
    for mode, expected in ((2, [100]), (3, [100, 300]), (7, [300])):
        bench = Bench(light=lambda t_s: np.full_like(t_s, 300.0), red=lambda t_s: np.full_like(t_s, 100.0)).sampling(mode=mode)
        bench.pass_ms(25)
        for row in bench.samples(2, channels=len(expected)):
            assert row == pytest.approx(np.array(expected) * 6.4 / 4096 * 2**18, abs=1)


def test_a_burst_counts_registers_up_but_stays_at_the_fifo():
    bench = Bench().sampling()
    bench.pass_ms(45)
    bench.get(0x00)
    head = bench.bus.read_i2c_block_data(AT, 0x04, 3 + 12)
    assert head[:3] == [4, 0, 0]
    assert bench.pointers() == (4, 0, 4), "twelve bytes of FIFO data are four samples"


def test_the_six_bits_above_a_sample_are_undefined():
    bench = Bench().sampling()
    bench.pass_ms(305)
    high = [bench.bus.read_i2c_block_data(AT, 0x07, 3)[0] >> 2 for _ in range(30)]
    assert len(set(high)) > 5


def test_the_read_pointer_moves_with_the_first_byte_and_can_be_set_back():
    bench = Bench().sampling()
    bench.pass_ms(45)
    bench.get(0x07)
    assert bench.pointers() == (4, 0, 1)
    again = bench.samples(1)
    bench.put(0x06, 0)
    assert bench.pointers() == (4, 0, 0)
    first_two = bench.samples(2)
    assert first_two[1] == again[0]
    assert first_two[0] < first_two[1]


def test_pointers_wrap():
    bench = Bench().sampling()
    for _ in range(5):
        bench.pass_ms(200)
        bench.samples(20)
    assert bench.pointers()[0] == bench.pointers()[2] == 100 % 32
    assert bench.pointers()[1] == 0


@given(st.integers(1, 60))
def test_a_full_fifo_keeps_the_oldest_and_counts_what_it_loses_up_to_31(beyond: int):
    bench = Bench().sampling()
    bench.pass_ms(10 * (32 + beyond) + 5)
    assert bench.pointers() == (0, min(31, beyond), 0)
    assert bench.chip.dropped == beyond
    first = bench.samples(1)[0, 0]
    assert first == pytest.approx((100.0 + 0.01) * 6.4 / 4096 * 2**18, abs=2), "the oldest is still there"
    assert bench.pointers() == (0, 0, 1), "a popped sample clears the counter"
    bench.pass_ms(10)
    assert bench.pointers() == (1, 0, 1)


def test_exactly_full_looks_like_empty():
    bench = Bench().sampling()
    bench.pass_ms(325)
    assert bench.pointers() == (0, 0, 0)
    assert bench.samples(32)[-1] > bench.samples(1)[0], "32 samples were there"


def test_with_rollover_the_newest_are_kept():
    bench = Bench().sampling(fifo=0x10)
    bench.pass_ms(1005)
    write, _, read = bench.pointers()
    assert write == read == 100 % 32
    samples = bench.samples(32)[:, 0]
    assert samples[0] == pytest.approx((100.0 + 0.69) * 6.4 / 4096 * 2**18, abs=2)
    assert (np.diff(samples) > 0).all()


def test_a_reset_clears_itself_and_the_settings_but_not_quietly_power_ready():
    bench = Bench().sampling()
    bench.get(0x00)
    bench.pass_ms(50)
    bench.put(0x09, 0x40)
    assert bench.get(0x09) & 0x40
    bench.put(0x08, 0x4F)
    bench.pass_ms(2)
    assert bench.get(0x09) == 0
    assert bench.get(0x08) == 0, "nothing is taken in while it resets"
    assert bench.get(0x00) & 0x01 == 0
    assert bench.pointers() == (0, 0, 0)


def test_without_supply_it_does_not_answer_and_comes_back_with_power_ready():
    bench = Bench().sampling()
    bench.get(0x00)
    bench.chip.brown_out(100 * MS, 300 * MS)
    bench.clock.advance_to(150 * MS)
    with pytest.raises(OSError, match="Remote I/O"):
        bench.get(0xFF)
    bench.clock.advance_to(301 * MS)
    assert bench.bus.read_i2c_block_data(AT, 0x00, 7) == [1] + [0] * 6
    assert bench.bus.read_i2c_block_data(AT, 0x08, 3) == [0, 0, 0]
    assert bench.chip.taken == 9, "it stopped when the supply went"


def test_a_brown_out_that_nobody_saw_shows_afterwards():
    bench = Bench().sampling()
    bench.get(0x00)
    bench.chip.brown_out(100 * MS, 120 * MS)
    bench.clock.advance_to(2000 * MS)
    assert bench.get(0x00) == 1
    assert bench.get(0x09) == 0


@pytest.mark.parametrize(("die_c", "registers"), [(31.4375, (31, 7)), (0.0, (0, 0)), (-0.0625, (0xFF, 15)), (-12.5, (0xF3, 8))])
def test_the_die_temperature_takes_29_ms(die_c: float, registers: tuple[int, int]):
    bench = Bench(die_c=die_c)
    bench.put(0x21, 1)
    bench.pass_ms(28)
    assert bench.get(0x21) == 1
    bench.pass_ms(2)
    assert bench.get(0x21) == 0
    assert (bench.get(0x1F), bench.get(0x20)) == registers
    assert bench.get(0x01) == 0x02


def test_a_transfer_that_breaks_off_has_taken_out_the_sample_it_was_in():
    bench = Bench().sampling()
    bench.pass_ms(55)
    bench.bus.faults.append(Fault("break", 0, 10**12, after_bytes=7, every=1))
    with pytest.raises(OSError, match="Input/output"):
        bench.bus.read_i2c_block_data(AT, 0x07, 15)
    bench.bus.faults.clear()
    assert bench.pointers() == (5, 0, 3)


def test_its_rate_can_change_while_it_runs():
    bench = Bench().sampling(fifo=0x10)
    bench.pass_ms(10_000)
    bench.chip.drift_percent = 10.0
    bench.pass_ms(10_000)
    bench.get(0xFF)
    assert bench.chip.taken == pytest.approx(2100, abs=2)
