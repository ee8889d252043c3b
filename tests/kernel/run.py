"""``make test-kernel``: boot a stock Debian kernel under emulation and run affectkit's drivers on its real device nodes.

``prepare.py`` makes what is needed, once; ``adapter.py`` plugs simulated chips into the machine; ``guest.sh`` loads the kernel's
drivers and runs the checks in ``inside/``, with this Python. The machine sees the host's files, and what it writes is lost, save
for its log. KVM stays off: the emulated processor is fifteen times slower than this one, so no check measures time.

Options: ``--limit`` seconds for everything in the machine; anything behind ``--`` goes to pytest.

Exit status: pytest's own; 1 when the machine does not come to an end, 2 when the rig cannot be set up here.
"""

from __future__ import annotations

import argparse
import pathlib
import shlex
import shutil
import sys
import tempfile

from adapter import Plug
from prepare import CannotError, Machine, cache_folder, prepare, run_machine

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUEST = pathlib.Path(__file__).resolve().with_name("guest.sh")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Drivers and their checks on a real kernel, emulated.")
    parser.add_argument(
        "--limit", type=float, default=420.0, help="seconds for everything in the machine; it needs 120 on two idle cores (420)"
    )
    parser.add_argument("--python", default=sys.executable, help="what runs the checks in the machine")
    parser.add_argument("--command", help="run this in the machine in place of the checks, once the drivers are loaded")
    parser.add_argument("pytest", nargs="*", help="options of pytest, behind --")
    options = parser.parse_args(argv)
    folder = cache_folder()
    try:
        machine = prepare(folder)
    except CannotError as error:
        print(f"test-kernel: {error}", file=sys.stderr)
        return 2
    log = folder / "log"
    shutil.rmtree(log, ignore_errors=True)
    log.mkdir()
    checks = [options.python, "-m", "pytest", *options.pytest]
    script = options.command or (shlex.join(checks) if options.pytest else "")
    print(f"booting Debian's {machine.release} under emulation, at most {options.limit:.0f} s; log: {log}", flush=True)
    status = boot(machine, [str(GUEST), options.python, script], log, options.limit)
    printed = (log / "checks.txt").read_text(errors="replace") if (log / "checks.txt").exists() else ""
    if status is None:
        print(printed[-4000:])
        print(f"test-kernel: the machine did not come to its end within {options.limit:.0f} s; see {log}", file=sys.stderr)
        return 1
    told = [line for line in printed.splitlines() if line.startswith("SKIPPED")] + printed.splitlines()[-1:]
    print(printed if status or options.command else "\n".join(told))
    return status


def boot(machine: Machine, command: list[str], log: pathlib.Path, limit_s: float) -> int | None:
    """Run ``command`` in the machine, its output in ``log/checks.txt``; its exit status, or None if there was none in time."""
    with tempfile.TemporaryDirectory(prefix="affectkit-") as scratch:
        line = pathlib.Path(scratch) / "usb"
        usb = f"-device qemu-xhci -chardev socket,id=adapter,path={line},server=on,wait=off -device usb-redir,chardev=adapter"
        inside = f"cd {shlex.quote(str(ROOT))} && sh {shlex.join(command)} > {log}/checks.txt 2>&1; echo $? > {log}/status; sync"
        virtme = [
            *(str(machine.virtme / "vng"), "--verbose", "--disable-kvm", "--disable-microvm", "--force-9p"),
            *("--run", str(machine.kernel), "--memory", "2G", "--cpus", "2", "--rwdir", str(log), f"--qemu-opts={usb}", "--", inside),
        ]
        Plug(line).start()
        return run_machine(virtme, machine.virtme, log, ROOT, limit_s)


if __name__ == "__main__":
    sys.exit(main())
