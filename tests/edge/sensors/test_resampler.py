"""The resampler keeps what fits below both Nyquist frequencies, lets nothing else through, and does not care how its input is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import InputError
from edge.sensors.resampler import Resampler, in_16_bits, resampled

pytest.importorskip("soxr", reason="the package soxr is not installed")
RATES_HZ = (44_100, 48_000, 32_000, 16_000, 8_000)
TO_HZ = 16_000


def tone(hz: float, rate_hz: int, seconds: float = 1.0) -> np.ndarray:
    return (0.5 * np.cos(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def below_tone_db(error: np.ndarray) -> float:
    return 20 * np.log10(np.sqrt(np.mean(np.square(error.astype(np.float64)))) / (0.5 / np.sqrt(2)) + 1e-30)


@pytest.mark.parametrize("from_hz", RATES_HZ)
@pytest.mark.parametrize("share", [0.01, 0.1, 0.37, 0.6, 0.85, 0.9])
def test_a_tone_comes_out_as_it_went_in_at_its_time(from_hz: int, share: float):
    """Level within 0.01 dB, time within a thousandth of a sample, all else (images, aliases, noise) 90 dB below it."""
    hz = share * min(from_hz, TO_HZ) / 2
    out = resampled(tone(hz, from_hz, 2.0), from_hz, TO_HZ)[3200:-3200].astype(np.float64)
    turn = np.exp(2j * np.pi * hz * (3200 + np.arange(len(out))) / TO_HZ)
    basis = np.stack([turn.real, turn.imag], axis=1)
    (cos, sin), *_ = np.linalg.lstsq(basis, out, rcond=None)
    level, shift = np.hypot(cos, sin), np.arctan2(sin, cos) * TO_HZ / (2 * np.pi * hz)
    assert 20 * np.log10(level / 0.5) == pytest.approx(0.0, abs=0.01)
    assert shift == pytest.approx(0.0, abs=0.001)
    assert below_tone_db(out - basis @ (cos, sin)) < -90.0


@pytest.mark.parametrize(
    ("from_hz", "hz"), [(rate, hz) for rate in (44_100, 48_000, 32_000) for hz in (8_050, 9_000, 12_345, 15_900, rate / 2 - 50)]
)
def test_what_lies_above_the_lower_nyquist_frequency_does_not_come_through(from_hz: int, hz: float):
    out = resampled(tone(hz, from_hz), from_hz, TO_HZ)
    assert below_tone_db(out[1600:-1600]) < -90.0


@settings(max_examples=40, deadline=None)
@given(from_hz=st.sampled_from(RATES_HZ), cuts=st.lists(st.integers(0, 3000), max_size=12), seed=st.integers(0, 99))
def test_the_same_bits_come_out_however_it_is_cut(from_hz: int, cuts: list[int], seed: int):
    samples = np.random.default_rng(seed).uniform(-1, 1, 12_000).astype(np.float32)
    resampler = Resampler(from_hz, TO_HZ)
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(resampler.push(samples[at : at + cut]))
        at += cut
    pieces += [resampler.push(samples[at:]), resampler.flush()]
    out = np.concatenate(pieces)
    assert out.dtype == np.float32
    assert out.tobytes() == resampled(samples, from_hz, TO_HZ).tobytes()


@settings(max_examples=60, deadline=None)
@given(from_hz=st.sampled_from(RATES_HZ), count=st.integers(1, 9000))
def test_the_length_is_exact(from_hz: int, count: int):
    out = resampled(np.zeros(count, np.float32), from_hz, TO_HZ)
    assert abs(len(out) - count * TO_HZ / from_hz) <= 0.5


@pytest.mark.parametrize("from_hz", RATES_HZ)
def test_its_delay_is_taken_out(from_hz: int):
    """A click comes out where it went in: its peak within half a sample."""
    samples = np.zeros(from_hz, np.float32)
    samples[from_hz // 2] = 1.0
    out = resampled(samples, from_hz, TO_HZ)
    assert int(np.argmax(np.abs(out))) == pytest.approx(TO_HZ / 2, abs=0.5)


@pytest.mark.parametrize("from_hz", RATES_HZ)
def test_it_holds_back_little(from_hz: int):
    resampler = Resampler(from_hz, TO_HZ)
    given_out, most_s = 0, 0.0
    for i in range(1, 101):
        given_out += len(resampler.push(np.zeros(from_hz // 50, np.float32)))
        most_s = max(most_s, i / 50 - given_out / TO_HZ)
    assert most_s < 0.12


@pytest.mark.parametrize("from_hz", RATES_HZ)
def test_a_run_begins_afresh_after_a_flush(from_hz: int):
    resampler = Resampler(from_hz, TO_HZ)
    loud, soft = tone(440, from_hz, 0.2), 0.1 * tone(300, from_hz, 0.2)
    first = np.concatenate([resampler.push(loud), resampler.flush()])
    second = np.concatenate([resampler.push(soft), resampler.flush()])
    assert first.tobytes() == resampled(loud, from_hz, TO_HZ).tobytes()
    assert second.tobytes() == resampled(soft, from_hz, TO_HZ).tobytes()
    assert len(resampler.flush()) == 0, "there is nothing more"


def test_16_khz_passes_untouched():
    samples = np.random.default_rng(1).uniform(-1, 1, 5000).astype(np.float32)
    assert resampled(samples, TO_HZ, TO_HZ).tobytes() == samples.tobytes()


def test_16_bits_keep_every_16_bit_number_and_clip():
    every = np.arange(-32768, 32768)
    assert (in_16_bits((every / 32768).astype(np.float32)) * 32768 == every).all()
    out = in_16_bits(np.array([1.5, 1.0, -2.0, 0.4 / 32768, 0.6 / 32768], np.float32))
    assert (out * 32768).tolist() == [32767, 32767, -32768, 0, 1] and out.dtype == np.float32


def test_a_rate_of_nothing_is_refused():
    with pytest.raises(InputError, match="above 0"):
        Resampler(0, TO_HZ)
