"""What the machine is and how it is doing, read from the kernel's files: for ``affectkit doctor`` and for benchmarks."""

from __future__ import annotations

import collections.abc
import dataclasses
import importlib.metadata
import os
import pathlib
import platform
import re
import subprocess
import typing

THROTTLED = {
    0: "under-voltage now",
    1: "frequency capped now",
    2: "throttled now",
    3: "at the soft temperature limit now",
    16: "under-voltage since boot",
    17: "frequency capped since boot",
    18: "throttled since boot",
    19: "at the soft temperature limit since boot",
}
"""Bits of ``vcgencmd get_throttled`` (Raspberry Pi documentation, "vcgencmd")."""
PACKAGES = ("ai-edge-litert", "tflite-runtime", "numpy")
_FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"
_MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class BoardFacts:
    """Nothing in it tells one machine from another of its kind; None or "" where the machine does not say."""

    model: str
    """Such as "Raspberry Pi 5 Model B Rev 1.0", from the device tree, or what a PC's maker calls it."""
    machine: str
    """Architecture: "aarch64", "x86_64"."""
    cpu: str
    cores: int
    governor: str
    """Of the first core."""
    frequency_mhz: float | None
    """Of the first core, now."""
    most_frequency_mhz: float | None
    temperature_c: float | None
    throttled: int | None
    """Bits as in ``THROTTLED``; None on what is no Raspberry Pi."""
    memory_mib: float | None
    available_mib: float | None
    """Memory that a program can still get."""
    os: str
    kernel: str
    python: str
    packages: collections.abc.Mapping[str, str]
    """Of ``PACKAGES`` those installed, with their versions."""

    @property
    def throttling(self) -> tuple[str, ...] | None:
        """``throttled`` in words; None on what is no Raspberry Pi."""
        if self.throttled is None:
            return None
        return tuple(word for bit, word in THROTTLED.items() if self.throttled >> bit & 1)

    def as_record(self) -> dict[str, typing.Any]:
        """As JSON takes it, ``throttling`` in words included."""
        return {**dataclasses.asdict(self), "packages": dict(self.packages), "throttling": self.throttling and list(self.throttling)}


def board_facts(root: pathlib.Path = pathlib.Path("/"), *, run: typing.Callable[..., str] | None = None) -> BoardFacts:
    """Read everything anew.

    Args:
        root: where ``proc``, ``sys`` and ``etc`` lie.
        run: runs a program and gives its output, "" if it fails; for ``vcgencmd``, which is asked of this machine only.
    """
    run = run or (output_of if root == pathlib.Path("/") else lambda *_: "")
    cpufreq = root / "sys/devices/system/cpu/cpu0/cpufreq"
    memory = _memory(_text(root / "proc/meminfo"))
    return BoardFacts(
        model=_model(root),
        machine=platform.machine(),
        cpu=_cpu(_text(root / "proc/cpuinfo")),
        cores=_cores(root),
        governor=_text(cpufreq / "scaling_governor"),
        frequency_mhz=_scaled(cpufreq / "scaling_cur_freq", 1e-3),
        most_frequency_mhz=_scaled(cpufreq / "cpuinfo_max_freq", 1e-3),
        temperature_c=_temperature(root),
        throttled=_throttled(root, run),
        memory_mib=memory.get("MemTotal"),
        available_mib=memory.get("MemAvailable"),
        os=_os_name(_text(root / "etc/os-release")),
        kernel=_text(root / "proc/sys/kernel/osrelease"),
        python=platform.python_version(),
        packages=_packages(),
    )


def output_of(*command: str) -> str:
    """What a program writes to standard output; "" if it is not there, fails or takes longer than two seconds."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=2.0, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _text(path: pathlib.Path) -> str:
    """Content without what surrounds it; "" if it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8", "replace").strip("\0 \t\n")
    except OSError:  # ENOENT as a rule; sensors that are off say EAGAIN or EIO
        return ""


def _scaled(path: pathlib.Path, factor: float) -> float | None:
    try:
        return float(_text(path)) * factor
    except ValueError:
        return None


def _model(root: pathlib.Path) -> str:
    board = _text(root / "proc/device-tree/model")
    if board:
        return board
    maker, product = (_text(root / "sys/class/dmi/id" / name) for name in ("sys_vendor", "product_name"))
    return f"{maker} {product}".strip()


def _cpu(cpuinfo: str) -> str:
    """ "model name" of x86; on ARM, whose kernels give numbers alone, "CPU part" with its name."""
    fields = dict(re.findall(r"^([^\t:]+?)\s*:[ \t]*(.*)$", cpuinfo, re.MULTILINE))
    if name := fields.get("model name"):
        return name
    part = fields.get("CPU part", "")
    known = {"0xd03": "Cortex-A53", "0xd08": "Cortex-A72", "0xd0b": "Cortex-A76"}  # Main ID Register of their manuals
    return known.get(part, f"part {part}" if part else "")


def _cores(root: pathlib.Path) -> int:
    """Online, as in "0-3" or "0,2-3"."""
    count = 0
    for span in _text(root / "sys/devices/system/cpu/online").split(","):
        ends = re.fullmatch(r"(\d+)(?:-(\d+))?", span)
        if ends is not None:
            count += int(ends[2] or ends[1]) - int(ends[1]) + 1
    return count or os.cpu_count() or 1


def _temperature(root: pathlib.Path) -> float | None:
    """Of the zone that is named after the CPU; else of the first."""
    zones = sorted((root / "sys/class/thermal").glob("thermal_zone*"))
    named = [zone for zone in zones if re.search(r"cpu|x86_pkg", _text(zone / "type"))]
    for zone in (*named, *zones):
        if (temperature := _scaled(zone / "temp", 1e-3)) is not None:
            return temperature
    return None


def _throttled(root: pathlib.Path, run: typing.Callable[..., str]) -> int | None:
    said = _text(root / _FIRMWARE) or run("vcgencmd", "get_throttled").removeprefix("throttled=")
    try:
        return int(said, 16)
    except ValueError:
        return None


def _memory(meminfo: str) -> dict[str, float]:
    """In MiB; the file says kB and means KiB."""
    return {name: int(size) * 1024 / _MIB for name, size in re.findall(r"^(\w+):\s+(\d+) kB$", meminfo, re.MULTILINE)}


def _os_name(release: str) -> str:
    match = re.search(r'^PRETTY_NAME="?([^"\n]*)"?$', release, re.MULTILINE)
    return match[1] if match else ""


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
