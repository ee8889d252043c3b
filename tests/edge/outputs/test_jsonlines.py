from __future__ import annotations

import io
import json
import os

import pytest
from tiny import OPENING, decision, timing

from edge.errors import InputError
from edge.outputs.jsonlines import JsonLines, as_record


def written(path, *decisions, **options):
    sink = JsonLines(path, **options)
    sink.open(OPENING)
    for made in decisions:
        sink.give(made, timing())
    sink.close()


def test_a_line_says_what_was_decided_in_a_fixed_order_with_four_digits_and_no_measured_time():
    made = decision(250, absent={"speech": "lost"}, confidence=0.123456, weights={"physiology": 1 / 3, "face": 2 / 3})
    assert json.dumps(as_record(made, 0)) == (
        '{"t_ms": 250, "state": "decided", "label": "calm", "confidence": 0.1235, '
        '"probabilities": {"positive": 0.1, "calm": 0.7, "low": 0.1, "tense": 0.1}, "weights": {"face": 0.6667, "physiology": 0.3333}, '
        '"absent": {"speech": {"reason": "lost", "detail": "because"}}, "newest_ms": 230, '
        '"skew_ms": 5, "ages_ms": {"face": 20, "physiology": 25}}'
    )


def test_times_count_from_the_start_and_nothing_present_is_null():
    made = decision(1000.5, None, absent=dict.fromkeys(("face", "speech", "physiology"), "lost"), state="no decision", confidence=-0.0)
    record = as_record(made, 1_000_000_000)
    assert (record["t_ms"], record["label"], record["newest_ms"]) == (0.5, None, None)
    assert str(record["confidence"]) == "0.0"


def test_the_file_has_its_name_only_when_it_is_complete(tmp_path):
    path = tmp_path / "a.jsonl"
    sink = JsonLines(path)
    sink.open(OPENING)
    sink.give(decision(250), timing())
    partial = tmp_path / "a.jsonl.partial"
    assert not path.exists() and partial.read_text().count("\n") == 1, "a whole line is there at once"
    sink.close()
    assert path.read_text().count("\n") == 1 and not partial.exists()


def test_the_same_decisions_give_the_same_bytes_whatever_the_times_taken(tmp_path):
    written(tmp_path / "a", decision(250), decision(500, None))
    written(tmp_path / "b", decision(250), decision(500, None))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("existing", ["a.jsonl", "a.jsonl.partial"])
def test_what_exists_is_refused_untouched_unless_it_may_be_overwritten(tmp_path, existing):
    (tmp_path / existing).write_text("precious")
    with pytest.raises(InputError, match=r"exists already.*--overwrite"):
        written(tmp_path / "a.jsonl", decision(250))
    assert (tmp_path / existing).read_text() == "precious"
    written(tmp_path / "a.jsonl", decision(250), overwrite=True)
    assert json.loads((tmp_path / "a.jsonl").read_text())["t_ms"] == 250


def test_a_folder_or_a_missing_folder_is_one_line(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        written(tmp_path, overwrite=True)
    with pytest.raises(InputError, match="cannot be created"):
        written(tmp_path / "none" / "a.jsonl")


def test_a_minus_is_standard_output_which_stays_open():
    stream = io.StringIO()
    written("-", decision(250), stdout=stream)
    assert json.loads(stream.getvalue())["label"] == "calm"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_at_once_and_what_is_torn_never_gets_the_final_name(tmp_path):
    path = tmp_path / "a.jsonl"
    sink = JsonLines(path)
    sink.open(OPENING)
    sink.give(decision(250), timing())
    sink._file, whole = open("/dev/full", "w"), sink._file  # noqa: SIM115
    with pytest.raises(OSError, match="No space left"):
        sink.give(decision(500), timing())
    with pytest.raises(OSError, match="No space left"):
        sink.close()
    whole.close()
    assert not path.exists() and (tmp_path / "a.jsonl.partial").read_text().count("\n") == 1


def test_a_device_is_written_directly():
    written(os.devnull, decision(250))
    assert os.path.exists(os.devnull) and not os.path.exists(os.devnull + ".partial")
