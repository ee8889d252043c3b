from __future__ import annotations

import itertools
import math
import typing

import numpy as np
import pytest

from edge.preprocess.beats import PulseParameters, PulseSecond
from edge.preprocess.physiology import PhysiologyFront, PhysiologyParameters
from edge.preprocess.pulse_sources import LAG_S, PulseSources
from edge.types import Absence, Chunk, Track, Window

MS = 1_000_000
SECOND_NS = 1000 * MS
Spells = typing.Sequence[tuple[float, float]]
NO_PULSE = Absence("physiology", "lost", "no pulse samples")


def wave_chunks(track: Track, rate_hz: float, heart_rate_bpm: float, spells_s: Spells, *, dead: Spells = ()) -> list[tuple[float, Chunk]]:
    """(arrival in seconds, chunk of 250 ms) of a pulse wave that delivers in ``spells_s`` and is flat in ``dead``."""
    late_s = 1.7 if track == "rppg" else 0.0
    chunks = []
    for from_s, to_s in spells_s:
        for first_s in np.arange(from_s, to_s, 0.25):
            t_s = np.arange(math.ceil(first_s * rate_hz), math.ceil((first_s + 0.25) * rate_hz)) / rate_hz
            samples = np.sin(2 * np.pi * heart_rate_bpm / 60 * t_s)
            if any(a <= first_s < b for a, b in dead):
                samples[:] = 0.0
            chunks.append((first_s + 0.25 + late_s, Chunk(track, round(t_s[0] * 1e9), rate_hz, samples.astype(np.float32))))
    return chunks


def interval_chunks(heart_rate_bpm: float, spells_s: Spells) -> list[tuple[float, Chunk]]:
    length_s = 60.0 / heart_rate_bpm
    chunks = []
    for from_s, to_s in spells_s:
        for end_s in np.arange(from_s + length_s, to_s, length_s):
            chunk = Chunk("ibi", round(end_s * 1e9), 1.0, np.array([length_s], np.float32))
            chunks.append((math.ceil(end_s) + 0.1, chunk))  # a strap speaks once a second
    return chunks


def skin_chunks(seconds: int) -> list[tuple[float, Chunk]]:
    rng = np.random.default_rng(1)
    eda = np.exp(np.cumsum(rng.normal(0.0, 0.01, seconds * 4))).astype(np.float32)
    return [((i + 1) / 4, Chunk("eda", i * 250 * MS, 4.0, eda[i : i + 1])) for i in range(len(eda))]


def play(front: PhysiologyFront, chunks: list[tuple[float, Chunk]], seconds: int) -> list[tuple[float, Window | Absence, Track | None]]:
    """Polls every 250 ms: (seconds, what the front said, where its pulse is from)."""
    waiting = sorted(chunks, key=lambda pair: pair[0])
    said = []
    for at_s in np.arange(0.25, seconds + 0.01, 0.25):
        while waiting and waiting[0][0] <= at_s:
            front.push(waiting.pop(0)[1])
        news = front.poll(round(at_s * 1e9))
        if news is not None:
            said.append((float(at_s), news, front.pulse_source))
    return said


def changes(said: list[tuple[float, Window | Absence, Track | None]]) -> list[tuple[Track | None, float]]:
    """Each source, and when it was first seen."""
    return [(source, next(group)[0]) for source, group in itertools.groupby(said, key=lambda item: item[2])]


@pytest.mark.parametrize("track", ["ibi", "rppg"])
def test_any_pulse_source_does_beside_skin(track: Track):
    pulse = interval_chunks(75.0, [(0.0, 60.0)]) if track == "ibi" else wave_chunks("rppg", 30.0, 75.0, [(0.0, 60.0)])
    said = play(PhysiologyFront(), [*pulse, *skin_chunks(60)], 60)
    windows = [(at_s, news) for at_s, news, _ in said if isinstance(news, Window)]
    assert [window.end_ns for _, window in windows][-30:] == [t_s * SECOND_NS for t_s in range(30, 60)]
    assert max(at_s - window.end_ns / 1e9 for at_s, window in windows) <= 0.75  # no later than with ppg: never stale
    assert windows[-1][1].samples[-20:, 5].all()
    assert said[-1][2] == track


