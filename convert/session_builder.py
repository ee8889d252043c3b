"""Builds the embedded session: speech of EmoDB, physiology of Stress-Predict and a drawn scene, on the script's time.

Seeded: the same data, script and library versions give the same bytes.
"""

from __future__ import annotations

import csv
import gzip
import math
import pathlib

import numpy as np

from convert.session_picture import Camera
from convert.session_script import SCRIPT, Effect, Script
from convert.training.datasets import require
from edge.errors import InputError
from edge.session_writer import SessionWriter
from edge.types import Chunk, Track

AUDIO_RATE_HZ = 16_000
SPEECH_DBFS = -26.0
"""Level of each clip where it speaks."""
ROOM_DBFS = -66.0
"""A quiet room, so that digital silence can only be a dead microphone."""
NOISE_BELOW_SPEECH_DB = 6.0
_PAUSE_S = (0.08, 0.22)
_MAX_PAUSE_S = 0.25
"""Clips with a longer pause inside are passed over."""
_QUIET_DB = 32.0
"""Ends of a clip that lie this far under its loudest 20 ms are cut off."""


def build(data: pathlib.Path, path: pathlib.Path, *, script: Script = SCRIPT, overwrite: bool = False) -> dict[Track, int]:
    """Compose the session and write it.

    Args:
        data: folder that holds ``emodb/`` and ``stress_predict/``.
        path: the session to write.
        script: what happens when.
        overwrite: replace what is there.

    Returns:
        Samples written per track.

    Raises:
        InputError: a set is missing or lacks what the script names.
        SessionError: ``path`` exists or cannot be written.
    """
    camera = Camera(script)
    audio = speech(data, script)
    ppg, ppg_rate_hz = physiology(data, script, "BVP")
    eda, eda_rate_hz = physiology(data, script, "EDA")
    frames = math.ceil(script.duration_s * script.frame_rate_hz)
    with SessionWriter(
        path,
        title=script.title,
        consent=script.consent,
        planned=sorted((spell.planned for spell in script.spells), key=lambda planned: planned.from_ms),
        sources=script.sources,
        duration_ms=script.duration_s * 1000,
        overwrite=overwrite,
        webp_quality=script.webp_quality,
    ) as writer:
        for number in range(frames):
            t_s = number / script.frame_rate_hz
            writer.add(Chunk("video", round(t_s * 1e9), script.frame_rate_hz, camera.frame(t_s)[None]))
        writer.add(Chunk("audio", 0, AUDIO_RATE_HZ, audio))
        writer.add(Chunk("ppg", 0, ppg_rate_hz, ppg))
        writer.add(Chunk("eda", 0, eda_rate_hz, eda))
    return {"video": frames, "audio": len(audio), "ppg": len(ppg), "eda": len(eda)}


def speech(data: pathlib.Path, script: Script) -> np.ndarray:
    """Clip after clip with short pauses over the noise of a room; float32 at 16 kHz in [-1, 1], zero with the microphone off."""
    samples = round(script.duration_s * AUDIO_RATE_HZ)
    rng = np.random.default_rng((script.seed, 2))
    sound = room_noise(samples, rng) * _gain(ROOM_DBFS)
    for spell in script.spells:
        if spell.effect == "noise" and spell.from_s < script.duration_s:
            where = _span(spell.from_s, spell.to_s, AUDIO_RATE_HZ, samples)
            sound[where] += _faded(room_noise(where.stop - where.start, rng)) * _gain(SPEECH_DBFS - NOISE_BELOW_SPEECH_DB)
    at = round(0.2 * AUDIO_RATE_HZ)
    voice = _Voice(data / "emodb", script)
    while at < samples:
        fit = voice.clip(at / AUDIO_RATE_HZ)[: samples - at]
        sound[at : at + len(fit)] += fit
        at += len(fit) + round(rng.uniform(*_PAUSE_S) * AUDIO_RATE_HZ)
    _silence(sound, script, "microphone off", AUDIO_RATE_HZ)
    return np.clip(sound, -1, 1).astype(np.float32)


