"""The ADS1115 as a sensor of skin conductance: microsiemens, contact, true times, recovery from every fault."""

from __future__ import annotations

import itertools
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rig import MS, START_NS, SkinRig, StallingClock, gaps_s, stamped

from edge.errors import ConfigError, SensorError
from edge.preprocess.eda import SkinTracker
from edge.sensors.ads1115 import OFF_SCALE_US, Ads1115Settings, SkinConductanceSensor, divider_us, grove_us
from edge.sensors.simulated.ads1115 import divider, grove
from edge.sensors.simulated.bus import Fault
from edge.sensors.simulated.signals import during, played

CIRCUITS = {
    "divider": (divider(), Ads1115Settings(front_end="divider")),
    "grove": (grove(), Ads1115Settings(front_end="grove")),
    "grove at 5 V": (
        grove(supply_v=5.0, rest_v=2.61),
        Ads1115Settings(front_end="grove", supply_mv=5000, open_uv=2_610_000),
    ),
    "divider of 220 kilohms": (
        divider(supply_v=3.27, resistor_ohm=220e3),
        Ads1115Settings(front_end="divider", supply_mv=3270, reference_ohm=220_000),
    ),
}


def steady(level_us: float):
    return lambda t_s: np.full_like(t_s, level_us)


def wandering(t_s: np.ndarray) -> np.ndarray:
    """Skin, 4 to 6 microsiemens, with responses."""
    return 5.0 + 0.5 * np.sin(t_s / 9.0) + 0.4 * np.maximum(np.sin(t_s / 3.0), 0.0) ** 3


@settings(max_examples=40)
@given(st.sampled_from(sorted(CIRCUITS)), st.floats(0.5, 40.0), st.floats(-10.0, 10.0))
def test_microsiemens_are_right_within_one_per_cent(name: str, level_us: float, drift_percent: float):
    circuit, chip_settings = CIRCUITS[name]
    rig = SkinRig(steady(level_us), circuit=circuit, settings=chip_settings, drift_percent=drift_percent)
    rig.sensor.open()
    _, samples = stamped(rig.run(2.0))
    assert samples == pytest.approx(level_us, rel=0.01)
    assert rig.sensor.contact == "on"


@pytest.mark.parametrize("full_scale_mv", [6144, 4096, 2048, 1024, 512, 256])
@pytest.mark.parametrize("channel", [0, 1, 2, 3])
def test_every_gain_and_input_is_what_the_data_sheet_says(full_scale_mv: int, channel: int):
    rig = SkinRig(
        steady(0.6),
        channel=channel,
        settings=Ads1115Settings(front_end="divider", full_scale_mv=full_scale_mv, channel=channel),
    )
    rig.sensor.open()
    _, samples = stamped(rig.run(1.0))
    assert samples == pytest.approx(0.6, rel=0.01)
    assert rig.sensor.volts == pytest.approx(3.3 * 0.06 / 1.06, abs=full_scale_mv / 1000 / 32768)


