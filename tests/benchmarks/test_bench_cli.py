from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

from benchmarks import cli, scenarios
from benchmarks.fitness import Monitor
from benchmarks.harness import Order
from edge import embedded
from edge.errors import InputError
from tests.benchmarks.made import BOARD, result

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_nothing_that_bench_imports_is_missing_on_a_device():
    modules = "cli, accuracy, bench_page, boards, compare, cycle, estimate, fitness, overload, scenarios, soak, stage, result"
    heavy = "{'tensorflow', 'keras', 'scipy', 'sklearn', 'onnx', 'onnxruntime', 'cv2', 'matplotlib'}"
    code = f"import sys; from benchmarks import {modules}; print(sorted({heavy} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert said.stdout.strip() == "[]"


def test_a_short_run_on_the_embedded_session_gives_a_whole_result():
    order = Order(str(embedded.BUNDLE), str(embedded.SESSION), cycle_s=1.5, idle_s=0.6, starts=1)
    told: list[str] = []
    quiet = lambda: Monitor(facts=lambda: dict(BOARD), work=lambda: [1.0] * 3)  # noqa: E731
    made = json.loads(json.dumps(scenarios.run(order, ["cycle"], tell=told.append, monitor=quiet)))
    said = made["scenarios"]["cycle"]
    assert said["due"] == 6 and said["decisions"] + said["skipped_ticks"] == 6 and said["latency_ms"]["count"] > 0
    assert 0 < said["cpu"]["s_per_s"] < 2 and said["memory"]["peak_mib"] > 20
    assert 0 < said["start"]["python_to_first_decision_s"][0] < said["start"]["process_to_first_decision_s"][0]
    assert said["timeline"] and any(stage == "fusion" for one in said["timeline"] for stage, _, _ in one["stages"])
    assert made["nothing"]["due"] == 2 and said["encoded"]["face"] > 0
    assert any(line.startswith("cycle: ") for line in told) and said["fitness"]["before"]["cores"] == 4
    from benchmarks.bench_page import render
    from benchmarks.result import as_text

    assert "harness cost" in as_text(made) and "Each model alone" not in render(made)


def written(tmp_path, name, made):
    path = tmp_path / name
    path.write_text(json.dumps(made))
    return str(path)


def test_compare_ends_with_status_one_on_a_regression(tmp_path, capsys):
    fast, slow = written(tmp_path, "a.json", result(6.0)), written(tmp_path, "b.json", result(8.0))
    assert cli.main(["--compare", fast, slow]) == 1 and capsys.readouterr().out.startswith("worse")
    assert cli.main(["--compare", slow, fast]) == 0
    assert cli.main(["--compare", fast, str(tmp_path / "none.json")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_result_of_another_schema_is_refused(tmp_path):
    from benchmarks.result import read

    with pytest.raises(InputError, match="schema 99"):
        read(written(tmp_path, "a.json", result(schema=99)))


def test_files_that_exist_are_kept_before_anything_is_measured(tmp_path, capsys):
    (tmp_path / "result.html").write_text("precious")
    assert cli.main(["-o", str(tmp_path), "--scenario", "accuracy"]) == 2
    assert "--overwrite" in capsys.readouterr().err and (tmp_path / "result.html").read_text() == "precious"


def test_an_estimate_is_written_as_one(tmp_path, capsys):
    target = tmp_path / "estimate.json"
    assert cli.main(["--estimate", "Pi Zero 2 W", "--json", str(target)]) == 0
    assert capsys.readouterr().out.startswith("ESTIMATE") and json.loads(target.read_text())["estimate"] is True


def test_every_scenario_says_what_a_miss_is():
    for name in scenarios.SCENARIOS:
        words = scenarios.prose(name)
        assert len(words.split("\n\n")) >= 2 and (name == "accuracy" or "miss" in words), name
    assert set(cli.SCENARIOS) == set(scenarios.SCENARIOS)
