"""``make test-power``: cut the power a hundred times during an update and a hundred times during an installation, at the block level.

Each is run once in an emulated machine (a stock Debian kernel, ext4 as on the card) whose disk logs everything that it is told; then the
disk is made as it is after each of many cuts, its journal replayed, and the kit started on what is left. Beside each run faulty ways of
doing the same, which the rig must find: they show that it can.

Options: ``--cuts``, ``--seed``, ``--only update`` or ``--only install``, ``--keep FOLDER`` for the recordings (used again if they are
there), ``--limit`` seconds for each machine, ``--one DONE:SEED`` for one cut again, ``-o FILE`` for the table.

Exit status: 0; 1 when a cut left neither the old nor the new, or a faulty way was not found; 2 when the rig cannot be set up here.
"""

from __future__ import annotations

import argparse
import datetime
import pathlib
import platform
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from tests.power import install, update
from tests.power.cuts import Cut
from tests.power.machine import CannotError, cache_folder, prepare
from tests.power.verdict import Verdict, table

FAULTY_CUTS = 20
"""Of each faulty way: enough to find what goes wrong every other time."""
SUPER_BLOCK_CUTS = 25
"""At each moment at which it could be torn."""
SCENARIOS = {
    "update": (
        update,
        ("old", "new"),
        "An update from a stick",
        "`affectkit kit take` of a signed stick: trust, copy, probe, trial, confirm",
    ),
    "install": (
        install,
        ("goes on", "installed"),
        "The installation at first boot",
        "`install.py` of a payload: files, users, Python, bundle, units (no Debian packages, no partitions)",
    ),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Power cuts at the block level, each judged.")
    parser.add_argument("--cuts", type=int, default=100, help="of each scenario (100)")
    parser.add_argument("--seed", type=int, default=1, help="the same gives the same cuts of the same recording (1)")
    parser.add_argument("--only", choices=SCENARIOS, action="append", help="this scenario alone")
    parser.add_argument("--keep", type=pathlib.Path, help="folder for the recordings, used again if they are there")
    parser.add_argument("--limit", type=float, default=2400.0, help="seconds for each machine; it needs 400 on two idle cores (2400)")
    parser.add_argument("--one", metavar="DONE:SEED", help="judge this cut alone, and keep what it left")
    parser.add_argument("-o", "--output", type=pathlib.Path, help="the table, Markdown")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="affectkit-power-") as scratch:
        folder = (options.keep or pathlib.Path(scratch)).resolve()
        try:
            lines, failed = _all(options, folder)
        except CannotError as error:
            print(f"test-power: {error}", file=sys.stderr)
            return 2
    if options.output:
        options.output.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 1 if failed else 0


def _all(options: argparse.Namespace, folder: pathlib.Path) -> tuple[list[str], bool]:
    lines, failed = [], False
    for name in options.only or SCENARIOS:
        scenario, outcomes, title, what = SCENARIOS[name]
        material = _recorded(scenario, folder / name, options.limit)
        log = material.log()
        faulty, real = scenario.WAYS[:-1], scenario.WAYS[-1]
        if options.one:
            done, seed = map(int, options.one.split(":"))
            verdicts = _told(scenario.judged(material, log, real, [Cut(done, seed)]))
            failed |= not verdicts[0].good
            continue
        began_s = time.monotonic()
        verdicts = _told(scenario.judged(material, log, real, scenario.chosen(log, real, options.cuts, options.seed)))
        took_s = time.monotonic() - began_s
        bad = [one for one in verdicts if not one.good]
        failed |= bool(bad)
        entries = scenario.spans(log)[real]
        lines += [
            "",
            f"## {title}",
            "",
            f"{what}. {len(entries)} entries in the log of the disk, seed {options.seed}, {took_s / 60:.0f} min.",
        ]
        lines += ["", *table(verdicts, outcomes), ""]
        repaired = sum(bool(one.file_system) for one in verdicts)
        lines.append(
            f"Done again after each cut, it ends as it should: {sum(one.good for one in verdicts)} of {len(verdicts)}. "
            f"e2fsck -p did more than replay the journal: {repaired}."
        )
        lines += [f"- **{one.line()}**" for one in bad]
        if scenario is update:
            cuts = update.super_block_cuts(log, real, SUPER_BLOCK_CUTS)
            torn = list(update.not_whole(material, log, cuts))
            failed |= bool(torn)
            lines.append(
                f"\nRight behind a write of ext4's super block (two sectors, in no journal), {len(cuts)} cuts more: "
                f"{'**' if torn else ''}{len(torn)} leave a data partition that does not mount{'**' if torn else ''}."
            )
        for way in faulty:
            found = _told(scenario.judged(material, log, way, scenario.chosen(log, way, FAULTY_CUTS, options.seed)))
            neither = sum(one.found == "neither" for one in found)
            failed |= neither == 0
            lines.append(
                f"\nA faulty one, to show that the rig finds such: {scenario.FAULTS[way]}: neither in {neither} of {len(found)} cuts."
            )
    return [*_head(options), *lines], failed


def _recorded(scenario, folder: pathlib.Path, limit_s: float):  # type: ignore[no-untyped-def]
    if (folder / "recorded").exists():
        return scenario.Material.load(folder)
    machine = prepare(cache_folder())
    material = scenario.Material.make(folder)
    print(f"{folder.name}: booting Debian's {machine.release} under emulation, at most {limit_s:.0f} s", flush=True)
    began_s = time.monotonic()
    log = material.record(machine, limit_s)
    print(f"{folder.name}: recorded {len(log.entries)} entries in {time.monotonic() - began_s:.0f} s", flush=True)
    (folder / "recorded").write_text(machine.release)
    return material


def _told(verdicts) -> list[Verdict]:  # type: ignore[no-untyped-def]
    found = []
    for one in verdicts:
        found.append(one)
        print(f"{len(found):4d}  {one.line()}", flush=True)
    return found


def _head(options: argparse.Namespace) -> list[str]:
    return [
        "# Power cuts",
        "",
        f'Made by `make test-power ARGS="--seed {options.seed} --cuts {options.cuts}"` on {datetime.date.today()}, {platform.machine()}.',
        "",
        "A run is recorded once: a stock Debian kernel under emulation, ext4 (`data=ordered`) on a disk whose every write and flush QEMU's "
        "`blklogwrites` keeps. A cut is a random entry of that log, half of them anywhere, half with each phase as likely as another. What "
        "was flushed before it is on the disk; of every later write a random part is: whole, some of its sectors of 512 bytes, or nothing, "
        "in any order. Then the file system is made whole as a boot does it, the kit's next start runs on what is left, decisions are "
        "counted, and the same update or installation is done again to its end. What two cuts left alike is judged once.",
        "",
        "Not in it: the boot partition (FAT); Debian packages, for which dpkg answers; making the data "
        "partition; and cards that lose what they said was flushed.",
    ]


if __name__ == "__main__":
    sys.exit(main())
