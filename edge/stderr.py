"""What native libraries write to standard error by themselves: caught, and only what people need passed on."""

from __future__ import annotations

import collections.abc
import contextlib
import os
import tempfile
import threading
import typing

_TURN = threading.Lock()
"""The descriptor is the whole process's: two threads that swap it at once would restore each other's file."""


@contextlib.contextmanager
def without_lines(drop: typing.Callable[[bytes], bool]) -> collections.abc.Iterator[None]:
    """Hold back what is written to descriptor 2 meanwhile; afterwards write the lines for which ``drop`` is False.

    What other threads write meanwhile comes late but does come, unless ``drop`` takes it. Nothing happens without a standard error.
    """
    with _TURN:
        try:
            kept = os.dup(2)
        except OSError:
            yield
            return
        with tempfile.TemporaryFile() as caught:
            os.dup2(caught.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(kept, 2)
                os.close(kept)
                caught.seek(0)
                lines = [line for line in caught if not drop(line)]
                if lines:
                    with contextlib.suppress(OSError):
                        os.write(2, b"".join(lines))
