"""Runs a command in an aarch64 root directory: emulated, without a network, without rights, and without a trace."""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys

from roots import PLACE, ROOT

ENTER = pathlib.Path(__file__).resolve().with_name("enter.py")
NAMESPACES = ("--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child")
PYTHON = f"/{PLACE}/bin/python"
TIMED_OUT = 124


@dataclasses.dataclass(frozen=True)
class Chroot:
    """A root directory and what it sees of this machine; itself and this repository are read-only to it."""

    root: pathlib.Path
    cpu: str
    """One of QEMU's models."""
    kept: pathlib.Path
    """A folder of this machine: compiled Python and what the checks write, seen as /mnt/out."""
    given: pathlib.Path | None = None
    """A folder of this machine that is seen, read-only, as /mnt/given."""

    def job(self, command: collections.abc.Sequence[str], environment: collections.abc.Mapping[str, str]) -> dict[str, object]:
        """What ``enter.py`` is told."""
        binds = {"mnt/code": (str(ROOT), False), "mnt/out": (str(self.kept), True)}
        if self.given is not None:
            binds["mnt/given"] = (str(self.given), False)
        settings = {
            "PATH": f"/{PLACE}/bin:/usr/local/bin:/usr/bin:/bin",
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
            "QEMU_CPU": self.cpu,
            "PYTHONPYCACHEPREFIX": "/mnt/out/pycache",
            "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis",
            **environment,
        }
        return {
            "root": str(self.root),
            "binds": binds,
            "cwd": "/mnt/code",
            "environment": settings,
            "command": list(command),
        }

    def run(
        self,
        command: collections.abc.Sequence[str],
        output: pathlib.Path,
        limit_s: float,
        environment: collections.abc.Mapping[str, str] | None = None,
    ) -> int:
        """Run ``command``, its streams in the file ``output``; its exit status, 124 after ``limit_s``. What it started ends with it."""
        self.kept.mkdir(parents=True, exist_ok=True)
        os.chown(self.kept, 1000, 1000)
        job = json.dumps(self.job(command, environment or {}))
        # The first dies with this process, even a killed one; then the namespace's first process, and with that all else.
        outer = ["setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES, sys.executable, "-I", str(ENTER), job]
        with output.open("wb") as stream:
            process = subprocess.Popen(outer, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                return process.wait(limit_s)
            except subprocess.TimeoutExpired:
                return TIMED_OUT
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
