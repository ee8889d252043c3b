from __future__ import annotations

import os
import socket

import pytest
from tiny import OPENING, decision, timing

from edge.outputs.watchdog import Watchdog
from edge.types import Event


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


def said(manager: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(manager.recv(4096).decode())
        except BlockingIOError:
            return messages


def watchdog(manager: socket.socket, **more: str) -> Watchdog:
    made = Watchdog({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "3000000", **more})
    made.open(OPENING)
    return made


def test_it_is_ready_with_the_first_decision_and_not_before(manager):
    dog = watchdog(manager)
    assert said(manager) == []
    dog.give(decision(250), timing())
    assert said(manager) == ["READY=1", "WATCHDOG=1"]
    dog.close()
    assert said(manager) == ["STOPPING=1"]


def test_it_is_answered_three_times_within_its_patience_and_only_by_decisions(manager):
    dog = watchdog(manager)
    for tick in range(1, 25):  # six seconds
        dog.give(decision(250 * tick), timing())
    assert said(manager).count("WATCHDOG=1") == 6
    assert said(manager) == [], "no decision, no answer"
    dog.close()


def test_events_are_its_status_and_another_process_patience_is_not_ours(manager):
    dog = watchdog(manager, WATCHDOG_PID=str(os.getpid() + 1))
    dog.note(Event(0, "source lost", "video: unplugged"))
    dog.give(decision(250), timing())
    assert said(manager) == ["STATUS=source lost: video: unplugged", "READY=1"]
    dog.close()


def test_a_manager_that_has_gone_ends_nothing(manager, tmp_path):
    dog = watchdog(manager)
    os.unlink(tmp_path / "notify")
    dog.give(decision(250), timing())
    dog.close()


def test_an_abstract_socket_is_an_at_sign_and_without_systemd_nothing_is_wanted():
    name = f"affectkit-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        dog = Watchdog({"NOTIFY_SOCKET": "@" + name})
        dog.open(OPENING)
        dog.give(decision(250), timing())
        assert listening.recv(100) == b"READY=1"
        dog.close()
    assert not Watchdog.wanted({}) and Watchdog.wanted({"NOTIFY_SOCKET": "@x"})
