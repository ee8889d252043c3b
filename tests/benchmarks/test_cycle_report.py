"""What the table and the page say of given numbers."""

from __future__ import annotations

from benchmarks import cycle_report

TOLD = {
    "machine": {"processor": "a processor", "cores": "2"},
    "session_s": 90.0, "count": 5, "command": "do it again",
    "cpu_s_per_s": {"affectkit": 0.006, "tutorial": 0.020, "onnx float": 0.008, "onnx int8": 0.007, "bare": 0.004},
    "rounds": {"affectkit": [0.5, 0.6], "tutorial": [1.8, 1.8], "onnx float": [0.7, 0.7], "onnx int8": [0.6, 0.6], "bare": [0.3, 0.3]},
    "agreement": {"tutorial": {"presence": 0.97, "labels": 0.95, "any_labels": 0.9, "cosines": {"face": 0.99}}},
    "stages": {"affectkit": {"face": 0.19, "speech": 1.1}, "onnx float": {"face": 0.56, "speech": 0.36}},
    "profile": {
        "samples": {"model invocations": 600, "face features": 300, "outputs": 100},
        "groups": {"model invocations": 6.0, "face features": 2.0, "outputs": 2.0},
        "functions": [["edge/a.py:1 f", 3, 0.5]],
    },
    "detectors": {
        "detector, LiteRT": {"ms": 0.5, "presence": 1.0, "overlap": 1.0},
        "OpenCV cascade": {"ms": 5.0, "presence": 0.9, "overlap": 0.7},
        "MediaPipe BlazeFace": {"why": "not installed: run again with --install"},
    },
}  # fmt: skip


def test_targets_are_taken_from_the_medians_and_from_the_faster_onnx_runtime():
    tutorial, onnx, overhead = cycle_report.targets(TOLD)
    assert tutorial[1] == 0.006 / 0.020
    assert "onnx int8" in onnx[0] and onnx[1] == 0.006 / 0.007
    assert round(overhead[1], 6) == 0.5


def test_the_overhead_is_shared_out_by_samples_outside_invocations():
    rows = {row[0]: row[1:] for row in cycle_report.profile_rows(TOLD)}
    assert rows["face features"] == ["75.0 %", "1.50", "38 %", "50.0 %"]
    assert "model invocations" not in rows


def test_stages_are_a_row_each_and_interpreters_a_column():
    columns, rows = cycle_report.stage_rows(TOLD)
    assert columns[1:] == ["LiteRT int8, affectkit", "onnx float"]
    assert rows == [["face", "0.190", "0.560"], ["speech", "1.100", "0.360"]]
    assert cycle_report.stage_rows({}) == (["one run, CPU ms"], [])


def test_a_detector_that_could_not_run_says_why():
    rows = {row[0]: row[1:] for row in cycle_report.detector_rows(TOLD)}
    assert rows["OpenCV cascade"][:2] == ["5.000", "10.00"]
    assert rows["MediaPipe BlazeFace"][0].startswith("not installed")


def test_the_document_says_where_we_are_not_first():
    told = cycle_report.markdown(TOLD)
    assert "affectkit over bare invocations, less 1: 0.50, target at most 0.40: not met" in told
    assert "| tutorial | 20.00 | 3.33 | 0 % | 97.0 % | 95.0 % | 0.990 |" in told


def test_instructions_are_a_second_of_session():
    counted = TOLD | {"instructions": {"seconds": 5.0, "how": "so", "counts": {"affectkit": 10_000_000, "bare": 5_000_000}}}
    assert cycle_report.instruction_rows(counted) == [["affectkit", "2.0"], ["bare", "1.0"]]
    assert cycle_report.instruction_rows(TOLD) == []


def test_the_page_is_self_contained_and_the_same_for_the_same_numbers():
    page = cycle_report.page(TOLD)
    assert page == cycle_report.page(TOLD)
    assert "<script" not in page and "http://" not in page and "https://" not in page
    assert page.count("<svg") == 2


def test_a_run_of_a_few_peers_is_told_without_the_others():
    few = {key: TOLD[key] for key in ("machine", "session_s", "count", "command", "rounds")} | {"cpu_s_per_s": {"bare": 0.004}}
    assert cycle_report.markdown(few).count("not measured") >= 3
