"""Time as a parameter: everything that waits or stamps takes a ``Clock``, so tests never sleep."""

from __future__ import annotations

import threading
import time
import typing


class Clock(typing.Protocol):
    """Monotonic nanoseconds, and a wait that another thread can cut short."""

    def now_ns(self) -> int:
        """Nanoseconds since an arbitrary start; never steps, whatever the wall clock does."""
        ...

    def wait(self, wake: threading.Event, until_ns: int) -> bool:
        """Block until ``wake`` is set (True) or ``until_ns`` has come (False)."""
        ...


class SystemClock:
    """The machine's monotonic clock."""

    def now_ns(self) -> int:
        return time.monotonic_ns()

    def wait(self, wake: threading.Event, until_ns: int) -> bool:
        return wake.wait(max(0, until_ns - self.now_ns()) / 1e9)


class ManualClock:
    """Time that moves only when told to: for tests, and for replay as fast as the machine goes."""

    def __init__(self, now_ns: int = 0):
        self._now_ns = now_ns

    def now_ns(self) -> int:
        return self._now_ns

    def advance_to(self, t_ns: int) -> None:
        """Move to ``t_ns``; a time in the past leaves the clock where it is, for it never steps back."""
        self._now_ns = max(self._now_ns, t_ns)

    def wait(self, wake: threading.Event, until_ns: int) -> bool:
        if wake.is_set():
            return True
        self.advance_to(until_ns)
        return False
