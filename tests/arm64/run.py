"""``make test-arm64``: the tests and models of the device on the real aarch64 wheels, under QEMU's user emulation.

``roots.py`` makes root directories of Debian arm64 with these wheels, once; ``chroot.py`` runs commands in them without a network,
without rights, the repository read-only. In turn:

1. ``verify``: the golden vectors of every bundle, on each of ``--verify-cpu``: the int8 outputs must be x86-64's, bit by bit;
2. ``session``: the embedded session replayed here and there, compared decision by decision and stage by stage (``compare.py``);
3. ``tflite``: what the aarch64 wheel of tflite-runtime, the older interpreter, does; told, and never a failure;
4. ``suite``: the unit tests of the device, but for those in ``left_out.py``.

The emulated processor is some thirty times slower than this one, so nothing here measures speed.

Options: ``--only STEP`` (may be repeated), ``--cpu`` of the suite and the session, ``--bundle`` for further bundles, ``--all`` for the
tests of cards and benchmarks and every example of a property, ``--report FILE`` to write down what was seen; anything behind ``--`` goes
to pytest.

Exit status: pytest's own; 1 when a bundle computes otherwise or a step does not end, 2 when the rig cannot be set up here.
"""

from __future__ import annotations

import argparse
import collections.abc
import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import typing

import report
from chroot import PYTHON, TIMED_OUT, Chroot
from compare import compare_decisions, compare_stages
from left_out import LEFT_OUT
from roots import BOOKWORM, MIRROR, RELEASES, ROOT, CannotError, Release, cache_folder, have_emulator, root

INSIDE = pathlib.Path(__file__).resolve().with_name("inside")
EMBEDDED = ROOT / "edge" / "data" / "classroom.affectkit"
STEPS = ("verify", "session", "tflite", "suite")
CPUS = ("cortex-a53", "cortex-a72", "cortex-a76", "max")
"""Of Zero 2 W and 3B+, 4, 5; and all that QEMU can do."""
SUITE = ("tests/edge", "tests/firmware_configs/update", "tests/test_layout.py")
"""What runs on a kit; making cards, payloads and sticks is a workstation's."""
ALL = ("tests/edge", "tests/firmware_configs", "tests/benchmarks", "tests/test_layout.py")


@dataclasses.dataclass
class Outcome:
    """One row of the table."""

    step: str
    seen: str
    seconds: float
    status: int


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    steps = options.only or STEPS
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what runs is ended, as with Ctrl-C
    try:
        qemu = have_emulator()
        roots = {release.name: root(release, options.mirror) for release in _wanted(steps, options.release)}
    except CannotError as error:
        print(f"test-arm64: {error}", file=sys.stderr)
        return 2
    log = cache_folder() / "log"
    log.mkdir(exist_ok=True)
    rig = Rig(options, roots, log, report.Facts(qemu=qemu))
    print(f"aarch64 under QEMU {qemu}, Debian {options.release}, {options.cpu}; logs: {log}", flush=True)
    outcomes: list[Outcome] = []
    try:
        for step in (step for step in STEPS if step in steps):
            began = time.monotonic()
            seen, status = getattr(rig, step)()
            outcomes.append(Outcome(step, seen, time.monotonic() - began, status))
    except KeyboardInterrupt:
        print("test-arm64: ended before it was done", file=sys.stderr)
        return 130
    print()
    for outcome in outcomes:
        print(f"{outcome.step:8} {'ok' if outcome.status == 0 else 'FAILED':6} {outcome.seconds:6.0f} s  {outcome.seen}")
    if options.report:
        options.report.write_text(report.as_markdown(rig.facts))
    return next((outcome.status for outcome in outcomes if outcome.status), 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="The device's tests and models on the real aarch64 wheels, emulated.")
    parser.add_argument("--only", action="append", choices=STEPS, help="this step alone; may be repeated")
    parser.add_argument("--cpu", default="cortex-a72", choices=CPUS, help="of the suite and the session (cortex-a72, a Pi 4's)")
    parser.add_argument("--verify-cpu", nargs="+", default=CPUS, choices=CPUS, help="that the golden vectors run on (all)")
    parser.add_argument("--session-cpu", nargs="+", choices=CPUS, help="that the session is replayed on (--cpu)")
    parser.add_argument("--release", default="trixie", choices=sorted(RELEASES), help="whose Python runs the suite (trixie)")
    parser.add_argument("--bundle", nargs="+", type=pathlib.Path, default=[], help="further bundles to verify, or folders of them")
    parser.add_argument("--all", action="store_true", help="cards and benchmarks too, and properties with 50 examples instead of 8")
    parser.add_argument("--limit", type=float, default=5400.0, help="seconds for each step's longest command (5400)")
    parser.add_argument("--mirror", default=MIRROR, help=f"of Debian ({MIRROR})")
    parser.add_argument("--report", type=pathlib.Path, help="write what was seen to this file")
    parser.add_argument("pytest", nargs="*", help="options of pytest, behind --")
    return parser


