"""Processes that may crash, hang or say no: run, limited in time, and explained in one line."""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import typing

ROOT = pathlib.Path(__file__).resolve().parent.parent
LONGEST = 160
_ERROR = re.compile(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception|NotImplemented|Fail|InvalidArgument|InvalidGraph)): (.*)")
_CHATTER = re.compile(r"^[IWEF]\d{4} \d\d:|^\d{4}-\d\d-\d\d |^WARNING: All log messages")
"""What TensorFlow's native code says of itself."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_WRAPPERS = ("flatbuffer_direct fast path failed",)
"""Messages that stand for another one above them."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What one child did."""

    said: dict[str, typing.Any] | None
    """The JSON in its last line; empty for programs that say none; None if it failed."""
    why: str
    """In one line, where it failed."""
    seconds: float


def explain(status: int, stderr: str) -> str:
    """Why a child failed, in one line: its last exception, or the signal that ended it."""
    if status < 0:
        try:
            return f"crashed ({signal.Signals(-status).name})"
        except ValueError:
            return f"crashed (signal {-status})"
    lines = [line.strip() for line in _COLOUR.sub("", stderr).splitlines()]
    lines = [line for line in lines if line and not _CHATTER.match(line)]
    errors = [match for match in map(_ERROR.match, lines) if match and not match[2].startswith(_WRAPPERS)]
    said = f"{errors[-1][1]}: {errors[-1][2]}" if errors else (lines[-1] if lines else "no message")
    return shortened(said)


def shortened(text: str) -> str:
    """One line, without paths, at most ``LONGEST`` characters."""
    text = re.sub(r"(?<![\w.])/(?:[\w.+-]+/)+", "", " ".join(text.split()))
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def run(
    command: collections.abc.Sequence[str],
    job: dict[str, typing.Any] | None = None,
    *,
    limit_s: float,
    environment: collections.abc.Mapping[str, str] | None = None,
    folder: pathlib.Path | None = None,
) -> Answer:
    """Run a program to its end.

    Args:
        command: program and arguments; the path of a file with ``job`` is added.
        job: written as JSON; the answer is then the last line of what the child prints.
        limit_s: it is ended after this long.
        environment: added to this process's own.
        folder: to run in; the root of the project if None.
    """
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", "PYTHONWARNINGS": "ignore", "NO_COLOR": "1"}
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="affectkit-peer-") as name:
        # Files instead of pipes: what a child leaves running would hold a pipe open after its end.
        printed, complained = (pathlib.Path(name) / part for part in ("printed", "complained"))
        arguments = list(command)
        if job is not None:
            path = pathlib.Path(name) / "job.json"
            path.write_text(json.dumps(job))
            arguments.append(str(path))
        with printed.open("wb") as out, complained.open("wb") as errors:
            process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, cwd=folder or ROOT, start_new_session=True,
                env={**os.environ, **quiet, **(environment or {})},
            )  # fmt: skip
            try:
                process.wait(limit_s)
            except BaseException as error:
                # With all that it started, before it is waited for and its number can be another's.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                return Answer(None, f"gave no answer within {limit_s:g} s", time.monotonic() - began_s)
        seconds = time.monotonic() - began_s
        said, stderr = printed.read_text(errors="replace"), complained.read_text(errors="replace")
    if process.returncode != 0:
        return Answer(None, explain(process.returncode, f"{said}\n{stderr}"), seconds)
    if job is None:
        return Answer({}, "", seconds)
    try:
        return Answer(json.loads(said.strip().splitlines()[-1]), "", seconds)
    except (ValueError, IndexError):
        return Answer(None, "gave no answer", seconds)
