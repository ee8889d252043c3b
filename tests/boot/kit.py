"""The kit that the rig boots: its settings, what it hears and sees, and its card, made by the real tool."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import time
import zipfile

from common import ROOT, CannotError

HOSTNAME = "kit-01"
SESSION = "usr/local/lib/rig/voices.session.zip"
"""Where the base image has what the kit sees and hears: its chips are on its bus."""
SETTINGS = f"""\
# The emulated kit: pulse and skin conductance from simulated chips on a real bus, face and voice from the embedded session.
[bundle]
path = "/srv/affectkit/bundles/current.affectkit"
[sources]
use = ["replay:/{SESSION}", "max30102:0", "ads1115:0"]
queue_chunks = 256
lost_after_ms = 20000
[purpose]
jurisdiction = "US"
purpose = "demonstration"
setting = "laboratory"
responsible = "the boot rig, where nobody is sensed"
consent_reference = "none needed: simulated chips and a published session"
[outputs]
console = false
jsonl = "/var/lib/affectkit/now/decisions.jsonl"
report = "/var/lib/affectkit/now/report.json"
[budget]
# The emulated processor is some thirty times slower than a board's, and more beside other work.
cadence_ms = 2000
budget_ms = 1900
"""


def write_session(path: pathlib.Path) -> None:
    """The embedded session without pulse and skin conductance, which come from the chips."""
    with zipfile.ZipFile(ROOT / "edge" / "data" / "classroom.session.zip") as whole, zipfile.ZipFile(path, "w") as part:
        for info in whole.infolist():
            if info.filename in ("ppg.csv", "eda.csv"):
                continue
            content = whole.read(info)
            if info.filename == "session.json":
                says = json.loads(content)
                says["tracks"] = {name: track for name, track in says["tracks"].items() if name not in ("ppg", "eda")}
                says["planned"] = [spell for spell in says["planned"] if spell["modality"] != "physiology"]
                content = json.dumps(says).encode()
            part.writestr(info, content)


def tool(*words: str, limit_s: float = 1800.0) -> str:
    """What ``affectkit kit WORDS`` prints. Raises CannotError with its last line."""
    beside = pathlib.Path(sys.executable).with_name("affectkit")
    if not beside.exists():
        raise CannotError(f"no affectkit beside {sys.executable}: run this by `make test-boot`")
    done = subprocess.run([str(beside), "kit", *words], capture_output=True, text=True, check=False, cwd=ROOT, timeout=limit_s)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise CannotError(f"affectkit kit {words[0]} ended with status {done.returncode}, saying: {said}")
    return done.stdout


def make_card(image: pathlib.Path, payload: pathlib.Path, folder: pathlib.Path, *words: str) -> tuple[pathlib.Path, float]:
    """The card of the kit as an image in ``folder``, and the seconds that the tool took."""
    folder.mkdir(parents=True, exist_ok=True)
    listed, settings = folder / "classroom.csv", folder / "kit.toml"
    listed.write_text(f"hostname,note\n{HOSTNAME},the boot rig\n")
    settings.write_text(SETTINGS)
    began_s = time.monotonic()
    options = ["--image", image, "--payload", payload, "--kits", listed, "--config", settings, "-o", folder / "cards", *words]
    tool("card", *map(str, options))
    took_s = time.monotonic() - began_s
    card = folder / "cards" / f"{HOSTNAME}.img"
    tool("verify-image", str(card), "--kits", str(listed))
    return card, took_s
