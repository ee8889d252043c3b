"""Faults of what is written: disks, pipes, recordings, and a process that is killed while it writes."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import pathlib
import resource
import subprocess
import sys
import time
import typing

from benchmarks.fault_judge import RECOVER_S, Outcome, Record, decisions, recovered_s, share_decided, whole_lines
from benchmarks.fault_kit import ROOT, Kit

PIPE_BYTES = 4096
"""The smallest that the kernel makes: it is full after ten lines."""
SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of fcntl(2)


def _in_order(outcome: Outcome, records: list[Record], skipped: int = 2) -> None:
    """Every tick has its line but for ``skipped``, which a busy machine may have slept through."""
    gaps = [after["t_ms"] - before["t_ms"] for before, after in itertools.pairwise(decisions(records))]
    missing = sum(gap // 250 - 1 for gap in gaps)
    outcome.need(
        min(gaps, default=250) >= 250 and missing <= skipped, f"{missing} ticks are missing between the lines, {skipped} were skipped"
    )


def disk_full(outcome: Outcome, folder: pathlib.Path) -> None:
    """A tmpfs of 16 KiB; where none can be mounted, the limit on file sizes takes its place."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)], capture_output=True).returncode == 0
    limit: dict[str, typing.Any] = {} if mounted else {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, 16_384))}
    outcome.how += "" if mounted else " (here: RLIMIT_FSIZE of 16 KiB)"
    try:
        with Kit(folder, seconds=16.0, jsonl=disk / "decisions.jsonl", **limit) as kit:
            status = kit.wait()
            _one_sink_lost(outcome, kit, status)
            records, whole = whole_lines(disk / "decisions.jsonl.partial")
            outcome.need(whole, "the last line is torn")
            outcome.need(not (disk / "decisions.jsonl").exists(), "what is not complete has the final name")
            _in_order(outcome, records)
            outcome.written = f"{len(decisions(records))} whole lines in .partial until the disk was full"
    finally:
        if mounted:
            subprocess.run(["umount", str(disk)], check=True)


def device_full(outcome: Outcome, folder: pathlib.Path) -> None:
    """/dev/full takes nothing from the first line on."""
    with Kit(folder, seconds=6.0, jsonl=pathlib.Path("/dev/full")) as kit:
        _one_sink_lost(outcome, kit, kit.wait())
        outcome.written = "nothing, and said so"


def _one_sink_lost(outcome: Outcome, kit: Kit, status: int) -> None:
    report, errors = kit.report(), kit.errors()
    outcome.said = next((line for line in errors.splitlines() if "JsonLines" in line), "")
    outcome.decided = 1.0 - report.get("states", {}).get("no decision", 0) / max(1, report.get("decisions", 1))
    outcome.need(status == 1, f"status {status}")
    outcome.need(report.get("failed_sinks") == ["JsonLines"] and "nothing more goes there" in outcome.said, "the sink's end was not told")
    outcome.need(report.get("session_s", 0) >= 5.5, "the run ended with the sink")


def fifo_unread(outcome: Outcome, folder: pathlib.Path) -> None:
    """--jsonl names a FIFO that nobody reads."""
    fifo = folder / "decisions.fifo"
    os.mkfifo(fifo)
    with Kit(folder, seconds=6.0, jsonl=fifo) as kit:
        try:
            status = kit.wait(25.0)
        except subprocess.TimeoutExpired:
            outcome.need(False, "it hangs at its start, without a word")
            return
        outcome.said = (kit.errors().strip().splitlines() or [""])[-1]
        outcome.need(status in (0, 2) and "nobody reads" in outcome.said, f"status {status}: {outcome.said}")


def reader_stops(outcome: Outcome, folder: pathlib.Path) -> None:
    """Whoever reads the pipe stops for 10 s; the pipe holds 4 KiB."""
    with Kit(folder, seconds=20.0, jsonl="-", stdout=subprocess.PIPE) as kit:
        stream = kit.process.stdout
        assert stream is not None
        fcntl.fcntl(stream.fileno(), SET_PIPE_SIZE, PIPE_BYTES)
        lines = [stream.readline()]
        began_s = time.monotonic()
        while time.monotonic() < began_s + 4.0:
            lines.append(stream.readline())
        cpu = [_cpu_s(kit.process.pid)]
        time.sleep(10.0)
        cpu.append(_cpu_s(kit.process.pid))
        lines += stream.readlines()
        status = kit.wait()
        records = [json.loads(line) for line in lines]
        made = decisions(records)
        outcome.decided = share_decided(made, 4.0, 20.0)
        report = kit.report()
        outcome.said = (
            f"decisions went on ({report['skipped_ticks']} ticks skipped), lines waited; {cpu[1] - cpu[0]:.1f} s of work in the 10 s"
        )
        outcome.need(status == 0, f"status {status}")
        outcome.need(len(made) == report["decisions"], f"{report['decisions']} decisions made, {len(made)} came out")
        outcome.need(cpu[1] - cpu[0] > 0.1, "nothing was done while nobody read")
        outcome.need(all(line.endswith(b"\n") for line in lines), "a torn line")
        _in_order(outcome, records, report["skipped_ticks"])
        outcome.recover_s = 0.0
        outcome.written = f"all {len(made)} lines, in order"