def test_the_best_source_is_taken_left_when_silent_and_taken_again_when_it_was_good_for_long():
    parts = [
        *wave_chunks("ppg", 64.0, 60.0, [(0.0, 40.0), (70.0, 120.0)]),
        *interval_chunks(61.0, [(0.0, 55.0)]),
        *wave_chunks("rppg", 30.0, 62.0, [(0.0, 120.0)]),
        *skin_chunks(120),
    ]
    said = play(PhysiologyFront(), parts, 120)
    sources = changes(said)
    assert [source for source, _ in sources if source] == ["ppg", "ibi", "rppg", "ppg"]
    at_s = dict(sources[-3:])
    assert 44.0 <= at_s["ibi"] <= 47.0  # 5 s after the last sample
    assert 60.0 <= at_s["rppg"] <= 64.0
    assert 84.0 <= at_s["ppg"] <= 93.0  # 10 s after it was good again
    assert NO_PULSE not in [news for _, news, _ in said]
    assert all(isinstance(news, Window) for at_s, news, _ in said if at_s > 20.0)


def test_a_source_that_delivers_without_a_pulse_is_left_for_one_that_has_it():
    parts = [
        *wave_chunks("ppg", 64.0, 60.0, [(0.0, 80.0)], dead=[(40.0, 80.0)]),
        *interval_chunks(61.0, [(0.0, 80.0)]),
        *skin_chunks(80),
    ]
    sources = changes(play(PhysiologyFront(), parts, 80))
    assert [source for source, _ in sources if source] == ["ppg", "ibi"]
    assert 45.0 <= sources[-1][1] <= 52.0  # quality falls below a half 5 s after the wave went flat


def test_a_bad_source_is_kept_while_there_is_no_better_one():
    parts = [*wave_chunks("ppg", 64.0, 60.0, [(0.0, 60.0)], dead=[(20.0, 60.0)]), *skin_chunks(60)]
    assert [source for source, _ in changes(play(PhysiologyFront(), parts, 60)) if source] == ["ppg"]


def test_no_pulse_is_said_only_when_no_source_delivers():
    parts = [*wave_chunks("ppg", 64.0, 60.0, [(0.0, 30.0)]), *interval_chunks(60.0, [(0.0, 45.0)]), *skin_chunks(60)]
    said = play(PhysiologyFront(), parts, 60)
    gone = [at_s for at_s, news, _ in said if news == NO_PULSE]
    assert len(gone) <= 2
    assert 46.0 < gone[-1] < 50.0


def test_no_heart_rate_is_a_mixture_of_two_sources():
    sources = PulseSources(PulseParameters(), good_pulse=0.5, late_s=0.45, leave_after_s=5, return_after_s=10)
    slow_bpm, fast_bpm = 55.0, 100.0
    chunks = [
        *wave_chunks("ppg", 64.0, slow_bpm, [(0.0, 30.0), (50.0, 90.0)]),
        *interval_chunks(fast_bpm, [(0.0, 90.0)]),
    ]
    taken: list[tuple[Track | None, PulseSecond]] = []
    waiting = sorted(chunks, key=lambda pair: pair[0])
    for t_s in range(1, 90):
        while waiting and waiting[0][0] <= t_s + 0.3:
            sources.push(waiting.pop(0)[1])
        second = sources.take(t_s)
        if second is not None and not math.isnan(second.heart_rate_bpm):
            taken.append((sources.source, second))
    assert {source for source, _ in taken} == {"ppg", "ibi"}
    for source, second in taken:
        assert second.heart_rate_bpm == pytest.approx(slow_bpm if source == "ppg" else fast_bpm, abs=1.0)


def test_a_face_has_a_heart_rate_and_no_variability():
    sources = PulseSources(PulseParameters(), good_pulse=0.5, late_s=0.45, leave_after_s=5, return_after_s=10)
    for _, chunk in wave_chunks("rppg", 30.0, 70.0, [(0.0, 40.0)]):
        sources.push(chunk)
    seconds = [sources.take(t_s) for t_s in range(40)]
    said = [second for second in seconds if second is not None]
    assert said[0].t_s == seconds.index(said[0]) - LAG_S["rppg"]
    assert said[-1].heart_rate_bpm == pytest.approx(70.0, abs=0.5)
    assert all(math.isnan(second.rmssd_ms) for second in said)


def test_parameters_of_older_bundles_load():
    stored = {"pulse": {"band_hz": [0.6, 3.3]}, "skin": {"cutoff_hz": 0.5}, "window_s": 60}
    assert PhysiologyParameters(**stored) == PhysiologyParameters()  # type: ignore[arg-type]
