"""What time it is for a kit that has no clock chip and asks no network: never earlier than what is certain to have passed.

An update that has expired may be one that somebody keeps from getting newer ones (freeze attack; The Update Framework, specification
1.0.33, section 1.5.2). A kit that does not know the date cannot tell by its clock alone, and one that believes a wrong clock refuses good
sticks. So: the system clock counts if the kernel says that it is synchronized (adjtimex(2)); and in any case it is at least as late as
the newest of the times when affectkit was built for this kit, and when each stick that was accepted was signed.
"""

from __future__ import annotations

import collections.abc
import datetime
import json
import pathlib

from edge.archive import dump_json, parse_json
from edge.errors import InputError
from firmware_configs.stick.times import as_date, as_text, from_text, whole
from firmware_configs.update.store import write_file

__all__ = ["as_date", "as_text", "from_text"]

BUILT_IN = (pathlib.Path("/etc/affectkit/installed.json"), pathlib.Path("/boot/firmware/affectkit/payload.json"))
"""Where ``built`` says when the payload was made, if there."""
_LITTLE = 1 << 20


class KitClock:
    """The reference time of one look at a stick.

    Args:
        path: ``clock.json``; it need not be there.
        built_in: files that may have ``built``.
        now: the system clock.
        synchronized: whether it may be believed.
        built_on: a day before which no true clock can be.
    """

    def __init__(
        self,
        path: pathlib.Path,
        *,
        built_in: collections.abc.Iterable[pathlib.Path] = BUILT_IN,
        now: collections.abc.Callable[[], datetime.datetime] | None = None,
        synchronized: collections.abc.Callable[[], bool | None] | None = None,
        built_on: collections.abc.Callable[[], datetime.date] | None = None,
    ):
        from edge import doctor

        self._path, self._built_in = path, tuple(built_in)
        self._now = now or (lambda: datetime.datetime.now(datetime.UTC))
        self._synchronized = synchronized or doctor.synchronized
        self._built_on = built_on or doctor.built_on

    @property
    def trusted(self) -> bool:
        """Whether the system clock may be believed."""
        return self._synchronized() is True

    def system(self) -> datetime.datetime:
        """What the system clock says, true or not."""
        return whole(self._now())

    def least(self) -> datetime.datetime:
        """A time that has certainly passed."""
        day = self._built_on()
        times = [datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC)]
        times += [time for path in self._built_in if (time := _time_in(path, "built")) is not None]
        times += [time for time in (_time_in(self._path, "least"),) if time is not None]
        return max(times)

    def reference(self) -> datetime.datetime:
        """The time against which expiry is held."""
        least = self.least()
        return max(least, self.system()) if self.trusted else least

    def raise_to(self, signed_at: datetime.datetime) -> None:
        """Never again believe a time before ``signed_at``, which a verified stick gave."""
        if signed_at > self.least():
            write_file(self._path, dump_json({"least": as_text(signed_at)}))


def _time_in(path: pathlib.Path, key: str) -> datetime.datetime | None:
    """A time in a JSON file; None if the file or the time is not there or not readable."""
    try:
        with open(path, "rb") as stream:
            content = stream.read(_LITTLE)
        fields = parse_json(content, where=str(path), kind=InputError)
        return from_text(fields.take(key, None))
    except (OSError, InputError, ValueError, json.JSONDecodeError):
        return None
