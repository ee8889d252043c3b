"""The boards a kit may be: ``boards/NAME.toml`` -> ``Board``, and what follows from it for the service, the settings and the wheels."""

from __future__ import annotations

import collections.abc
import dataclasses
import pathlib
import re
import types
import typing

from edge.config import read_toml, settings_from
from edge.errors import ConfigError
from edge.words import nearest

FOLDER = pathlib.Path(__file__).resolve().parent / "boards"
LEAST_MIB = 200
"""A run takes less than 100 MiB, and the camera's stack as much again."""
LEFT_MIB = 192
"""What the kernel, the camera's buffers and SSH need beside the kit."""
OLDEST_GLIBC_MINOR = 17
"""The first for which there are manylinux wheels for aarch64 (PEP 599)."""

OsName = typing.Literal["bookworm", "trixie"]
"""Raspberry Pi OS Lite 64-bit, by Debian's name for it."""


def _within(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{name}: got {value}; it is {least} to {most}")


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of ``config.txt``, or a word of ``cmdline.txt``."""

    line: str
    why: str
    """One sentence, for the comment above it."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w,.:=-]+", self.line):
            raise ConfigError(f"line: got {self.line!r}; it is one word such as dtparam=i2c_arm=on")
        if not self.why.strip() or "\n" in self.why:
            raise ConfigError(f"why: got {self.why!r} for {self.line}; say the reason in one line")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What ``affectkit.service`` may take at most."""

    memory_max_mib: int
    """Memory in MiB; the run is ended and started anew beyond it."""
    cpu_quota_percent: int
    """Of one core: 350 is three and a half cores."""
    cpu_weight: int
    """Share of the processor against other services, which have 100 (systemd.resource-control(5))."""

    def __post_init__(self) -> None:
        _within("limits.memory_max_mib", self.memory_max_mib, LEAST_MIB, 1 << 14)
        _within("limits.cpu_quota_percent", self.cpu_quota_percent, 50, 6400)
        _within("limits.cpu_weight", self.cpu_weight, 1, 10_000)


@dataclasses.dataclass(frozen=True)
class Suggested:
    """Settings that should suit the board; ``as_settings`` has them as tables of ``kit.toml``."""

    measured: bool
    """Whether they were measured on the board; False: they follow from its processor."""
    threads: int
    cadence_ms: int
    budget_ms: int
    camera_width: int
    camera_height: int
    camera_rate_hz: int

    def __post_init__(self) -> None:
        _within("suggested.cadence_ms", self.cadence_ms, 50, 10_000)
        _within("suggested.budget_ms", self.budget_ms, 10, self.cadence_ms)
        settings_from(self.as_settings(), where="suggested")

    def as_settings(self) -> dict[str, dict[str, int]]:
        """Tables and keys of ``kit.toml``."""
        return {
            "budget": {"cadence_ms": self.cadence_ms, "budget_ms": self.budget_ms},
            "inference": {"threads": self.threads},
            "camera": {"width": self.camera_width, "height": self.camera_height, "rate_hz": self.camera_rate_hz},
        }


@dataclasses.dataclass(frozen=True)
class OsFacts:
    """What a system brings that decides which wheels fit."""

    python: str
    """Tag of its Python, such as "cp311"."""
    glibc: str
    """Its version, such as "2.36": the newest that a wheel may ask for."""

    def __post_init__(self) -> None:
        if self.python not in ("cp311", "cp312", "cp313"):
            raise ConfigError(f"os.python: got {self.python!r}; it is cp311, cp312 or cp313")
        if not re.fullmatch(r"2\.\d{2}", self.glibc):
            raise ConfigError(f'os.glibc: got {self.glibc!r}; it is a version such as "2.36"')

    def platform_tags(self) -> tuple[str, ...]:
        """What ``pip download --platform`` is told, the newest first (PEP 600; PEP 599 for the last)."""
        minor = int(self.glibc.partition(".")[2])
        tags = tuple(f"manylinux_2_{number}_aarch64" for number in range(minor, OLDEST_GLIBC_MINOR - 1, -1))
        return (*tags, "manylinux2014_aarch64")


@dataclasses.dataclass(frozen=True)
class Board:
    """One board."""

    name: str
    """Of its file: "pi-4"."""
    model: str
    """As ``/proc/device-tree/model`` begins; a revision follows."""
    cpu: str
    """As its maker and QEMU call it: "cortex-a72"."""
    cores: int
    memory_mib: int
    """Of the smallest version."""
    limits: Limits
    suggested: Suggested
    os: collections.abc.Mapping[OsName, OsFacts]
    config_txt: tuple[Line, ...]
    """For ``/boot/firmware/config.txt``, in this order."""
    cmdline: tuple[Line, ...]
    """Words for ``/boot/firmware/cmdline.txt``."""

    def __post_init__(self) -> None:
        _within("cores", self.cores, 1, 64)
        most = self.memory_mib - LEFT_MIB
        if self.limits.memory_max_mib > most:
            got = self.limits.memory_max_mib
            raise ConfigError(f"limits.memory_max_mib: got {got} of {self.memory_mib} MiB; it is {most} at most, the system needs the rest")
        if self.limits.cpu_quota_percent > 100 * self.cores:
            got = self.limits.cpu_quota_percent
            raise ConfigError(f"limits.cpu_quota_percent: got {got}; {self.cores} cores are {100 * self.cores}")
        if self.suggested.threads > self.cores:
            raise ConfigError(f"suggested.threads: got {self.suggested.threads}; the board has {self.cores} cores")
        for name in ("config_txt", "cmdline"):
            lines = [each.line for each in getattr(self, name)]
            if twice := next((line for line in lines if lines.count(line) > 1), None):
                raise ConfigError(f"{name}: {twice} is there twice")

    def drop_in(self) -> str:
        """The content of ``/etc/systemd/system/affectkit.service.d/board.conf``: ``limits`` over those of the unit."""
        return (
            f"# What affectkit.service may take of a {self.model}; from boards/{self.name}.toml.\n\n"
            "[Service]\n"
            "# Kept only with cgroup_enable=memory in cmdline.txt.\n"
            f"MemoryMax={self.limits.memory_max_mib}M\n"
            f"# Of one core; the board has {self.cores}.\n"
            f"CPUQuota={self.limits.cpu_quota_percent}%\n"
            "# Other services have 100.\n"
            f"CPUWeight={self.limits.cpu_weight}\n"
        )


def board_names() -> tuple[str, ...]:
    """All boards known, in alphabetical order."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def named(name: str) -> Board:
    """The board of that name. Raises ConfigError, with the nearest known one."""
    if name not in board_names():
        raise ConfigError(f"board {name!r}: unknown{nearest(name, board_names())}")
    return load_board(FOLDER / f"{name}.toml")