def room_noise(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of unit RMS whose power falls by 6 dB an octave above 200 Hz, as of a fan or a street far away."""
    spectrum = np.fft.rfft(rng.normal(size=samples))
    hz = np.fft.rfftfreq(samples, 1 / AUDIO_RATE_HZ)
    noise = np.fft.irfft(spectrum / np.maximum(1, hz / 200), samples)
    return noise / np.sqrt(np.mean(noise**2))


def level(clip: np.ndarray) -> np.ndarray:
    """Cut the quiet ends off, fade what is left over 10 ms, and bring its speech to ``SPEECH_DBFS``."""
    block = AUDIO_RATE_HZ // 50
    blocks = clip[: len(clip) // block * block].reshape(-1, block)
    power_db = 10 * np.log10(np.mean(blocks**2, axis=1) + 1e-12)
    loud = power_db > power_db.max() - _QUIET_DB
    loud = np.flatnonzero(loud & (np.convolve(loud, np.ones(5), "same") >= 3))  # clicks are no speech
    cut = clip[loud[0] * block : (loud[-1] + 1) * block]
    speaking_db = 10 * np.log10(np.mean(blocks[loud] ** 2) + 1e-12)
    return _faded(cut * _gain(SPEECH_DBFS - speaking_db))


def longest_pause_s(clip: np.ndarray) -> float:
    """Longest stretch of a levelled clip in which nobody speaks: 24 dB under the level of speech."""
    block = AUDIO_RATE_HZ // 50
    power_db = 10 * np.log10(np.mean(clip[: len(clip) // block * block].reshape(-1, block) ** 2, axis=1) + 1e-12)
    longest = pause = 0
    for quiet in power_db < SPEECH_DBFS - 24:
        pause = pause + 1 if quiet else 0
        longest = max(longest, pause)
    return longest * block / AUDIO_RATE_HZ


def physiology(data: pathlib.Path, script: Script, signal: str) -> tuple[np.ndarray, float]:
    """The excerpt of one signal, flat near zero while the band is off, and its rate in Hz.

    Args:
        data: folder that holds ``stress_predict/``.
        script: names the person and the start.
        signal: ``BVP`` (arbitrary units) or ``EDA`` (microsiemens).
    """
    path = require(data / "stress_predict" / "Raw_data" / script.person / f"{signal}.csv.gz", f"{signal} of {script.person}")
    with gzip.open(path, "rt", encoding="ascii") as lines:
        column = np.array([float(line.split(",")[0]) for line in lines if line.strip()])
    start_s, rate_hz = column[0], float(column[1])
    first, samples = round((script.person_from_s - start_s) * rate_hz), round(script.duration_s * rate_hz)
    excerpt = column[2 + first : 2 + first + samples].copy()
    if first < 0 or len(excerpt) < samples:
        raise InputError(f"{path}: has no {script.duration_s:g} s from Unix time {script.person_from_s}; fetch the set again")
    _silence(excerpt, script, "electrodes off", rate_hz)
    return excerpt.astype(np.float32), rate_hz


class _Voice:
    """The speaker's clips, in the mood of the moment and in turn."""

    def __init__(self, folder: pathlib.Path, script: Script):
        self._folder, self._script = folder, script
        with open(require(folder / "labels.csv", "the EmoDB set"), encoding="utf-8", newline="") as table:
            rows = [row for row in csv.DictReader(table) if row["speaker"] == script.speaker]
        self._by_mood: dict[str, list[str]] = {}
        for row in sorted(rows, key=lambda row: row["path"]):
            self._by_mood.setdefault(row["emotion"], []).append(row["path"])
        self._taken = dict.fromkeys(self._by_mood, 0)

    def clip(self, t_s: float) -> np.ndarray:
        """The next clip of the mood that holds at ``t_s``, levelled."""
        mood = [name for from_s, name in self._script.moods if from_s <= t_s][-1]
        if mood not in self._by_mood:
            raise InputError(f"{self._folder}: speaker {self._script.speaker} has no clip in {mood}; choose another speaker or mood")
        names = self._by_mood[mood]
        for _ in names:
            name = names[self._taken[mood] % len(names)]
            self._taken[mood] += 1
            clip = level(_read_16k(require(self._folder / "speech" / name, "a clip")))
            if longest_pause_s(clip) <= _MAX_PAUSE_S:
                return clip
        raise InputError(f"{self._folder}: every clip of speaker {self._script.speaker} in {mood} has a long pause; choose another")


def _read_16k(path: pathlib.Path) -> np.ndarray:
    import scipy.signal
    import soundfile

    samples, rate_hz = soundfile.read(path, dtype="float64")
    common = math.gcd(rate_hz, AUDIO_RATE_HZ)
    return scipy.signal.resample_poly(samples, AUDIO_RATE_HZ // common, rate_hz // common)


def _silence(signal: np.ndarray, script: Script, effect: Effect, rate_hz: float) -> None:
    for spell in script.spells:
        if spell.effect == effect:
            signal[_span(spell.from_s, spell.to_s, rate_hz, len(signal))] = 0.0


def _span(from_s: float, to_s: float, rate_hz: float, samples: int) -> slice:
    return slice(*(min(samples, round(t_s * rate_hz)) for t_s in (from_s, to_s)))


def _faded(sound: np.ndarray, fade_s: float = 0.01) -> np.ndarray:
    n = min(round(fade_s * AUDIO_RATE_HZ), len(sound) // 2)
    ramp = np.ones(len(sound))
    ramp[:n] = np.linspace(0, 1, n, endpoint=False)
    ramp[len(sound) - n :] = ramp[:n][::-1]
    return sound * ramp


def _gain(db: float) -> float:
    return 10 ** (db / 20)
