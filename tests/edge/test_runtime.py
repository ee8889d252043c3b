from __future__ import annotations

import collections
import errno
import itertools
import logging
import time

import pytest
from tiny import Collect, Recording, ScaledClock, Spell, bundle, compose

from edge.clock import ManualClock
from edge.config import Settings, settings_from
from edge.errors import ConfigError, InputError, PurposeError, SensorError
from edge.outputs.jsonlines import JsonLines
from edge.runtime import Runtime
from edge.sensors.replay import Replay

SPELL = Spell("face", "lost", 2000, 3000, "looks away")


def lesson(duration_s: float = 5.0) -> Recording:
    """The face leaves from 2 s to 3 s; the pulse ends at 3.5 s."""
    return Recording(
        duration_s,
        planned=(SPELL,),
        video=lambda t: 0.0 if 2 <= t < 3 else 0.2,
        audio=lambda t: 1.0,
        ppg=lambda t: 0.4 if t < 3.5 else None,
    )


def fast(recording: Recording | None = None, **options) -> Runtime:
    return Runtime(bundle(), [Replay(recording or lesson(), ManualClock())], fast=True, compose=compose, **options)


class Live:
    """A sensor that senses people; on a wire of its own."""

    tracks, live, duration_ns, planned = ("video",), True, None, ()

    def open(self) -> None: ...
    def read(self):
        raise SensorError("camera: unplugged")

    def close(self) -> None: ...


def test_fast_decides_at_every_tick_to_the_end_and_never_stops_for_an_absence():
    decisions = list(fast())
    assert [d.t_ns for d in decisions] == [250_000_000 * k for k in range(1, 21)]
    reasons = {round(d.t_ns / 1e9, 2): {m: a.reason for m, a in d.absent.items()} for d in decisions}
    assert reasons[1.0] == {} and reasons[2.25] == {"face": "lost"} and reasons[3.25] == {}
    assert reasons[4.25] == {"physiology": "stale"} and reasons[5.0] == {"physiology": "lost"}
    assert decisions[-1].label == "calm"


def test_the_same_session_twice_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        fast().run([JsonLines(tmp_path / name)])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_text().count("\n") == 20


def test_the_summary_measures_planned_absences_and_pace():
    report = fast().run()
    (planned,) = report["planned_absences"]
    assert planned["onset_s"] <= 0.25 and 0 < planned["recovery_s"] <= 0.5
    assert (report["decisions"], report["session_s"], report["deadline_misses"]) == (20, 5.0, 0)
    assert report["realtime_factor"] > 20 and report["peak_rss_mib"] > 1
    assert report["start_to_first_decision_s"] >= 0


def test_with_everything_absent_the_decision_is_no_decision():
    decisions = list(fast(Recording(1.0, video=lambda t: 0.0, audio=lambda t: 0.0)))
    assert {d.state for d in decisions} == {"no decision"} and len(decisions) == 4


def test_latency_is_from_the_newest_sample_to_the_decision():
    sink = Collect()
    fast().run([sink])
    for decision, timing in sink.given:
        assert timing.latency_ns == decision.t_ns - decision.newest_ns < 150_000_000


def test_a_duration_ends_it_early_and_what_is_left_out_is_not_read():
    assert [d.t_ns for d in fast(duration_s=1.1)][-1] == 1_000_000_000
    assert len(list(fast(duration_s=60))) == 20


def test_stop_ends_it_with_a_summary_and_sinks_closed():
    class Stopping(Collect):
        def give(self, made, taken):
            super().give(made, taken)
            if len(self.given) == 3:
                runtime.stop()

    runtime, sink = fast(), Stopping()
    report = runtime.run([sink])
    assert report["decisions"] == 3 and report["stopped_early"] and sink.closed == 1


def test_several_sources_are_merged_in_time():
    video = Recording(2.0, video=lambda t: 0.2)
    audio = Recording(3.0, audio=lambda t: 1.0)
    runtime = Runtime(bundle(), [Replay(video, ManualClock()), Replay(audio, ManualClock())], fast=True, compose=compose)
    decisions = list(runtime)
    assert len(decisions) == 12 and decisions[3].absent.keys() == {"physiology"} and "face" in decisions[-1].absent


def test_a_source_that_fails_is_a_lost_modality_not_the_end():
    class Failing(Replay):
        def read(self):
            chunk = super().read()
            if chunk is not None and chunk.end_ns > 1_000_000_000:
                raise SensorError("card: read error")
            return chunk

    audio = Replay(Recording(3.0, audio=lambda t: 1.0), ManualClock())
    failing = Failing(Recording(3.0, video=lambda t: 1.0), ManualClock())
    runtime = Runtime(bundle(), [failing, audio], fast=True, compose=compose)
    decisions = list(runtime)
    assert len(decisions) == 12
    assert decisions[2].weights.keys() == {"face", "speech"}
    assert decisions[-1].absent["face"].detail == "card: read error"


