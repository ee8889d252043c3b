"""Faults that hit the kit's process from outside: signals, a busy or small machine, a clock that leaps; and the list of all of them."""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import itertools
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

from benchmarks.fault_judge import RECOVER_S, Outcome, Record, decisions, events, reasons, recovered_s, share_decided
from benchmarks.fault_kit import Kit
from benchmarks.fault_writing import (
    device_full,
    disk_full,
    fifo_unread,
    killed_recording,
    killed_writing,
    reader_gone,
    reader_stops,
    recorded_with_bad_data,
)
from edge import embedded

YEAR_S = 365 * 24 * 3600
Run = collections.abc.Callable[[Outcome, pathlib.Path], None]


@dataclasses.dataclass(frozen=True)
class ProcessCase:
    """One fault; ``run`` does it and notes what became of it."""

    name: str
    how: str
    run: Run
    alone: bool = False
    """It would disturb others."""


def signalled(number: signal.Signals) -> Run:
    """A run that gets ``number`` at second 4."""

    def run(outcome: Outcome, folder: pathlib.Path) -> None:
        with Kit(folder) as kit:
            kit.until(4.0)
            began_s = time.monotonic()
            kit.process.send_signal(number)
            status = kit.wait()
            outcome.notice_s = time.monotonic() - began_s
            records = kit.lines()
            outcome.said = f"the run ends tidily, status {status}"
            outcome.need(status == 0, f"status {status}")
            outcome.need(outcome.notice_s <= RECOVER_S, f"ended only after {outcome.notice_s:.1f} s")
            _complete(outcome, kit, records)
            outcome.decided = share_decided(decisions(records), 1.0, 4.0)

    return run


def _complete(outcome: Outcome, kit: Kit, records: list[Record]) -> None:
    """The file has its final name, and as many decisions as the report."""
    path = pathlib.Path(kit.jsonl)
    made, said = len(decisions(records)), kit.report().get("decisions")
    outcome.need(path.exists() and not path.with_name(path.name + ".partial").exists(), "the file has no final name")
    outcome.need(made == said, f"{said} decisions made, {made} written")
    outcome.written = f"{made} of {said} decisions, final name"


def stopped(outcome: Outcome, folder: pathlib.Path) -> None:
    """SIGSTOP for 10 s, with the chips on the bus: their FIFOs run over."""
    with Kit(folder, sources=("camera", "microphone", "max30102", "ads1115"), seconds=39.0) as kit:
        kit.until(21.0)
        kit.process.send_signal(signal.SIGSTOP)
        kit.until(31.0)
        back_s = kit.now_s
        kit.process.send_signal(signal.SIGCONT)
        status = kit.wait()
        records = kit.lines()
        made = decisions(records)
        report = kit.report()
        outcome.need(status == 0, f"status {status}: {kit.errors()[-200:]}")
        outcome.need(36 <= report["skipped_ticks"] <= 44, f"{report['skipped_ticks']} ticks skipped, not 40")
        burst = [r for t_s, r in kit.arrived if "state" in r and back_s <= t_s - (kit._began_s or 0.0) < back_s + 0.2]
        outcome.need(len(burst) <= 2, f"a burst of {len(burst)} decisions")
        after = [r for r in made if r["t_ms"] / 1e3 >= back_s]
        stale = [r for r in after if r["newest_ms"] is not None and r["t_ms"] - r["newest_ms"] > 2600]
        outcome.need(not stale, f"{len(stale)} decisions on stale samples")
        times = [recovered_s(made, modality, back_s) for modality in ("face", "speech", "physiology")]
        outcome.recover_s = None if None in times else max(t for t in times if t is not None)
        outcome.need(outcome.recover_s is not None and outcome.recover_s <= RECOVER_S, f"back after {times} s (face, speech, physiology)")
        outcome.decided = share_decided(made, 31.25, 38.75)
        said = reasons([r for r in made if 20.9 < r["t_ms"] / 1e3 < back_s + RECOVER_S], ("face", "speech", "physiology"))
        outcome.said = "; ".join([f"{report['skipped_ticks']} ticks skipped and counted", *said[:3], *events(records)])
        outcome.rss_mib = kit.growth_mib(21.0, 38.5)
        _complete(outcome, kit, records)


