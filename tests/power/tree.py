"""A disk after a cut, as a kit finds it at the next start: its file system made whole, and its files taken out, without root rights.

The kit's system checks the file system before it mounts it, which replays the journal (``e2fsck -p``; systemd-fsck@.service(8)). What a
person would have to repair counts as broken.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import stat
import subprocess

os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


Tree = dict[str, str]
"""Name -> kind, mode and SHA-256 or target."""


@dataclasses.dataclass(frozen=True)
class Checked:
    """What was found of a file system."""

    whole: bool
    """``e2fsck -p`` had nothing to ask a person, and a full check finds nothing afterwards."""
    words: str
    """What e2fsck had to do beyond replaying the journal and removing files that were open without a name; empty if nothing."""


_AS_ALWAYS = re.compile(r"recovering journal|clean, |Clearing orphaned inode|Setting free (blocks|inodes) count|^\s*$|: \d+/\d+ files ")


MEND = pathlib.Path(__file__).resolve().parents[2] / "firmware_configs/usr/lib/affectkit/mend"
"""What the kit does before that: a super block that is torn is made anew of its copy."""


def check(image: pathlib.Path) -> Checked:
    """Make the file system whole, as the kit and systemd-fsck@.service do at a start."""
    mended = ""
    if MEND.exists():
        mended = _ran("env", f"AFFECTKIT_DATA_DEVICE={image}", "sh", MEND)[1]
    status, said = _ran("e2fsck", "-p", image)
    after, left = _ran("e2fsck", "-fn", image)
    told = [line for line in (mended + said).splitlines() if not _AS_ALWAYS.search(line)]
    if status > 1 or after:
        return Checked(False, " ".join([*told, *left.split()])[-300:])
    return Checked(True, " ".join(told)[-300:])


def extract(image: pathlib.Path, inside: str, to: pathlib.Path) -> pathlib.Path:
    """The folder ``inside`` the file system (``/store``) as a folder of this one."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    _ran("debugfs", "-R", f"rdump {inside} {to}", image)
    return to / inside.rsplit("/", 1)[-1]


def contents(root: pathlib.Path) -> Tree:
    """Everything below ``root``."""
    found: Tree = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = pathlib.Path(folder, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                what = f"link to {os.readlink(path)}"
            else:
                what = f"{stat.S_IMODE(mode):o} {sha256_of(path) if stat.S_ISREG(mode) else 'folder'}"
            found[str(path.relative_to(root))] = what
    return found


def differences(one: Tree, other: Tree) -> set[str]:
    """Names that are in one alone, or not the same in both."""
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def digest(tree: Tree) -> str:
    """The same for the same names, modes and contents."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def sha256_of(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _ran(*command: str | pathlib.Path) -> tuple[int, str]:
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
