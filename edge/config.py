"""``kit.toml`` -> frozen settings, one class per part. Every key is optional, and a key that nobody knows is an error.

A relative path in it, also that of a ``replay:`` source, starts at the folder of ``kit.toml``.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import pathlib
import tomllib
import types
import typing

from edge.errors import ConfigError
from edge.sensors.settings import SensorSettings
from edge.words import nearest


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{name}: got {value}; it is at least {least}")


@dataclasses.dataclass(frozen=True)
class BundleSettings:
    """Table ``[bundle]``."""

    path: str = ""
    """The ``.affectkit`` file to run; the embedded one if empty."""


@dataclasses.dataclass(frozen=True)
class SourceSettings:
    """Table ``[sources]``."""

    use: tuple[str, ...] = ()
    """Sources such as "replay:session.zip"; the embedded session if empty."""
    queue_chunks: int = 32
    """Chunks of a track that may wait for the runtime; the oldest is dropped, and counted, when one more comes."""
    lost_after_ms: int = 1000
    """A modality none of whose tracks delivers for this long is lost."""

    def __post_init__(self) -> None:
        _at_least("sources.queue_chunks", self.queue_chunks, 1)
        _at_least("sources.lost_after_ms", self.lost_after_ms, 300)


@dataclasses.dataclass(frozen=True)
class BudgetSettings:
    """Table ``[budget]``: 0 leaves a limit as the bundle states it."""

    cadence_ms: int = 0
    """Time between two decisions."""
    budget_ms: int = 0
    """Time until a decision must be out."""
    if_too_slow: str = "degrade"
    """What to do when this machine cannot keep the budget with everything: "degrade" (do less, and say what) or "refuse"."""

    def __post_init__(self) -> None:
        _at_least("budget.cadence_ms", self.cadence_ms, 0)
        _at_least("budget.budget_ms", self.budget_ms, 0)
        if self.if_too_slow not in ("degrade", "refuse"):
            raise ConfigError(f'budget.if_too_slow: got {self.if_too_slow!r}; it is "degrade" or "refuse"')


@dataclasses.dataclass(frozen=True)
class InferenceSettings:
    """Table ``[inference]``."""

    threads: int = 0
    """Interpreter threads of each stage; 0 takes what is fastest here by measurement, and one in fast replay."""

    def __post_init__(self) -> None:
        _at_least("inference.threads", self.threads, 0)


@dataclasses.dataclass(frozen=True)
class OutputSettings:
    """Table ``[outputs]``."""

    console: bool = True
    """Show a live view when the output is a terminal."""
    jsonl: str = ""
    """File for one decision a line, "-" for standard output; none if empty."""
    report: str = ""
    """File for the summary as JSON; none if empty."""
    overwrite: bool = False
    """Replace those files if they exist; otherwise they are refused."""


@dataclasses.dataclass(frozen=True)
class Purpose:
    """Table ``[purpose]``: needed for live sources, all of it; ``edge.purpose`` decides on it."""

    jurisdiction: str = ""
    """Where it runs: an ISO 3166-1 code of two letters such as "US", with a region ("US-CA") or not, or "EU"."""
    purpose: str = ""
    """What for: "medical", "safety", "research", "learning support" or "demonstration"."""
    setting: str = ""
    """Among whom: "education", "workplace", "clinic", "laboratory" or "home"."""
    responsible: str = ""
    """Who answers for it: a name that those who are sensed can reach."""
    consent_reference: str = ""
    """Where their consent is filed; the consent itself stays out of here."""


@dataclasses.dataclass(frozen=True)
class Settings(SensorSettings):
    """All of ``kit.toml``: a table for each driver, and those below."""

    bundle: BundleSettings = BundleSettings()
    """Which models."""
    sources: SourceSettings = SourceSettings()
    """What they are fed with."""
    budget: BudgetSettings = BudgetSettings()
    """How often and how fast."""
    inference: InferenceSettings = InferenceSettings()
    """With what means."""
    outputs: OutputSettings = OutputSettings()
    """Where decisions go."""
    purpose: Purpose = Purpose()
    """Why people are sensed; needed for live sources."""


def read_toml(path: str | pathlib.Path) -> dict[str, typing.Any]:
    """The table in the TOML file at ``path``. Raises ConfigError: unreadable, or not TOML."""
    try:
        return tomllib.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error


def load_settings(path: str | pathlib.Path) -> Settings:
    """The settings in the TOML file at ``path``.

    Raises:
        ConfigError: unreadable, not TOML, an unknown table or key (with the nearest known one), a wrong type or value.
    """
    table = read_toml(path)
    return _located(settings_from(table, where=str(path)), pathlib.Path(path).parent)


def _located(settings: Settings, folder: pathlib.Path) -> Settings:
    """``settings`` with every relative path put behind ``folder``."""

    def at(path: str) -> str:
        return str(folder / path) if path and path != "-" else path

    def source(text: str) -> str:
        scheme, _, rest = text.partition(":")
        return f"replay:{at(rest)}" if scheme == "replay" else text

    return dataclasses.replace(
        settings,
        bundle=dataclasses.replace(settings.bundle, path=at(settings.bundle.path)),
        sources=dataclasses.replace(settings.sources, use=tuple(map(source, settings.sources.use))),
        outputs=dataclasses.replace(settings.outputs, jsonl=at(settings.outputs.jsonl), report=at(settings.outputs.report)),
    )


def settings_from(table: collections.abc.Mapping[str, object], *, where: str) -> Settings:
    """The settings in a parsed TOML document; ``where`` opens the messages. Raises ConfigError."""
    return _build(Settings, table, where, "")


Part = typing.TypeVar("Part")


def _build(cls: type[Part], table: collections.abc.Mapping[str, object], where: str, prefix: str) -> Part:
    kinds = typing.get_type_hints(cls)
    values: dict[str, typing.Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        if key not in kinds:
            raise ConfigError(f"{where}: unknown key {name!r}{nearest(key, kinds)}")
        kind = kinds[key]
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, dict):
                raise ConfigError(f"{where}: {name} is a table; write [{name}] above its keys")
            values[key] = _build(typing.cast(type, kind), value, where, f"{name}.")
        else:
            values[key] = _checked(kind, value, where, name)
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


_CALLED = {str: "a text in quotes", int: "a whole number", bool: "true or false"}


def _checked(kind: object, value: object, where: str, name: str) -> object:
    """``value`` if it is of ``kind``, which is str, int, bool or a tuple of str; an int is no bool and a bool no int."""
    if isinstance(kind, types.GenericAlias):
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ConfigError(f'{where}: {name}: got {value!r}; it is a list of texts in quotes, such as ["replay:session.zip"]')
        return tuple(value)
    if type(value) is not kind:
        raise ConfigError(f"{where}: {name}: got {value!r}; it is {_CALLED[typing.cast(type, kind)]}")
    return value
