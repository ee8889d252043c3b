"""The microphone on a real PulseAudio server, over real PyAudio: what is played is heard whole, and what is lost is counted."""

from __future__ import annotations

import collections.abc
import itertools
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from sensors.pulse import PulseServer, missing_for_pulse

from edge.sensors.microphone import RATE_HZ
from edge.types import Chunk

STEP_NS = 1e9 / RATE_HZ
BEGIN = RATE_HZ // 2
"""The player's own start: the server may fade it in, or begin it twice."""


def breaks(chunks: collections.abc.Sequence[Chunk]) -> list[tuple[int, float]]:
    """(which chunk, samples missing before it) where two do not follow each other."""
    missing = [(i + 1, (other.t_ns - one.end_ns) / STEP_NS - 1.0) for i, (one, other) in enumerate(itertools.pairwise(chunks))]
    return [found for found in missing if abs(found[1]) > 0.99]


needs_pulse = pytest.mark.skipif(bool(missing_for_pulse()), reason=f"not installed: {missing_for_pulse()}")


@pytest.fixture(scope="module")
def pulse(tmp_path_factory: pytest.TempPathFactory) -> collections.abc.Iterator[PulseServer]:
    with PulseServer(tmp_path_factory.mktemp("pulse")) as server:
        yield server


def noise(seconds: float) -> np.ndarray:
    """With little above 5 kHz, where the server's own filters begin, float32 (n,): its every piece is unlike all others."""
    white = 0.4 * np.random.default_rng(7).normal(size=round(seconds * RATE_HZ))
    return np.clip(np.convolve(white, [0.05, 0.25, 0.4, 0.25, 0.05], "same"), -1, 1).astype(np.float32)


def recorded_speech(data: pathlib.Path, seconds: float) -> np.ndarray:
    """Acted speech, one clip after another without the pauses at their ends, float32 (n,)."""
    import soundfile

    clips = sorted((data / "ravdess").glob("*/*.flac"))[:60]
    if not clips:
        pytest.skip(f"no RAVDESS in {data}")
    samples = [soundfile.read(path, dtype="float32")[0] for path in clips]
    loud = np.concatenate([clip[np.abs(clip) > 0.02 * np.abs(clip).max()] for clip in samples])
    return (0.8 * loud[: round(seconds * RATE_HZ)] / np.abs(loud).max()).astype(np.float32)


def place_of(piece: np.ndarray, heard: np.ndarray) -> float:
    """Where in ``heard`` ``piece`` lies, to a fraction of a sample: peak of the normalized correlation, with a parabola through it."""
    heard = heard.astype(np.float64)
    size = 1 << int(np.ceil(np.log2(len(heard) + len(piece))))
    both = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(piece, size)), size)[: len(heard) - len(piece)]
    power = np.cumsum(np.concatenate([[0.0], heard**2]))
    alike = both / np.sqrt((power[len(piece) :] - power[: -len(piece)])[: len(both)] * np.sum(piece.astype(np.float64) ** 2) + 1e-9)
    at = int(np.argmax(alike))
    before, here, after = alike[at - 1], alike[at], alike[at + 1]
    assert here > 0.9, "it is there at all"
    return float(at + 0.5 * (before - after) / (before - 2 * here + after))


def samples_lost(sound: np.ndarray, heard: np.ndarray) -> float:
    """By how much less the first and the last second of ``sound`` lie apart in ``heard``."""
    first, last = place_of(sound[BEGIN : BEGIN + RATE_HZ], heard), place_of(sound[-RATE_HZ:], heard)
    return len(sound) - RATE_HZ - BEGIN - (last - first)


def check_whole(sound: np.ndarray, pulse: PulseServer, folder: pathlib.Path, native_rate_hz: int) -> None:
    seconds = len(sound) / RATE_HZ
    chunks, counts = pulse.record(sound, RATE_HZ, folder, seconds + 1.5, native_rate_hz)
    assert counts == {"overflows": 0, "lost_ms": 0.0} and not breaks(chunks)
    heard = np.concatenate([chunk.samples for chunk in chunks])
    assert samples_lost(sound, heard) == pytest.approx(0.0, abs=0.5), "not one sample lost, made up or moved"
    place, played = place_of(sound[BEGIN : BEGIN + RATE_HZ], heard), sound[BEGIN:]
    begin = round(place)
    turn = np.exp(-2j * np.pi * np.fft.rfftfreq(len(played)) * (place - begin))  # by the fraction of a sample
    expected = np.fft.irfft(np.fft.rfft(played) * turn, len(played))
    assert np.corrcoef(expected, heard[begin : begin + len(played)])[0, 1] > 0.99
    times_s = [(chunk.t_ns - chunks[0].t_ns) / 1e9 for chunk in chunks]
    assert times_s[-1] == pytest.approx((len(chunks) - 1) * 0.1, abs=0.05), "the sound server's clock is the host's"


@needs_pulse
def test_what_is_played_is_heard_whole(pulse: PulseServer, tmp_path: pathlib.Path):
    check_whole(noise(4.0), pulse, tmp_path, 48_000)


@needs_pulse
@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "native_rate_hz"), [(5.0, 16_000), (60.0, 44_100)])
def test_real_speech_is_heard_whole(pulse: PulseServer, data: pathlib.Path, tmp_path: pathlib.Path, seconds: float, native_rate_hz: int):
    check_whole(recorded_speech(data, seconds), pulse, tmp_path, native_rate_hz)


@needs_pulse
@pytest.mark.slow
def test_a_call_back_that_is_held_up_and_catches_up_loses_nothing(pulse: PulseServer, tmp_path: pathlib.Path):
    """The sound server keeps what nobody takes for a while; so it is no overflow, and must not be called one."""
    sound = noise(6.0)
    chunks, counts = pulse.record(sound, RATE_HZ, tmp_path, 7.5, 16_000, hold_up=(3.0, 1.5, "call-back"))
    assert counts == {"overflows": 0, "lost_ms": 0.0} and not breaks(chunks)
    heard = np.concatenate([chunk.samples for chunk in chunks])
    assert samples_lost(sound, heard) == pytest.approx(0.0, abs=0.5)


@needs_pulse
@pytest.mark.slow
def test_what_a_late_reader_loses_is_counted_to_the_sample(pulse: PulseServer, tmp_path: pathlib.Path):
    sound = noise(9.0)
    chunks, counts = pulse.record(sound, RATE_HZ, tmp_path, 10.5, 16_000, hold_up=(2.0, 4.0, "reader"))
    assert counts["overflows"] == 1 and 1_500 < counts["lost_ms"] < 2_500
    ((_, gap),) = breaks(chunks)
    heard = np.concatenate([chunk.samples for chunk in chunks])
    lost = samples_lost(sound, heard)
    assert lost == pytest.approx(counts["lost_ms"] * RATE_HZ / 1000, abs=2.0) and gap == pytest.approx(lost, abs=2.0)


@needs_pulse
def test_opening_writes_nothing_to_the_terminal(pulse: PulseServer):
    program = "from edge.sensors.microphone import *\nfrom edge.clock import SystemClock\nm = Microphone('default', SystemClock())\n"
    program += "m.open(); c = m.read(); m.close(); print(len(c.samples), len(microphones()) > 0)"
    ran = subprocess.run([sys.executable, "-c", program], env=pulse.environment, capture_output=True, text=True, timeout=30)
    assert (ran.stdout.strip(), ran.stderr) == ("1600 True", "")


@needs_pulse
def test_a_sound_server_that_dies_is_an_error(tmp_path: pathlib.Path):
    with PulseServer(tmp_path) as server:
        assert "SensorError" in server.record_until_killed()
