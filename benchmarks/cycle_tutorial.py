"""The loop that every tutorial teaches: each frame and each decision start from nothing, with the usual libraries.

For each video frame: resize, detect, crop, face network. For each decision: log-mel of the whole window by librosa and the speech
network; beats, heart rate and skin channels of the whole window by scipy and the physiology network; fusion. The networks are the
bundle's, so are the detector's decoding and suppression; interpreters are built once, as good tutorials do.
"""

from __future__ import annotations

import collections.abc
import functools
import json
import typing

import numpy as np

from benchmarks.cycle_session import NS, Decoded
from edge.bundle import Bundle
from edge.inference.fusion import softmax
from edge.inference.model import probe
from edge.preprocess.detection import DetectorParameters, decode, suppress
from edge.preprocess.physiology import PhysiologyParameters
from edge.preprocess.speech import SpeechParameters
from edge.types import MODALITIES, Track

Arrays = dict[str, np.ndarray]
Seen = collections.abc.Callable[[int, collections.abc.Mapping[str, np.ndarray], np.ndarray | None], None]
"""Is told of each decision: number of the tick, embeddings present, probabilities (labels,) or None."""

VOICE_RMS = 0.006
"""Loudness of the last second, full scale 1, above which there is taken to be a voice."""
SKIN_US = 0.02
PHYSIOLOGY_S, WARM_UP_S = 60, 15


class PlainStage:
    """``set_tensor``, ``invoke``, ``get_tensor``, as in every guide to TFLite.

    Args:
        content: the ``.tflite``.
        build_each: build the interpreter anew for each inference, as a function called "predict" often does.
    """

    def __init__(self, content: bytes, *, build_each: bool = False):
        self._content, self._build_each = content, build_each
        self._build()

    def _build(self) -> None:
        self._interpreter = probe().interpreter(model_content=self._content, num_threads=1)
        self._interpreter.allocate_tensors()

    def run(self, **arrays: np.ndarray) -> Arrays:
        """One inference: named float32 arrays in and out, without a batch axis."""
        if self._build_each:
            self._build()
        interpreter = self._interpreter
        for detail in interpreter.get_input_details():
            scale, zero = detail["quantization"]
            stored = np.clip(np.round(arrays[detail["name"]] / scale + zero), -128, 127).astype(np.int8)
            interpreter.set_tensor(detail["index"], stored[np.newaxis])
        interpreter.reset_all_variables()  # or an LSTM goes on where the window before ended
        interpreter.invoke()
        results = {}
        for detail in interpreter.get_output_details():
            scale, zero = detail["quantization"]
            results[detail["name"]] = ((interpreter.get_tensor(detail["index"])[0].astype(np.float32) - zero) * scale).astype(np.float32)
        return results


