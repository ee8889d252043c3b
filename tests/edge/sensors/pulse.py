"""A PulseAudio server of the test's own, without a sound card: what is played into its null sink is what its microphone hears.

Its home, its socket and its settings lie in a folder of the test, and every client runs in a process with that environment.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import time
import typing

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[3]

_RECORD = """
import pickle, sys, threading, time
import edge.sensors.portaudio as portaudio
from edge.clock import SystemClock
from edge.errors import SensorError
from edge.sensors.microphone import Microphone
from edge.sensors.settings import MicrophoneSettings

seconds, rate_hz, hold_at_s, hold_s = map(float, sys.argv[1:5])
held, path = sys.argv[5:]
took, began = portaudio.Intake.__call__, []

def held_up(self, data, frames, *rest):
    began.append(time.perf_counter()) if not began else None
    if held_up.left_s and time.perf_counter() - began[0] > hold_at_s:
        left_s, held_up.left_s = held_up.left_s, 0.0
        time.sleep(left_s)
    return took(self, data, frames, *rest)

held_up.left_s = hold_s if held == "call-back" else 0.0
read_left_s = hold_s if held == "reader" else 0.0
portaudio.Intake.__call__ = held_up
microphone = Microphone("default", SystemClock(), MicrophoneSettings(native_rate_hz=int(rate_hz)))
microphone.open()
chunks = [microphone.read()]
print("listening", flush=True)
try:
    while chunks[-1].t_ns - chunks[0].t_ns < seconds * 1e9:
        chunks.append(microphone.read())
        if read_left_s and chunks[-1].t_ns - chunks[0].t_ns > hold_at_s * 1e9:
            time.sleep(read_left_s)
            read_left_s = 0.0
except SensorError as error:
    print("SensorError", error, flush=True)
finally:
    began_s = time.perf_counter()
    microphone.close()
    closed_s = time.perf_counter() - began_s
assert closed_s < 1.5, closed_s
with open(path, "wb") as stream:
    pickle.dump((chunks, {"overflows": microphone.overflows, "lost_ms": microphone.lost_ms}), stream)
"""


def missing_for_pulse() -> str:
    """What is not installed here of all that a ``PulseServer`` needs; empty if nothing is missing."""
    programs = [name for name in ("pulseaudio", "paplay", "pactl") if shutil.which(name) is None]
    packages = [name for name in ("pyaudio", "soxr", "soundfile") if importlib.util.find_spec(name) is None]
    plugin = [] if any(pathlib.Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so")) else ["libasound2-plugins"]
    return ", ".join(programs + packages + plugin)


class PulseServer:
    """Context manager around ``pulseaudio``; ``environment`` is what its clients need."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._socket = folder / "native"
        self.environment = {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "LD_LIBRARY_PATH")},
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "PULSE_SERVER": f"unix:{self._socket}",
            "PULSE_SOURCE": "mic.monitor",
            "PYTHONPATH": str(ROOT),
            "JACK_NO_START_SERVER": "1",
        }

    def __enter__(self) -> PulseServer:
        (self._folder / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n", encoding="utf-8")
        self._log = (self._folder / "log").open("wb")
        self._server = subprocess.Popen(
            [
                *("pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--disable-shm=yes"),
                *("--log-target=stderr", "-L", f"module-native-protocol-unix socket={self._socket} auth-anonymous=1"),
                *("-L", "module-null-sink sink_name=mic rate=16000 channels=1 format=s16le"),
            ],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
        )
        until_s = time.monotonic() + 10
        while subprocess.run(["pactl", "info"], env=self.environment, capture_output=True).returncode:
            if self._server.poll() is not None or time.monotonic() > until_s:
                said = (self._folder / "log").read_text(encoding="utf-8")
                self.__exit__()
                raise RuntimeError(f"pulseaudio does not start: {said[-500:]}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.terminate()
        try:
            self._server.wait(5)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        self._log.close()

    def record(
        self,
        sound: np.ndarray,
        rate_hz: int,
        folder: pathlib.Path,
        seconds: float,
        native_rate_hz: int,
        *,
        hold_up: tuple[float, float, str] = (0.0, 0.0, ""),
    ) -> tuple[list[typing.Any], dict[str, float]]:
        """The chunks and the counts of a ``Microphone`` that listens for ``seconds`` while ``sound``, float32 (n,), is played.

        ``hold_up``: at which second, for how long, and what is held up: "call-back" or "reader".
        """
        import soundfile

        soundfile.write(folder / "played.wav", sound, rate_hz, "PCM_16")
        with self._recorder(seconds, native_rate_hz, hold_up, folder / "heard.pickle") as recorder:
            assert recorder.stdout is not None
            if recorder.stdout.readline().strip() != "listening":
                raise RuntimeError(f"the microphone does not open: {recorder.communicate(timeout=20)[1][-800:]}")
            subprocess.run(["paplay", "-d", "mic", str(folder / "played.wav")], env=self.environment, check=True, timeout=seconds + 20)
            _, errors = recorder.communicate(timeout=seconds + 20)
        if recorder.returncode:
            raise RuntimeError(f"the microphone failed: {errors[-800:]}")
        with (folder / "heard.pickle").open("rb") as stream:
            return pickle.load(stream)

    def record_until_killed(self) -> str:
        """What a ``Microphone`` says when this server dies while it listens."""
        with self._recorder(10.0, 16_000, (0.0, 0.0, ""), self._folder / "heard.pickle") as recorder:
            assert recorder.stdout is not None
            recorder.stdout.readline()
            self._server.kill()
            said, errors = recorder.communicate(timeout=20)
        return said + errors

    def _recorder(self, seconds: float, rate_hz: int, hold_up: tuple[float, float, str], path: pathlib.Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", _RECORD, str(seconds), str(rate_hz), *map(str, hold_up), str(path)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
