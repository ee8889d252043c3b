"""The microphone: true times whatever the call-backs do, losses that are gaps and counted, an end that is said."""

from __future__ import annotations

import collections.abc
import itertools
import threading
import time
import typing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensors.soundcard import SECOND_NS, START_NS, CaptureClock, SoundCard

from edge.clock import SystemClock
from edge.errors import SensorError
from edge.sensors.microphone import CHUNK_SAMPLES, RATE_HZ, Microphone
from edge.sensors.portaudio import Intake, adc_age_ns, microphones
from edge.sensors.settings import MicrophoneSettings
from edge.types import Chunk

pytest.importorskip("soxr", reason="the package soxr is not installed")
STEP_NS = SECOND_NS / RATE_HZ


def opened(device: str = "default", settings: MicrophoneSettings | None = None, **card: typing.Any) -> tuple[Microphone, SoundCard]:
    clock = CaptureClock()
    audio = SoundCard(clock, **card)
    microphone = Microphone(device, clock, settings, audio=audio)
    microphone.open()
    return microphone, audio


def read_until(microphone: Microphone, until_s: float) -> list[Chunk]:
    """Chunks up to the first that begins ``until_s`` after the start, or later."""
    chunks = [microphone.read()]
    while chunks[-1].t_ns < START_NS + until_s * 1e9:
        chunks.append(microphone.read())
    return chunks


def breaks(chunks: collections.abc.Sequence[Chunk]) -> list[tuple[int, float]]:
    """(which chunk, samples missing before it) where two do not follow each other."""
    found = []
    for i, (one, other) in enumerate(itertools.pairwise(chunks)):
        missing = (other.t_ns - one.end_ns) / STEP_NS - 1.0
        if abs(missing) > 0.99:
            found.append((i + 1, missing))
    return found


def said_numbers(chunk: Chunk) -> np.ndarray:
    return np.round(chunk.samples * 32768).astype(np.int64) + 30_000


def off_ms(chunks: collections.abc.Sequence[Chunk], card: SoundCard) -> np.ndarray:
    """How far each chunk's stamp is from when its first sample was taken, which the sample says."""
    off = []
    for chunk in chunks:
        said = int(said_numbers(chunk)[0])
        near = (chunk.t_ns - card.began_ns) * card.true_hz / 1e9
        number = said + 60_000 * round((near - said) / 60_000)
        off.append((chunk.t_ns - card.time_of(number)) / 1e6)
    return np.array(off)


def shaken(worst_ms: float, seed: int) -> typing.Callable[[int], float]:
    random = np.random.default_rng(seed)
    return lambda i: float(random.exponential(worst_ms / 6)) if random.random() < 0.8 else float(random.uniform(0, worst_ms))


# --- time -----------------------------------------------------------------------------------------------------------------


def test_chunks_are_as_recorded_sessions_have_them():
    microphone, _ = opened()
    chunks = read_until(microphone, 2.0)
    assert len(chunks) == 21 and {chunk.track for chunk in chunks} == {"audio"} and {chunk.rate_hz for chunk in chunks} == {16_000.0}
    assert all(chunk.samples.dtype == np.float32 and chunk.samples.shape == (CHUNK_SAMPLES,) for chunk in chunks)
    assert (np.diff(np.concatenate([said_numbers(chunk) for chunk in chunks])) % 60_000 == 1).all(), "every sample, once, bit by bit"


@settings(max_examples=10, deadline=None)
@given(
    drift_ppm=st.floats(-200, 200),
    worst_ms=st.floats(0, 30),
    adc=st.sampled_from(["true", "zero", "far", "sliding"]),
    seed=st.integers(0, 999),
)
def test_call_backs_that_shake_do_not_move_the_stamps(drift_ppm: float, worst_ms: float, adc: typing.Any, seed: int):
    microphone, card = opened(drift_ppm=drift_ppm, late_ms=shaken(worst_ms, seed), adc=adc)
    chunks = read_until(microphone, 40.0)
    assert not breaks(chunks) and microphone.overflows == 0 and microphone.lost_ms == 0
    off = off_ms(chunks, card)
    assert np.abs(off).max() < 5.0
    assert np.abs(np.diff(off)).max() < 0.99 * STEP_NS / 1e6, "less than a sample from chunk to chunk"


