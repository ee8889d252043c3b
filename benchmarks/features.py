"""``python -m benchmarks.features -o benchmarks/results``: what drivers and fronts cost, in CPU milliseconds for a second of session.

Drivers read simulated chips, whose own cost is measured apart and left out. Fronts get the embedded session, chunk by chunk, with a
poll after each, as in a run. Log-mel is compared with librosa on the same frames. Where the time goes, cProfile says.
"""

from __future__ import annotations

import argparse
import collections.abc
import cProfile
import dataclasses
import json
import math
import pathlib
import pstats
import sys
import time
import typing

import numpy as np

from benchmarks.pulse_rig import pulse_sensor
from edge.clock import ManualClock
from edge.embedded import BUNDLE, SESSION
from edge.errors import EdgeError, InputError
from edge.preprocess.physiology import PhysiologyFront
from edge.preprocess.rppg import FacePulse, skin_colour
from edge.preprocess.speech import SpeechFront, SpeechParameters, StreamingLogMel
from edge.preprocess.window import Front
from edge.sensors import Sensor
from edge.sensors.simulated.bus import SimulatedBus
from edge.session import open_session
from edge.types import Chunk

DRIVER_S = 30
"""Seconds of session for each driver."""
TARGET_TIMES = 5.0
"""librosa's cost of a hop over ours."""
TOP = 10


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one part takes."""

    name: str
    session_s: float
    cpu_ms_per_s: float
    profile: list[str]
    """The functions with most time of their own: share, calls a second, name."""


def measured(name: str, session_s: float, make: collections.abc.Callable[[], collections.abc.Callable[[], None]], repeats: int = 3) -> Cost:
    """The least of ``repeats`` runs, each of a fresh part that ``make`` makes, and a profile of one more."""
    times_s = []
    for _ in range(repeats):
        run = make()
        began_s = time.process_time()
        run()
        times_s.append(time.process_time() - began_s)
    run, profiler = make(), cProfile.Profile()
    profiler.runcall(run)
    return Cost(name, session_s, 1e3 * min(times_s) / session_s, top(profiler, session_s))


def top(profiler: cProfile.Profile, session_s: float) -> list[str]:
    """The ten functions with most time of their own; those of simulated chips and of this benchmark do not count."""
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    rows = [(row[2], row[1], place) for place, row in stats.items() if "simulated/" not in place[0] and "benchmarks/" not in place[0]]
    total_s = sum(own_s for own_s, _, _ in rows) or 1.0
    lines = []
    for own_s, calls, (file, line, function) in sorted(rows, reverse=True)[:TOP]:
        where = function if file == "~" else f"{'/'.join(pathlib.PurePath(file).parts[-2:])}:{line} {function}"
        lines.append(f"{own_s / total_s:.0%} {calls / session_s:.0f}/s {where}")
    return lines


def profiled_bus_s(profiler: cProfile.Profile) -> float:
    """Time below the simulated bus: what the chip, not the driver, takes."""
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    names = {name for name in dir(SimulatedBus) if name.startswith(("read_", "write_"))}
    return sum(row[3] for (file, _, name), row in stats.items() if file.endswith("simulated/bus.py") and name in names)


def driver(name: str, make: collections.abc.Callable[[ManualClock], Sensor]) -> Cost:
    """A driver on a simulated chip for ``DRIVER_S``, less the share of the time that the profile finds below the bus."""

    def run() -> None:
        clock = ManualClock(1_000_000_000_000)
        sensor = make(clock)
        sensor.open()
        end_ns = clock.now_ns() + DRIVER_S * 1_000_000_000
        while clock.now_ns() < end_ns:
            if sensor.read() is None:
                break
        sensor.close()

    began_s = time.process_time()
    run()
    whole_s = time.process_time() - began_s
    profiler = cProfile.Profile()
    profiler.runcall(run)
    total_s = sum(row[2] for row in pstats.Stats(profiler).stats.values())  # type: ignore[attr-defined]
    share = 1.0 - min(1.0, profiled_bus_s(profiler) / total_s)
    return Cost(name, DRIVER_S, 1e3 * whole_s * share / DRIVER_S, top(profiler, DRIVER_S))


def drivers() -> list[Cost]:
    """MAX30102 at 100 Hz, ADS1115 behind a divider."""
    from edge.sensors.ads1115 import Ads1115Settings, SkinConductanceSensor
    from edge.sensors.simulated.ads1115 import SimulatedAds1115, divider

    wave = np.sin(2 * np.pi * 1.2 * np.arange(64 * (DRIVER_S + 2)) / 64)

    def skin(clock: ManualClock) -> Sensor:
        bus = SimulatedBus(clock, {0x48: SimulatedAds1115(clock, lambda t_s: 2.0 + 0.1 * np.sin(t_s), divider())})
        return SkinConductanceSensor(1, clock, Ads1115Settings(front_end="divider"), smbus=bus, live=False)

    return [driver("driver MAX30102", lambda clock: pulse_sensor(wave, 64.0, clock)), driver("driver ADS1115", skin)]


def played(front: Front, chunks: list[Chunk]) -> None:
    """Push every chunk, and poll after each."""
    for chunk in chunks:
        front.push(chunk)
        front.poll(chunk.end_ns)


def fronts() -> list[Cost]:
    """The three fronts, and the pulse from a face, on the embedded session."""
    from edge.bundle import load_bundle

    session = open_session(SESSION)
    session_s = session.duration_ns / 1e9
    parameters = load_bundle(BUNDLE).manifest.preprocess
    audio, video = list(session.chunks("audio")), list(session.chunks("video"))
    body = sorted([*session.chunks("ppg"), *session.chunks("eda")], key=lambda chunk: chunk.end_ns)
    return [
        measured("front speech", session_s, lambda: lambda: played(SpeechFront(SpeechParameters(**parameters["speech"])), audio)),
        measured("front physiology", session_s, lambda: lambda: played(PhysiologyFront(), body)),
        measured("front face, without the detector", session_s, lambda: _face(video, parameters["face"])),
        measured("pulse from a face at 30 Hz", 30.0, _face_pulse),
    ]


def _face(video: list[Chunk], parameters: collections.abc.Mapping[str, typing.Any]) -> collections.abc.Callable[[], None]:
    """The face front with a detector that costs nothing: its boxes were found before."""
    from edge.preprocess.face import FaceFront, FaceParameters

    height, width = video[0].samples.shape[1:]
    side = 0.5 * min(height, width)
    box = np.array([[(width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2, 0.9]], np.float32)
    front = FaceFront(FaceParameters(**parameters), lambda frame: box)
    return lambda: played(front, video)


def _face_pulse() -> collections.abc.Callable[[], None]:
    """A noisy face of 100 px in 320 x 240, 30 frames a second."""
    rng = np.random.default_rng(0)
    luma = rng.integers(110, 150, (8, 240, 320), dtype=np.uint8)
    chroma = rng.integers(120, 136, (8, 2, 120, 160), dtype=np.uint8)
    box = np.array([110.0, 70.0, 210.0, 170.0], np.float32)

    def run() -> None:
        pulse = FacePulse()
        for i in range(900):
            colour = skin_colour(luma[i % 8], chroma[i % 8], box)
            if colour is not None:
                pulse.push(i * 33_333_333, colour)

    return run


@dataclasses.dataclass(frozen=True)
class LogMelCost:
    """Microseconds a hop, on the same samples."""

    ours_us: float
    """Streaming, chunks of 100 ms."""
    librosa_us: float
    """``librosa.feature.melspectrogram`` and its decibels, chunk by chunk on the samples that complete the same frames."""
    librosa_whole_us: float
    """The same over the whole recording at once: nothing streams like that."""
    largest_difference_db: float
    hops: int

    @property
    def times(self) -> float:
        return self.librosa_us / self.ours_us


def log_mel(seconds: float = 30.0) -> LogMelCost:
    """Ours against librosa's, both in 100 ms chunks, each the least of three runs."""
    try:
        import librosa
    except ImportError:
        raise InputError("features: the package librosa is missing; install it: pip install librosa") from None
    p = SpeechParameters()
    chunks = [chunk.samples for chunk in open_session(SESSION).chunks("audio")]
    chunks = chunks[: round(seconds * p.rate_hz / len(chunks[0]))]
    taper = np.hanning(p.taper_samples + 1)[:-1]
    # Ours is in mean squares by Parseval and per kilohertz.
    scale = 1000.0 * 2.0 / (p.fft_size * np.sum(taper**2))

    def librosa_frames(samples: np.ndarray, count: int) -> np.ndarray:
        # librosa centres a short window in the FFT frame; ours lies at its left: so much silence goes before the samples.
        left = (p.fft_size - p.taper_samples) // 2
        padded = np.pad(samples, (left, p.fft_size - p.taper_samples - left))
        power = librosa.feature.melspectrogram(
            y=padded, sr=p.rate_hz, n_fft=p.fft_size, hop_length=p.hop_samples, win_length=p.taper_samples, window=taper, center=False,
            n_mels=p.mels, fmin=p.fmin_hz, fmax=p.fmax_hz,
        )  # fmt: skip
        return librosa.power_to_db(power * scale, ref=1.0, amin=10.0 ** (p.log_floor_db / 10.0), top_db=None).T[:count]

    def ours() -> np.ndarray:
        mel = StreamingLogMel(p)
        return np.concatenate([mel.push(chunk)[0] for chunk in chunks])

    def theirs() -> np.ndarray:
        held, rows = np.zeros(0, np.float32), []
        for chunk in chunks:
            held = np.concatenate([held, chunk])
            count = max(0, (len(held) - p.taper_samples) // p.hop_samples + 1)
            if count:
                rows.append(librosa_frames(held[: (count - 1) * p.hop_samples + p.taper_samples], count))
                held = held[count * p.hop_samples :]
        return np.concatenate(rows)

    whole = np.concatenate(chunks)
    made, expected = ours(), theirs()
    hops = len(made)
    ours_us, theirs_us, whole_us = (_least_us(run, hops) for run in (ours, theirs, lambda: librosa_frames(whole, hops)))
    largest_db = float(np.abs(made - expected).max()) if made.shape == expected.shape else math.inf
    return LogMelCost(ours_us, theirs_us, whole_us, largest_db, hops)


def _least_us(run: collections.abc.Callable[[], typing.Any], hops: int) -> float:
    times_s = []
    for _ in range(3):
        began_s = time.process_time()
        run()
        times_s.append(time.process_time() - began_s)
    return 1e6 * min(times_s) / hops


def as_markdown(costs: list[Cost], mel: LogMelCost) -> str:
    """The tables."""
    from benchmarks.conversions import _processor

    chunked, whole = ("met" if times >= TARGET_TIMES else "not met" for times in (mel.times, mel.librosa_whole_us / mel.ours_us))
    lines = [
        "# Features",
        "",
        f"On {_processor()}; other computers differ, a Raspberry Pi is not measured. CPU milliseconds for a second of session, least of",
        "three; of drivers one run, without the share that a profile finds in their simulated chip.",
        "",
        "| | CPU ms a second |",
        "|---|---|",
        *(f"| {cost.name} | {cost.cpu_ms_per_s:.2f} |" for cost in costs),
        "",
        f"Log-mel, microseconds of CPU a hop, {mel.hops} hops, the same frames within {mel.largest_difference_db:.4f} dB; target: librosa "
        f"takes {TARGET_TIMES:g} times as much.",
        "",
        "| | ours, in chunks of 100 ms | librosa | times | target |",
        "|---|---|---|---|---|",
        f"| librosa in the same chunks | {mel.ours_us:.1f} | {mel.librosa_us:.1f} | {mel.times:.1f} | **{chunked}** |",
        f"| librosa over the whole recording at once, which no stream can do | {mel.ours_us:.1f} | {mel.librosa_whole_us:.1f} | "
        f"{mel.librosa_whole_us / mel.ours_us:.1f} | **{whole}** |",
        "",
        "Where the time goes (share, calls a second); functions of numpy and Python are also counted where a simulated chip calls them:",
        "",
    ]
    for cost in costs:
        lines += [f"- {cost.name}", *(f"    - {line}" for line in cost.profile)]
    return "\n".join(lines) + "\n"


def main(arguments: collections.abc.Sequence[str] | None = None) -> int:
    """Measure, print and write the tables; 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__)
    parser.add_argument("-o", "--output", type=pathlib.Path, help="folder for features.json and features.md")
    args = parser.parse_args(arguments)
    mel = log_mel()
    costs = [*drivers(), *fronts()]
    text = as_markdown(costs, mel)
    if args.output is not None:
        args.output.mkdir(parents=True, exist_ok=True)
        plain = {"costs": [dataclasses.asdict(cost) for cost in costs], "log_mel": dataclasses.asdict(mel) | {"times": mel.times}}
        (args.output / "features.json").write_text(json.dumps(plain, indent=1) + "\n")
        (args.output / "features.md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EdgeError as error:
        print(f"features: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
