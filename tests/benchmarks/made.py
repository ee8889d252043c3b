"""A result as ``affectkit bench`` makes one, of made-up numbers."""

from __future__ import annotations

import copy
import typing

from benchmarks.harness import distribution, metric

BOARD = {
    "model": "Raspberry Pi 4 Model B Rev 1.4", "machine": "aarch64", "cpu": "Cortex-A72", "cores": 4, "governor": "ondemand",
    "frequency_mhz": 1500.0, "temperature_c": 51.0, "throttled": 0, "os": "Debian", "python": "3.11.2", "packages": {"numpy": "2.0"},
}  # fmt: skip
FITNESS = {
    "before": BOARD,
    "during": {"looks": 3, "frequency_mhz": [1500.0, 1500.0], "temperature_c": [51.0, 60.0], "throttled": 0},
    "after": {"frequency_mhz": 1500.0, "temperature_c": 60.0, "throttled": 0},
    "others_share": 0.01, "load_average": 0.5, "wall_s": 60.0,
    "calibration_ms": {"before": [0.80, 0.81, 0.82], "after": [0.80, 0.81, 0.82]}, "unfit": [],
}  # fmt: skip


def result(p50_ms: float = 6.0, misses: int = 0, **changes: typing.Any) -> dict[str, typing.Any]:
    """A fit result of a Raspberry Pi 4 with the scenarios cycle, overload and accuracy."""
    responses = [p50_ms * (1 + 0.002 * (i % 7)) for i in range(240)]
    repeats = [p50_ms * (1 + 0.004 * i) for i in range(6)]
    cycle = {
        "prose": "The whole pipeline.\n\nIn many words.", "fitness": FITNESS,
        "latency_ms": distribution(ms + 120 for ms in responses), "response_ms": distribution(responses),
        "compute_ms": distribution(responses), "due": 240, "misses": misses, "late_ticks": misses, "skipped_ticks": 0,
        "cadence_ms": 250, "budget_ms": 200, "session_s": 60.0,
        "cpu": {"s_per_s": 0.2, "models_s_per_s": {"face": 0.05, "fusion": 0.01}},
        "memory": {"peak_mib": 60.0, "steady_mib": 59.0, "series": [[1.0, 58.0], [2.0, 59.0], [3.0, 59.0]]},
        "start": {"process_to_first_decision_s": [1.2, 1.3]}, "dropped_chunks": {"video": 0}, "late_encodings": {"face": 0},
        "timeline": [{"kind": "worst", "t_s": 4.0, "response_ms": 9.0, "out_ms": 9.0, "captured_ms": {"face": -120.0},
                      "stages": [["face", -119.0, -117.0], ["fusion", 1.0, 2.0]]}],
        "metrics": {
            "misses": metric(misses, "of 240", counted=True),
            "response p50": metric(p50_ms, "ms", repeats),
            "CPU": metric(0.2, "s/s", [0.2, 0.201, 0.199]),
        },
    }  # fmt: skip
    phase = {"decisions": 120, "late": 0, "skipped": 0, "present": {"face": 1.0, "speech": 0.5, "physiology": 0.0}}
    overload = {
        "prose": "What degrades.\n\nAnd how.", "fitness": FITNESS, "scale": 20.0, "longest_ms": 120.0, "metrics": {},
        "runs": [{
            "factor": 3.0, "budget_ms": 200, "slow_s": 15.0, "session_s": 40.0, "cadence_kept": 1.0, "begins_at_rung": 0,
            "served": {"count": 159, "share": 0.994}, "phases": {"slow": phase, "after": phase},
            "recovery": {"restored_after_s": [11.0], "steps_not_yet_back": 0},
            "events": [{"t_s": 2.0, "event": "degraded", "detail": "faces <looked for> less"},
                       {"t_s": 26.0, "event": "restored", "detail": "no longer"}],
            "response_series_ms": [[0.25, 90.0], [0.5, 250.0], [30.0, 80.0]],
        }],
    }  # fmt: skip
    accuracy = {
        "prose": "Answers.\n\nThe same.", "fitness": FITNESS, "exact": True, "ticks": 4, "sha256": "d" * 64, "session": "e" * 64,
        "bundle": "a" * 64, "decisions": [["decided calm", 4]], "equal_share": 1.0, "quality": "affectkit evaluate", "metrics": {},
        "golden": {"runtime": "litert 2", "stages": {"face": {"samples": 8, "largest_difference": 0.0, "exact": True}}},
    }  # fmt: skip
    made = {
        "schema": 1, "affectkit": "0.1.0", "made": "2025-01-01", "interpreter": "litert 2", "unfit": [], "board": BOARD,
        "bundle": {"name": "tiny", "version": "1", "sha256": "a" * 64, "bytes": 1000, "cadence_ms": 250, "budget_ms": 200},
        "session": {"title": "made up", "duration_s": 60.0}, "order": {"cycle_s": 60.0},
        "nothing": {"response_ms": distribution([0.1, 0.2]), "cpu": {"s_per_s": 0.01}, "due": 40, "misses": 0, "peak_rss_mib": 30.0,
                    "fitness": FITNESS},
        "scenarios": {"cycle": cycle, "overload": overload, "accuracy": accuracy},
    }  # fmt: skip
    return copy.deepcopy({**made, **changes})
