"""How long what is signed counts, and when to be warned.

A stick counts for 400 days: a school is visited once a year, and the visit may be late; a kit that is offered an older stick than its
last refuses it anyway, so the expiry guards only kits that have never taken one, or not for long. Timestamp, snapshot and targets are
signed together and expire together. The root counts for ten years: kits live long in cupboards, and a lost or stolen key is met by
``rotate``, not by waiting.
"""

from __future__ import annotations

import datetime

from edge.errors import InputError

STICK_DAYS = 400
ROOT_DAYS = 3653
MOST_DAYS = 3653
ROOT_WARNING_DAYS = 730
"""Time for two rounds of sticks before the root ends."""
STICK_WARNING_DAYS = 60
LONGEST_PAUSE_DAYS = 1100
"""Between two sticks; a computer that says more has more likely a wrong clock."""


def whole(time: datetime.datetime) -> datetime.datetime:
    """Without fractions of a second, in UTC, as metadata have it (specification, section 4.2.1)."""
    return time.astimezone(datetime.UTC).replace(microsecond=0)


def as_text(time: datetime.datetime) -> str:
    """``2026-11-21T17:30:00Z``."""
    return whole(time).strftime("%Y-%m-%dT%H:%M:%SZ")


def as_date(time: datetime.datetime) -> str:
    """``21 November 2026``."""
    return f"{time.day} {time:%B} {time.year}"


def from_text(text: object) -> datetime.datetime:
    """The reverse of ``as_text``; ValueError if it is none."""
    if not isinstance(text, str):
        raise ValueError("no time")
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.UTC)


def refuse_wrong_clock(now: datetime.datetime, last: datetime.datetime | None, *, sure: bool = False) -> None:
    """InputError if this computer's clock cannot be right.

    A kit never goes back behind the time at which a stick was signed: one signed in 2099 by mistake would make it refuse every later one.
    """
    if last is None:
        return
    if now < last - datetime.timedelta(days=1):
        raise InputError(
            f"this computer's clock says {as_date(now)}, and the last was signed or made on {as_date(last)}; set the clock, and try again"
        )
    if now > last + datetime.timedelta(days=LONGEST_PAUSE_DAYS) and not sure:
        raise InputError(
            f"this computer's clock says {as_date(now)}, long after {as_date(last)}, when the last was signed; set the clock, or say "
            "--clock-is-right: a kit never believes an earlier time again"
        )


def root_warning(expires: datetime.datetime, now: datetime.datetime) -> str | None:
    """A line if the root ends soon."""
    if now >= expires:
        return f"the root ended on {as_date(expires)}: kits refuse every stick; run `affectkit kit stick rotate --only-renew`"
    if (expires - now).days < ROOT_WARNING_DAYS:
        return f"the root ends on {as_date(expires)}; run `affectkit kit stick rotate --only-renew` and write sticks for all kits before"
    return None


def stick_warning(expires: datetime.datetime, now: datetime.datetime) -> str | None:
    """A line if a stick ends soon."""
    if now >= expires:
        return f"the stick ended on {as_date(expires)}: write it again"
    if (expires - now).days < STICK_WARNING_DAYS:
        return f"the stick ends on {as_date(expires)}, in {(expires - now).days} days: write it again soon"
    return None