class Tutorial:
    """The whole loop over a decoded session.

    Args:
        bundle: whose stages it runs.
        decoded: the session.
        build_each: as in ``PlainStage``.
    """

    def __init__(self, bundle: Bundle, decoded: Decoded, *, build_each: bool = False):
        import cv2

        cv2.setNumThreads(1)
        self._cv2: typing.Any = cv2
        manifest = bundle.manifest
        self._channels = PhysiologyParameters(**manifest.preprocess["physiology"]).channels
        self._stages = {name: PlainStage(bundle.stage(name), build_each=build_each) for name in manifest.stages}
        self._detector = DetectorParameters(**manifest.preprocess["detector"])
        self._speech = SpeechParameters(**manifest.preprocess["speech"])
        self._labels, self._temperature = manifest.labels, manifest.temperature
        self._widths = {name: bundle.golden("fusion")[f"input_{name}"].shape[-1] for name in ("face", "speech", "physiology")}
        self._cadence_ns, self._duration_ns = manifest.cadence_ms * 1_000_000, decoded.duration_ns
        self._frames = [(chunk.end_ns, chunk.samples[-1]) for chunk in decoded.by_track["video"]]
        self._audio = _joined(decoded, "audio")
        self._ppg, self._eda = _joined(decoded, "ppg"), _joined(decoded, "eda")
        self._rates = {t: decoded.by_track[t][0].rate_hz for t in ("ppg", "eda")}

    def run(self, lines: typing.TextIO, seen: Seen | None = None) -> int:
        """One pass; decisions go to ``lines``. Returns how many there were."""
        previous = uniform = np.full(len(self._labels), 1 / len(self._labels), np.float32)
        face: np.ndarray | None = None
        at = count = 0
        for tick_ns in range(self._cadence_ns, self._duration_ns + 1, self._cadence_ns):
            while at < len(self._frames) and self._frames[at][0] <= tick_ns:
                face = self.face(self._frames[at][1])
                at += 1
            found = {"face": face, "speech": self.speech(tick_ns), "physiology": self.physiology(tick_ns)}
            present = {name: vector for name, vector in found.items() if vector is not None}
            probabilities = None
            if present:
                vectors = {name: present.get(name, np.zeros(width, np.float32)) for name, width in self._widths.items()}
                mask = np.array([name in present for name in MODALITIES], np.float32)
                logits = self._stages["fusion"].run(**vectors, mask=mask, previous=previous)["logits"]
                previous = softmax(logits)
                probabilities = softmax(logits, self._temperature)
                said = {label: round(float(p), 4) for label, p in zip(self._labels, probabilities, strict=True)}
                lines.write(json.dumps({"t_ms": tick_ns // 1_000_000, "label": max(said, key=said.__getitem__), "probabilities": said}))
            else:
                previous = uniform
                lines.write(json.dumps({"t_ms": tick_ns // 1_000_000, "label": None}))
            lines.write("\n")
            if seen is not None:
                seen(count, present, probabilities)
            count += 1
        return count

    def face(self, frame: np.ndarray) -> np.ndarray | None:
        """Embedding (48,) of the largest face in a frame uint8 (h, w), None without one."""
        cv2, p = self._cv2, self._detector
        small = cv2.resize(frame, (p.width_px, p.height_px), interpolation=cv2.INTER_AREA).astype(np.float32)
        mean = float(small.mean())
        if mean < p.dim_below:
            small = np.minimum(small * min(p.dim_below / max(mean, 1.0), p.most_gain), 255.0)
        grids = self._stages["detector"].run(image=(small / 127.5 - 1.0)[..., None])
        boxes = suppress(decode(p, grids), overlap_at_most=p.overlap_at_most, most=p.most_faces)
        if not len(boxes):
            return None
        best = boxes[int(np.argmax(boxes[:, 2] - boxes[:, 0]))]
        scale = frame.shape[1] / p.width_px
        x0, y0, x1, y1 = (round(float(v) * scale) for v in best[:4])
        crop = frame[max(y0, 0) : min(y1, frame.shape[0]), max(x0, 0) : min(x1, frame.shape[1])]
        if crop.shape[0] < 24 or crop.shape[1] < 24:
            return None
        tile = cv2.resize(crop, (48, 48), interpolation=cv2.INTER_AREA).astype(np.float32)
        return self._stages["face"].run(face=(tile / 127.5 - 1.0)[..., None])["embedding"]

    def speech(self, tick_ns: int) -> np.ndarray | None:
        """Embedding (96,) of the last three seconds, None without a voice in the last one."""
        import librosa

        p = self._speech
        end = tick_ns * p.rate_hz // NS
        if float(np.sqrt(np.mean(self._audio[max(0, end - p.rate_hz) : end] ** 2))) < VOICE_RMS:
            return None
        samples = self._audio[max(0, end - (p.frames - 1) * p.hop_samples - p.fft_size) : end]
        power = librosa.feature.melspectrogram(
            y=samples, sr=p.rate_hz, n_fft=p.fft_size, win_length=p.taper_samples, hop_length=p.hop_samples, center=False,
            n_mels=p.mels, fmin=p.fmin_hz, fmax=p.fmax_hz,
        )  # fmt: skip
        log_mel = librosa.power_to_db(power, top_db=None).T
        reference = np.quantile(log_mel.max(axis=1), p.reference)
        window = np.zeros((p.frames, p.mels), np.float32)
        window[p.frames - len(log_mel) :] = np.clip((log_mel - (reference - p.range_db)) / p.range_db, 0.0, p.headroom)
        return self._stages["speech"].run(log_mel=window)["embedding"]

    def physiology(self, tick_ns: int) -> np.ndarray | None:
        """Embedding (32,) of the last minute, None without skin or in the first seconds."""
        ppg, eda = self._last(self._ppg, "ppg", tick_ns), self._last(self._eda, "eda", tick_ns)
        seconds = int(len(eda) / self._rates["eda"])
        if seconds < WARM_UP_S or eda[-1] < SKIN_US:
            return None
        steps = physiology_channels(ppg, eda, ppg_hz=self._rates["ppg"], eda_hz=self._rates["eda"], seconds=seconds)
        # Averages over a past no longer than the window tell nothing yet, here as on the device: their channels stay 0.
        window = np.zeros((PHYSIOLOGY_S, self._channels), np.float32)
        window[-len(steps) :, : steps.shape[1]] = steps
        return self._stages["physiology"].run(physiology=window)["embedding"]

    def _last(self, samples: np.ndarray, track: Track, tick_ns: int) -> np.ndarray:
        rate_hz = self._rates[track]
        end = int(tick_ns * rate_hz / NS)
        return samples[max(0, end - round(PHYSIOLOGY_S * rate_hz)) : end]


def _joined(decoded: Decoded, track: Track) -> np.ndarray:
    """Every sample of a track that has no gaps, float32 (n,)."""
    return np.concatenate([chunk.samples for chunk in decoded.by_track[track]])


@functools.cache
def _filters(ppg_hz: float, eda_hz: float) -> tuple[typing.Any, typing.Any, typing.Any]:
    import scipy.signal

    pulse = scipy.signal.butter(2, (0.6, 3.3), "bandpass", fs=ppg_hz, output="sos")
    return pulse, scipy.signal.butter(2, 0.5, fs=eda_hz, output="sos"), scipy.signal.butter(1, 0.02, fs=eda_hz, output="sos")


def physiology_channels(ppg: np.ndarray, eda: np.ndarray, *, ppg_hz: float, eda_hz: float, seconds: int) -> np.ndarray:
    """The seven channels of the physiology window, a step each second, from scratch: float32 (seconds, 7).

    Band-pass both ways, peaks, intervals, heart rate and RMSSD each second; skin conductance low-passed, tonic part by a slower
    filter; each relative to the mean so far, as the bundle was trained.
    """
    import scipy.signal

    pulse_sos, level_sos, tonic_sos = _filters(ppg_hz, eda_hz)
    wave = scipy.signal.sosfiltfilt(pulse_sos, ppg)
    peaks, _ = scipy.signal.find_peaks(wave, distance=round(0.4 * ppg_hz), prominence=0.4 * float(wave.std()))
    beats_s, at_s = peaks / ppg_hz, np.arange(1, seconds + 1, dtype=np.float64)
    steps = np.zeros((seconds, 7), np.float32)
    if len(beats_s) > 3:
        intervals_s = np.diff(beats_s)
        smooth = scipy.signal.medfilt(intervals_s, 5) if len(intervals_s) >= 5 else intervals_s
        rate_bpm = 60.0 / np.interp(at_s, beats_s[1:], np.maximum(smooth, 0.33))
        steps[:, 0] = _score(rate_bpm, 4.0)
        rmssd_ms = np.full(seconds, np.nan)
        for i, t_s in enumerate(at_s):
            near = intervals_s[(beats_s[1:] > t_s - 40.0) & (beats_s[1:] <= t_s)]
            if len(near) > 2:
                rmssd_ms[i] = 1000.0 * np.sqrt(np.mean(np.diff(near) ** 2))
        log_rmssd = np.log(np.maximum(np.nan_to_num(rmssd_ms, nan=float(np.nanmedian(rmssd_ms))), 1.0))
        steps[:, 1] = (log_rmssd - _mean_so_far(log_rmssd)) / 0.4
        steps[:, 5] = 1.0
    last = np.minimum((at_s * eda_hz).astype(int), len(eda)) - 1
    level_us = scipy.signal.sosfiltfilt(level_sos, eda)
    tonic_us = scipy.signal.sosfiltfilt(tonic_sos, level_us)
    level, phasic_us = np.log(np.maximum(level_us[last], 0.0) + 0.05), (level_us - tonic_us)[last]
    steps[:, 2] = _score(level, 0.15)
    steps[:, 3] = phasic_us / np.sqrt(_mean_so_far(phasic_us**2) + 0.005**2)
    activity = np.log(_mean_so_far(40.0 * np.abs(np.diff(level, prepend=level[0]))) + 0.05)
    steps[:, 4] = activity - _mean_so_far(activity)
    steps[:, 6] = 1.0
    steps[:, :5] = np.clip(steps[:, :5], -3.0, 3.0)
    return steps


def _mean_so_far(values: np.ndarray) -> np.ndarray:
    return np.cumsum(values) / np.arange(1, len(values) + 1)


def _score(values: np.ndarray, floor: float) -> np.ndarray:
    mean = _mean_so_far(values)
    variance = np.maximum(_mean_so_far(values**2) - mean**2, 0.0)
    return (values - mean) / np.sqrt(variance + floor**2)
