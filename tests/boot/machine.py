"""One emulated board: a card in its reader, chips on its bus, sticks in its USB port, no network, and nobody to ask but its line.

QEMU's ``virt`` board with a Cortex-A72, two cores and 1 GiB. Time in it is real time, the processor some twenty times slower than a
Raspberry Pi 4's. What the firmware does is done here at each start: the kernel, the initrd and ``cmdline.txt`` of the card's FAT.
"""

from __future__ import annotations

import base64
import collections.abc
import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import types
import typing

from adapter import Plug
from base import BOOT_START, Base
from common import CannotError

NO_CLOCK = "1970-01-01T00:00:00"
"""A board without a clock chip wakes up then; systemd goes on from the latest time that it knows."""
Disk = typing.Literal["card", "virtio"]


class SilentError(Exception):
    """The machine did not do in time what was waited for."""


class EndedError(Exception):
    """The machine has ended: it was switched off, it restarts, or QEMU failed."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command in the machine came to."""

    status: int
    output: str


class Machine:
    """Context manager: runs from ``__enter__`` on; leaving it cuts the power.

    Args:
        base: kernel and initrd.
        card: raw image, written to; a power of two in size if it is in the card reader.
        log: folder for the console, ``console-NUMBER.txt``.
        clock: what the clock chip shows, UTC.
        disk: where the card is: in a card reader as on a Raspberry Pi, or a virtio disk.
        log_writes: file for every write and flush, as dm-log-writes has them (virtio only: a card reader knows no flush).
        chips: simulated pulse and skin conductance on a USB adapter.
    """

    def __init__(
        self,
        base: Base,
        card: pathlib.Path,
        log: pathlib.Path,
        *,
        clock: str = NO_CLOCK,
        disk: Disk = "card",
        log_writes: pathlib.Path | None = None,
        chips: bool = True,
    ):
        self._base, self._card, self._log_folder, self._clock, self._disk = base, card, log, clock, disk
        self._log_writes, self._chips = log_writes, chips
        if log_writes and disk != "virtio":
            raise ValueError("writes are logged of a virtio disk alone")
        self._number = 0
        self._sticks = 0
        self.console = log

    def __enter__(self) -> Machine:
        self._scratch = pathlib.Path(tempfile.mkdtemp(prefix="affectkit-"))
        number = len(list(self._log_folder.glob("console-*.txt"))) + 1
        self.console = self._log_folder / f"console-{number:02d}.txt"
        try:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
            )
            self.began_s = time.monotonic()
            if self._chips:
                Plug(self._scratch / "usb").start()
            self._monitor = self._connected("monitor")
            self._monitor_file = self._monitor.makefile("rb")
            json.loads(self._monitor_file.readline())
            self.monitor("qmp_capabilities")
            self._line = self._connected("line")
        except BaseException:
            self._end()
            raise
        self._received = b""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None) -> None:
        self._end()

    @property
    def up_s(self) -> float:
        """Seconds since the power came."""
        return time.monotonic() - self.began_s

    def ask(self, command: str, *, limit_s: float = 60.0) -> Answer:
        """Runs a shell command in the machine as root. Raises SilentError, EndedError."""
        self._number += 1
        self._line.sendall(f"{self._number} {base64.b64encode(command.encode()).decode()}\n".encode())
        until_s = time.monotonic() + limit_s
        while True:
            for line in self._lines(until_s, command):
                number, _, rest = line.partition(b" ")
                status, _, output = rest.partition(b" ")
                if number == str(self._number).encode():
                    return Answer(int(status), base64.b64decode(output).decode(errors="replace"))

    def wait(self, command: str, *, limit_s: float, every_s: float = 3.0) -> float:
        """Waits until a shell command succeeds in the machine; ``up_s`` then. Raises SilentError, EndedError."""
        until_s = time.monotonic() + limit_s
        answer = Answer(1, "")
        while time.monotonic() < until_s:
            try:
                answer = self.ask(command, limit_s=max(1.0, until_s - time.monotonic()))
            except SilentError:
                break
            if answer.status == 0:
                return self.up_s
            time.sleep(every_s)
        raise SilentError(f"not within {limit_s:.0f} s: {command!r}, saying {answer.output.strip()[-300:]!r}")

    def wait_for_line(self, *, limit_s: float) -> float:
        """Waits until the machine answers at all; ``up_s`` then."""
        # What was asked before the machine listens is kept by the line, and answered then.
        self.ask("true", limit_s=limit_s)
        return self.up_s

    def plug(self, stick: pathlib.Path) -> str:
        """Puts a stick with this raw image into the USB port; a name for ``unplug``."""
        self._sticks += 1
        name = f"stick{self._sticks}"
        file = {"driver": "file", "filename": str(stick)}
        self.monitor("blockdev-add", {"node-name": name, "driver": "raw", "file": file})
        self.monitor("device_add", {"driver": "usb-storage", "id": f"{name}-device", "drive": name, "bus": "xhci.0", "removable": True})
        return name

    def unplug(self, name: str) -> None:
        """Takes the stick out."""
        self.monitor("device_del", {"id": f"{name}-device"})
        until_s = time.monotonic() + 20
        while time.monotonic() < until_s:
            try:
                self.monitor("blockdev-del", {"node-name": name})
                return
            except CannotError:  # still in use
                time.sleep(0.2)
        raise SilentError(f"{name} did not come out")

    def cut(self) -> None:
        """The power goes, now."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def power_off(self, *, limit_s: float = 120.0) -> None:
        """Switches it off tidily."""
        with contextlib.suppress(EndedError):
            self.ask("systemctl poweroff --no-block", limit_s=30.0)
        self.wait_for_end(limit_s=limit_s)

    def wait_for_end(self, *, limit_s: float) -> None:
        """Waits until it has switched itself off, or restarts (which ends it, too)."""
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired as error:
            raise SilentError(f"still running after {limit_s:.0f} s") from error

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def monitor(self, command: str, arguments: collections.abc.Mapping[str, typing.Any] | None = None) -> typing.Any:
        """A command of QEMU's machine protocol; what it returns. Raises CannotError with what QEMU says."""
        self._monitor.sendall(json.dumps({"execute": command, "arguments": dict(arguments or {})}).encode())
        while True:
            line = self._monitor_file.readline()
            if not line:
                raise EndedError(f"QEMU went away: {self._complaint()}")
            answer = json.loads(line)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise CannotError(f"QEMU: {command}: {answer['error']['desc']}")

    def _lines(self, until_s: float, command: str) -> collections.abc.Iterator[bytes]:
        """Whole lines that have come."""
        self._line.settimeout(1.0)
        try:
            part = self._line.recv(1 << 16)
        except TimeoutError:
            if time.monotonic() > until_s:
                raise SilentError(f"no answer in time to {command!r}") from None
            part = b""
            if self.ended:
                raise EndedError(self._complaint()) from None
        except OSError as error:
            raise EndedError(str(error)) from error
        else:
            if not part:
                raise EndedError(self._complaint())
        *lines, self._received = (self._received + part).split(b"\n")
        yield from lines

    def _complaint(self) -> str:
        if not self.ended:
            return "nothing"
        said = self._process.stderr.read().decode(errors="replace").strip() if self._process.stderr else ""
        return f"QEMU ended with status {self._process.returncode}: {said[-500:] or 'nothing said'}"

    def _connected(self, name: str) -> socket.socket:
        until_s = time.monotonic() + 30
        while True:
            line = socket.socket(socket.AF_UNIX)
            try:
                line.connect(str(self._scratch / name))
                return line
            except OSError:
                line.close()
                if self.ended or time.monotonic() > until_s:
                    raise CannotError(f"QEMU does not start: {self._complaint()}") from None
                time.sleep(0.05)

    def _words(self) -> str:
        """The kernel's command line: the card's own, with the serial port as the firmware names it."""
        command = ["mtype", "-i", f"{self._card}@@{BOOT_START}", "::cmdline.txt"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
        if done.returncode or "root=" not in done.stdout:
            raise CannotError(f"{self._card}: no cmdline.txt with root= on its boot partition: {done.stderr.strip() or done.stdout!r}")
        return done.stdout.strip().replace("console=serial0", "console=ttyAMA0").replace("console=tty1", "").replace("\n", " ")

    def _command(self) -> list[str]:
        card: dict[str, typing.Any] = {"driver": "raw", "node-name": "card", "file": {"driver": "file", "filename": str(self._card)}}
        nodes = [card]
        if self._log_writes:
            self._log_writes.touch()
            log = {"driver": "file", "filename": str(self._log_writes)}
            card |= {"node-name": "plain"}
            nodes.append({"driver": "blklogwrites", "node-name": "card", "file": "plain", "log": log, "log-sector-size": 512})
        device = ["virtio-blk-pci,drive=card"] if self._disk == "virtio" else ["sdhci-pci", "sd-card,drive=card"]
        chips = [f"socket,id=adapter,path={self._scratch}/usb,server=on,wait=off"] if self._chips else []
        devices = [*device, "qemu-xhci,id=xhci", "virtio-serial-pci", "virtserialport,chardev=line,name=affectkit.rig"]
        sockets = [f"socket,id=line,path={self._scratch}/line,server=on,wait=off", f"file,id=console,path={self.console}", *chips]
        return [
            *(
                "qemu-system-aarch64",
                "-M",
                "virt",
                "-cpu",
                "cortex-a72",
                "-accel",
                "tcg,thread=multi,tb-size=512",
                "-smp",
                "2",
                "-m",
                "1024",
            ),
            *("-nodefaults", "-nographic", "-nic", "none", "-no-reboot", "-rtc", f"base={self._clock}", "-name", "affectkit-boot"),
            *("-kernel", str(self._base.kernel), "-initrd", str(self._base.initrd), "-append", self._words()),
            *("-qmp", f"unix:{self._scratch}/monitor,server=on,wait=off", "-serial", "chardev:console"),
            *(word for each in sockets for word in ("-chardev", each)),
            *(word for each in nodes for word in ("-blockdev", json.dumps(each))),
            *(word for each in (*devices, *(["usb-redir,chardev=adapter,bus=xhci.0"] if chips else [])) for word in ("-device", each)),
        ]

    def _end(self) -> None:
        process = getattr(self, "_process", None)
        if process is not None and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for name in ("_line", "_monitor_file", "_monitor"):
            if (each := getattr(self, name, None)) is not None:
                each.close()
        shutil.rmtree(self._scratch, ignore_errors=True)