def hogged(outcome: Outcome, folder: pathlib.Path) -> None:
    """Four processes that do nothing but count, for 8 s."""
    with Kit(folder, seconds=20.0) as kit, contextlib.ExitStack() as stack:
        kit.until(5.0)
        hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
        for hog in hogs:
            stack.callback(hog.wait)
            stack.callback(hog.kill)
        kit.until(13.0)
        stack.close()
        status = kit.wait()
        records = kit.lines()
        made = decisions(records)
        outcome.decided = share_decided(made, 5.0, 13.0)
        times = [recovered_s(made, modality, 13.0) for modality in ("face", "speech")]
        outcome.recover_s = None if None in times else max(t for t in times if t is not None)
        report = kit.report()
        during = [r for r in made if 5.0 <= r["t_ms"] / 1e3 < 15.0]
        outcome.said = "; ".join([*reasons(during, ("face", "speech"))[:3], *events(records), f"{report['deadline_misses']} ticks late"])
        outcome.rss_mib = kit.growth_mib(5.0, 19.5)
        outcome.need(status == 0, f"status {status}")
        outcome.need(outcome.decided >= 0.99, f"only {100 * outcome.decided:.0f} % of the ticks were decided")
        outcome.need(outcome.recover_s is not None and outcome.recover_s <= RECOVER_S, f"back after {times} s (face, speech)")
        _complete(outcome, kit, records)


def starved(outcome: Outcome, folder: pathlib.Path) -> None:
    """The fusion hangs for 6 s; systemd's patience is 3 s."""
    place = folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(place))
        manager.settimeout(0.1)
        said: list[tuple[float, str]] = []
        environment = {"NOTIFY_SOCKET": str(place), "WATCHDOG_USEC": "3000000"}
        with Kit(folder, "hang 6", seconds=18.0, environment=environment) as kit:
            while kit.process.poll() is None:
                with contextlib.suppress(TimeoutError):
                    said.append((kit.now_s, manager.recv(1000).decode()))
            told = [t_s for t_s, text in said if text == "WATCHDOG=1"]
            pauses = [(after - before, before) for before, after in itertools.pairwise(told)]
            longest_s, at_s = max(pauses, default=(0.0, 0.0))
            outcome.said = f"no WATCHDOG=1 for {longest_s:.1f} s: systemd would restart it after 3 s"
            outcome.notice_s = max(0.0, at_s + 3.0 - 8.0)
            outcome.recover_s = max(0.0, at_s + longest_s - 14.0)
            outcome.need(5.0 <= longest_s <= 8.0, f"the longest pause was {longest_s:.1f} s")
            others = [pause for pause, _ in pauses if pause != longest_s]
            outcome.need(max(others, default=9.0) < 1.5, f"told every {max(others, default=9.0):.1f} s while all was well")
            outcome.need("READY=1" in [text for _, text in said] and said[-1][1] == "STOPPING=1", "READY and STOPPING were not told")
            outcome.need(outcome.recover_s <= RECOVER_S, f"told again after {outcome.recover_s:.1f} s")
            records = kit.lines()
            outcome.decided = share_decided(decisions(records), 8.0, 17.75)
            _complete(outcome, kit, records)


