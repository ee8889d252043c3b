from __future__ import annotations

import copy
import os
import threading

import pytest

from benchmarks.fitness import Monitor, busy_s, during, reasons
from tests.benchmarks.made import BOARD, FITNESS


def changed(**changes):
    return {**copy.deepcopy(FITNESS), **changes}


def test_a_quiet_board_is_fit():
    assert reasons(FITNESS) == []


@pytest.mark.parametrize(("bits", "unfit"), [(0x0, False), (0x1, True), (0x4, True), (0x8, True), (0x50000, False), (0x50005, True)])
def test_throttled_now_is_unfit_and_since_boot_is_not(bits, unfit):
    said = reasons(changed(during={**FITNESS["during"], "throttled": bits}))
    assert bool(said) is unfit and (not said or "throttled" in said[0])


def test_each_disturbance_has_its_reason():
    after = {**FITNESS["after"], "frequency_mhz": 600.0}
    assert reasons(changed(after=after)) == ["the processor fell from 1500 to 600 MHz under load"]
    assert reasons(changed(others_share=0.4)) == ["other programs used 40 % of the machine"]
    assert "0.80 to 1.20 ms before" in reasons(changed(calibration_ms={"before": [0.8, 0.9, 1.2], "after": [0.9, 0.9, 0.9]}))[0]
    assert reasons(changed(calibration_ms={"before": [1.0, 1.0, 1.0], "after": [1.3, 1.3, 1.3]})) == [
        "the same work took 1.00 ms before and 1.30 ms after it"
    ]


def test_a_machine_that_says_nothing_is_not_held_to_be_unfit():
    silent = {"frequency_mhz": None, "temperature_c": None, "throttled": None}
    assert reasons(changed(before=silent, during={"looks": 0, **silent}, after=silent, others_share=None)) == []


def test_looks_are_gathered_to_limits_and_bits():
    looks = [
        {"frequency_mhz": f, "temperature_c": t, "throttled": b} for f, t, b in ((1500.0, 60.0, 0), (1400.0, 70.0, 4), (1500.0, None, 1))
    ]
    assert during(looks) == {"looks": 3, "frequency_mhz": [1400.0, 1500.0], "temperature_c": [60.0, 70.0], "throttled": 5}
    assert during([])["throttled"] is None


def test_busy_time_is_everything_but_idle_and_waiting(tmp_path):
    assert busy_s(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text("cpu  100 0 50 9000 800 0 0 50 0 0\ncpu0 1 2 3\n")
    assert busy_s(tmp_path) == 200 / os.sysconf("SC_CLK_TCK")


def test_a_monitor_looks_at_the_board_before_during_and_after(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text("cpu  100 0 50 9000 800 0 0 50 0 0\n")
    (tmp_path / "proc/loadavg").write_text("0.25 0.1 0.1 1/100 1\n")
    looks, enough = [], threading.Event()

    def facts():
        looks.append(1)
        if len(looks) == 4:
            enough.set()
        return dict(BOARD)

    with Monitor(tmp_path, facts=facts, work=lambda: [1.0, 1.0, 1.0], every_s=0.001) as monitor:
        assert enough.wait(10)
    said = monitor.record()
    assert said["before"]["model"].startswith("Raspberry Pi 4") and said["during"]["looks"] >= 2
    assert said["load_average"] == 0.25 and said["others_share"] == 0.0 and said["unfit"] == []
