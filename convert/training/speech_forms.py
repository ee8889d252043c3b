"""What speech training hears: recordings in several forms (voice, room, noise), made once and kept, and windows of them."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import hashlib
import pathlib

import numpy as np

from convert.training.datasets.speech import Clips
from convert.training.degrade import speech as degrade
from edge.preprocess.speech import SpeechParameters, StreamingLogMel, VoiceGate, clip_windows, hz_to_mel, mel_to_hz, window_samples

FORMS = 6
"""How many forms of a clip are prepared: as it is, and others in voice, room and noise."""


@dataclasses.dataclass(frozen=True)
class Heard:
    """One form of one clip as the front hears it: log-mel (n, mels) in dB, and per frame where its voice began, -1 for none."""

    log_mel: np.ndarray
    starts: np.ndarray

    def ends(self, parameters: SpeechParameters) -> np.ndarray:
        """Frames at which enough has been heard for a window; the front waits a little longer where there is much silence in it."""
        heard = np.arange(1, len(self.starts) + 1) - self.starts
        return np.flatnonzero((self.starts >= 0) & (heard >= parameters.hops(parameters.min_heard_ms)))


def listen(samples: np.ndarray, parameters: SpeechParameters) -> Heard:
    """The front's frames and gate over a whole recording at once, for training; ``SpeechFront`` gives the same piecemeal."""
    log_mel, power = StreamingLogMel(parameters).push(samples)
    return Heard(log_mel, VoiceGate(parameters).push(power))


def window_at(heard: Heard, end: int, parameters: SpeechParameters) -> np.ndarray:
    """The encoder input (frames, mels) that the front would give at frame ``end``."""
    first = max(int(heard.starts[end]), end + 1 - parameters.frames)
    return window_samples(heard.log_mel[first : end + 1].astype(np.float32, copy=False), parameters)


def clip_features(samples: np.ndarray, parameters: SpeechParameters) -> np.ndarray:
    """All windows (n, frames, mels) that ``SpeechFront`` gives for one clip, oldest first; one of zeros if it gives none."""
    windows = [window.samples for window in clip_windows(samples, parameters)]
    return np.stack(windows or [np.zeros((parameters.frames, parameters.mels), np.float32)])


def last_windows(clips: Clips, parameters: SpeechParameters) -> np.ndarray:
    """Of each clip the last window that the front gives, which holds the most of it: (clips, frames, mels)."""
    return np.stack([clip_features(samples, parameters)[-1] for samples in clips.samples])


def vary(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another voice and place: speed and pitch by up to 15 % (resampling), then often a room, noise, an overdriven or narrow microphone."""
    import scipy.signal

    samples = scipy.signal.resample_poly(samples, int(rng.integers(17, 24)), 20).astype(np.float32)
    if rng.random() < 0.4:
        samples = degrade.reverberate(samples, rng.uniform(0.15, 0.9), rng, direct_db=rng.uniform(-2.0, 12.0))
    if rng.random() < 0.1:
        samples = degrade.clip(samples, rng.uniform(0.001, 0.05))
    if rng.random() < 0.4:
        samples = degrade.add_noise(samples, rng.uniform(3.0, 35.0), rng)
    if rng.random() < 0.1:
        samples = degrade.band_limit(samples, rng.uniform(80.0, 300.0), rng.uniform(3400.0, 7000.0))
    return samples


@functools.lru_cache(maxsize=64)
def _warping(factor: float, p: SpeechParameters) -> np.ndarray:
    """Each band as a mean of two others, float32 (mels, mels)."""
    corners = np.linspace(hz_to_mel(np.array(p.fmin_hz)), hz_to_mel(np.array(p.fmax_hz)), p.mels + 2)
    place = np.interp(hz_to_mel(mel_to_hz(corners[1:-1]) / factor), corners[1:-1], np.arange(p.mels))
    return np.maximum(0.0, 1.0 - np.abs(np.arange(p.mels)[:, None] - place)).astype(np.float32)


def warp(log_mel: np.ndarray, factor: float, parameters: SpeechParameters) -> np.ndarray:
    """Vocal tract length perturbation (Jaitly & Hinton, 2013): what lay at f Hz lies at ``factor`` f; log-mel (n, mels) in dB."""
    return log_mel @ _warping(factor, parameters)


def stretch(log_mel: np.ndarray, factor: float) -> np.ndarray:
    """``factor`` times as long at the same pitch: frames of (n, mels) are repeated or left out."""
    n = len(log_mel)
    return log_mel[np.minimum(n - 1, np.round(np.arange(round(n * factor)) / factor).astype(int))]


def prepare(clips: Clips, parameters: SpeechParameters, *, form: int, seed: int) -> list[Heard]:
    """Every clip in one form: 0 is as recorded, each other number another draw of ``vary`` and ``warp`` for each clip."""
    made = []
    for row, samples in enumerate(clips.samples):
        if form == 0:
            made.append(listen(samples, parameters))
            continue
        rng = np.random.default_rng((seed, row, form))
        heard = listen(vary(samples, rng), parameters)
        made.append(Heard(warp(heard.log_mel, rng.uniform(0.9, 1.1), parameters), heard.starts))
    return made


def kept_forms(
    clips: Clips,
    parameters: SpeechParameters,
    work: pathlib.Path,
    *,
    forms: int = FORMS,
    seed: int = 0,
    say: collections.abc.Callable[[str], None] = lambda line: None,
) -> list[list[Heard]]:
    """For each clip its forms, ``prepare``d once and kept in ``work``; those in which the voice never opens the gate are left out."""
    made: list[list[Heard]] = [[] for _ in clips.samples]
    for form in range(forms):
        path = work / f"speech-form{form}-seed{seed}-{_named(clips, parameters)}.npz"
        if not path.exists():
            say(f"speech: hearing {len(clips)} clips, form {form + 1} of {forms}")
            _keep(path, prepare(clips, parameters, form=form, seed=seed))
        with np.load(path) as kept:
            log_mel, starts, edges = kept["log_mel"], kept["starts"], np.cumsum([0, *kept["frames"]])
        for row in range(len(clips)):
            heard = Heard(log_mel[edges[row] : edges[row + 1]], starts[edges[row] : edges[row + 1]])
            if len(heard.ends(parameters)):
                made[row].append(heard)
    return made


def kept_last_windows(clips: Clips, parameters: SpeechParameters, work: pathlib.Path) -> np.ndarray:
    """``last_windows``, made once and kept in ``work``."""
    path = work / f"speech-last-{_named(clips, parameters)}.npy"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.stem}.writing.npy")
        np.save(beside, last_windows(clips, parameters))
        beside.replace(path)
    return np.load(path)


def _named(clips: Clips, parameters: SpeechParameters) -> str:
    """Tells these recordings and this front from others."""
    told = repr((sorted(dataclasses.asdict(parameters).items()), list(map(str, clips.people)), [len(x) for x in clips.samples]))
    return hashlib.sha256(told.encode()).hexdigest()[:8]


def _keep(path: pathlib.Path, made: collections.abc.Sequence[Heard]) -> None:
    """Half precision is a sixteenth of a decibel or less: nothing beside what the forms do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.stem}.writing.npz")
    np.savez(
        beside,
        log_mel=np.concatenate([heard.log_mel for heard in made]).astype(np.float16),
        starts=np.concatenate([heard.starts for heard in made]).astype(np.int32),
        frames=np.array([len(heard.starts) for heard in made]),
    )
    beside.replace(path)
