"""The microphone on the kernel's sound loopback: what ``aplay`` plays into one end is captured at the other."""

from __future__ import annotations

import collections.abc
import contextlib
import pathlib
import subprocess
import threading
import time
import wave

import numpy as np
import pytest
from listen import Listener

from edge.clock import SystemClock
from edge.errors import SensorError

pytest.importorskip("pyaudio", reason="PyAudio is not installed: apt install portaudio19-dev; pip install pyaudio")

from edge.sensors.microphone import Microphone
from edge.sensors.settings import MicrophoneSettings

RATE_HZ, TONE_HZ, LEVEL = 48_000, 997.0, 0.5
PLAYED, CAPTURED = "hw:Loopback,0", "(hw:0,1)"
SETTINGS = MicrophoneSettings(native_rate_hz=RATE_HZ)
DRIVER = pathlib.Path("/sys/bus/platform/drivers/snd_aloop")


def tone(seconds: float) -> np.ndarray:
    """float (n,) in [-1, 1]."""
    return np.sin(2.0 * np.pi * TONE_HZ * np.arange(round(seconds * RATE_HZ)) / RATE_HZ) * LEVEL


@contextlib.contextmanager
def playing(folder: pathlib.Path, samples: np.ndarray) -> collections.abc.Iterator[None]:
    """``samples``, float (n,) in [-1, 1] at ``RATE_HZ``, in one end of the loopback."""
    steps = samples * 32767.0
    with wave.open(str(folder / "played.wav"), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes(np.rint(steps).astype("<i2").tobytes())
    process = subprocess.Popen(["aplay", "-q", "-D", PLAYED, str(folder / "played.wav")], stderr=subprocess.PIPE)
    try:
        yield
        assert process.poll() in (None, 0), process.stderr.read()
    finally:
        process.terminate()
        process.communicate()


def test_a_tone_comes_through_the_kernel_at_its_pitch_and_loudness(tmp_path):
    with playing(tmp_path, tone(15.0)), Listener(Microphone(CAPTURED, SystemClock(), SETTINGS)) as listener:
        listener.wait(lambda it: it.seconds >= 5.0, 14.0)
        assert listener.error is None
        chunks = listener.chunks[10:]
        overflows, lost_ms = listener.sensor.overflows, listener.sensor.lost_ms
    whole = [chunk.samples for chunk in chunks if len(chunk.samples) == 1600 and np.abs(chunk.samples).max() > 0.1]
    assert len(whole) >= 20
    assert np.median([np.sqrt((samples**2).mean()) for samples in whole]) == pytest.approx(LEVEL / np.sqrt(2.0), rel=0.03)
    spectra = np.abs([np.fft.rfft(samples * np.hanning(1600)) for samples in whole]).mean(axis=0)
    assert abs(spectra.argmax() * 10.0 - TONE_HZ) <= 10.0
    # What is missing in time is what is said to be lost.
    span_s = (chunks[-1].end_ns - chunks[0].t_ns) / 1e9
    assert sum(len(chunk.samples) for chunk in chunks) / 16_000 == pytest.approx(span_s - lost_ms / 1e3, abs=0.5), overflows


def test_with_nothing_played_it_is_silent():
    with Listener(Microphone(CAPTURED, SystemClock(), SETTINGS)) as listener:
        listener.wait(lambda it: it.seconds >= 1.0, 10.0)
    assert max(np.abs(chunk.samples).max() for chunk in listener.chunks) == 0.0


def test_a_device_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(SensorError, match=r"no device is called that, known: .*Loopback"):
        Microphone("no such microphone", SystemClock(), SETTINGS).open()


def test_a_card_that_is_unplugged_is_noticed_within_three_seconds():
    sensor = Microphone(CAPTURED, SystemClock(), SETTINGS)
    with Listener(sensor) as listener:
        listener.wait(lambda it: it.seconds >= 1.0, 10.0)
        # The kernel waits for the last user of the card, so this ends when the microphone is closed.
        removing = threading.Thread(target=(DRIVER / "unbind").write_text, args=("snd_aloop.0",), daemon=True)
        removing.start()
        assert listener.wait(lambda it: it.error, 10.0) < 3.0
        assert "unplugged" in str(listener.error)
    removing.join(10.0)
    assert not removing.is_alive(), "the microphone kept the card after it was closed"
    (DRIVER / "bind").write_text("snd_aloop.0")
    with Listener(Microphone(CAPTURED, SystemClock(), SETTINGS)) as listener:
        listener.wait(lambda it: it.seconds >= 0.5, 10.0)
    time.sleep(0.1)
