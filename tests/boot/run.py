"""``make test-boot``: a card made by the tool boots in an emulated board with no network, installs itself and decides.

``base.py`` makes the image that stands for Raspberry Pi OS Lite, once; ``kit.py`` has the real tool make a card of it; ``machine.py``
is the board; ``checks.py`` and ``sticks.py`` are what is looked at, through the life of a kit: first boot, second boot with update
sticks, a power cut while it decides, a third boot with a wrong clock, power cuts during the first boot. Everything is emulated (KVM
stays off), some thirty times slower than a Raspberry Pi 4.

Exit status: 0 if every check passed, 1 if one did not, 2 if the rig cannot be set up here, in one line.
"""

from __future__ import annotations

import argparse
import collections.abc
import pathlib
import shutil
import signal
import sys

from base import make_base
from checks import card, cuts, first_boot, second_boot
from common import CannotError, cache_folder
from kit import tool
from machine import EndedError, SilentError
from report import write_report
from rig import Rig
from sticks import root_for, with_root

PARTS: dict[str, collections.abc.Callable[[Rig], None]] = {
    "card": card,
    "first_boot": first_boot,
    "second_boot": second_boot,
    "cuts": cuts,
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="A card boots, installs itself and decides, emulated, with no network.")
    parser.add_argument("--payload", type=pathlib.Path, help="what `affectkit kit payload` made; default: one is made, and kept")
    parser.add_argument("--limit", type=float, default=1200.0, help="seconds for one boot up to the first decision (1200)")
    parser.add_argument("--only", action="append", choices=PARTS, default=[], help="this part alone, on an earlier run's cards")
    parser.add_argument("--cuts", type=int, default=2, help="power cuts during the first boot (2)")
    parser.add_argument("--report", type=pathlib.Path, help="write what was measured to this file (benchmarks/results/boot.md)")
    parser.add_argument("--log-writes", type=pathlib.Path, help="folder for all block writes of the first boot and of the update")
    options = parser.parse_args(argv)
    # The emulator is a process of its own: it ends with this one only if this one ends tidily.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        rig = set_up(options)
        for name, part in PARTS.items():
            if name in (options.only or PARTS):
                rig.begin(name)
                try:
                    part(rig)
                except (SilentError, EndedError) as error:
                    rig.say(name, False, str(error))
                    if name == "first_boot":
                        break
        return finish(rig, options.report)
    except CannotError as error:
        print(f"test-boot: {error}", file=sys.stderr)
        return 2


def set_up(options: argparse.Namespace) -> Rig:
    """Everything that the checks begin with. Raises CannotError."""
    base = make_base()
    folder, log = cache_folder() / "cards", cache_folder() / "log"
    for each in (folder, log):
        if not options.only:
            shutil.rmtree(each, ignore_errors=True)
        each.mkdir(exist_ok=True)
    workshop = cache_folder() / "workshop"
    root = root_for(workshop)
    payload = folder / "payload"
    if not payload.exists() and options.payload is not None:
        with_root(options.payload, payload, root)
    elif not payload.exists():
        print("making the payload (needs a network)", flush=True)
        # The base is Debian's, for which Raspberry Pi's camera packages are not made; and this rig is the proof.
        given = ("--no-camera", "--prove", "no", "--base", str(cache_folder() / "root"))
        tool("payload", "--board", "pi-4", "--os", "trixie", "--root", str(root), "-o", str(payload), *given)
    if options.log_writes:
        options.log_writes.mkdir(parents=True, exist_ok=True)
    print(f"emulating a board, each boot at most {options.limit:.0f} s; log: {log}", flush=True)
    rig = Rig(base, payload, folder, log, options.limit, workshop, options.log_writes, options.cuts)
    rig.go_on()
    return rig


def finish(rig: Rig, report: pathlib.Path | None) -> int:
    """The table, and the report; the exit status."""
    width = max((len(line.check) for line in rig.lines), default=0)
    print()
    for line in rig.lines:
        print(f"{'pass' if line.passed else 'FAIL'}  {line.check:{width}}  {line.words}")
    failed = sum(not line.passed for line in rig.lines)
    print(f"{len(rig.lines)} checks, {failed} failed; log: {rig.log}")
    if report is not None:
        write_report(rig, report)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
