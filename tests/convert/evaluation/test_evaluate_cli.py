"""``affectkit evaluate`` says in one line what is wrong."""

from __future__ import annotations

import json
import pathlib
import shutil
import sys

import pytest

from convert.evaluation import cli
from edge import cli as affectkit
from edge.bundle import load_bundle, write_bundle


def run(*words: object) -> int:
    return affectkit.main(["evaluate", *map(str, words)])


def named(bundle: pathlib.Path, out: pathlib.Path, name: str) -> pathlib.Path:
    """The same bundle under another name."""
    import dataclasses

    old = load_bundle(bundle)
    write_bundle(out, dataclasses.replace(old.manifest, name=name), {part: old.part(part) for part in old.manifest.parts})
    return out


@pytest.mark.parametrize("words", [["--data", "nowhere"], ["--data", "{data}", "-o", "out", "--page", "x.html"]])
def test_bad_options_are_bad_input(words, embedded_bundle, tmp_path, capsys):
    assert run(embedded_bundle, *(word.format(data=tmp_path) for word in words)) == 2
    said = capsys.readouterr().err.strip()
    assert "no such folder" in said or "leave out --page" in said
    assert len(said.splitlines()) == 1


def test_nothing_is_overwritten_unasked(embedded_bundle, tmp_path, capsys):
    (tmp_path / cli.REPORT).write_text("mine")
    assert run(embedded_bundle, "--data", tmp_path, "-o", tmp_path) == 2
    assert "say --overwrite" in capsys.readouterr().err
    assert run(embedded_bundle, "--data", tmp_path, "--report", tmp_path / cli.REPORT) == 2
    assert (tmp_path / cli.REPORT).read_text() == "mine"


def test_a_folder_that_is_a_file_and_one_that_is_not_there(embedded_bundle, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(embedded_bundle, "--data", tmp_path, "-o", tmp_path / "file") == 2
    assert run(embedded_bundle, "--data", tmp_path, "--page", tmp_path / "none" / "page.html") == 2
    assert "make it first" in capsys.readouterr().err


def test_float_stages_are_taken_from_beside_the_bundle(tmp_path, embedded_bundle):
    bundle = tmp_path / "c.affectkit"
    shutil.copy(embedded_bundle, bundle)
    assert cli._floats(bundle, None, 1) is None
    (tmp_path / "c.float").mkdir()
    assert cli._floats(bundle, None, 1) == tmp_path / "c.float"
    assert cli._floats(bundle, tmp_path, 1) == tmp_path


def test_one_float_folder_does_not_fit_several_bundles(embedded_bundle, tmp_path, capsys):
    assert run(embedded_bundle, embedded_bundle, "--data", tmp_path, "--float", tmp_path) == 2
    assert "--float is for one bundle" in capsys.readouterr().err
    assert run(embedded_bundle, "--data", tmp_path, "--float", tmp_path / "none") == 2


@pytest.mark.convert
class TestWithTheConvertExtra:
    @pytest.fixture(autouse=True)
    def needs_keras(self):
        pytest.importorskip("keras", reason="needs the convert extra")

    def test_a_folder_without_any_set(self, embedded_bundle, tmp_path, capsys):
        assert run(embedded_bundle, "--data", tmp_path) == 2
        assert "none of fer2013, emodb, ravdess and stress_predict is there" in capsys.readouterr().err

    def test_a_bundle_given_twice(self, embedded_bundle, tmp_path, capsys):
        assert run(embedded_bundle, embedded_bundle, "--data", tmp_path) == 2
        assert "a bundle is given twice" in capsys.readouterr().err

    def test_a_split_that_shares_a_person(self, embedded_bundle, tmp_path, capsys):
        split = tmp_path / "split.json"
        split.write_text(json.dumps({"speech": {"train": ["emodb-03"], "test": ["emodb-16", "emodb-03"]}}))
        assert run(embedded_bundle, "--data", tmp_path, "--split", split) == 2
        said = capsys.readouterr().err.strip()
        assert "speech: emodb-03 in both train and test" in said and len(said.splitlines()) == 1

    def test_a_system_that_nothing_knows(self, embedded_bundle, tmp_path, capsys):
        other = named(embedded_bundle, tmp_path / "x.affectkit", "somebody-elses")
        assert run(other, "--data", tmp_path) == 2
        assert "somebody-elses: nothing here knows how to evaluate it" in capsys.readouterr().err

    def test_bundles_of_two_systems(self, embedded_bundle, tmp_path, capsys):
        other = named(embedded_bundle, tmp_path / "x.affectkit", "classroom-2")
        assert run(embedded_bundle, other, "--data", tmp_path) == 2
        assert "are different systems" in capsys.readouterr().err


def test_help_brings_no_tensorflow(capsys):
    with pytest.raises(SystemExit):
        affectkit.main(["evaluate", "--help"])
    assert "--split" in capsys.readouterr().out
    if "tensorflow" not in sys.modules:
        import subprocess

        code = "import sys, convert.evaluation.cli; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0
