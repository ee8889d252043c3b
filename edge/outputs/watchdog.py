"""systemd's watchdog, answered only while decisions appear: a process that runs and decides nothing is restarted.

Protocol: sd_notify(3) and systemd.service(5), ``Type=notify`` and ``WatchdogSec=``; a datagram to the socket that ``NOTIFY_SOCKET`` names.
"""

from __future__ import annotations

import collections.abc
import contextlib
import os
import socket

from edge.outputs import Opening, Timing
from edge.types import Decision, Event

SHARE = 3
"""It is told so many times within its patience: one lost wake-up must not end the run."""


class Watchdog:
    """Says READY with the first decision, WATCHDOG with those that follow, STOPPING at the end, and STATUS when something changes.

    Args:
        environment: has NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, as systemd sets them.
    """

    def __init__(self, environment: collections.abc.Mapping[str, str] = os.environ):
        self._address = environment.get("NOTIFY_SOCKET", "")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._patience_ns = int(environment.get("WATCHDOG_USEC", "0") or 0) * 1000 if mine else 0
        self._socket: socket.socket | None = None
        self._told_ns: int | None = None

    @staticmethod
    def wanted(environment: collections.abc.Mapping[str, str] = os.environ) -> bool:
        """Whether systemd waits for an answer."""
        return bool(environment.get("NOTIFY_SOCKET"))

    def open(self, opening: Opening) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def give(self, decision: Decision, timing: Timing) -> None:
        if self._told_ns is None:
            self._say("READY=1")
        elif decision.t_ns - self._told_ns < self._patience_ns // SHARE:
            return
        self._told_ns = decision.t_ns
        if self._patience_ns:
            self._say("WATCHDOG=1")

    def note(self, event: Event) -> None:
        self._say(f"STATUS={event.kind}: {event.detail}"[:500])

    def close(self) -> None:
        if self._socket is not None:
            self._say("STOPPING=1")
            self._socket.close()
            self._socket = None

    def _say(self, message: str) -> None:
        if self._socket is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError):  # a manager that does not listen is none to fail over; the next message tries again
            self._socket.sendto(message.encode(), address)
