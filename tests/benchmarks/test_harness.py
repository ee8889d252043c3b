from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.harness import ChildError, Order, blocks, distribution, in_child, metric, percentile, vitals
from edge import embedded

ORDER = Order(str(embedded.BUNDLE), str(embedded.SESSION))


def test_percentiles_are_values_that_were_measured():
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, p) for p in (0, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([7.0], 99.9) == 7.0


def test_a_distribution_counts_every_value_in_its_bucket():
    said = distribution([1.0, 1.05, 2.0, 100.0, 0.0])
    assert said["count"] == 5 and sum(count for _, count in said["buckets"]) == 5
    assert [edge for edge, _ in said["buckets"]] == sorted(edge for edge, _ in said["buckets"])
    assert dict(map(tuple, said["buckets"]))[1.0] == 2 and said["percentiles"]["100"] == 100.0
    assert distribution([])["count"] == 0 and distribution([])["percentiles"] == {}


def test_blocks_are_whole_and_never_too_small():
    parts = blocks(range(100), 6)
    assert [one for part in parts for one in part] == list(range(100)) and len(parts) == 5
    assert len(blocks(range(10), 6)) == 1 and blocks([], 6) == []


def test_a_metric_that_could_not_be_measured_stays_none():
    assert metric(None, "ms")["value"] is None and metric(3, "of 4", counted=True)["counted"]


def test_the_vitals_of_a_process_come_from_the_kernel():
    before = vitals(os.getpid(), 1.0)
    assert before is not None and before.rss_mib > 5 and before.threads >= 1
    pair = os.pipe()
    after = vitals("self", 2.0)
    for descriptor in pair:
        os.close(descriptor)
    assert after is not None and after.descriptors == before.descriptors + 2
    assert vitals(2**22 + 1, 0.0) is None


def test_a_child_that_fails_says_why_in_one_line():
    with pytest.raises(ChildError, match=r"nowhere\.affectkit"):
        in_child("benchmarks.stage:child", Order("nowhere.affectkit", "nowhere.zip"))


def test_a_process_that_has_ended_and_was_not_yet_waited_for_has_no_vitals():
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert vitals(process.pid, 0.0) is None
    process.wait()


def test_a_child_is_watched_and_its_own_start_is_known():
    run = in_child("benchmarks.stage:cold", ORDER, every_s=0.05, stage="fusion")
    assert 0 < run.said["first_ms"] < run.said["process_ms"]
    assert run.vitals and run.vitals[-1].rss_mib > run.vitals[0].rss_mib
