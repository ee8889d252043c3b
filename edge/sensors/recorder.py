"""Writes down a live run: every chunk as the cycle took it, and in which order, so that its replay decides the same to the byte.

Only ``affectkit record`` makes one, and only with a consent to name. It writes in a thread of its own; when the disk is too slow the
recording ends there, complete up to that moment, and the decisions go on.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import functools
import logging
import os
import threading

from edge.errors import EdgeError, InputError, SessionError
from edge.journal import Entry, Took, as_line
from edge.session import JournalInfo, Source
from edge.session_writer import SessionWriter

log = logging.getLogger("affectkit")

JOURNAL = "journal.jsonl"
LIMIT = 1_000
"""Entries that may wait for the disk: about 20 s."""


class Recorder:
    """A journal that is kept, with the samples, as a session of format 2 at ``path``; the name appears when it is closed.

    Args:
        path: the session to write.
        title: says what it is.
        consent: where the consent of those recorded is filed.
        kit: what records it, in words.
        overwrite: replace what is there.

    Raises:
        InputError: no consent is named.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, title: str, consent: str, kit: collections.abc.Mapping[str, str], overwrite: bool = False
    ):
        if not consent.strip():
            raise InputError(f"{path}: a recording keeps pictures and sound of people; say where their consent is filed")
        self.path = os.fspath(path)
        self.failure: str | None = None
        """Why it ended before the run did."""
        self._start_ns = 0
        self._error: BaseException | None = None
        self._make_writer = functools.partial(
            SessionWriter,
            path,
            title=title,
            consent=consent,
            kit=kit,
            overwrite=overwrite,
            webp_quality=None,
            sources=(Source("people, live", f"consent: {consent}"),),
        )
        self._waiting: collections.deque[Entry] = collections.deque()
        self._something = threading.Condition()
        self._ending = False
        self._writer: SessionWriter | None = None
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def open(self, start_ns: int, bundle: str) -> None:
        """Begin: time 0 of the session is ``start_ns`` of the run's clock, and ``bundle`` the SHA-256 of what decides.

        Raises:
            SessionError: the file exists already or cannot be written.
        """
        self._start_ns = start_ns
        self._writer = self._make_writer(live=JournalInfo(JOURNAL, start_ns, bundle)).__enter__()
        self._thread.start()

    def write(self, entry: Entry) -> None:
        """Take one entry; never blocks."""
        with self._something:
            if self.failure is None and not self._ending:
                if len(self._waiting) >= LIMIT:
                    self.failure = "the disk was too slow; recorded up to there"
                    log.warning("%s: %s", self.path, self.failure)
                else:
                    self._waiting.append(entry)
            self._something.notify()

    def close(self) -> None:
        """Write what still waits and give the file its name. Raises SessionError if it could not be written."""
        with self._something:
            self._ending = True
            self._something.notify()
        if self._writer is None:
            return
        self._thread.join()
        writer, self._writer = self._writer, None
        if isinstance(self._error, BaseException):
            writer.__exit__(type(self._error), self._error, self._error.__traceback__)
            raise self._error
        writer.__exit__(None, None, None)

    def _run(self) -> None:
        try:
            while (entry := self._next()) is not None:
                self._put(entry)
        except SessionError as error:  # a sensor gave what no session can hold; what came before it is whole
            with self._something:
                self.failure = f"{error}; recorded up to there"
                self._waiting.clear()
            log.warning("%s", self.failure)
        except (EdgeError, OSError) as error:
            self._error = error
            with self._something:
                self.failure = str(error)
                self._waiting.clear()
            log.warning("%s: the recording is lost: %s", self.path, error)

    def _next(self) -> Entry | None:
        with self._something:
            while not self._waiting and not self._ending:
                self._something.wait()
            return self._waiting.popleft() if self._waiting else None

    def _put(self, entry: Entry) -> None:
        writer = self._writer
        if writer is None:
            return
        if isinstance(entry, Took):
            for chunk in entry.chunks:
                writer.add(dataclasses.replace(chunk, t_ns=chunk.t_ns - self._start_ns))
        writer.journal(as_line(entry, self._start_ns))  # after its samples, so that it never speaks of any that are not there
