"""Run a module as ``python -m`` does, and leave a word on the disk before everything that changes a file there.

``marked.py [--no-fsync] MODULE ARGUMENT...``; POWER_MARKS is ``DEVICE:OFFSET``, where the words go, and POWER_DISK the folder in question.
So the log of the disk says what the program was at. Words are written past the kernel's caches, to sectors that no file has.

With --no-fsync nothing that the program asks to be on the disk is, as if it had forgotten to ask: a fault which cuts must show.
"""

from __future__ import annotations

import mmap
import os
import runpy
import sys
import typing

_CHANGES = {"os.rename": 2, "os.link": 2, "os.symlink": 2, "os.remove": 1, "os.mkdir": 1, "os.rmdir": 1, "os.truncate": 1}
"""Audit event -> how many of its arguments are names (Python's library reference, audit events table)."""


class Marks:
    """Writes words to one sector of a device, which the disk's log keeps in order."""

    def __init__(self, place: str, folder: str):
        device, offset = place.rsplit(":", 1)
        self._file = os.open(device, os.O_WRONLY | os.O_DIRECT)
        self._offset = int(offset)
        self._page = mmap.mmap(-1, mmap.PAGESIZE)  # direct writes need memory that is aligned
        self._folder = folder.rstrip("/") + "/"

    def write(self, words: str) -> None:
        self._page[:512] = words.encode("utf-8", "replace")[:511].ljust(512, b"\0")
        os.pwritev(self._file, [memoryview(self._page)[:512]], self._offset)

    def heard(self, event: str, arguments: tuple[typing.Any, ...]) -> None:
        """For ``sys.addaudithook``."""
        if event == "subprocess.Popen":
            # A program of another language leaves no words of its own: this one stands for all that it does.
            self.write(f"run {' '.join(os.fsdecode(word).rsplit('/', 1)[-1] for word in arguments[1])}")
            return
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            names = arguments[:1]
        elif event in _CHANGES:
            names = arguments[: _CHANGES[event]]
        else:
            return
        told = [os.fsdecode(name) for name in names if isinstance(name, (str, bytes, os.PathLike))]
        if any(self._folder in one or not one.startswith("/") for one in told):
            self.write(" ".join([event.removeprefix("os."), *(one.removeprefix(self._folder) for one in told)]))


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--no-fsync"]:
        arguments = arguments[1:]
        os.fsync = os.fdatasync = lambda _: None  # type: ignore[assignment]
        os.sync = lambda: None
    marks = Marks(os.environ["POWER_MARKS"], os.environ["POWER_DISK"])
    sys.addaudithook(marks.heard)
    marks.write(f"begin {' '.join(arguments[:3])}")
    sys.argv = arguments
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    finally:
        marks.write(f"end {' '.join(arguments[:3])}")


if __name__ == "__main__":
    main(sys.argv[1:])