@pytest.mark.parametrize("conversions_hz", [8, 16, 32, 64, 128, 250, 475, 860])
def test_every_data_rate_is_what_the_data_sheet_says(conversions_hz: int):
    rate_hz = min(16, conversions_hz // 2)
    rig = SkinRig(wandering, settings=Ads1115Settings(front_end="divider", rate_hz=rate_hz, conversions_hz=conversions_hz))
    rig.sensor.open()
    done = rig.chip.conversions
    rig.run(10.0)
    assert rig.chip.conversions - done == pytest.approx(10 * conversions_hz, rel=0.03, abs=3)


@settings(max_examples=40)
@given(
    rate_hz=st.sampled_from([4, 8, 16, 32]),
    faster=st.sampled_from([2, 4]),
    drift_percent=st.floats(-10.0, 10.0),
    jitter_ms=st.floats(0.0, 100.0),
    seed=st.integers(0, 1000),
)
def test_stamps_are_true_within_half_a_sample_and_one_conversion(rate_hz, faster, drift_percent, jitter_ms, seed):
    """Conductance rises by a known amount a second, so each sample says when it was taken."""
    conversions_hz = rate_hz * faster
    rig = SkinRig(
        lambda t_s: 5.0 + 0.5 * t_s,
        clock=StallingClock(jitter_ms=jitter_ms, seed=seed),
        settings=Ads1115Settings(front_end="divider", rate_hz=rate_hz, conversions_hz=conversions_hz),
        drift_percent=drift_percent,
    )
    rig.sensor.open()
    chunks = rig.run(20.0)
    times_s, samples = stamped(chunks)
    off_s = times_s - (samples - 5.0) / 0.5
    assert np.abs(off_s).max() <= 0.5 / rate_hz + 0.62 / conversions_hz + 0.002
    if jitter_ms < 400 / rate_hz:
        assert rig.sensor.lost == 0 and not gaps_s(chunks)
        assert np.abs(np.mean(off_s)) < 0.5 / rate_hz
    missing = sum(length for _, length in gaps_s(chunks)) * rate_hz
    assert -0.01 < rig.sensor.lost - missing < jitter_ms / 1000 * rate_hz + 2.01, "some come before the first chunk or behind the last"
    assert {chunk.rate_hz for chunk in chunks} == {float(rate_hz)}


def test_a_stall_is_a_gap_of_its_length():
    rig = SkinRig(wandering, clock=StallingClock(stalls_ms=[(5_000, 3_000)]))
    rig.sensor.open()
    chunks = rig.run(12.0)
    ((at_s, length_s),) = gaps_s(chunks)
    assert at_s == pytest.approx(5.0, abs=0.1) and length_s == pytest.approx(3.0, abs=0.07)
    assert rig.sensor.lost == round(length_s * 16)
    assert all(len(chunk.samples) <= 4 for chunk in chunks)


@pytest.mark.parametrize("name", CIRCUITS)
def test_electrodes_off_and_on_again(name: str):
    circuit, chip_settings = CIRCUITS[name]
    rig = SkinRig(during(steady(3.0), [(5.0, 9.0)], np.nan), circuit=circuit, settings=chip_settings, noise_v=100e-6)
    rig.sensor.open()
    contacts = {}
    for second in range(2, 14):
        rig.run(float(second))
        contacts[second] = rig.sensor.contact
    assert [second for second, contact in contacts.items() if contact == "off"] == [6, 7, 8, 9]
    assert set(contacts.values()) == {"on", "off"}


def test_the_tracker_knows_electrodes_off_and_a_short_circuit():
    skin = during(during(wandering, [(10.0, 15.0)], np.nan), [(20.0, 25.0)], np.inf)
    rig = SkinRig(skin, settings=Ads1115Settings(front_end="grove"), circuit=grove(), noise_v=100e-6)
    rig.sensor.open()
    tracker = SkinTracker()
    for chunk in rig.run(32.0):
        tracker.push(chunk.t_ns - START_NS, chunk.rate_hz, chunk.samples)
    on = {second.t_s: second.on for second in tracker.seconds if second.t_s > 1}
    assert [second for second, well in on.items() if not well] == [11, 12, 13, 14, 15, 21, 22, 23, 24, 25]


@pytest.mark.parametrize("name", CIRCUITS)
def test_a_short_circuit_is_off_scale(name: str):
    circuit, chip_settings = CIRCUITS[name]
    rig = SkinRig(steady(np.inf), circuit=circuit, settings=chip_settings)
    rig.sensor.open()
    _, samples = stamped(rig.run(1.0))
    assert (samples >= 100.0).all()
    assert rig.sensor.contact == "saturated" or samples[-1] > 500


def test_a_clipping_converter_is_off_scale():
    rig = SkinRig(steady(10.0), settings=Ads1115Settings(front_end="divider", full_scale_mv=512))
    rig.sensor.open()
    _, samples = stamped(rig.run(1.0))
    assert (samples == OFF_SCALE_US).all() and rig.sensor.contact == "saturated"


FAULTS = {
    "nobody answers": (3.0, lambda rig, at: rig.bus.faults.append(Fault("nack", at, at + 3000 * MS))),
    "every third transaction fails": (3.0, lambda rig, at: rig.bus.faults.append(Fault("nack", at, at + 3000 * MS, every=3))),
    "the bus is stuck": (3.0, lambda rig, at: rig.bus.faults.append(Fault("stuck", at, at + 3000 * MS))),
    "transfers break off": (3.0, lambda rig, at: rig.bus.faults.append(Fault("break", at, at + 3000 * MS, after_bytes=1))),
    "brown-out": (1.5, lambda rig, at: rig.chip.brown_out(at, at + 1500 * MS)),
    "a short brown-out": (0.01, lambda rig, at: rig.chip.brown_out(at, at + 10 * MS)),
    "general call reset": (0.0, lambda rig, at: rig.chip.reset()),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("phase_ms", [0, 31, 50])
def test_every_fault_is_outlived_within_two_seconds_of_its_end(name: str, phase_ms: int, caplog):
    lasts_s, strike = FAULTS[name]
    rig = SkinRig(wandering)
    rig.sensor.open()
    chunks = rig.run(10.0 + phase_ms / 1000)
    began_ns = rig.clock.now_ns()
    with caplog.at_level(logging.WARNING, "affectkit"):
        strike(rig, began_ns)
        late = rig.run(20.0)
    fresh = [chunk for chunk in late if chunk.t_ns > began_ns + lasts_s * 1e9]
    assert fresh and (fresh[0].t_ns - began_ns) / 1e9 - lasts_s < 1.75
    assert rig.sensor.trouble is None
    chunks += late
    assert all(one.end_ns < other.t_ns for one, other in itertools.pairwise(chunks))
    times_s, samples = stamped(chunks)
    assert samples == pytest.approx(wandering(times_s), abs=0.05), "no reading of the wrong settings comes through"
    assert len(caplog.records) in (0, 2)
    missing = sum(length for _, length in gaps_s(chunks)) * 16
    assert rig.sensor.lost == pytest.approx(missing, abs=0.01)


def test_a_lost_configuration_is_written_again():
    rig = SkinRig(wandering)
    rig.sensor.open()
    rig.run(3.0)
    rig.chip.reset()
    rig.run(4.0)
    assert rig.sensor.restarts == 1
    assert rig.chip._config & 0x0100 == 0, "continuous again"


def test_readings_of_the_settings_that_it_was_left_with_do_not_come_through():
    rig = SkinRig(steady(5.0))
    rig.bus.write_i2c_block_data(0x48, 1, [0x52, 0x03])  # continuous, 8 a second, an input that lies at ground
    rig.clock.advance_to(rig.clock.now_ns() + 130 * MS)
    rig.sensor.open()
    _, samples = stamped(rig.run(1.0))
    assert samples == pytest.approx(5.0, rel=0.01)


def test_noise_about_ground_is_no_skin():
    rig = SkinRig(steady(np.nan), noise_v=1e-3)
    rig.sensor.open()
    _, samples = stamped(rig.run(5.0))
    assert (samples == 0.0).all() and len(samples) > 70


def test_a_chip_that_does_not_keep_its_settings_is_refused():
    rig = SkinRig(wandering)
    rig.chip._store = lambda value: None
    with pytest.raises(SensorError, match="does not keep its settings"):
        rig.sensor.open()


def test_a_chip_that_is_not_there_is_said_at_opening():
    rig = SkinRig(wandering)
    rig.chip.brown_out(0, START_NS + 10**12)
    with pytest.raises(SensorError, match=r"I2C bus 1, address 0x48, register 0x01: no answer \(NACK\)"):
        rig.sensor.open()


def test_closing_stops_the_conversions():
    rig = SkinRig(wandering)
    rig.sensor.open()
    rig.run(1.0)
    rig.sensor.close()
    assert rig.chip._config & 0x0100
    assert rig.sensor.read() is None


def test_the_first_chunk_is_there_within_half_a_second():
    rig = SkinRig(wandering)
    rig.sensor.open()
    chunk = rig.sensor.read()
    assert rig.clock.now_s < 0.5
    assert chunk.track == "eda" and len(chunk.samples) == 4 and chunk.samples.dtype == np.float32
    assert rig.sensor.tracks == ("eda",) and not rig.sensor.live
    assert SkinConductanceSensor(1, rig.clock, smbus=rig.bus).live


def test_a_recording_goes_through_unchanged():
    """As responses of a person: 4 a second, from a file's samples."""
    rng = np.random.default_rng(3)
    recorded = 2.0 + np.abs(np.cumsum(rng.normal(0.0, 0.02, 240)))
    rig = SkinRig(played(recorded, 4.0), settings=Ads1115Settings(rate_hz=16, conversions_hz=128, front_end="divider"))
    rig.sensor.open()
    times_s, samples = stamped(rig.run(55.0))
    assert samples == pytest.approx(played(recorded, 4.0)(times_s), rel=0.01)


@given(st.floats(0.0, 3.3), st.floats(0.0, 3.3))
def test_conversions_rise_with_the_conductance_whatever_the_voltage(one_v: float, other_v: float):
    low_v, high_v = sorted((one_v, other_v))
    plain, grove_settings = CIRCUITS["divider"][1], CIRCUITS["grove"][1]
    assert 0.0 <= divider_us(low_v, plain) <= divider_us(high_v, plain) <= OFF_SCALE_US
    assert OFF_SCALE_US >= grove_us(low_v, grove_settings) >= grove_us(high_v, grove_settings) >= 0.0


def test_the_groves_formula_is_seeeds():
    for reading in (100, 250, 400, 500):
        resistance_ohm = (1024 + 2 * reading) * 10_000 / (512 - reading)
        assert grove_us(reading / 1024 * 3.3, Ads1115Settings()) == pytest.approx(1e6 / resistance_ohm)


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("rate_hz", 2, "4 to 64"),
        ("rate_hz", 64, "at least twice rate_hz"),
        ("conversions_hz", 100, "8, 16, 32"),
        ("channel", 4, "0 to 3"),
        ("full_scale_mv", 5000, "6144, 4096"),
        ("front_end", "bridge", "grove, divider"),
        ("supply_mv", 0, "above 0"),
        ("reference_ohm", -1, "above 0"),
        ("open_uv", 3_300_000, "not below the supply"),
        ("off_below_nanosiemens", -1, "at least 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(field: str, value: object, what: str):
    with pytest.raises(ConfigError, match=what):
        Ads1115Settings(**{field: value})
