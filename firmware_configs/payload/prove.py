"""Proves that a payload installs and decides on its board's processor without a network: in a root folder of it, emulated."""

from __future__ import annotations

import collections.abc
import json
import pathlib
import shutil
import typing

from edge.errors import EdgeError
from firmware_configs import boards
from firmware_configs.payload.assemble import MOST_BYTES
from firmware_configs.payload.roots import NATIVE, Ran, emulator, run_in, used_bytes

AT = "boot/firmware/affectkit"
AFFECTKIT = "/opt/affectkit/venv/bin/affectkit"
BUNDLE = "/srv/affectkit/bundles/current.affectkit"
AS_SERVICE = ("setpriv", "--reuid=affectkit", "--regid=affectkit", "--clear-groups", "--no-new-privs")
"""What is installed must do for the user that the service has."""
DURATION_S = 5
"""Of the embedded session; a decision every 250 ms."""
MOST_STEPS = 1
"""Off the golden vectors: an int8 softmax rounds otherwise on aarch64."""
_NOT_COUNTED = (AT, "tmp", "run", "proc", "dev", "sys", "var/cache", "var/log")


def prove(
    payload: pathlib.Path, board: str, root: pathlib.Path, tell: collections.abc.Callable[[str], object] = print
) -> dict[str, typing.Any]:
    """Installs ``payload`` in the root folder ``root``, checks the golden vectors there, and runs the bundle; what was seen.

    Raises:
        CannotProveError: this workstation cannot run arm64 programs.
        EdgeError: something failed in there; or the kit takes more than ``MOST_BYTES``.
    """
    here = emulator()
    cpu = boards.named(board).cpu
    environment = {"HOME": "/tmp"} | ({} if here == NATIVE else {"QEMU_CPU": cpu})
    release = _release(root)
    before = used_bytes(root, _NOT_COUNTED)
    shutil.copytree(payload, root / AT)

    def do(what: str, *command: str) -> Ran:
        tell(what)
        ran = run_in(root, command, environment=environment)
        if ran.status:
            raise EdgeError(f"the payload was tried on {release} and failed, {what}: {ran.why}")
        return ran

    installed = do("installing it without a network", "sh", f"/{AT}/install.sh")
    record = json.loads((root / "etc/affectkit/installed.json").read_text(encoding="utf-8"))
    footprint = used_bytes(root, _NOT_COUNTED) - before
    verified = do("checking the golden vectors", *AS_SERVICE, AFFECTKIT, "verify", "--json", "--within", str(MOST_STEPS), BUNDLE)
    golden = json.loads(verified.output)
    outputs = ("--jsonl", "/tmp/decisions.jsonl", "--report", "/tmp/report.json")
    decided = do("deciding", *AS_SERVICE, AFFECTKIT, "run", "--fast", "--duration", str(DURATION_S), "--bundle", BUNDLE, *outputs)
    lines = [json.loads(line) for line in (root / "tmp/decisions.jsonl").read_text(encoding="utf-8").splitlines()]
    decisions = sum("event" not in line for line in lines)
    if not decisions:
        raise EdgeError(f"the payload was tried on {release} and gave no decision in {DURATION_S} s of the embedded session")
    if footprint > MOST_BYTES:
        raise EdgeError(f"the kit takes {footprint / 1e6:.0f} MB of the device's disk, {MOST_BYTES / 1e6:.0f} are allowed")
    return {
        "emulator": here,
        "cpu": cpu,
        "base": release,
        "network": False,
        "seconds": {"install": installed.seconds, "verify": verified.seconds, "run": decided.seconds},
        "install_steps_s": record.get("steps", {}),
        "footprint_bytes": footprint,
        "runtime": golden["runtime"],
        "steps_off_golden": {name: stage["largest_difference"] for name, stage in golden["stages"].items()},
        "decisions": decisions,
    }


def _release(root: pathlib.Path) -> str:
    lines = (root / "usr/lib/os-release").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line).get("PRETTY_NAME", "unknown").strip('"')