@pytest.mark.parametrize("drift_ppm", [-300.0, 300.0])
def test_a_crystal_that_is_off_is_followed(drift_ppm: float):
    microphone, card = opened(drift_ppm=drift_ppm, late_ms=shaken(8.0, 1))
    chunks = read_until(microphone, 240.0)
    assert not breaks(chunks)
    off = off_ms(chunks, card)
    assert np.abs(off).max() < 10.0 and np.abs(off[1800:]).max() < 1.0, "without it, 72 ms at the end"
    assert microphone._times.rate_hz == pytest.approx(card.true_hz, rel=2e-5)


def test_a_sound_server_that_comes_to_deliver_sooner_is_no_faster_crystal():
    microphone, card = opened(late_ms=lambda i: 300.0 if i < 250 else 0.0, adc="zero")
    chunks = read_until(microphone, 60.0)
    assert not breaks(chunks) and microphone.overflows == 0
    off = off_ms(chunks, card)
    assert microphone._times.rate_hz == pytest.approx(16_000, rel=1e-6)
    assert off[10] == pytest.approx(300.0, abs=1.0) and (np.diff(off) < 0.001).all() and off[-1] < 290.0, "it draws near, never in steps"


@pytest.mark.parametrize("rate_hz", [8_000, 32_000, 44_100, 48_000])
def test_a_resampled_sound_keeps_its_time(rate_hz: int):
    """The phase of a tone of 100 Hz says when each chunk was heard."""
    tone = lambda n: np.round(16_000 * np.cos(2 * np.pi * 100 * n / rate_hz)).astype(np.int16)  # noqa: E731
    microphone, card = opened(rate_hz=rate_hz, sound=tone, late_ms=shaken(4.0, 2))
    chunks = read_until(microphone, 10.0)
    assert card.opened["rate"] == rate_hz and not breaks(chunks)
    for chunk in chunks[3:]:
        turn = np.exp(-2j * np.pi * 100 * np.arange(CHUNK_SAMPLES) / RATE_HZ)
        phase_s = np.angle(np.dot(chunk.samples, turn)) / (2 * np.pi * 100)
        true_s = (chunk.t_ns - card.began_ns) / 1e9
        assert (true_s - phase_s + 0.005) % 0.01 - 0.005 == pytest.approx(0.0, abs=1e-3)
        assert np.abs(chunk.samples).max() == pytest.approx(16_000 / 32_768, rel=1e-3)
        assert (chunk.samples * 32768 == np.rint(chunk.samples * 32768)).all(), "in steps of 16 bits, so a recording replays bit by bit"


def test_it_is_not_late():
    microphone, _ = opened(rate_hz=48_000, late_ms=shaken(4.0, 3))
    clock = microphone._clock
    read_until(microphone, 1.0)
    assert all(clock.now_ns() - (microphone.read()).end_ns < 130e6 for _ in range(50))


@pytest.mark.parametrize(("adc", "off_by_ms"), [("true", 0.0), ("zero", 30.0), ("far", 30.0), ("sliding", 30.0)])
def test_capture_times_tell_how_long_sound_took_to_arrive(adc: typing.Any, off_by_ms: float):
    microphone, card = opened(transport_ms=30.0, adc=adc)
    assert np.abs(off_ms(read_until(microphone, 5.0), card) - off_by_ms).max() < 0.1


def test_a_capture_time_is_used_where_it_makes_sense():
    length_ns = 20_000_000
    assert adc_age_ns({"input_buffer_adc_time": 12.0, "current_time": 12.034}, length_ns) == pytest.approx(34_000_000)
    for captured_s, now_s in ((0.0, 12.0), (12.0, 0.0), (-3.0, -2.9), (12.0, 11.0), (12.0, 13.2), (12.0, 12.019)):
        assert adc_age_ns({"input_buffer_adc_time": captured_s, "current_time": now_s}, length_ns) is None
    assert adc_age_ns({}, length_ns) is None