def clock_stepped(outcome: Outcome, folder: pathlib.Path) -> None:
    """The wall clock leaps a year ahead and back; libfaketime shows it to the whole process."""
    if shutil.which("faketime") is None:
        raise FileNotFoundError("faketime is not installed: apt-get install faketime")
    shift = folder / "shift"
    shift.write_text("+0\n")
    library = next(iter(sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))))
    environment = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(shift),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }
    wall = folder / "wall.txt"
    with Kit(folder, seconds=16.0, child=("--wall", str(wall)), environment=environment) as kit:
        kit.until(5.0)
        shift.write_text(f"+{YEAR_S}\n")
        kit.until(10.0)
        shift.write_text(f"-{YEAR_S}\n")
        status = kit.wait()
        records = kit.lines()
    made = decisions(records)
    pairs = [[float(word) for word in line.split()] for line in wall.read_text().splitlines()[:-1]]
    offsets = [wall_s - monotonic_s for wall_s, monotonic_s in pairs]
    steps = [round(after - before) for before, after in itertools.pairwise(offsets) if abs(after - before) > 1000]
    outcome.decided = share_decided(made, 4.0, 16.0)
    gone = reasons([r for r in made if r["t_ms"] > 4000], ("face", "speech"))
    outcome.said = f"the process saw its wall clock step by {', '.join(f'{step / YEAR_S:+.0f}' for step in steps)} years; " + (
        "; ".join(gone) or "nobody was absent"
    )
    outcome.recover_s = 0.0
    outcome.need(status == 0, f"status {status}")
    outcome.need([round(step / YEAR_S) for step in steps] == [1, -2], f"the wall clock stepped by {steps} s, not by a year")
    outcome.need(outcome.decided == 1.0 and not gone, "decisions changed")
    gaps = [after["t_ms"] - before["t_ms"] for before, after in itertools.pairwise(made)]
    outcome.need(max(gaps) <= 500, f"no tick for {max(gaps)} ms")
    outcome.rss_mib = kit.growth_mib(5.0, 15.5)
    _complete(outcome, kit, records)


def bundle_deleted(outcome: Outcome, folder: pathlib.Path) -> None:
    """The bundle's file is deleted at second 4."""
    bundle = folder / "copy.affectkit"
    shutil.copy(embedded.BUNDLE, bundle)
    with Kit(folder, seconds=12.0, more=("--bundle", str(bundle))) as kit:
        kit.until(4.0)
        bundle.unlink()
        status = kit.wait()
        _undisturbed(outcome, kit, status, 4.0, 12.0)


def _undisturbed(outcome: Outcome, kit: Kit, status: int, from_s: float, to_s: float) -> None:
    records = kit.lines()
    made = decisions(records)
    gone = reasons([r for r in made if r["t_ms"] / 1e3 > from_s], ("face", "speech"))
    outcome.said = "; ".join([*gone, *events(records)]) or "nobody was absent"
    outcome.decided = share_decided(made, from_s, to_s)
    outcome.recover_s = 0.0
    outcome.rss_mib = kit.growth_mib(from_s, to_s - 0.5)
    outcome.need(status == 0, f"status {status}: {kit.errors()[-200:]}")
    outcome.need(not gone and outcome.decided == 1.0, "decisions changed")
    _complete(outcome, kit, records)


