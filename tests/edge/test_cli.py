from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest
from tiny import Collect, Recording, bundle, compose

import edge.cli
from edge.cli import _tidy_end, main
from edge.clock import ManualClock
from edge.runtime import Runtime
from edge.sensors.replay import Replay

ROOT = pathlib.Path(edge.cli.__file__).resolve().parent.parent


@pytest.fixture
def edge_only(monkeypatch):
    monkeypatch.setattr(edge.cli, "commands", lambda: {"run": "edge.cli:add_commands"})


def one_line(capsys) -> str:
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and captured.err.startswith("affectkit: ")
    return captured.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--bundle", "none.affectkit"], "none.affectkit"),
        (["--config", "none.toml"], "cannot be read"),
        (["--config", "typo.toml"], "did you mean 'budget_ms'?"),
        (["--threads", "-1"], "threads: got -1"),
        (["--report", "report.json"], "exists already"),
    ],
)
def test_bad_input_is_one_line_and_status_2(edge_only, tmp_path, monkeypatch, capsys, options, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "typo.toml").write_text("[budget]\nbudgt_ms = 3\n")
    (tmp_path / "report.json").write_text("precious")
    assert main(["run", *options]) == 2
    assert says in one_line(capsys)


def test_the_traceback_comes_with_affectkit_debug_only(edge_only, monkeypatch, capsys):
    monkeypatch.setenv("AFFECTKIT_DEBUG", "1")
    assert main(["run", "--config", "none.toml"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_without_a_command_it_helps_and_an_unknown_one_names_the_known(edge_only, capsys):
    assert main([]) == 2
    assert "run" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["rum"])
    assert "'rum'" in capsys.readouterr().err


def test_a_package_whose_extra_is_missing_is_named_in_one_line_and_harms_no_other_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "workshop").mkdir()
    (tmp_path / "workshop" / "__init__.py").write_text("")
    (tmp_path / "workshop" / "cli.py").write_text("import no_such_framework\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(edge.cli, "commands", lambda: {"run": "edge.cli:add_commands", "forge": "workshop.cli:add_commands"})
    assert main(["forge", "x"]) == 1
    assert one_line(capsys) == "affectkit: forge: needs no_such_framework, which is not installed; pip install 'affectkit[workshop]'\n"
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "affectkit[workshop]" in re.sub(r"\s+", " ", capsys.readouterr().out)


def test_an_extra_missed_only_while_running_is_named_too(tmp_path, monkeypatch, capsys):
    (tmp_path / "smithy.py").write_text(
        "def work(args):\n    import no_such_framework\n"
        "def add_commands(subparsers):\n    subparsers.add_parser('forge').set_defaults(run=work)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(edge.cli, "commands", lambda: {"forge": "smithy:add_commands"})
    assert main(["forge"]) == 1
    assert "affectkit[smithy]" in one_line(capsys)


def test_only_the_package_of_the_command_asked_for_is_imported(tmp_path, monkeypatch, capsys):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(edge.cli, "commands", lambda: {"run": "edge.cli:add_commands", "trap": "trap:add_commands"})
    assert main(["run", "--config", "none.toml"]) == 2
    capsys.readouterr()


def test_help_imports_nothing_heavy():
    code = "import edge.cli, sys\ntry: edge.cli.main(['run', '--help'])\nexcept SystemExit: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "edge.cli" in loaded and not loaded & {"numpy", "rich", "edge.runtime", "PIL", "ai_edge_litert"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_tidily_and_the_handlers_are_put_back(number):
    recording = Recording(1000.0, audio=lambda t: 1.0)
    runtime = Runtime(bundle(), [Replay(recording, ManualClock())], fast=True, compose=compose)

    class Interrupted(Collect):
        def give(self, made, taken):
            super().give(made, taken)
            if len(self.given) == 5:
                os.kill(os.getpid(), number)

    before, sink = signal.getsignal(number), Interrupted()
    with _tidy_end(runtime.stop):
        report = runtime.run([sink])
    assert report["stopped_early"] and report["decisions"] < 10 and sink.closed == 1
    assert signal.getsignal(number) is before


class TestEmbedded:
    """The whole, as installed: embedded bundle on the embedded session."""

    @pytest.fixture(autouse=True)
    def there(self, embedded_bundle, embedded_session):
        for path in (embedded_bundle, embedded_session):
            if not path.exists():
                pytest.skip(f"{path.name} is not built yet")

    def run(self, *options: str, **more) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "edge", "run", *options], cwd=ROOT, capture_output=True, text=True, timeout=120, **more
        )

    def test_fast_is_reproducible_and_reports(self, tmp_path):
        for name in ("a", "b"):
            done = self.run("--fast", "--jsonl", str(tmp_path / name), "--report", str(tmp_path / f"{name}.json"))
            assert (done.returncode, done.stderr) == (0, "")
            assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stdout)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
        report = json.loads((tmp_path / "a.json").read_text())
        assert report["decisions"] == (tmp_path / "a").read_text().count("\n") > 100
        assert report["faults"] == dict.fromkeys(report["faults"], 0)

    def test_planned_absences_show_within_1_s_and_recover_within_2_s(self, tmp_path):
        self.run("--fast", "--report", str(tmp_path / "report.json"))
        planned = [p for p in json.loads((tmp_path / "report.json").read_text())["planned_absences"] if p["planned"] != "degraded"]
        assert planned
        for absence in planned:
            assert absence["onset_s"] is not None and absence["onset_s"] <= 1.0, absence
            assert absence["recovery_s"] is not None and absence["recovery_s"] <= 2.0, absence

    def test_lines_on_standard_output_are_all_json_and_a_closed_pipe_is_quiet(self):
        done = self.run("--fast", "--duration", "3", "--jsonl", "-")
        assert [json.loads(line)["t_ms"] for line in done.stdout.splitlines()] == list(range(250, 3001, 250))
        pipe = subprocess.run(
            f"{sys.executable} -m edge run --fast --jsonl - | head -n 1", shell=True, cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        assert json.loads(pipe.stdout)["t_ms"] == 250 and "Traceback" not in pipe.stderr and "BrokenPipe" not in pipe.stderr
