"""One run of the true command in a process of its own, watched from outside: its lines as they come, its memory, its end."""

from __future__ import annotations

import collections.abc
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import typing

from benchmarks.fault_judge import Record, whole_lines

ROOT = pathlib.Path(__file__).resolve().parent.parent
KIT_TOML = """[purpose]
jurisdiction = "US"
purpose = "research"
setting = "laboratory"
responsible = "benchmarks.faults"
consent_reference = "made of a recorded session"

[ads1115]
front_end = "divider"

[outputs]
console = false
"""
POLL_S = 0.02
START_WITHIN_S = 60.0


class Kit:
    """Context manager; second 0 is the first line that the kit wrote, less the time that the line says.

    Args:
        folder: takes the files of the run.
        case: what ``benchmarks.fault_child`` is to inject.
        sources: names of ``benchmarks.fault_sources.sensor``.
        seconds: length of the run; None goes on until it is ended.
        command: words of the command before its options; ``run`` or ``record FILE --consent ...``.
        jsonl: where decisions go; ``folder``/decisions.jsonl if None.
        before: put before the interpreter, such as faketime.
        environment: on top of this process's own.
        options: of ``Popen``.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        case: str = "none",
        *,
        sources: collections.abc.Sequence[str] = ("camera", "microphone", "band"),
        seconds: float | None = None,
        command: collections.abc.Sequence[str] = ("run",),
        child: collections.abc.Sequence[str] = (),
        more: collections.abc.Sequence[str] = (),
        jsonl: pathlib.Path | str | None = None,
        before: collections.abc.Sequence[str] = (),
        environment: collections.abc.Mapping[str, str] | None = None,
        **options: typing.Any,
    ):
        self.folder = folder
        self.jsonl = folder / "decisions.jsonl" if jsonl is None else jsonl
        self.report_file = folder / "report.json"
        self.arrived: list[tuple[float, Record]] = []
        """Lines, and when they were seen, in seconds of this machine's monotonic clock."""
        self.rss_mib: list[tuple[float, float]] = []
        self._began_s: float | None = None
        (folder / "kit.toml").write_text(KIT_TOML, encoding="utf-8")
        words = [*before, sys.executable, "-m", "benchmarks.fault_child", case, *child, "--", *command]
        words += ["--config", str(folder / "kit.toml"), "--jsonl", str(self.jsonl), "--report", str(self.report_file)]
        words += [word for source in sources for word in ("--source", f"fault:{source}")]
        words += [] if seconds is None else ["--duration", str(seconds)]
        self._words = [*words, *more]
        self._environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", **(environment or {})}
        self._options = options
        self._ended = threading.Event()

    def __enter__(self) -> Kit:
        self._errors = (self.folder / "stderr.txt").open("w+", encoding="utf-8")
        options: dict[str, typing.Any] = {"stdout": subprocess.DEVNULL, "stderr": self._errors, "cwd": ROOT, **self._options}
        self.process = subprocess.Popen(self._words, env=self._environment, **options)
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        self._ended.set()
        self._watcher.join(5)
        self._errors.close()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _watch(self) -> None:
        """Follow the file and the memory until the process has gone."""
        at, waiting = 0, b""
        while True:
            over = self._ended.wait(POLL_S)
            path = self._readable()
            if path is not None:
                try:
                    with path.open("rb") as file:
                        file.seek(at)
                        content = file.read()
                except OSError:
                    content = b""
                now_s, at = time.monotonic(), at + len(content)
                *lines, waiting = (waiting + content).split(b"\n")
                for line in lines:
                    record = json.loads(line)
                    if self._began_s is None and "state" in record:
                        self._began_s = now_s - record["t_ms"] / 1e3
                    self.arrived.append((now_s, record))
            self._weigh()
            if over:
                return

    def _weigh(self) -> None:
        now_s = time.monotonic()
        if self.rss_mib and now_s - self.rss_mib[-1][0] < 0.2:
            return
        try:
            pages = int(pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return
        if pages:
            self.rss_mib.append((now_s, pages * os.sysconf("SC_PAGE_SIZE") / 2**20))

    def _readable(self) -> pathlib.Path | None:
        if isinstance(self.jsonl, str) or (self.jsonl.exists() and not self.jsonl.is_file()):
            return None
        partial = self.jsonl.with_name(self.jsonl.name + ".partial")
        return partial if partial.exists() else self.jsonl if self.jsonl.exists() else None

    # --- what happens to it ---------------------------------------------------------------------------------------------

    def until(self, s: float) -> None:
        """Block until second ``s`` of the run; AssertionError if the process ends before."""
        limit_s = time.monotonic() + START_WITHIN_S
        while self._began_s is None or time.monotonic() < self._began_s + s:
            if self.process.poll() is not None:
                raise AssertionError(f"ended with status {self.process.returncode} before second {s:g}: {self.errors()[-300:]}")
            if self._began_s is None and time.monotonic() > limit_s:
                raise AssertionError(f"no decision within {START_WITHIN_S:g} s: {self.errors()[-300:]}")
            self._ended.wait(POLL_S)

    @property
    def now_s(self) -> float:
        """Second of the run."""
        return time.monotonic() - (self._began_s or time.monotonic())

    def wait(self, timeout_s: float = 60.0) -> int:
        """Its exit status."""
        status = self.process.wait(timeout_s)
        self._ended.wait(3 * POLL_S)
        return status

    # --- what is left of it ---------------------------------------------------------------------------------------------

    def errors(self) -> str:
        return (self.folder / "stderr.txt").read_text(encoding="utf-8", errors="replace")

    def report(self) -> dict[str, typing.Any]:
        """The summary; empty if it wrote none."""
        return json.loads(self.report_file.read_text()) if self.report_file.exists() else {}

    def lines(self) -> list[Record]:
        """Of the file, which must end with a whole line."""
        path = self._readable()
        if path is None:
            return []
        records, whole = whole_lines(path)
        if not whole:
            raise ValueError(f"{path.name}: its last line is torn")
        return records

    def growth_mib(self, before_s: float, after_s: float, over_s: float = 1.5) -> float | None:
        """Resident memory: middle value of the time before ``after_s``, less that before ``before_s``."""
        if self._began_s is None:
            return None

        def middle(to_s: float) -> float | None:
            found = sorted(mib for t_s, mib in self.rss_mib if to_s - over_s <= t_s - (self._began_s or 0.0) < to_s)
            return found[len(found) // 2] if found else None

        before, after = middle(before_s), middle(after_s)
        return None if before is None or after is None else after - before

    def lag_s(self, from_s: float, to_s: float) -> list[float]:
        """From the tick of each decision in [from_s, to_s) of the clock outside to its line."""
        began_s = self._began_s or 0.0
        return [t_s - began_s - r["t_ms"] / 1e3 for t_s, r in self.arrived if "state" in r and from_s <= t_s - began_s < to_s]
