"""``affectkit train``: what it offers and refuses before anything slow starts."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from convert.training import cli
from convert.training.systems import RECIPES
from edge.errors import InputError


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.add_commands(parser.add_subparsers())
    return parser.parse_args(["train", *words])


def test_help_names_every_system_and_does_not_load_tensorflow():
    code = (
        "import argparse, sys; from convert.training import cli; parser = argparse.ArgumentParser(); "
        "cli.add_commands(parser.add_subparsers())\n"
        "try: parser.parse_args(['train', '--help'])\n"
        "except SystemExit: print(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("classroom", *RECIPES):
        assert name in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("classroom", "--epochs-scale", "0.5"), "--epochs-scale 0.5: not for classroom"),
        (("cnn_lstm", "--seeds", "3"), "--seeds 3: not for cnn_lstm"),
    ],
)
def test_options_of_the_other_kind_are_refused(words, complaint, tmp_path):
    args = parsed(*words, "--data", str(tmp_path), "-o", str(tmp_path / "x.affectkit"))
    with pytest.raises(InputError, match=complaint):
        args.run(args)


def test_an_output_that_cannot_be_written_is_refused_before_training(tmp_path):
    args = parsed("cnn_rnn", "--data", str(tmp_path), "-o", str(tmp_path / "no" / "x.affectkit"))
    with pytest.raises(InputError, match="is no folder"):
        args.run(args)
    (tmp_path / "x.affectkit").touch()
    args = parsed("cnn_rnn", "--data", str(tmp_path), "-o", str(tmp_path / "x.affectkit"))
    with pytest.raises(InputError, match="exists"):
        args.run(args)


@pytest.mark.parametrize("scale", ["0", "-1", "1000"])
def test_a_scale_that_makes_no_sense_is_refused(scale):
    with pytest.raises(SystemExit):
        parsed("cnn_lstm", "--data", ".", "-o", "x.affectkit", "--epochs-scale", scale)


def test_a_name_that_is_none_is_refused():
    with pytest.raises(SystemExit):
        parsed("cnn_gnn", "--data", ".", "-o", "x.affectkit")
