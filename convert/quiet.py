"""TensorFlow without the lines that its native code writes while it loads, which no setting silences."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile

_CHATTER = re.compile(rb"^(WARNING: All log messages before absl|I0000 |\S+ \S+ I |INFO: )")


def load_tensorflow() -> None:
    """Import TensorFlow; what it writes on standard error is passed on afterwards, information left out."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        kept = os.dup(2)
    except OSError:  # no standard error: nothing to keep quiet
        import tensorflow  # noqa: F401

        return
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            import keras  # noqa: F401
            import tensorflow as tf

            with contextlib.suppress(RuntimeError):
                # Looking for devices is what it talks about last.
                tf.config.list_physical_devices()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            caught.seek(0)
            lines = [line for line in caught if not _CHATTER.match(line)]
            if lines:
                os.write(2, b"".join(lines))
