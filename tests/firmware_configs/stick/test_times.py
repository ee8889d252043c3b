"""A clock that cannot be right is refused, and ends are told before they come."""

from __future__ import annotations

import datetime

import pytest

from edge.errors import InputError
from firmware_configs.stick.times import as_date, as_text, from_text, refuse_wrong_clock, root_warning, stick_warning
from tests.firmware_configs.stick.workshop import NOW

DAY = datetime.timedelta(days=1)


def test_a_time_is_read_as_it_is_written():
    assert as_text(NOW) == "2030-06-01T12:00:00Z" and from_text(as_text(NOW)) == NOW
    assert as_date(NOW) == "1 June 2030"


def test_a_time_of_another_zone_is_written_in_utc():
    zone = datetime.timezone(datetime.timedelta(hours=2))
    assert as_text(datetime.datetime(2030, 6, 1, 1, 30, 0, 999, tzinfo=zone)) == "2030-05-31T23:30:00Z"


@pytest.mark.parametrize("text", [None, 5, "", "2030-06-01", "2030-06-01T12:00:00", "2030-06-01T12:00:00Z\n", "2030-13-01T12:00:00Z"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError):
        from_text(text)


def test_a_clock_behind_the_last_stick_is_refused():
    with pytest.raises(InputError, match=r"clock says 29 May 2030, and the last was signed or made on 1 June 2030; set the clock"):
        refuse_wrong_clock(NOW - 3 * DAY, NOW)


def test_a_clock_years_ahead_is_refused_unless_it_is_said_to_be_right():
    with pytest.raises(InputError, match="--clock-is-right"):
        refuse_wrong_clock(NOW + 2000 * DAY, NOW)
    refuse_wrong_clock(NOW + 2000 * DAY, NOW, sure=True)


@pytest.mark.parametrize("days", [-0.9, 0, 1, 1000])
def test_a_clock_that_can_be_right_passes(days):
    refuse_wrong_clock(NOW + days * DAY, NOW)


def test_ends_are_told_before_they_come():
    assert root_warning(NOW + 3000 * DAY, NOW) is None and stick_warning(NOW + 300 * DAY, NOW) is None
    assert "the root ends on" in root_warning(NOW + 400 * DAY, NOW) and "rotate --only-renew" in root_warning(NOW + 400 * DAY, NOW)
    assert "the root ended on" in root_warning(NOW, NOW)
    assert "in 20 days" in stick_warning(NOW + 20 * DAY, NOW)
    assert "the stick ended on 1 June 2030" in stick_warning(NOW, NOW + DAY)
