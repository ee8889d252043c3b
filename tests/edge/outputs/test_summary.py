from __future__ import annotations

import json
import re

import pytest
from tiny import OPENING, Spell, decision, timing

from edge.errors import InputError
from edge.outputs.summary import Summary, as_table, peak_rss_mib, write_report


def summed(*given, planned=()):
    summary = Summary(planned)
    summary.open(OPENING)
    for made, taken in given:
        summary.give(made, taken)
    return summary.report(session_s=1.0, wall_s=0.5, realtime_factor=2.0, dropped_chunks={"video": 3, "audio": 0}, faults={"face": 1})


def test_it_counts_states_labels_reasons_and_misses():
    report = summed(
        (decision(250), timing()),
        (decision(500, None, absent={"face": "lost"}), timing(250)),
        (decision(1000, absent={"face": "stale", "speech": "late"}), timing(skipped=1)),
        (decision(1250), timing()),
    )
    assert report["decisions"] == 4
    assert report["states"] == {"decided": 3, "unsure": 1, "no decision": 0}
    assert report["labels"] == {"positive": 0, "calm": 3, "low": 0, "tense": 0}
    assert (report["deadline_misses"], report["late_ticks"], report["skipped_ticks"]) == (2, 1, 1)
    assert report["modalities"]["face"] == {"present": 0.5, "lost": 0.25, "stale": 0.25, "noisy": 0.0, "late": 0.0}
    assert report["modalities"]["speech"]["late"] == 0.25
    assert report["response_ms"]["max"] == 250 and report["latency_ms"]["p50"] == pytest.approx(50, rel=0.01)


def test_planned_absences_are_compared_with_what_was_noticed():
    spell = Spell("face", "lost", 1000, 2000, "looks away")
    never = Spell("speech", "noisy", 1000, 2000)
    ticks = [(decision(t, absent={"face": "lost"} if 1500 <= t < 2500 else {}), timing()) for t in range(250, 3250, 250)]
    face, speech = summed(*ticks, planned=(spell, never))["planned_absences"]
    assert (face["noticed_as"], face["onset_s"], face["recovery_s"]) == ("lost", 0.5, 0.5)
    assert (speech["noticed_as"], speech["onset_s"], speech["recovery_s"]) == (None, None, 0.25)


def test_an_absence_that_outlasts_the_run_has_no_recovery():
    ticks = [(decision(t, absent={"face": "lost"}), timing()) for t in range(250, 3250, 250)]
    (face,) = summed(*ticks, planned=(Spell("face", "lost", 1000, 2000),))["planned_absences"]
    assert (face["onset_s"], face["recovery_s"]) == (0.0, None)


def test_a_spell_that_the_run_did_not_come_to_is_left_out():
    assert summed((decision(250), timing()), planned=(Spell("face", "lost", 300, 2000),))["planned_absences"] == []


def test_the_table_is_plain_text_of_at_most_120_columns_that_names_what_matters():
    spell = Spell("physiology", "lost", 300, 400, "the electrodes come off one after the other, slowly")
    table = as_table(summed((decision(250), timing()), (decision(500), timing()), planned=(spell,)))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", table)
    assert max(map(len, table.splitlines())) <= 120
    for word in ("p50", "p99", "deadline misses", "present", "stale", "video 3", "face 1", "2.0 x real time", "electrodes"):
        assert word in table


def test_a_run_too_short_for_a_decision_still_has_a_table():
    assert "no decision was due" in as_table(summed())


def test_the_report_is_written_whole_and_refuses_to_overwrite(tmp_path):
    path = tmp_path / "report.json"
    write_report(path, summed((decision(250), timing())))
    assert json.loads(path.read_text())["decisions"] == 1
    with pytest.raises(InputError, match="--overwrite"):
        write_report(path, {})
    write_report(path, {}, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]
    with pytest.raises(InputError, match="cannot be written"):
        write_report(tmp_path / "none" / "report.json", {})


def test_the_peak_is_this_process_own():
    assert 5 < peak_rss_mib() < 20_000
