"""The kit's own service, asked and told through systemd (systemctl(1)), and the word that its LED shows."""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import os
import pathlib
import subprocess
import time
import typing

from firmware_configs.update import SERVICE

Run = collections.abc.Callable[[collections.abc.Sequence[str], float], tuple[int, str]]
"""A command and the seconds that it may take -> its status and what it wrote to standard output."""

QUESTION = (
    "ActiveState",
    "SubState",
    "Result",
    "ExecMainStatus",
    "ActiveEnterTimestampMonotonic",
    "WatchdogTimestampMonotonic",
    "NRestarts",
)
LONGEST_START_S = 300.0
"""A little more than the unit's TimeoutStartSec=."""


@dataclasses.dataclass(frozen=True)
class State:
    """What systemd says of the service."""

    active: str
    """"active", "activating", "failed", "inactive", ...; "" where systemd cannot be asked."""
    result: str
    """Of the last run: "success", "exit-code", "watchdog", ..."""
    exit_status: int
    entered_us: int
    """Of the boot's clock, when the first decision came (Type=notify); 0 if it never did."""
    watchdog_us: int
    """When the newest decision came that the watchdog was told of."""
    restarts: int

    @property
    def deciding_s(self) -> float:
        """From the first to the newest decision of this run that systemd was told of: only decisions answer the watchdog."""
        return max(0, self.watchdog_us - self.entered_us) / 1e6 if self.active == "active" and self.entered_us else 0.0

    @property
    def word(self) -> str:
        """Of those that the LED shows (usr/lib/affectkit/led)."""
        if self.active == "active":
            return "deciding"
        if self.active in ("activating", "reloading"):
            return "starting"
        if self.active == "failed":
            return "refused" if self.result == "exit-code" and self.exit_status == 2 else "failed"
        return "stopped"


class Service(typing.Protocol):
    """What an update needs of the kit's service."""

    def state(self) -> State: ...
    def restart(self) -> bool:
        """Start it anew and wait for its first decision; False if there was none."""
        ...


class SystemdService:
    """``affectkit.service`` as systemd runs it."""

    def __init__(self, run: Run | None = None, name: str = SERVICE):
        self._run, self._name = run or run_command, name

    def state(self) -> State:
        status, said = self._run(("systemctl", "show", self._name, *(f"--property={key}" for key in QUESTION)), 30.0)
        if status != 0:
            return State("", "", 0, 0, 0, 0)
        values = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
        numbers = {key: int(values.get(key) or 0) if (values.get(key) or "0").isdigit() else 0 for key in QUESTION[3:]}
        return State(
            values.get("ActiveState", ""),
            values.get("Result", ""),
            numbers["ExecMainStatus"],
            numbers["ActiveEnterTimestampMonotonic"],
            numbers["WatchdogTimestampMonotonic"],
            numbers["NRestarts"],
        )

    def restart(self) -> bool:
        # A service that gave up on status 2 is started as any other; reset-failed only clears its mark.
        self._run(("systemctl", "reset-failed", self._name), 30.0)
        return self._run(("systemctl", "restart", self._name), LONGEST_START_S)[0] == 0


def run_command(command: collections.abc.Sequence[str], longest_s: float) -> tuple[int, str]:
    """Status and standard output; 127 if the command cannot be started, 124 if it takes too long."""
    try:
        done = subprocess.run(list(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=longest_s, check=False)
    except subprocess.TimeoutExpired:
        return 124, ""
    except OSError:
        return 127, ""
    return done.returncode, done.stdout


class Led:
    """Leaves words in ``/run/affectkit/state``, a file of a folder that belongs to the kit's user.

    So it is never followed if it is a link, and stays the user's, who writes to it too.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder = folder

    def say(self, word: str) -> None:
        """Show ``word``; a kit without such a folder goes without."""
        with contextlib.suppress(OSError):
            owner = os.stat(self._folder)
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            file = os.open(self._folder / "state", flags, 0o644)
            try:
                if os.geteuid() == 0:
                    os.fchown(file, owner.st_uid, owner.st_gid)
                os.ftruncate(file, 0)
                os.write(file, f"{word}\n".encode("ascii"))
            finally:
                os.close(file)

    def word(self) -> str:
        """What it shows; "" if nobody has said anything."""
        try:
            file = os.open(self._folder / "state", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return ""
        try:
            return os.read(file, 64).decode("ascii", "replace").strip()
        except OSError:
            return ""
        finally:
            os.close(file)


class Pause(typing.Protocol):
    """Time to wait by: seconds of a clock that never steps, and a wait."""

    def now_s(self) -> float: ...
    def wait(self, seconds: float) -> None: ...


class SystemPause:
    """The machine's."""

    def now_s(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)