def memory_short(outcome: Outcome, folder: pathlib.Path) -> None:
    """From second 5 to 11 the process may map 1 MiB more than it has."""
    with Kit(folder, seconds=16.0) as kit:
        kit.until(5.0)
        size = int(pathlib.Path(f"/proc/{kit.process.pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        usual = resource.prlimit(kit.process.pid, resource.RLIMIT_AS)
        resource.prlimit(kit.process.pid, resource.RLIMIT_AS, (size + (1 << 20), usual[1]))
        kit.until(11.0)
        resource.prlimit(kit.process.pid, resource.RLIMIT_AS, usual)
        status = kit.wait()
        records = kit.lines()
        made = decisions(records)
        outcome.decided = share_decided(made, 5.0, 16.0)
        during = [r for r in made if 5.0 <= r["t_ms"] / 1e3 < 13.0]
        outcome.said = "; ".join([*reasons(during, ("face", "speech"))[:3], *events(records)]) or "nobody was absent"
        times = [recovered_s(made, modality, 11.0) for modality in ("face", "speech")]
        outcome.recover_s = None if None in times else max(t for t in times if t is not None)
        outcome.rss_mib = kit.growth_mib(5.0, 15.5)
        outcome.need(status == 0, f"status {status}: {kit.errors()[-200:]}")
        outcome.need(outcome.recover_s is not None and outcome.recover_s <= RECOVER_S, f"back after {times} s (face, speech)")
        outcome.need(outcome.decided >= 0.99, f"only {100 * outcome.decided:.0f} % of the ticks were decided")
        _complete(outcome, kit, records)


def memory_short_and_hung(outcome: Outcome, folder: pathlib.Path) -> None:
    """No memory for the stack of one more thread, while the one that reads the camera hangs."""
    with Kit(folder, "camera hang", seconds=18.0) as kit:
        kit.until(4.0)
        size = int(pathlib.Path(f"/proc/{kit.process.pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        usual = resource.prlimit(kit.process.pid, resource.RLIMIT_AS)
        resource.prlimit(kit.process.pid, resource.RLIMIT_AS, (size + (1 << 20), usual[1]))
        kit.until(12.0)
        resource.prlimit(kit.process.pid, resource.RLIMIT_AS, usual)
        status = kit.wait()
        records = kit.lines()
        made = decisions(records)
        outcome.decided = share_decided(made, 5.0, 18.0)
        during = [r for r in made if 5.0 <= r["t_ms"] / 1e3 < 13.0]
        outcome.said = "; ".join([*reasons(during, ("face", "speech"))[:3], *events(records)])
        outcome.recover_s = recovered_s(made, "face", 12.0)
        outcome.rss_mib = kit.growth_mib(5.0, 17.5)
        outcome.need(any("cannot be opened anew" in r.get("detail", "") for r in records), "there was memory for a thread")
        outcome.need(status == 0, f"status {status}: {' '.join(kit.errors().split())[-200:]}")
        outcome.need(outcome.recover_s is not None and outcome.recover_s <= RECOVER_S, f"face was back after {outcome.recover_s} s")
        outcome.need(outcome.decided >= 0.99, f"only {100 * outcome.decided:.0f} % of the ticks were decided")
        _complete(outcome, kit, records)


PROCESS_CASES: tuple[ProcessCase, ...] = (
    ProcessCase("SIGTERM", "sent at second 4", signalled(signal.SIGTERM)),
    ProcessCase("SIGINT", "sent at second 4", signalled(signal.SIGINT)),
    ProcessCase("SIGSTOP and SIGCONT", "10 s apart, chips on the bus", stopped),
    ProcessCase("CPU hog", "four busy processes for 8 s", hogged, alone=True),
    ProcessCase("systemd's watchdog starved", "the fusion hangs for 6 s, the watchdog's patience is 3 s", starved),
    ProcessCase("clock step", "libfaketime: wall clock of the process a year ahead, then two back", clock_stepped),
    ProcessCase("disk full", "--jsonl on a tmpfs of 16 KiB", disk_full),
    ProcessCase("device full", "--jsonl /dev/full", device_full),
    ProcessCase("sink blocked: FIFO without a reader", "--jsonl names a FIFO", fifo_unread),
    ProcessCase("sink blocked: reader stops", "--jsonl - into a pipe of 4 KiB that nobody reads for 10 s", reader_stops),
    ProcessCase("reader gone", "the pipe is closed after 16 lines (SIGPIPE)", reader_gone),
    ProcessCase("bundle file deleted", "while the run goes on", bundle_deleted),
    ProcessCase("memory pressure", "RLIMIT_AS 1 MiB over what is mapped, for 6 s", memory_short),
    ProcessCase("memory pressure, camera hang", "RLIMIT_AS as before from second 4 to 12, the hang from 5 to 11", memory_short_and_hung),
    ProcessCase("kill -9 while writing", "at second 6, with --jsonl", killed_writing),
    ProcessCase("NaN samples while recording", "the microphone gives NaN from second 5 to 9 of affectkit record", recorded_with_bad_data),
    ProcessCase("kill -9 while recording", "at second 6 of affectkit record", killed_recording),
)
"""In the order of the table."""
