"""Native chatter on descriptor 2 is held back, what people need comes through, and two threads do not take it from each other."""

from __future__ import annotations

import os
import threading

import pytest

from edge.stderr import without_lines


def test_only_the_lines_to_drop_are_dropped(capfd: pytest.CaptureFixture[str]):
    with without_lines(lambda line: line.startswith(b"ALSA")):
        os.write(2, b"ALSA lib conf.c: unknown\nthe disk is full\nALSA lib pcm.c\n")
        assert capfd.readouterr().err == "", "held back meanwhile"
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "the disk is full\nafter\n"


def test_what_was_written_before_an_error_comes_through_too(capfd: pytest.CaptureFixture[str]):
    with pytest.raises(ZeroDivisionError), without_lines(lambda line: False):
        os.write(2, b"before\n")
        raise ZeroDivisionError
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "before\nafter\n"


def test_threads_take_turns(capfd: pytest.CaptureFixture[str]):
    def chatter() -> None:
        for _ in range(20):
            with without_lines(lambda line: line.startswith(b"x")):
                os.write(2, b"x\n")

    threads = [threading.Thread(target=chatter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"
