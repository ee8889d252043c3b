"""pip, for this machine or as if it were the device; what it says when it fails, in one line."""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import types
import typing

from edge.errors import InputError
from firmware_configs import boards

_ELSEWHERE = pathlib.Path(__file__).resolve().parent / "pip_elsewhere.py"
FULL_VERSION: typing.Final[collections.abc.Mapping[boards.OsName, str]] = {"bookworm": "3.11.2", "trixie": "3.13.5"}
"""Of each system's Python: a stable Debian keeps it. Conditions in requirements ask for it."""


@dataclasses.dataclass(frozen=True)
class Device:
    """What pip is told of the device."""

    os: boards.OsName
    facts: boards.OsFacts

    def options(self) -> list[str]:
        """Of ``pip install`` and ``pip download``: wheels alone, and which."""
        platforms = [word for tag in self.facts.platform_tags() for word in ("--platform", tag)]
        python = ["--python-version", FULL_VERSION[self.os], "--implementation", "cp", "--abi", self.facts.python]
        return ["--only-binary=:all:", *python, *platforms]

    def environment(self) -> dict[str, str]:
        """The variables of conditions in requirements (PEP 508)."""
        full = FULL_VERSION[self.os]
        return {
            "implementation_name": "cpython",
            "implementation_version": full,
            "os_name": "posix",
            "platform_machine": "aarch64",
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": full,
            "python_version": full.rpartition(".")[0],
            "sys_platform": "linux",
        }


def run_pip(
    arguments: collections.abc.Sequence[str],
    what: str,
    device: Device | None = None,
    extra: collections.abc.Mapping[str, str] = types.MappingProxyType({}),
) -> None:
    """Runs pip with the user's own settings of indexes and proxies; ``what`` begins the error.

    With ``device`` as if this were it; ``extra`` comes into the environment.

    Raises:
        InputError: pip is missing or failed, with the last error that it gave.
    """
    start = ["-m", "pip"] if device is None else [str(_ELSEWHERE), json.dumps(device.environment())]
    # What a person set for their own installations does not fit here.
    settings = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    environment = {key: value for key, value in os.environ.items() if key not in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")}
    ran = subprocess.run(
        [sys.executable, "-P", *start, *arguments], capture_output=True, text=True, env=environment | settings | dict(extra)
    )
    if ran.returncode:
        raise InputError(f"{what}: pip failed: {_reason(ran.stderr)}")


def _reason(said: str) -> str:
    if "No module named pip" in said or "No module named 'pip'" in said:
        return "it is not installed with this Python; install it (python3-pip, or python -m ensurepip)"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if any("No space left" in line for line in lines):
        return "the disk is full; free some space (what was fetched is kept)"
    for line in lines:
        if any(word in line for word in ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "Max retries", "ProxyError")):
            return "the package index cannot be reached; connect to the network (what was fetched is kept)"
    # Of a build that failed, what it said last.
    if "[end of output]" in lines[1:]:
        return lines[lines.index("[end of output]", 1) - 1]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["it said nothing"])[-1]