def _cpu_s(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def reader_gone(outcome: Outcome, folder: pathlib.Path) -> None:
    """Whoever reads the pipe closes it after 4 s."""
    with Kit(folder, jsonl="-", stdout=subprocess.PIPE) as kit:
        stream = kit.process.stdout
        assert stream is not None
        lines = [stream.readline() for _ in range(16)]
        stream.close()
        began_s = time.monotonic()
        status = kit.wait(20.0)
        outcome.notice_s = time.monotonic() - began_s
        kit.process.stdout = None
        outcome.said = f"the run ends, status {status}"
        outcome.need(status == 0 and "Traceback" not in kit.errors(), f"status {status}: {kit.errors()[-200:]}")
        outcome.need(outcome.notice_s <= RECOVER_S, f"ended only after {outcome.notice_s:.1f} s")
        _in_order(outcome, [json.loads(line) for line in lines])
        outcome.written = f"{len(lines)} whole lines were read, and the report"
        outcome.need(bool(kit.report()), "no report")


def killed_writing(outcome: Outcome, folder: pathlib.Path) -> None:
    """kill -9 at second 6."""
    with Kit(folder) as kit:
        kit.until(6.0)
        kit.process.kill()
        kit.wait()
        path = pathlib.Path(kit.jsonl)
        records, whole = whole_lines(path.with_name(path.name + ".partial"))
        made = decisions(records)
        outcome.said = "the process is gone"
        outcome.decided = share_decided(made, 1.0, 5.5)
        outcome.need(whole, "the last line is torn")
        outcome.need(not path.exists(), "what is not complete has the final name")
        outcome.need(len(made) >= 22, f"only {len(made)} lines for 6 s")
        _in_order(outcome, records)
        outcome.written = f"{len(made)} whole lines in .partial"


def recorded_with_bad_data(outcome: Outcome, folder: pathlib.Path) -> None:
    """From second 5 on the microphone gives NaN, which a session cannot hold."""
    place = folder / "lesson.session.zip"
    with Kit(folder, "NaN samples, audio", seconds=12.0, command=("record", str(place), "--consent", "made of a recorded session")) as kit:
        status = kit.wait()
        live = decisions(kit.lines())
        outcome.need(status == 0, f"status {status}: {kit.errors()[-200:]}")
        outcome.said = next((line.partition(": ")[2] for line in kit.errors().splitlines() if "not a number" in line), "")
        outcome.decided = share_decided(live, 1.0, 12.0)
        outcome.notice_s = next((r["t_ms"] / 1e3 - 5.0 for r in live if r["t_ms"] >= 5000 and "speech" in r["absent"]), None)
        outcome.recover_s = recovered_s(live, "speech", 9.0)
    outcome.need(place.exists(), "the recording is lost, what came before the fault too")
    if place.exists():
        again = folder / "again.jsonl"
        words = [sys.executable, "-m", "edge", "run", "--fast", "--source", f"replay:{place}", "--jsonl", str(again)]
        subprocess.run(words, check=True, capture_output=True, cwd=ROOT)
        replayed = decisions(whole_lines(again)[0])
        outcome.need(len(replayed) >= 19 and replayed == live[: len(replayed)], "its replay decides otherwise")
        outcome.written = f"{len(live)} decisions; a recording of the first {len(replayed)}, which replays to the same"


def killed_recording(outcome: Outcome, folder: pathlib.Path) -> None:
    """kill -9 at second 6 of a recording."""
    place = folder / "lesson.session.zip"
    with Kit(folder, command=("record", str(place), "--consent", "made of a recorded session")) as kit:
        kit.until(6.0)
        growing = sum(file.stat().st_size for file in folder.glob(".lesson*"))
        kit.process.kill()
        kit.wait()
        left = [file for file in folder.iterdir() if "lesson" in file.name]
        outcome.said = "the process is gone"
        outcome.need(growing > 0, "nothing was being recorded")
        outcome.need(not place.exists(), "a recording that was cut off has the final name")
        outcome.need(all(file.name.startswith(".") for file in left), f"left: {[file.name for file in left]}")
        path = pathlib.Path(kit.jsonl)
        records, whole = whole_lines(path.with_name(path.name + ".partial"))
        outcome.decided = share_decided(decisions(records), 1.0, 5.5)
        outcome.need(whole, "the last line is torn")
        outcome.written = f"no recording under its name, a hidden file of {growing >> 10} KiB; {len(decisions(records))} whole lines"
