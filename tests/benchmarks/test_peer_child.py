"""Why a child failed is told in one line, whatever it printed."""

from __future__ import annotations

import signal
import sys

import pytest

from benchmarks import peer_child

TRACEBACK = """
W0000 00:00:1795265865.509273 19603 computation_placer.cc:177] computation placer already registered.
Traceback (most recent call last):
  File "/home/someone/tool.py", line 3, in make
    raise quantizer.StrictError("operator 3 is FILL")
quantizer.deep.StrictError: operator 3 of /home/someone/model.onnx is FILL

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/home/someone/tool.py", line 9, in main
RuntimeError: flatbuffer_direct fast path failed.
"""


def test_the_last_exception_is_told_without_paths_and_without_what_only_wraps_it():
    assert peer_child.explain(1, TRACEBACK) == "StrictError: operator 3 of model.onnx is FILL"


def test_a_crash_is_told_by_its_signal():
    assert peer_child.explain(-signal.SIGSEGV, TRACEBACK) == "crashed (SIGSEGV)"


def test_without_an_exception_the_last_line_that_is_no_chatter_is_told():
    printed = "\x1b[31mERROR:\x1b[0m the file does not exist\nI0000 00:00:1795263785.138832 4583 port.cc:153] oneDNN is on\n"
    assert peer_child.explain(1, printed) == "ERROR: the file does not exist"


@pytest.mark.parametrize("printed", ["", "\n\n"])
def test_silence_is_told(printed):
    assert peer_child.explain(3, printed) == "no message"


def test_a_long_message_is_cut():
    told = peer_child.explain(1, "ValueError: " + "very " * 100)
    assert len(told) == peer_child.LONGEST
    assert told.endswith("…")


def test_the_answer_is_the_last_line_that_a_child_prints():
    code = "import json, sys; print('loading'); print(json.dumps(json.load(open(sys.argv[1]))))"
    answer = peer_child.run([sys.executable, "-c", code], {"model": "a"}, limit_s=60)
    assert answer.said == {"model": "a"}
    assert answer.why == ""


def test_a_child_that_fails_or_says_nothing_has_no_answer():
    failed = peer_child.run([sys.executable, "-c", "raise ValueError('no such layer')"], {}, limit_s=60)
    assert (failed.said, failed.why) == (None, "ValueError: no such layer")
    assert peer_child.run([sys.executable, "-c", "pass"], {}, limit_s=60).said is None


def test_a_child_is_ended_with_all_that_it_started_when_its_time_is_up(tmp_path):
    # The grandchild would write as soon as its pipe closes, which it does when the child ends.
    grandchild = f"import sys; sys.stdin.read(); open({str(tmp_path / 'left')!r}, 'w')"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {grandchild!r}], stdin=subprocess.PIPE).wait()"
    answer = peer_child.run([sys.executable, "-c", code], {}, limit_s=0.5)
    assert (answer.said, answer.why) == (None, "gave no answer within 0.5 s")
    assert not (tmp_path / "left").exists()
