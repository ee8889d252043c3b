"""What the rig's parts share: where things are kept, and commands that must succeed."""

from __future__ import annotations

import collections.abc
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
GUEST = HERE / "guest"
ROOT = HERE.parents[1]
for _folder in (str(ROOT), str(HERE.with_name("kernel"))):
    if _folder not in sys.path:
        sys.path.insert(0, _folder)

from prepare import CannotError  # noqa: E402 (of the kernel rig, found by the lines above)

__all__ = ["GUEST", "HERE", "ROOT", "CannotError", "cache_folder", "once", "run"]


def cache_folder() -> pathlib.Path:
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "affectkit" / "boot"


def once(place: pathlib.Path, version: str, make: collections.abc.Callable[[], None]) -> None:
    """Make ``place`` unless it has been made wholly, of this ``version``."""
    ready = place.with_name(f".{place.name}-ready")
    if ready.exists() and ready.read_text() == version:
        return
    ready.unlink(missing_ok=True)
    subprocess.run(["rm", "-rf", "--one-file-system", str(place)], check=False)
    make()
    ready.write_text(version)


def run(command: collections.abc.Sequence[str], remedy: str) -> str:
    """What ``command`` prints. Raises CannotError with its last line, and ``remedy``."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, errors="replace")
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise CannotError(f"{command[0]} failed, saying {said!r}: {remedy}")
    return done.stdout
