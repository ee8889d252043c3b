from __future__ import annotations

import dataclasses
import io

import pytest
from tiny import OPENING, decision, timing

from edge.outputs.console import Console, bar, lines_of


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_bar_is_as_long_as_the_share_to_an_eighth_of_a_cell():
    assert bar(0.0, 4) == "    "
    assert bar(1.0, 4) == "████"
    assert bar(0.5 + 1 / 32, 4) == "██▏ "
    assert bar(0.5, 4, ascii_only=True) == "##.."
    assert {len(bar(i / 97)) for i in range(-3, 103)} == {24}


def test_the_view_shows_decision_confidence_weights_reasons_latency_and_time_left():
    lines = lines_of(OPENING, decision(4000, absent={"speech": "lost"}), timing(), misses=3)
    text = "\n".join(line for line, _ in lines)
    for expected in ("calm", "0.70", "0.50", "lost: because", "latency   50 ms", "misses 3", "4 s of 10 s, 6 s left", "of 200 ms"):
        assert expected in text


def test_no_decision_shows_neither_confidence_nor_latency():
    made = decision(250, None, absent=dict.fromkeys(("face", "speech", "physiology"), "lost"), state="no decision", confidence=0.0)
    text = "\n".join(line for line, _ in lines_of(OPENING, made, dataclasses.replace(timing(), latency_ns=None), 0))
    assert "no decision" in text and "latency    - ms" in text and "0.00" not in text


def test_elsewhere_than_on_a_terminal_it_is_one_line_without_control_characters():
    stream = io.StringIO()
    console = Console(stream)
    console.open(OPENING)
    for i in range(100):
        console.give(decision(250 * i), timing())
    console.close()
    assert stream.getvalue() == "affectkit: tiny 1 on replay:tiny, fast\n"


def test_on_a_terminal_it_draws_no_more_often_than_five_times_a_second():
    pytest.importorskip("rich")
    now_s, drawn = [0.0], []
    stream = Terminal()
    console = Console(stream, now_s=lambda: now_s[0])
    console.open(OPENING)
    for i in range(20):
        now_s[0] = i / 16
        before = len(stream.getvalue())
        console.give(decision(250 * i), timing())
        drawn.append(len(stream.getvalue()) > before)
    console.close()
    assert drawn == [i % 4 == 0 for i in range(20)]
    assert "calm" in stream.getvalue() and "\x1b[?25h" in stream.getvalue(), "and gives the cursor back"
