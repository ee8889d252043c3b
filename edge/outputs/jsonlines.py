"""One decision a line, as JSON: what was decided and no measured times, so the same input gives the same bytes.

At real pace there may be lines between that have ``event`` instead of ``state``: a source that was lost, an effort that changed.
"""

from __future__ import annotations

import collections.abc
import contextlib
import errno
import io
import json
import os
import pathlib
import sys
import typing

from edge.errors import InputError
from edge.outputs import Opening, Timing
from edge.types import MODALITIES, Decision, Event

DIGITS = 4
"""Decimals of probabilities and weights: finer than any int8 stage resolves."""


def as_record(decision: Decision, start_ns: int) -> dict[str, object]:
    """What a line says; keys always in this order, times in ms since the start of the run."""
    newest = decision.newest_ns
    return {
        "t_ms": _ms(decision.t_ns - start_ns),
        "state": decision.state,
        "label": decision.label,
        "confidence": _rounded(decision.confidence),
        "probabilities": {label: _rounded(p) for label, p in decision.probabilities.items()},
        "weights": {m: _rounded(decision.weights[m]) for m in MODALITIES if m in decision.weights},
        "absent": {
            m: {"reason": decision.absent[m].reason, "detail": decision.absent[m].detail} for m in MODALITIES if m in decision.absent
        },
        "newest_ms": None if newest is None else _ms(newest - start_ns),
        "skew_ms": _ms(decision.skew_ns),
        "ages_ms": {m: _ms(decision.t_ns - decision.ends_ns[m]) for m in MODALITIES if m in decision.ends_ns},
    }


def _ms(ns: int) -> float | int:
    return ns // 1_000_000 if ns % 1_000_000 == 0 else round(ns / 1e6, 3)


def _rounded(value: float) -> float:
    return round(value, DIGITS) + 0.0  # + 0.0 turns -0.0 into 0.0


class JsonLines:
    """Appends to ``FILE.partial`` while the run goes on, and renames it to ``FILE`` at its end.

    So a live run can be followed (``tail -f``) and a crash or a power cut keeps every whole line, yet a file under its final name
    is complete; after a failed write (disk full) it stays ``FILE.partial``, up to the last line that was whole. "-" is standard
    output; a pipe or device is written directly.

    Raises:
        InputError: on ``open``, when the file or its ``.partial`` exists and may not be overwritten, or cannot be created, or is a
            pipe that nobody reads.
    """

    def __init__(self, path: str | pathlib.Path, *, overwrite: bool = False, stdout: typing.TextIO | None = None):
        self._path = pathlib.Path(path)
        self._partial = self._path.with_name(self._path.name + ".partial")
        self._overwrite = overwrite
        self._to_stdout = str(path) == "-"
        self._stdout = stdout
        self._file: typing.TextIO | io.FileIO | None = None
        self._whole_bytes = 0
        self._renames = False
        self._torn = False
        self._start_ns = 0

    def open(self, opening: Opening) -> None:
        self._start_ns = opening.start_ns
        if self._to_stdout:
            self._file = self._stdout or sys.stdout
            return
        refuse_existing((self._path, self._partial), overwrite=self._overwrite)
        self._renames = not _is_special(self._path)
        target = self._partial if self._renames else self._path
        try:
            # Unbuffered: a line goes out in one call, and nothing waits to be written behind a line that was cut off.
            mode = "x" if self._renames and not self._overwrite else "w"
            self._file = io.FileIO(target, mode, opener=_without_waiting if target.is_fifo() else None)
        except OSError as error:
            if error.errno == errno.ENXIO and target.is_fifo():
                raise InputError(f"{target}: nobody reads from this pipe; start its reader first") from error
            raise InputError(f"{target}: cannot be created: {error.strerror or error}") from error

    def give(self, decision: Decision, timing: Timing) -> None:
        self._write(as_record(decision, self._start_ns))

    def note(self, event: Event) -> None:
        self._write({"t_ms": _ms(event.t_ns - self._start_ns), "event": event.kind, "detail": event.detail})

    def _write(self, record: dict[str, object]) -> None:
        if self._file is None:
            raise ValueError(f"{self._path}: given a decision before it was opened")
        line = json.dumps(record, ensure_ascii=False) + "\n"
        try:
            if isinstance(self._file, io.FileIO):
                content = line.encode("utf-8")
                left = memoryview(content)
                while left:
                    left = left[self._file.write(left) :]
                self._whole_bytes += len(content)
            else:
                self._file.write(line)
                self._file.flush()
        except OSError:
            self._torn = True
            if self._renames and isinstance(self._file, io.FileIO):
                with contextlib.suppress(OSError):
                    self._file.truncate(self._whole_bytes)
            raise

    def close(self) -> None:
        file, self._file = self._file, None
        if file is None or self._to_stdout:
            return
        file.close()
        if self._renames and not self._torn:
            refuse_existing((self._path,), overwrite=self._overwrite)
            os.replace(self._partial, self._path)


def _without_waiting(path: str, flags: int) -> int:
    """Open a FIFO: OSError ENXIO without a reader, where a plain ``open`` would wait for one for ever."""
    descriptor = os.open(path, (flags & ~(os.O_CREAT | os.O_TRUNC)) | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


def _is_special(path: pathlib.Path) -> bool:
    """A device or pipe, which is neither refused nor renamed onto."""
    return path.exists() and not path.is_file() and not path.is_dir()


def refuse_existing(paths: collections.abc.Iterable[pathlib.Path], *, overwrite: bool) -> None:
    """Raises InputError if one of ``paths`` is there and may not be overwritten, or is a folder."""
    for path in paths:
        if path.is_dir():
            raise InputError(f"{path}: is a folder; name a file")
        if path.exists() and not overwrite and not _is_special(path):
            left = " (left by a run that did not end)" if path.suffix == ".partial" else ""
            raise InputError(f"{path}: exists already{left}; move it away or say --overwrite")
