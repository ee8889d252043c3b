from __future__ import annotations

import errno
import logging
import threading

import pytest
from tiny import OPENING, Collect, decision, timing

from edge.errors import InputError
from edge.outputs.outlet import Outlet, Outlets
from edge.types import Event

EVENT = Event(0, "degraded", "less")


class Blocked(Collect):
    """Takes nothing until it is let go."""

    def __init__(self):
        super().__init__()
        self.go, self.entered = threading.Event(), threading.Event()

    def give(self, made, taken):
        self.entered.set()
        assert self.go.wait(10)
        super().give(made, taken)


class Full(Collect):
    def give(self, made, taken):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_decisions_and_events_arrive_in_order_and_all_of_them():
    class Order(Collect):
        def note(self, event):
            self.given.append(event)

    sink = Order()
    outlet = Outlet(sink)
    outlet.open(OPENING)
    outlet.note(EVENT)
    made = [decision(250 * i) for i in range(100)]
    for one in made:
        outlet.give(one, timing())
    outlet.close()
    assert sink.given[0] is EVENT and [given[0] for given in sink.given[1:]] == made and outlet.dropped == 0


def test_a_blocked_sink_holds_nobody_up_and_loses_the_oldest_counted():
    sink = Blocked()
    outlet = Outlet(sink, limit=10)
    outlet.open(OPENING)
    outlet.give(decision(0), timing())
    assert sink.entered.wait(10)
    for i in range(1, 31):
        outlet.give(decision(250 * i), timing())
    assert outlet.dropped == 20
    sink.go.set()
    outlet.close()
    assert [made.t_ns for made, _ in sink.given] == [0] + [250_000_000 * i for i in range(21, 31)]


def test_a_full_disk_ends_that_sink_alone_with_one_line(caplog):
    good = Collect()
    outlets = Outlets([Full(), good], direct=False, stop=lambda: None)
    outlets.open(OPENING)
    with caplog.at_level(logging.WARNING, "affectkit"):
        for i in range(50):
            outlets.give(decision(i), timing(), [])
        outlets.close()
    assert len(good.given) == 50 and outlets.failed == ["Full"]
    assert len(caplog.records) == 1 and "Full: No space left on device" in caplog.records[0].getMessage()


def test_a_sink_that_cannot_begin_is_an_error_at_once_and_the_others_are_closed():
    class Refuses(Collect):
        def open(self, opening):
            raise InputError("there already")

    good = Collect()
    outlets = Outlets([good, Refuses()], direct=False, stop=lambda: None)
    with pytest.raises(InputError):
        outlets.open(OPENING)
    outlets.close()
    assert good.closed


def test_an_outlet_closed_before_it_was_opened_is_no_error():
    Outlet(Collect()).close()
