"""The MAX30102 driver at the chip: numbered samples, losses counted, faults outlived. Light rises steadily, so counts show their number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rig import MS, PLAIN, START_NS, PulseRig, StallingClock, check_numbers, collect, ramp_rig, said_numbers, true_numbers

from edge.errors import ConfigError, SensorError
from edge.sensors.max30102 import PulseSensor
from edge.sensors.max30102_chip import Batch, Max30102Settings
from edge.sensors.simulated.bus import Fault


@settings(max_examples=30)
@given(
    rate_hz=st.sampled_from([50, 100, 200]),
    drift_percent=st.floats(-5.0, 5.0),
    jitter_samples=st.floats(0.0, 20.0),
    seed=st.integers(0, 1000),
)
def test_no_sample_is_lost_or_doubled_while_stalls_stay_within_the_fifo(rate_hz, drift_percent, jitter_samples, seed):
    clock = StallingClock(jitter_ms=jitter_samples * 1000 / rate_hz, seed=seed)
    rig = ramp_rig(20.0, clock=clock, chip_settings=Max30102Settings(rate_hz=rate_hz, averaging=1), drift_percent=drift_percent)
    rig.sensor.open()
    begun_s = rig.chip._begun_ns / 1e9 - START_NS / 1e9
    batches = collect(rig, 18.0)
    check_numbers(batches, rig, 20.0, rate_hz, drift_percent, begun_s)
    assert rig.sensor.chip.lost == 0
    assert len(said_numbers(batches)) == pytest.approx(18 * rate_hz * (1 + drift_percent / 100), abs=35)


@settings(max_examples=30)
@given(
    rate_hz=st.sampled_from([50, 100, 200]),
    drift_percent=st.floats(-5.0, 5.0),
    stall_s=st.floats(0.1, 3.0),
    again_s=st.floats(0.1, 3.0),
    seed=st.integers(0, 1000),
)
def test_what_an_overflow_lost_is_counted_exactly(rate_hz, drift_percent, stall_s, again_s, seed):
    clock = StallingClock(jitter_ms=4000 / rate_hz, stalls_ms=[(8_000, stall_s * 1000), (13_000, again_s * 1000)], seed=seed)
    rig = ramp_rig(22.0, clock=clock, chip_settings=Max30102Settings(rate_hz=rate_hz, averaging=1), drift_percent=drift_percent)
    rig.sensor.open()
    begun_s = rig.chip._begun_ns / 1e9 - START_NS / 1e9
    batches = collect(rig, 20.0)
    check_numbers(batches, rig, 22.0, rate_hz, drift_percent, begun_s)


@given(st.integers(300, 345), st.integers(0, 9))
def test_a_fifo_that_is_just_full_is_neither_empty_nor_short(stall_ms: int, tenth: int):
    """Write and read pointer are equal after 32 samples, as after none."""
    clock = StallingClock(stalls_ms=[(6_000, stall_ms - 90 + tenth / 10)])
    rig = ramp_rig(12.0, clock=clock)
    rig.sensor.open()
    begun_s = rig.chip._begun_ns / 1e9 - START_NS / 1e9
    check_numbers(collect(rig, 10.0), rig, 12.0, 100, 0.0, begun_s)


def test_before_the_rate_is_known_the_chips_own_counter_is_taken():
    """What goes while the counter is read, it cannot show: one in twenty may be off by one."""
    exact, cases = 0, [(drift, at, stall) for drift in (-5.0, -1.0, 4.0) for at in (100, 240, 430, 690) for stall in (320, 377, 431, 480)]
    for drift_percent, at_ms, stall_ms in cases:
        rig = ramp_rig(3.0, clock=StallingClock(stalls_ms=[(at_ms, stall_ms)]), drift_percent=drift_percent)
        rig.sensor.open()
        collect(rig, 2.0)
        assert rig.sensor.chip.lost == pytest.approx(rig.chip.dropped, abs=1)
        exact += rig.sensor.chip.lost == rig.chip.dropped
    assert exact >= 0.9 * len(cases)


@settings(max_examples=40)
@given(block=st.integers(0, 3), stall_ms=st.integers(50, 900), before_ms=st.sampled_from([0, 120, 200, 300]), phase=st.integers(0, 9))
@example(block=2, stall_ms=400, before_ms=300, phase=0)
def test_a_host_that_stalls_between_pointers_and_samples_keeps_count(block: int, stall_ms: int, before_ms: int, phase: int):
    """The FIFO may run over while it is being read, where its counter shows nothing."""
    rig = ramp_rig(16.0, clock=StallingClock(stalls_ms=[(8_000 + phase, before_ms)]))
    rig.sensor.open()
    begun_s = rig.chip._begun_ns / 1e9 - START_NS / 1e9
    stall_at_blocks(rig, {block: stall_ms})
    check_numbers(collect(rig, 14.0), rig, 16.0, 100, 0.0, begun_s)


def stall_at_blocks(rig: PulseRig, stalls_ms: dict[int, int]) -> None:
    """The host stalls before FIFO blocks, counted from 8 s on."""
    reads, read = [], rig.bus.read_i2c_block_data

    def stalling(i2c_addr: int, register: int, length: int) -> list[int]:
        if register == 0x07 and rig.clock.now_s > 8.0:
            rig.clock.advance_to(rig.clock.now_ns() + stalls_ms.get(len(reads), 0) * MS)
            reads.append(length)
        return read(i2c_addr, register, length)

    rig.bus.read_i2c_block_data = stalling


@settings(max_examples=40)
@given(st.dictionaries(st.integers(0, 8), st.integers(50, 900), min_size=2, max_size=4), st.sampled_from([0, 120, 600]))
@example({0: 377, 8: 377}, 600)
@example({0: 640, 5: 110, 8: 285}, 600)
def test_stalls_at_every_other_block_still_add_up(stalls_ms: dict[int, int], before_ms: int):
    """Which gap was how long nobody can tell when they come so close, but what was lost in all."""
    rig = ramp_rig(16.0, clock=StallingClock(stalls_ms=[(8_000, before_ms)]))
    rig.sensor.open()
    begun_s = rig.chip._begun_ns / 1e9 - START_NS / 1e9
    stall_at_blocks(rig, stalls_ms)
    batches = collect(rig, 15.0)
    said = said_numbers(batches)
    assert (np.diff(said) > 0).all()
    assert rig.sensor.chip.lost == rig.chip.dropped == int(said[-1]) + 1 - len(said)
    late = true_numbers(batches, rig, 16.0, 100.0, begun_s) > 1300
    assert np.abs(said - true_numbers(batches, rig, 16.0, 100.0, begun_s))[late].max() < 0.6


@given(st.integers(0, 400), st.integers(1, 10))
def test_what_broke_off_and_cannot_be_read_again_is_counted(stall_ms: int, popped: int):
    """While the host stalls, newer samples are written over those that a broken transfer took out."""
    rig = ramp_rig(16.0)
    rig.sensor.open()
    begun_s = rig.chip._begun_ns / 1e9 - START_NS / 1e9
    broken, read = [], rig.bus.read_i2c_block_data

    def breaking(i2c_addr: int, register: int, length: int) -> list[int]:
        if register == 0x07 and rig.clock.now_s > 8.0 and not broken:
            broken.append(read(i2c_addr, register, min(length, 3 * popped)))
            rig.clock.advance_to(rig.clock.now_ns() + stall_ms * MS)
            raise OSError(5, "Input/output error")
        return read(i2c_addr, register, length)

    rig.bus.read_i2c_block_data = breaking
    batches = collect(rig, 14.0)
    said, true = said_numbers(batches), true_numbers(batches, rig, 16.0, 100.0, begun_s)
    assert broken
    assert (np.diff(said) > 0).all()
    assert rig.sensor.chip.lost == int(said[-1]) + 1 - len(said)
    assert np.abs(said - true)[(true < 790) | (true > 900)].max() < 0.6
    assert (np.abs(said - true) > 0.6).sum() <= 32, "beside a gap whose place nobody knows some may stand on its other side"


@pytest.mark.parametrize("period_ms", [400, 1000])
def test_a_host_that_is_always_too_slow_gets_what_there_is_and_keeps_count(period_ms: int):
    clock = StallingClock(stalls_ms=[(at, period_ms) for at in range(5_000, 25_000, period_ms + 60)])
    rig = ramp_rig(35.0, clock=clock)
    rig.sensor.open()
    batches = collect(rig, 30.0)
    said = said_numbers(batches)
    assert rig.sensor.chip.overflows > 5
    assert (np.diff(said) > 0).all()
    assert rig.sensor.chip.lost == pytest.approx(rig.chip.dropped, abs=2)
    assert rig.sensor.chip.lost == int(said[-1]) + 1 - len(said)


def test_the_chips_rate_is_measured():
    rig = ramp_rig(70.0, clock=StallingClock(jitter_ms=30.0), drift_percent=3.0)
    rig.sensor.open()
    collect(rig, 5.0)
    assert rig.sensor.chip.clock.rate_hz == pytest.approx(103.0, abs=0.1)
    collect(rig, 60.0)
    assert rig.sensor.chip.clock.rate_hz == pytest.approx(103.0, abs=0.02)


def test_a_rate_that_wanders_is_followed():
    rig = ramp_rig(70.0, drift_percent=1.0)
    rig.sensor.open()
    batches: list[Batch] = []
    for second in range(1, 61):
        batches += collect(rig, float(second))
        rig.chip.drift_percent += 0.002  # 0.12 % in a minute
    assert rig.sensor.chip.lost == 0
    clock = rig.sensor.chip.clock
    assert clock.rate_hz == pytest.approx(rig.chip._hz(), rel=3e-4)
    assert clock.count_at(rig.clock.now_ns()) == pytest.approx(rig.chip._phase_at(rig.clock.now_ns()), abs=0.3)


def test_an_hour_with_stalls_of_200_ms_loses_nothing():
    clock = StallingClock(jitter_ms=200.0, seed=4)
    rig = PulseRig(lambda t_s: np.full_like(t_s, 250.0), clock=clock, settings=PLAIN, drift_percent=1.7)
    rig.sensor.open()
    got = 0
    for until_s in range(60, 3601, 60):  # in pieces: an hour of batches is no use to anybody
        got += sum(len(batch.counts) for batch in collect(rig, until_s))
    chip = rig.sensor.chip
    assert (chip.lost, chip.overflows, chip.restarts, rig.chip.dropped) == (0, 0, 0, 0)
    assert got == pytest.approx(3600 * 101.7, abs=35)
    rig.chip._run()
    assert chip.clock.count_at(rig.clock.now_ns()) == pytest.approx(rig.chip._phase_at(rig.clock.now_ns()), abs=0.3)


@pytest.mark.parametrize("after_bytes", [0, 1, 2, 3, 7, 29])
def test_a_block_that_breaks_off_is_read_again(after_bytes: int):
    rig = ramp_rig(20.0)
    rig.sensor.open()
    begun_s = rig.chip._begun_ns / 1e9 - START_NS / 1e9
    before = collect(rig, 2.0)
    rig.bus.faults.append(Fault("break", 0, START_NS + 12_000 * MS, every=11, after_bytes=after_bytes))
    check_numbers(before + collect(rig, 15.0), rig, 20.0, 100, 0.0, begun_s)
    assert rig.sensor.chip.restarts == 0


def test_blocks_that_never_come_through_are_an_error():
    rig = ramp_rig(20.0)
    rig.sensor.open()
    collect(rig, 1.0)
    rig.sensor._device.read_once = lambda register, count: (_ for _ in ()).throw(SensorError("broke off"))
    with pytest.raises(SensorError, match="broke off"):
        collect(rig, 3.0)


@pytest.mark.parametrize("fault", ["reset", "brown-out"])
def test_lost_settings_are_noticed_and_written_again(fault: str):
    rig = ramp_rig(20.0)
    rig.sensor.open()
    collect(rig, 5.0)
    if fault == "reset":
        rig.chip.reset()
    else:
        rig.chip.brown_out(rig.clock.now_ns(), rig.clock.now_ns() + 10 * MS)
        rig.clock.advance_to(rig.clock.now_ns() + 11 * MS)
    back = collect(rig, 5.5)
    assert rig.sensor.chip.restarts == 1
    assert back and back[-1].first > 500
    later = collect(rig, 15.0)
    true = true_numbers(later, rig, 20.0, 100.0, 0.0)
    assert np.abs(said_numbers(later) - true).max() < 1.5, "numbers go on as if it had never stopped"


def test_a_reset_is_noticed_even_where_the_pointers_stay_the_same():
    rig = ramp_rig(20.0)
    rig.sensor.open()
    until_s = 3.0
    while until_s < 18.0 and rig.sensor.chip._pointer != 0:
        collect(rig, until_s)
        until_s += 0.05
    assert rig.sensor.chip._pointer == 0
    rig.sensor.chip._checked_ns = rig.clock.now_ns()  # the look at the settings every second is not what this is about
    rig.chip.reset()
    collect(rig, until_s + 0.2)
    assert rig.sensor.chip.restarts == 1


@pytest.mark.parametrize("register", [0x08, 0x09, 0x0A, 0x0D, 0x11])
def test_a_register_that_changed_by_itself_is_noticed_within_a_second(register: int):
    rig = ramp_rig(20.0)
    rig.sensor.open()
    collect(rig, 3.0)
    rig.chip._registers[register] ^= 0x01
    collect(rig, 4.2)
    assert rig.sensor.chip.restarts == 1


def test_a_chip_that_stands_still_with_all_its_settings_is_started_again():
    rig = ramp_rig(20.0)
    rig.sensor.open()
    before = collect(rig, 3.0)
    rig.chip._channels = ()
    with pytest.raises(SensorError, match="takes no samples"):
        collect(rig, 4.0)
    assert rig.clock.now_s < 3.6
    after = collect(rig, 6.0)
    said = said_numbers(before + after)
    assert rig.sensor.chip.restarts == 1 and (np.diff(said) > 0).all()
    assert rig.sensor.chip.lost == int(said[-1]) + 1 - len(said) > 10


def test_old_pointers_are_cleared_before_it_samples():
    rig = ramp_rig(20.0)
    power_on = rig.chip._power_on

    def with_old_pointers() -> None:
        power_on()
        rig.chip._registers[0x04], rig.chip._registers[0x06] = 9, 5

    rig.chip._power_on = with_old_pointers
    rig.sensor.open()
    begun_s = rig.chip._begun_ns / 1e9 - START_NS / 1e9
    check_numbers(collect(rig, 5.0), rig, 20.0, 100, 0.0, begun_s)


def test_another_specimen_is_measured_anew():
    rig = ramp_rig(60.0, drift_percent=4.0)
    rig.sensor.open()
    collect(rig, 30.0)
    other = ramp_rig(60.0, clock=rig.clock, drift_percent=-4.0, revision=9)
    rig.bus._chips = {0x57: other.chip}
    collect(rig, 33.0)
    assert rig.sensor.chip.restarts == 1 and rig.sensor.chip.revision == 9
    assert rig.sensor.chip.clock.rate_hz == pytest.approx(96.0, abs=0.3)


def test_it_talks_to_a_chip_that_was_left_running():
    rig = ramp_rig(20.0)
    rig.sensor.open()
    collect(rig, 3.0)
    rig.sensor = PulseSensor(1, rig.clock, PLAIN, smbus=rig.bus, live=False)
    rig.sensor.open()
    batches = collect(rig, 4.0)
    assert batches[0].first == 0
    assert sum(len(batch.counts) for batch in batches) == pytest.approx(100, abs=12)


def test_another_part_is_refused():
    rig = ramp_rig(20.0, part_id=0x11)
    with pytest.raises(SensorError, match=r"part id 0x11 instead of 0x15"):
        rig.sensor.open()


def test_a_reset_that_does_not_end_is_given_up():
    rig = ramp_rig(20.0)
    fetch = rig.chip._fetch
    rig.chip._fetch = lambda register: 0x40 if register == 0x09 else fetch(register)
    with pytest.raises(SensorError, match="reset does not end"):
        rig.sensor.open()
    assert rig.clock.now_s < 0.2


def test_a_chip_that_does_not_keep_its_settings_is_refused():
    rig = ramp_rig(20.0)
    store = rig.chip._store
    rig.chip._store = lambda register, value: store(register, value & 0x0F if register == 0x0A else value)
    with pytest.raises(SensorError, match="does not keep its settings"):
        rig.sensor.open()


@pytest.mark.parametrize("die_c", [31.4375, -3.25, 0.0])
def test_the_die_temperature_is_read_every_ten_seconds(die_c: float):
    rig = ramp_rig(40.0, die_c=die_c)
    rig.sensor.open()
    assert rig.sensor.chip.die_temperature_c is None
    collect(rig, 1.0)
    assert rig.sensor.chip.die_temperature_c == die_c
    rig.chip.die_c = 40.0
    collect(rig, 9.0)
    assert rig.sensor.chip.die_temperature_c == die_c
    collect(rig, 11.0)
    assert rig.sensor.chip.die_temperature_c == 40.0


def test_the_revision_is_read():
    rig = ramp_rig(20.0, revision=0x07)
    rig.sensor.open()
    assert rig.sensor.chip.revision == 7


@pytest.mark.parametrize("full_scale_na", [2048, 4096, 8192, 16384])
@pytest.mark.parametrize("led", ["red", "infrared"])
@pytest.mark.parametrize("averaging", [1, 2, 4])
def test_settings_reach_the_chip(full_scale_na: int, led: str, averaging: int):
    chip_settings = Max30102Settings(full_scale_na=full_scale_na, led=led, averaging=averaging, led_current_ua=4000)
    light = {"red": 100.0, "infrared": 200.0}[led]
    rig = PulseRig(
        lambda t_s: np.full_like(t_s, 200.0),
        red=lambda t_s: np.full_like(t_s, 100.0),
        settings=chip_settings,
    )
    rig.sensor.open()
    batches = collect(rig, 1.0)
    counts = np.concatenate([batch.counts for batch in batches])
    assert len(counts) == pytest.approx(100, abs=12)
    assert counts == pytest.approx(light * 4.0 / full_scale_na * 2**18, abs=1)


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("rate_hz", 400, "50, 100 or 200"),
        ("averaging", 3, "rate_hz times averaging"),
        ("averaging", 8, "rate_hz times averaging"),
        ("led", "green", '"infrared" or "red"'),
        ("full_scale_na", 1000, "2048, 4096"),
        ("led_current_ua", 100, "200 to 51000"),
        ("most_current_ua", 51200, "200 to 51000"),
        ("most_current_ua", 5000, "more than most_current_ua"),
    ],
)
def test_settings_that_cannot_be_are_refused(field: str, value: object, what: str):
    with pytest.raises(ConfigError, match=what):
        Max30102Settings(**{field: value})
