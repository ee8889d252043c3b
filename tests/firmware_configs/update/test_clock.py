"""What time it is for a kit that cannot know: never earlier than what has certainly passed."""

from __future__ import annotations

import datetime

import pytest

from firmware_configs.update.clock import KitClock
from tests.firmware_configs.update import made

DAY = datetime.timedelta(days=1)
BUILT = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def test_a_synchronized_clock_counts(tmp_path):
    assert made.clock(tmp_path, made.NOW).reference() == made.NOW


def test_one_that_is_not_counts_for_nothing_in_either_direction(tmp_path):
    for now in (datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC), datetime.datetime(2199, 1, 1, tzinfo=datetime.UTC)):
        clock = made.clock(tmp_path, now, synchronized=False)
        assert clock.reference() == BUILT and not clock.trusted


def test_a_synchronized_clock_does_not_go_behind_what_is_certain(tmp_path):
    assert made.clock(tmp_path, BUILT - 400 * DAY).reference() == BUILT


def test_each_accepted_stick_moves_the_least_time_and_none_moves_it_back(tmp_path):
    clock = made.clock(tmp_path, BUILT, synchronized=False)
    clock.raise_to(made.NOW)
    assert made.clock(tmp_path, BUILT, synchronized=False).reference() == made.NOW
    clock.raise_to(made.NOW - 30 * DAY)
    assert clock.reference() == made.NOW


@pytest.mark.parametrize("content", ["", "{}", '{"least": 3}', '{"least": "2026-13-01T00:00:00Z"}', "\0\0\0", '{"least": "soon"}'])
def test_a_damaged_file_is_as_none(tmp_path, content):
    (tmp_path / "clock.json").write_text(content)
    assert made.clock(tmp_path, made.NOW, synchronized=False).reference() == BUILT


def test_the_payloads_time_counts_where_it_is_told(tmp_path):
    (tmp_path / "payload.json").write_text('{"format": 1, "built": "2026-06-01T00:00:00Z", "files": {}}')
    files = (tmp_path / "missing.json", tmp_path / "payload.json")
    clock = KitClock(tmp_path / "clock.json", built_in=files, now=lambda: BUILT, synchronized=lambda: None, built_on=BUILT.date)
    assert clock.reference() == datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)


def test_this_machines_own_clock_is_asked_for_what_it_is(tmp_path):
    clock = KitClock(tmp_path / "clock.json", built_in=())
    assert clock.reference() >= clock.least() > datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    assert clock.trusted in (True, False)
