"""Tests that say nothing about aarch64 when its processor is emulated, each with the reason; all others must pass."""

from __future__ import annotations

_LIVE = "six times real pace and more from live sources: an emulated processor makes a fifth of real pace, and nothing is recorded in time"
_PROBE = "tests/firmware_configs/update/test_probe.py::"
_RECORDER = "tests/edge/sensors/test_recorder.py::"

LEFT_OUT: dict[str, str] = {
    f"{_RECORDER}test_the_replay_of_a_recording_decides_the_same_to_the_byte": _LIVE,
    f"{_RECORDER}test_so_it_does_when_a_source_was_lost_and_came_back": _LIVE,
    f"{_RECORDER}test_so_it_does_when_a_source_never_came": _LIVE,
    f"{_RECORDER}test_so_it_does_when_there_was_no_time": _LIVE,
    f"{_RECORDER}test_a_recording_keeps_every_sample_as_it_was": _LIVE,
    f"{_RECORDER}test_a_damaged_journal_is_one_line": _LIVE,
    f"{_PROBE}test_a_good_bundle_is_measured_and_decides": "an emulated processor is too slow for all stages, as told",
    f"{_PROBE}test_it_asks_as_the_kits_user_with_limits": "QEMU keeps limits of memory to itself",
}
"""A test's id, or the begin of several -> why."""