# --- losses ---------------------------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(missing=st.integers(200, 30_000), said=st.booleans(), worst_ms=st.floats(0, 20), adc=st.sampled_from(["true", "zero"]))
def test_what_the_driver_lost_is_a_gap_as_long_as_it_was(missing: int, said: bool, worst_ms: float, adc: typing.Any):
    missing = missing if said else max(missing, 2400)
    microphone, card = opened(lost=[(80_000, 80_000 + missing, said)], late_ms=shaken(worst_ms, missing), adc=adc)
    chunks = read_until(microphone, 12.0)
    ((_, gap),) = breaks(chunks)
    assert gap == pytest.approx(missing, abs=2.5 / 1000 * RATE_HZ), "to the least late call-back of those around it"
    assert microphone.overflows == 1
    assert microphone.lost_ms == pytest.approx(gap * 1000 / RATE_HZ, abs=0.1)
    assert np.abs(off_ms(chunks, card)).max() < 3.0, "all that is given out has its true time, behind the gap too"
    heard = np.concatenate([said_numbers(chunk) for chunk in chunks])
    assert (np.diff(heard) % 60_000 != 1).sum() == 1, "and nothing else is missing, twice or made up"


def test_a_sound_server_that_comes_to_deliver_a_little_later_loses_nothing():
    microphone, card = opened(late_ms=lambda i: 60.0 if i > 250 else 0.0, adc="zero")
    chunks = read_until(microphone, 30.0)
    assert not breaks(chunks) and microphone.overflows == 0
    assert np.abs(off_ms(chunks, card)).max() < 60.0


def test_every_overflow_that_the_driver_names_is_counted():
    microphone, card = opened(lost=[(n, n + 800, True) for n in (32_000, 64_000, 66_000, 96_000)])
    chunks = read_until(microphone, 8.0)
    assert card.lost_samples > 2000
    assert microphone.overflows == 4 and microphone.lost_ms == pytest.approx(card.lost_samples * 1000 / RATE_HZ, abs=0.2)
    assert sum(missing for _, missing in breaks(chunks)) == pytest.approx(card.lost_samples, abs=1)


def test_call_backs_that_are_held_up_and_catch_up_lose_nothing():
    microphone, card = opened(late_ms=lambda i: 700.0 if i == 200 else 0.0, adc="zero")
    chunks = read_until(microphone, 10.0)
    assert not breaks(chunks) and microphone.overflows == 0
    assert np.abs(off_ms(chunks, card)).max() < 1.0


def test_a_reader_that_comes_too_late_loses_the_oldest_and_it_is_counted_to_the_sample():
    microphone, card = opened()
    chunks = read_until(microphone, 3.0)
    microphone._clock.busy_until(START_NS + 8 * SECOND_NS)
    chunks += read_until(microphone, 10.0)
    ((_, gap),) = breaks(chunks)
    assert 2.5 * RATE_HZ < gap < 3.5 * RATE_HZ, "five seconds, and two of them wait in the queue"
    assert microphone.overflows == 1 and microphone.lost_ms == pytest.approx(gap * 1000 / RATE_HZ, abs=0.1)
    assert np.abs(off_ms(chunks, card)).max() < 0.1


def test_a_gap_cuts_the_resampler_too():
    """Before the gap silence, behind it a steady sound: nothing of it leaks over."""
    card_sound = lambda n: np.where(n < 96_000, 0, 12_000).astype(np.int16)  # noqa: E731
    microphone, _ = opened(rate_hz=48_000, sound=card_sound, lost=[(95_040, 144_000, True)])
    chunks = read_until(microphone, 5.0)
    ((at, _),) = breaks(chunks)
    assert all((chunk.samples == 0).all() for chunk in chunks[:at])
    assert (np.abs(chunks[at].samples[200:] - 12_000 / 32_768) < 1e-3).all()


# --- the end --------------------------------------------------------------------------------------------------------------


def test_silence_for_two_seconds_is_an_error():
    microphone, _ = opened(ends_s=3.0)
    with pytest.raises(SensorError, match=r"USB PnP.*no sound for 2 s.*unplugged"):
        read_until(microphone, 10.0)
    assert microphone._clock.now_s == pytest.approx(5.0, abs=0.1)
    microphone.close()


