"""Run inside the emulated machine, under ``marked.py``: three ways to put a new bundle on a disk, the last one the kit's own.

``inside_update.py OUT WAY``; OUT has old.affectkit, new.affectkit, stick/, root.json and kit.toml. WAY:

    in-place    write the new bundle over the old one, and sync it often: a fault that cuts must show
    unsynced    a new file, a link switched to it, the old one removed, and nothing synced: another one
    kit         ``affectkit kit take``, with its start, trial and end
"""

from __future__ import annotations

import os
import pathlib
import sys

from tests.power.service import StandIn

BLOCK = 1 << 16


def in_place(folder: pathlib.Path, new: pathlib.Path) -> None:
    content = new.read_bytes()
    with open(folder / "current.affectkit", "r+b", buffering=0) as stream:
        for at in range(0, len(content), BLOCK):
            stream.write(content[at : at + BLOCK])
            os.fsync(stream.fileno())
        stream.truncate()


def unsynced(folder: pathlib.Path, new: pathlib.Path) -> None:
    (folder / "new.affectkit").write_bytes(new.read_bytes())
    os.symlink("new.affectkit", folder / ".current.new")
    os.replace(folder / ".current.new", folder / "current.affectkit")
    os.remove(folder / "old.affectkit")


def kit(store: pathlib.Path, out: pathlib.Path) -> None:
    from firmware_configs.update.trial import before_start
    from tests.power.service import take_stick

    service = StandIn(store, out / "runs")
    before_start(service.store, service.run)
    outcome = take_stick(service, out / "stick", out / "root.json", out / "kit.toml")
    print(outcome)
    if outcome.outcome != "updated":
        sys.exit(f"the update did not work out: {outcome.line}")


def main(out: pathlib.Path, way: str) -> None:
    disk = pathlib.Path(os.environ["POWER_DISK"])
    if way == "kit":
        kit(disk / "store", out)
    else:
        {"in-place": in_place, "unsynced": unsynced}[way](disk / way, out / "new.affectkit")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2])