def test_live_sources_need_a_purpose_and_their_own_pace():
    with pytest.raises(PurposeError, match=r"kit\.toml"):
        Runtime(bundle(), [Live()], compose=compose)
    declared = {"jurisdiction": "US", "purpose": "research", "setting": "laboratory", "responsible": "A", "consent_reference": "B"}
    with pytest.raises(ConfigError, match="--fast"):
        Runtime(bundle(), [Live()], compose=compose, fast=True, settings=settings_from({"purpose": declared}, where="kit.toml"))


def test_no_source_and_a_budget_over_the_cadence_are_refused():
    with pytest.raises(ConfigError, match="no source"):
        Runtime(bundle(), [], compose=compose)
    with pytest.raises(ConfigError, match="budget"):
        fast(settings=settings_from({"budget": {"cadence_ms": 100}}, where="kit.toml"))


def test_a_tighter_cadence_in_the_settings_wins():
    settings = settings_from({"budget": {"cadence_ms": 100, "budget_ms": 80}}, where="kit.toml")
    assert len(list(fast(settings=settings))) == 50


def test_a_sink_whose_disk_is_full_is_closed_and_the_others_go_on(caplog):
    class Full(Collect):
        def give(self, made, taken):
            raise OSError(errno.ENOSPC, "No space left on device")

    full, other = Full(), Collect()
    with caplog.at_level(logging.WARNING, "affectkit"):
        report = fast().run([full, other])
    assert (len(other.given), full.closed, other.closed, report["failed_sinks"]) == (20, 1, 1, ["Full"])
    assert [r.getMessage() for r in caplog.records] == ["Full: No space left on device; nothing more goes there, the run goes on"]


def test_a_reader_that_has_gone_ends_the_run_quietly():
    class Gone(Collect):
        def give(self, made, taken):
            raise BrokenPipeError

    other = Collect()
    assert fast().run([Gone(), other])["stopped_early"] and len(other.given) == 1


def test_a_sink_that_cannot_open_ends_the_run_before_it_begins(tmp_path):
    (tmp_path / "a").write_text("precious")
    first = Collect()
    with pytest.raises(InputError):
        fast().run([first, JsonLines(tmp_path / "a")])
    assert first.closed == 1 and first.given == []


def paced(recording: Recording, **options) -> Runtime:
    clock = ScaledClock()
    return Runtime(bundle(), [Replay(recording, clock)], clock=clock, compose=compose, **options)


def test_at_real_pace_it_decides_on_the_beat_and_ends_with_the_session():
    sink = Collect()
    paced(lesson()).run([sink])
    ticks = [round((d.t_ns - sink.opening.start_ns) / 250e6) for d, _ in sink.given]
    assert ticks == sorted(set(ticks)) and ticks[-1] == 20
    assert [b - a - 1 for a, b in itertools.pairwise(ticks)] == [t.skipped for _, t in sink.given[1:]]
    assert collections.Counter(d.label for d, _ in sink.given).most_common(1)[0][0] == "calm"
    assert all(t.latency_ns is None or t.latency_ns > 0 for _, t in sink.given)


def test_at_real_pace_a_consumer_too_slow_skips_ticks_and_says_how_many():
    clock = ScaledClock()
    runtime = Runtime(bundle(), [Replay(lesson(), clock)], clock=clock, compose=compose)
    given = []
    for _, taken in runtime.timed():
        given.append(taken)
        until_ns = clock.now_ns() + 600_000_000
        while clock.now_ns() < until_ns:
            pass
    assert sum(taken.skipped for taken in given) >= 8
    assert len(given) + sum(taken.skipped for taken in given) >= 19


def test_at_real_pace_a_slow_sink_holds_up_nobody():
    class Slow(Collect):
        def give(self, made, taken):
            super().give(made, taken)
            until_ns = time.monotonic_ns() + 15_000_000  # more than two beats
            while time.monotonic_ns() < until_ns:
                pass

    slow, quick = Slow(), Collect()
    report = paced(lesson()).run([slow, quick])
    assert len(quick.given) == len(slow.given) == report["decisions"] and not report["dropped_outputs"]


def test_at_real_pace_a_lost_live_source_does_not_end_the_run():
    declared = {"jurisdiction": "US", "purpose": "research", "setting": "laboratory", "responsible": "A", "consent_reference": "B"}
    runtime = Runtime(
        bundle(),
        [Live()],
        clock=ScaledClock(),
        compose=compose,
        duration_s=1.0,
        settings=settings_from({"purpose": declared}, where="kit.toml"),
    )
    sink = Collect()
    report = runtime.run([sink])
    assert {d.state for d, _ in sink.given} == {"no decision"}
    assert sink.given[-1][0].absent["face"].detail == "camera: unplugged"
    assert report["lost_sources"] == {"video": "camera: unplugged"}


def test_settings_default_to_those_of_the_bundle():
    sink = Collect()
    fast(settings=Settings()).run([sink])
    assert (sink.opening.cadence_ms, sink.opening.budget_ms, sink.opening.labels[0]) == (250, 200, "positive")
