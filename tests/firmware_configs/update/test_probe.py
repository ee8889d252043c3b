"""What a bundle shows on this machine, asked in a process of its own: the real interpreter, the real embedded session."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from edge import embedded
from edge.bundle import load_bundle, pack_golden, write_bundle
from edge.errors import EdgeError, InputError
from firmware_configs.update import probe as probing
from firmware_configs.update.probe import Probed, examine, probe
from tests.firmware_configs.update import made


def changed(path: pathlib.Path, **replaced: bytes) -> pathlib.Path:
    """The embedded bundle with other parts, as somebody with the keys might sign it by mistake."""
    source = load_bundle(embedded.BUNDLE)
    parts = {name: replaced.get(name.replace("/", "_").replace(".", "_"), source.part(name)) for name in source.manifest.parts}
    write_bundle(path, source.manifest, parts)
    return path


def test_a_good_bundle_is_measured_and_decides(tmp_path):
    path = made.bundle(tmp_path / "b.affectkit", "0.2.1")
    config = tmp_path / "kit.toml"
    config.write_text("[budget]\nbudget_ms = 150\n")
    found = probe(path, config)
    assert (found.name, found.version, found.sha256) == ("classroom", "0.2.1", load_bundle(path).sha256)
    assert set(found.stages_ms) == {"detector", "face", "speech", "physiology", "fusion"} == set(found.steps_off)
    assert all(0 < times["median"] <= times["p90"] for times in found.stages_ms.values())
    assert (found.budget_ms, found.cadence_ms) == (150, 250), "the kit's settings count"
    assert found.decisions >= 10 and found.dropped == () and 20 < found.peak_mib < 1000
    assert json.loads(json.dumps(found.as_record()))["why"]


@pytest.mark.parametrize(("seconds", "said"), [(0.01, "gave no answer within 0 s")])
def test_one_that_takes_too_long_is_refused(seconds, said):
    with pytest.raises(InputError, match=said):
        probe(embedded.BUNDLE, None, longest_s=seconds)


def test_the_line_names_the_new_bundle_and_no_folder_of_the_kit(tmp_path):
    path = tmp_path / "aaaa"
    path.write_bytes(b"text")
    with pytest.raises(InputError, match=r"^the new bundle: not an affectkit bundle") as caught:
        probe(path, None)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(("signal", "said"), [("SEGV", r"ended its interpreter \(signal 11\)"), ("KILL", "more memory than this board")])
def test_one_that_ends_its_interpreter_is_a_line(tmp_path, monkeypatch, signal, said):
    """A crash in a kernel is the child's: here by a stand-in for Python that is ended by a signal."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nkill -{signal} $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(InputError, match=said):
        probe(embedded.BUNDLE, None)


@pytest.mark.parametrize("answer", ["", "text", "[]", "{}", '{"probed": {}}', '{"probed": 3}', '{"probed": {"name": "x"}}'])
def test_an_answer_that_makes_no_sense_is_refused(tmp_path, monkeypatch, answer):
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(InputError):
        probe(embedded.BUNDLE, None)


def test_an_answer_is_made_plain(tmp_path, monkeypatch):
    record = {**made.passes(embedded.BUNDLE).as_record(), "name": "a\x1b[2J\nb", "why": ["x\x07y"]}
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/answer\n")
    (tmp_path / "answer").write_text(json.dumps({"probed": record}))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    found = probe(embedded.BUNDLE, None)
    assert found.name == "a?[2J b" and found.why == ("x?y",)


def test_golden_vectors_that_differ_are_refused(tmp_path):
    source = load_bundle(embedded.BUNDLE)
    golden = source.golden("fusion")
    name = next(key for key in golden if key.startswith("output_"))
    golden[name] = np.where(golden[name] > 0, golden[name] - 60, golden[name] + 60).astype(golden[name].dtype)
    with pytest.raises(InputError, match=r"stage fusion is \d+ steps off its golden vectors on this board"):
        examine(changed(tmp_path / "b.affectkit", golden_fusion_npz=pack_golden(golden)), None)


def test_a_budget_that_cannot_be_kept_is_refused_where_the_settings_say_so(tmp_path, monkeypatch):
    from edge import compose

    config = tmp_path / "kit.toml"
    config.write_text('[budget]\nbudget_ms = 20\nif_too_slow = "refuse"\n')
    real = compose.measured_stages

    def slow(bundle, settings):
        stages = real(bundle, settings)
        return dataclasses.replace(stages, costs={name: dataclasses.replace(cost, median_ns=30e6) for name, cost in stages.costs.items()})

    monkeypatch.setattr(compose, "measured_stages", slow)
    with pytest.raises(EdgeError, match="cannot keep a budget of 20 ms"):
        examine(embedded.BUNDLE, config)
    config.write_text("[budget]\nbudget_ms = 100\n")
    assert examine(embedded.BUNDLE, config).dropped


def test_it_asks_as_the_kits_user_with_limits(tmp_path):
    """Only root can become somebody else; the limits hold for everybody."""
    code = (
        "import os, resource, sys; from firmware_configs.update import probe; probe._limit(); "
        "print(resource.getrlimit(resource.RLIMIT_AS)[0] >> 20, resource.getrlimit(resource.RLIMIT_CORE)[0], os.nice(0))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=made.ROOT).stdout.split()
    assert said[:2] == [str(probing.MOST_MEMORY_MIB), "0"] and int(said[2]) >= 10
    assert not probing._may_become(None) and not probing._may_become("nobody-of-this-name")


def test_every_field_of_the_answer_is_checked():
    whole = made.passes(embedded.BUNDLE).as_record()
    whole["why"], whole["dropped"] = list(whole["why"]), list(whole["dropped"])
    assert isinstance(probing._answered(whole), Probed)
    for name in whole:
        with pytest.raises(InputError):
            probing._answered({**whole, name: None})
        with pytest.raises(InputError):
            probing._answered({key: value for key, value in whole.items() if key != name})
