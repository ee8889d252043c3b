"""Update sticks in the emulated board's USB port: a truncated one, one that a stranger signed, and a good one."""

from __future__ import annotations

import hashlib
import json
import pathlib
import shutil
import sys
import typing

from common import ROOT
from disk import STICK_START, fat_file, fat_names, make_stick
from judge import Running
from kit import HOSTNAME

if typing.TYPE_CHECKING:
    from rig import Rig

sys.path.insert(0, str(ROOT / "tests" / "firmware_configs" / "stick"))

TAKING_S = 900.0
"""For everything that a kit does with a stick, a minute of trial included."""
LAST = "/srv/affectkit/update/last.json"


def root_for(folder: pathlib.Path) -> pathlib.Path:
    """The root of trust that the rig's cards carry, with the sticks that it signs beside it; made once."""
    from workshop import Workshop

    if not (folder / "keys" / "root.json").exists():
        Workshop.make(folder)
    return folder / "keys" / "root.json"


def with_root(payload: pathlib.Path, to: pathlib.Path, root: pathlib.Path) -> pathlib.Path:
    """A copy of ``payload`` that trusts ``root``, as `affectkit kit payload --root` makes it."""
    shutil.copytree(payload, to, dirs_exist_ok=True)
    content = root.read_bytes()
    (to / "root.json").write_bytes(content)
    says = json.loads((to / "payload.json").read_text())
    says["files"]["root.json"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (to / "payload.json").write_text(json.dumps(says, indent=1))
    return to


def sticks(rig: Rig, running: Running) -> None:
    """Three sticks one after the other; the kit goes on deciding, with the bundle that it should."""
    workshop = rig.workshop
    folder = rig.folder / "sticks"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    old = running.bundle()
    bad = {
        "truncated stick": _truncated(workshop / "stick-2", folder / "cut"),
        "wrongly signed stick": _forged(workshop, folder / "forged"),
    }
    for name, stick in bad.items():
        image, result = _put_in(running, stick, folder)
        kept = running.bundle() == old and running.goes_on()
        rig.say(name, result.get("outcome") == "refused" and kept, f"{result.get('line', 'nothing is said')}; {_went_on(kept)}")
        rig.say(f"{name}: word on it", _said(image).startswith("NOT TAKEN"), _said(image) or "no result.txt")
    image, result = _put_in(running, workshop / "stick-3", folder)
    new = running.bundle()
    good = running.ask("readlink /srv/affectkit/bundles/good.affectkit")
    rig.say("good stick", result.get("outcome") == "updated" and new != old and good == new and running.goes_on(), str(result.get("line")))
    rig.say("good stick: report on it", _said(image).startswith("UPDATED"), f"{_said(image)} ({', '.join(_reports(image))})")
    leaked = [name for name in _reports(image) if "decisions" in name or _mentions_people(image, name)]
    rig.say("good stick: no learner data", not leaked, ", ".join(leaked) or "no decision, no probability in any file on it")
    (rig.log / "status.json").write_text(running.ask("affectkit kit status --json", limit_s=180))
    (rig.log / "update-journal.txt").write_text(running.ask("journalctl -b --no-pager -o short-monotonic", limit_s=240))


def _put_in(running: Running, stick: pathlib.Path, folder: pathlib.Path) -> tuple[pathlib.Path, dict[str, typing.Any]]:
    """Plugs a stick with what is in ``stick``, waits for what comes of it, takes it out; its image and ``last.json``."""
    image = make_stick(folder / f"{stick.name}.img", stick)
    before = running.ask(f"stat -c %Y%y%i {LAST}")
    name = running.machine.plug(image)
    running.machine.wait(
        f'test -s {LAST} && test "$(stat -c %Y%y%i {LAST})" != "{before}" && '
        "! systemctl list-units --plain --no-legend --state=activating,deactivating 'affectkit-stick@*' | grep -q .",
        limit_s=TAKING_S,
    )
    running.machine.unplug(name)
    try:
        return image, json.loads(running.ask(f"cat {LAST}"))
    except ValueError:
        return image, {}


def _went_on(kept: bool) -> str:
    return "the kit goes on with its bundle" if kept else "the kit did NOT go on with its bundle"


def _truncated(good: pathlib.Path, to: pathlib.Path) -> pathlib.Path:
    """A stick that was pulled out of the computer too early: the bundle ends in the middle."""
    shutil.copytree(good, to, dirs_exist_ok=True)
    for path in (to / "affectkit-update" / "targets").iterdir():
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    return to


def _forged(workshop: pathlib.Path, to: pathlib.Path) -> pathlib.Path:
    """A stick that somebody else signed, for whose keys the kit has no root."""
    from workshop import Workshop

    if not (to / "stick-3").exists():
        Workshop.make(to)
    return to / "stick-3"


def _reports(image: pathlib.Path) -> list[str]:
    return fat_names(image, f"affectkit-reports/{HOSTNAME}", STICK_START)


def _said(image: pathlib.Path) -> str:
    """What ``result.txt`` says came of the stick: its third line."""
    lines = (fat_file(image, f"affectkit-reports/{HOSTNAME}/result.txt", STICK_START) or "").splitlines()
    return lines[2] if len(lines) > 2 else ""


def _mentions_people(image: pathlib.Path, name: str) -> bool:
    return '"probabilities"' in (fat_file(image, name, STICK_START) or "")
