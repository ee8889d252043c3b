"""Power cuts during an installation: ``install.py`` of a payload, on a real kernel and ext4, recorded once, cut a hundred times.

The root that it installs into is a bare one, and no Debian packages are installed: dpkg answers for those. Everything else is real:
the payload is checked, files, users, a virtual environment made by pip of affectkit's own wheel, the first bundle and units switched on.
In the same recording is an installation that never waits for the disk; the rig must find the cuts that it does not outlive.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

from edge import embedded
from edge.bundle import load_bundle
from firmware_configs.boards import named
from firmware_configs.payload.own import own_wheel
from tests.power import tree
from tests.power.cuts import Cut, Replay, marks, random_cuts
from tests.power.machine import CannotError, Machine, disk_bytes, make_disk, record
from tests.power.tree import Tree, differences
from tests.power.verdict import Verdict
from tests.power.writes import Log, read_log

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "firmware_configs"
MEGABYTES = 256
WAYS = ("unsynced", "root")
FAULTS = {"unsynced": "the same installer, and nothing that it asks to be on the disk is (`fsync` and `sync` do nothing)"}
INSTALLED, WANTED, UNIT = (
    "etc/affectkit/installed.json",
    "etc/systemd/system/multi-user.target.wants/affectkit-install.service",
    "etc/systemd/system/affectkit-install.service",
)
_PHASES = (
    (r"begin |/run/affectkit-install", "before the first change"),
    (r"end ", "after the last change"),
    (r"remove \S*wants/affectkit-install", "is not called again"),
    (r"affectkit-install\.service", "has itself called again"),
    (r"installed\.json", "says that it is installed"),
    (r"run systemd-", "makes users and folders"),
    (r"run python3\S* -m venv", "makes Python's folder"),
    (r"run python3\S* -m pip", "installs the wheels"),
    (r"run python3\S* -m compileall", "compiles them"),
    (r"\.whole", "says that Python is whole"),
    (r"opt/affectkit/\.?venv|/local/bin", "links to Python"),
    (r"/opt(/|$)", "prepares for Python"),
    (r"/srv(/|$)", "puts the bundle in place"),
    (r"run systemctl", "switches units on"),
    (r"usr/lib/affectkit|etc/", "writes files"),
)
_ELSEWHERE = re.compile(r"(^|/)(pyvenv\.cfg|bin/[^/]+|RECORD|[^/]+\.pyc)$")
"""Files that name the folder or the second in which they were made."""
_PASSING = re.compile(r"^(run|var|tmp)(/|$)|\.affectkit-new$|(^|/)\.#[^/]+$")
"""Of no account: what is made anew at each boot, and files that never got their names (``.#``: systemd-sysusers')."""


def phase(mark: str) -> str:
    """What the installation is at, of the last word that it left."""
    return next((words for pattern, words in _PHASES if re.search(pattern, mark)), mark)


def make_payload(folder: pathlib.Path) -> pathlib.Path:
    """A payload for this machine's processor and Python: affectkit's own wheel, and pip's."""
    shutil.copytree(CONFIGS / "boot/firmware/affectkit", folder, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("etc", "usr"):
        shutil.copytree(CONFIGS / part, folder / "system" / part, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "system/etc/affectkit/kit.toml").rename(folder / "kit.toml")
    shutil.copyfile(embedded.BUNDLE, folder / "bundle.affectkit")
    (folder / "board.conf").write_text(named("pi-4").drop_in())
    wheels = folder / "wheels"
    wheels.mkdir()
    own = own_wheel(wheels)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check", "--dest", str(wheels), "pip"]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotError(f"pip's own wheel cannot be had: {done.stderr.strip()[-200:]}")
    (folder / "requirements.txt").write_text(f"affectkit=={own.name.split('-')[1]} --hash=sha256:{tree.sha256_of(own)}\n")
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "kit.toml"}
    says = {
        **{"format": 1, "affectkit": own.name.split("-")[1], "os": "trixie", "board": "pi-4", "machine": os.uname().machine},
        **{"python": f"cp{sys.version_info.major}{sys.version_info.minor}", "debian": [], "built": "2026-01-01T00:00:00Z"},
        **{"bundle_sha256": load_bundle(embedded.BUNDLE).sha256, "proved": None},
        "files": {name: {"bytes": path.stat().st_size, "sha256": tree.sha256_of(path)} for name, path in files.items()},
    }
    (folder / "payload.json").write_text(json.dumps(says, indent=1))
    return folder


@dataclasses.dataclass(frozen=True)
class Material:
    """What is installed, and into what."""

    folder: pathlib.Path

    @classmethod
    def make(cls, folder: pathlib.Path) -> Material:
        """The payload and the disk's image in ``folder``."""
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "out").mkdir(parents=True)
        make_payload(folder / "out" / "payload")
        for way in WAYS:
            root = folder / "disk" / way
            for name in ("etc", "usr/lib/systemd/system", "usr/local/bin", "run", "var/lib", "tmp", "dev", "proc", "sys"):
                (root / name).mkdir(parents=True)
            (root / "etc/os-release").write_text("VERSION_CODENAME=trixie\n")
            (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
            (root / "etc/group").write_text("root:x:0:\naudio:x:29:\nvideo:x:44:\n")
            (root / "etc/fstab").write_text("PARTUUID=0-02 / ext4 defaults 0 1\n")
        make_disk(folder / "start.img", MEGABYTES, folder / "disk")
        return cls.load(folder)

    @classmethod
    def load(cls, folder: pathlib.Path) -> Material:
        """What ``make`` has left in ``folder``."""
        return cls(folder)

    def record(self, machine: Machine, limit_s: float) -> Log:
        """Run both installations in the machine. CannotError if that does not come to its end."""
        out = self.folder / "out"
        shutil.copyfile(self.folder / "start.img", self.folder / "disk.img")
        paths = f"PATH={pathlib.Path(sys.executable).parent}:$PATH PYTHONPATH={out / 'payload'}:{ROOT}"
        words = f"{paths} {sys.executable} -m tests.power.marked"
        # behind the faulty one so long that the kernel has written everything (vm.dirty_expire_centisecs: 30 s)
        script = f"{words} --no-fsync install --root $POWER_DISK/unsynced && sleep 40 && {words} install --root $POWER_DISK/root"
        status = record(machine, self.folder / "disk.img", self.folder / "log.img", ["sh", "-c", script], out, limit_s)
        if status != 0:
            raise CannotError(f"the installation in the machine {'took too long' if status is None else f'ended with {status}'}; see {out}")
        return self.log()

    def log(self) -> Log:
        return read_log(self.folder / "log.img").split(disk_bytes(self.folder / "start.img"))


def spans(log: Log) -> dict[str, range]:
    """Way -> numbers of entries done, from its beginning to that of the next."""
    found = marks(log)
    begins = [next(at for at, mark in enumerate(found) if re.search(rf"begin install .*/{way}$", mark)) for way in WAYS]
    return {way: range(first, end) for way, first, end in zip(WAYS, begins, [*begins[1:], len(log.entries) + 1], strict=True)}


def chosen(log: Log, way: str, number: int, seed: int) -> list[Cut]:
    """Where to cut ``way``."""
    return random_cuts([phase(mark) for mark in marks(log)], number, seed, spans(log)[way])


def judged(material: Material, log: Log, way: str, cuts: collections.abc.Iterable[Cut]) -> collections.abc.Iterator[Verdict]:
    """Cut ``way``, see whether it says that it is installed, and call it again, as the next boot does."""
    work = material.folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    tree.check(shutil.copyfile(material.folder / "disk.img", work / "end.img"))  # type: ignore[arg-type]
    wanted = kept(tree.extract(work / "end.img", f"/{way}", work / "end"))
    phases = [phase(mark) for mark in marks(log)]
    replay = Replay(log, material.folder / "start.img", work)
    known: dict[str, tuple[str, str, str]] = {}
    for cut in cuts:
        image = replay.cut(cut, work / "cut.img")
        checked = tree.check(image)
        if not checked.whole:
            yield Verdict(cut, phases[cut.done], "neither", "", checked.words, "its file system needs a person")
            continue
        root = tree.extract(image, f"/{way}", work / "tree")
        left = tree.digest(tree.contents(root))  # what two cuts left alike is judged once
        if left not in known:
            known[left] = _next_boot(material, root, wanted)
        found, again, said = known[left]
        yield Verdict(cut, phases[cut.done], found, again, checked.words, said)


def _next_boot(material: Material, root: pathlib.Path, wanted: Tree) -> tuple[str, str, str]:
    """(goes on or installed or neither, what then, why)."""
    installed = (root / INSTALLED).exists()
    if why := _wrong(material, root, wanted):
        return "neither", "", why
    done = subprocess.run(
        [sys.executable, "-B", str(material.folder / "out" / "payload" / "install.py"), "--root", str(root)],
        env={**os.environ, "PATH": f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    if done.returncode or not (root / INSTALLED).exists():
        return "neither", "", f"called again, it ends with {done.returncode}: {done.stdout.strip()[-200:]}"
    if wrong := [name for name in differences(kept(root), wanted) if not _ELSEWHERE.search(name) and name != INSTALLED]:
        return "neither", "", f"called again, and {len(wrong)} files are not as they should be: {', '.join(sorted(wrong)[:3])}"
    if not _decides(root, material.folder / "work"):
        return "neither", "", "installed, and gives no decisions"
    return ("installed" if installed else "goes on"), "decides", ""


def _wrong(material: Material, root: pathlib.Path, wanted: Tree) -> str:
    """What is not as the installer says that it is, before anything is done about it; empty if all is well."""
    there = kept(root)
    wrong = sorted(name for name in differences(there, wanted) if name != WANTED)
    if INSTALLED in there:
        if there[INSTALLED] != wanted[INSTALLED]:
            return "installed.json is torn"
        return f"says that it is installed, and {len(wrong)} files are not: {', '.join(wrong[:3])}" if wrong else ""
    if WANTED in there and there.get(UNIT) != wanted[UNIT]:
        return "the unit that goes on with it is not whole"
    if WANTED not in there and "usr/lib/affectkit" in there:
        return "it has begun, and nothing would go on with it"
    wrong = [name for name in wrong if "/releases/" in name]
    if wrong and any(name.endswith("/.whole") for name in there):
        return f"says that Python is whole, and {len(wrong)} files are not: {', '.join(wrong[:3])}"
    return ""


def kept(root: pathlib.Path) -> Tree:
    """What is meant to stay, of the tree below ``root``."""
    return {name: what for name, what in tree.contents(root).items() if not _PASSING.search(name)}


def _decides(root: pathlib.Path, work: pathlib.Path) -> bool:
    """``affectkit run`` out of the virtual environment; what it needs from elsewhere is this machine's."""
    lines = work / "decisions.jsonl"
    lines.unlink(missing_ok=True)
    elsewhere = [one for one in sys.path if one.endswith("-packages")]
    code = (
        f"import sys; sys.path += {elsewhere!r}; import edge; assert {str(root)!r} in edge.__file__, edge.__file__; "
        "from edge.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["run", "--fast", "--duration", "2", "--bundle", str(root / "srv/affectkit/bundles/current.affectkit"), "--jsonl", str(lines)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(root / "opt/affectkit/venv/bin/python3"), "-P", "-c", code, *words],
        env=environment, cwd=work, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.returncode == 0 and lines.exists() and lines.read_bytes().count(b"\n") >= 7