def test_a_device_that_is_pulled_out_is_an_error_at_once():
    microphone, _ = opened(ends_s=3.0, vanishes=True)
    with pytest.raises(SensorError, match="stream has ended"):
        read_until(microphone, 10.0)
    assert microphone._clock.now_s < 3.6


def test_close_ends_the_stream_and_gives_everything_back():
    microphone, card = opened()
    read_until(microphone, 1.0)
    microphone.close()
    assert microphone.read() is None
    assert card.closed and card.terminated
    microphone.close()


class _Deaf(SoundCard):
    """No call-back ever comes, and closing takes ``hangs_s``."""

    hangs_s = 0.0

    def _schedule(self, i: int, number: int, after_ns: int) -> None:
        pass

    def close(self) -> None:
        time.sleep(self.hangs_s)


@pytest.mark.parametrize("hangs_s", [0.0, 1.0])
def test_close_from_another_thread_ends_a_read_that_waits(hangs_s: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("edge.sensors.microphone.CLOSE_WITHIN_S", 0.3)
    card = _Deaf(CaptureClock())
    card.hangs_s = hangs_s
    microphone = Microphone("default", SystemClock(), audio=lambda: card)
    microphone.open()
    answers: list[Chunk | None] = []
    reader = threading.Thread(target=lambda: answers.append(microphone.read()))
    reader.start()
    began_s = time.perf_counter()
    microphone.close()
    reader.join(1.5)
    assert answers == [None] and time.perf_counter() - began_s < 0.9


def test_closed_while_it_opens_it_is_given_back():
    clock = CaptureClock()
    card = SoundCard(clock)

    def start() -> SoundCard:
        microphone.close()
        return card

    microphone = Microphone("default", clock, audio=start)
    microphone.open()
    assert card.closed and card.terminated and microphone.read() is None


# --- devices --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["default", "1", "usb pnp", "USB PnP Sound Device: Audio (hw:1,0)"])
def test_a_device_is_found_by_default_index_or_name(device: str):
    microphone, card = opened(device)
    assert card.opened["input_device_index"] == 1 and microphone.info.name.startswith("USB PnP")


@pytest.mark.parametrize("device", ["0", "7", "headset"])
def test_an_unknown_device_is_an_error_that_lists_the_known_ones(device: str):
    card = SoundCard(CaptureClock())
    with pytest.raises(SensorError, match=rf"{device}.*known: 1 'USB PnP Sound Device") as caught:
        Microphone(device, card._clock, audio=card).open()
    assert "HDMI" not in str(caught.value), "it cannot capture"
    assert card.terminated


def test_no_device_at_all_is_an_error_that_says_what_to_do():
    with pytest.raises(SensorError, match="no device that captures; plug one in"):
        opened(names=[("HDMI", 0)])


def test_the_asked_channel_is_heard():
    microphone, card = opened(settings=MicrophoneSettings(channel=1))
    assert card.opened["channels"] == 2
    assert (np.diff(said_numbers(microphone.read())) == 1).all(), "the other channel is silent"
    with pytest.raises(SensorError, match=r"no channel 2; it has 2"):
        opened(settings=MicrophoneSettings(channel=2))


def test_a_rate_that_the_device_does_not_have_is_an_error():
    microphone, card = opened(rate_hz=44_100, settings=MicrophoneSettings(native_rate_hz=48_000))
    assert card.opened["rate"] == 48_000 and microphone.native_rate_hz == 48_000
    with pytest.raises(SensorError, match=r"cannot capture at 22051 Hz.*native_rate_hz"):
        opened(settings=MicrophoneSettings(native_rate_hz=22_051))


def test_microphones_lists_what_can_capture():
    card = SoundCard(CaptureClock(), rate_hz=48_000)
    (found,) = microphones(card)
    assert (found.index, found.channels, found.rate_hz, found.default) == (1, 2, 48_000, True)
    assert card.terminated


def test_the_queue_is_bounded():
    clock = CaptureClock()
    intake = Intake(clock, 16_000, 10)
    for _ in range(1000):
        intake(b"\0\0" * 320, 320, {}, 0)
    assert [buffer.first for buffer in intake.take()] == [320 * i for i in range(990, 1000)]
    assert intake.take() == [] and not intake.wake.is_set()