def board_of(model: str) -> Board | None:
    """The board that calls itself so in ``/proc/device-tree/model``; None for another one."""
    called = model.strip("\0 \n")
    for board in map(named, board_names()):
        if called == board.model or called.startswith(f"{board.model} Rev "):
            return board
    return None


def load_board(path: str | pathlib.Path) -> Board:
    """The board in the TOML file at ``path``, named after it.

    Raises:
        ConfigError: unreadable, not TOML, a key that is unknown or missing, a wrong type or value.
    """
    table = read_toml(path)
    try:
        if "name" in table:
            raise ConfigError("unknown key 'name'; the file's own name is the board's")
        return _built(Board, {"name": pathlib.Path(path).stem, **table}, "")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


Part = typing.TypeVar("Part")


def _built(cls: type[Part], table: collections.abc.Mapping[str, object], prefix: str) -> Part:
    """``cls`` from a table that has every one of its fields and nothing else."""
    kinds = typing.get_type_hints(cls)
    for key in table:
        if key not in kinds:
            raise ConfigError(f"unknown key {prefix + key!r}{nearest(key, kinds)}")
    for key in kinds:
        if key not in table:
            raise ConfigError(f"{prefix}{key} is missing; write it, with the reason above it")
    return cls(**{key: _value(kind, table[key], prefix + key) for key, kind in kinds.items()})


_CALLED = {str: "a text in quotes", int: "a whole number", bool: "true or false"}


def _value(kind: typing.Any, value: object, name: str) -> object:
    """``value`` as ``kind``: str, int, bool, a part, a tuple of parts, or a mapping from known words to parts."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise ConfigError(f"{name} is a list of tables; write [[{name}]] above each")
        return tuple(_built(arguments[0], item, f"{name}.") for item in value)
    if arguments or dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(f"{name} is a table; write [{name}] above its keys")
        if not arguments:
            return _built(kind, value, f"{name}.")
        known = typing.get_args(arguments[0])
        if unknown := next((key for key in value if key not in known), None):
            raise ConfigError(f"unknown key {f'{name}.{unknown}'!r}{nearest(unknown, known)}")
        if not value:
            raise ConfigError(f"{name} is empty; name at least one of {', '.join(known)}")
        return types.MappingProxyType({key: _value(arguments[1], item, f"{name}.{key}") for key, item in value.items()})
    if type(value) is not kind:
        raise ConfigError(f"{name}: got {value!r}; it is {_CALLED[kind]}")
    return value