def _wanted(steps: collections.abc.Sequence[str], release: str) -> list[Release]:
    wanted = [RELEASES[release]] if set(steps) - {"tflite"} else []
    return [*wanted, *([BOOKWORM] if "tflite" in steps and BOOKWORM not in wanted else [])]


def bundles(given: collections.abc.Iterable[pathlib.Path]) -> list[pathlib.Path]:
    """The embedded bundle, those in the public sets beside the clone, and ``given`` ones. Raises CannotError."""
    found = [EMBEDDED]
    data = pathlib.Path(os.environ.get("AFFECTKIT_DATA", ROOT.parent / "shared" / "data"))
    for path in (data, *given):
        if path.is_dir():
            found += sorted(path.rglob("*.affectkit"))
        elif path.is_file():
            found.append(path)
        elif path != data:
            raise CannotError(f"{path}: is not there; name a bundle, or a folder with bundles")
    return list(dict.fromkeys(path.resolve() for path in found))


class Rig:
    """The steps; each returns what it saw in a few words, and an exit status."""

    def __init__(self, options: argparse.Namespace, roots: dict[str, pathlib.Path], log: pathlib.Path, facts: report.Facts):
        self._options, self._roots, self._log, self.facts = options, roots, log, facts
        self._kept = cache_folder() / "kept"

    def _chroot(self, cpu: str, release: str | None = None, given: pathlib.Path | None = None) -> Chroot:
        return Chroot(self._roots[release or self._options.release], cpu, self._kept, given)

    def verify(self) -> tuple[str, int]:
        wrong = 0
        with tempfile.TemporaryDirectory(prefix="affectkit-") as scratch:
            given = pathlib.Path(scratch)
            given.chmod(0o755)
            named = {f"/mnt/given/{number}.affectkit": path for number, path in enumerate(bundles(self._options.bundle))}
            for name, path in named.items():
                shutil.copyfile(path, given / pathlib.Path(name).name)
            for cpu in self._options.verify_cpu:
                output = self._log / f"verify-{cpu}.txt"
                command = [PYTHON, f"/mnt/code/{(INSIDE / 'verify_bundles.py').relative_to(ROOT)}", *named]
                status = self._chroot(cpu, given=given).run(command, output, self._options.limit)
                told = {line["bundle"]: line for line in _json_lines(output)}
                for name, path in named.items():
                    found = report.Verified(path.stem, cpu, told.get(name) or {"failed": _ended(status)})
                    self.facts.verified.append(found)
                    wrong += not found.explained
                    if not found.exact:
                        print(f"{path.stem} on {cpu}: {found.worst()} off; see {output}", flush=True)
        exact = sum(found.exact for found in self.facts.verified)
        said = f"{exact} of {len(self.facts.verified)} bit by bit x86-64's, {wrong} further off than explained"
        return f"{len(named)} bundle{'s' * (len(named) > 1)} on {len(self._options.verify_cpu)} processors: {said}", 1 if wrong else 0

    def session(self) -> tuple[str, int]:
        script = INSIDE / "trace_session.py"
        here = self._log / "session-x86_64"
        native = [sys.executable, str(script), str(here)]
        with (self._log / "session-x86_64.txt").open("wb") as stream:
            if subprocess.run(native, stdout=stream, stderr=subprocess.STDOUT, check=False).returncode:
                return f"cannot be replayed here: {_last_line(self._log / 'session-x86_64.txt')}", 1
        self.facts.here = json.loads((here / "versions.json").read_text())
        words, worst = "", 0
        for cpu in self._options.session_cpu or [self._options.cpu]:
            shutil.rmtree(self._kept / "session", ignore_errors=True)
            output = self._log / f"session-{cpu}.txt"
            inside = f"/mnt/code/{script.relative_to(ROOT)}"
            status = self._chroot(cpu).run([PYTHON, inside, "/mnt/out/session"], output, self._options.limit)
            if status:
                return f"{cpu}: {_ended(status)}; {_last_line(output)}", 1
            there = self._log / f"session-{cpu}"
            shutil.rmtree(there, ignore_errors=True)
            shutil.copytree(self._kept / "session", there)
            self.facts.there = json.loads((there / "versions.json").read_text())
            decisions = compare_decisions(here / "decisions.jsonl", there / "decisions.jsonl")
            stages = compare_stages(here / "trace.npz", there / "trace.npz")
            self.facts.sessions[cpu] = (decisions, stages)
            words = report.in_words(decisions, stages)
            worst = max(worst, int(decisions.others > 0 or any(stage.own_largest > report.SOFTMAX_STEPS for stage in stages.values())))
        return words, worst

    def tflite(self) -> tuple[str, int]:
        chroot = self._chroot(self._options.cpu, BOOKWORM.name)
        output = self._log / "tflite-float.txt"
        status = chroot.run([PYTHON, "-c", "from edge.inference.model import probe; print(probe())"], output, self._options.limit)
        words = "a float model runs" if status == 0 else f"a float model {_ended(status)}"
        output = self._log / "tflite-int8.txt"
        command = [PYTHON, f"/mnt/code/{(INSIDE / 'verify_bundles.py').relative_to(ROOT)}", f"/mnt/code/{EMBEDDED.relative_to(ROOT)}"]
        status = chroot.run(command, output, self._options.limit)
        said = next(iter(_json_lines(output)), {})
        off = {name: stage["largest_difference"] for name, stage in said.get("stages", {}).items()}
        worst = max(off, key=lambda name: off[name], default="")
        words += f"; int8 runs, {worst} up to {off[worst]:g} steps off its golden vectors" if off else f"; int8 {_ended(status)}"
        self.facts.tflite = f"tflite-runtime 2.14.0, Python {BOOKWORM.python}: {words}"
        return self.facts.tflite, 0

    def suite(self) -> tuple[str, int]:
        output = self._log / "suite.txt"
        command = [PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "-m", "not convert and not long", "-rs", "--durations=25"]
        command += [f"--deselect={name}" for name in LEFT_OUT]
        if not self._options.all:
            command += ["-p", "emulated", "--hypothesis-profile=emulated"]
        options = self._options.pytest
        named = any((ROOT / option.split("::")[0]).exists() for option in options)
        command += options if named else [*options, *(ALL if self._options.all else SUITE)]
        environment = {"PYTHONPATH": f"/mnt/code/{INSIDE.relative_to(ROOT)}"}
        status = self._chroot(self._options.cpu).run(command, output, self._options.limit, environment)
        printed = output.read_text(errors="replace")
        skipped = [line for line in printed.splitlines() if line.startswith("SKIPPED")]
        print(printed if status else "\n".join(skipped), flush=True)
        if status == TIMED_OUT:
            return f"not at its end after {self._options.limit:.0f} s; see {output}", 1
        self.facts.suite = _last_line(output)
        return f"{self.facts.suite}; {len(LEFT_OUT)} left out", status


def _json_lines(path: pathlib.Path) -> list[dict[str, typing.Any]]:
    """The JSON objects among the lines of a file; the interpreter says things of its own there too."""
    found = []
    for line in path.read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            said = json.loads(line)
            if isinstance(said, dict):
                found.append(said)
    return found


def _last_line(path: pathlib.Path) -> str:
    return next((line.strip() for line in reversed(path.read_text(errors="replace").splitlines()) if line.strip()), "it said nothing")


def _ended(status: int) -> str:
    """Words for an exit status; a program that a signal ended has 128 and its number, or the number below zero."""
    number = status - 128 if status > 128 else -status
    if status == TIMED_OUT:
        return "did not end in time"
    if 0 < number < signal.NSIG:
        return f"crashes ({signal.Signals(number).name})"
    return f"fails (status {status})"


if __name__ == "__main__":
    sys.exit(main())
