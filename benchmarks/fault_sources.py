"""People who sit before the kit, made of the embedded session, and what can go wrong between them and it.

Each track plays a stretch of the session in which nothing is planned, over and over, with capture times of the run's clock; chips are
simulated ones behind their real drivers. What goes wrong, when, is a ``Spell``; a ``World`` knows the time and all spells.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import errno
import functools
import os
import sys
import threading
import types

import numpy as np

from edge import embedded
from edge.bundle import Bundle
from edge.clock import Clock
from edge.compose import Stages, measured_stages
from edge.config import Settings
from edge.errors import InferenceError, SensorError
from edge.sensors import PlannedAbsence, Sensor
from edge.sensors.ads1115 import SkinConductanceSensor
from edge.sensors.max30102 import PulseSensor
from edge.sensors.simulated.ads1115 import SimulatedAds1115, divider
from edge.sensors.simulated.bus import Fault, SimulatedBus
from edge.sensors.simulated.max30102 import SimulatedMax30102
from edge.sensors.simulated.signals import during, finger, played
from edge.session import open_session
from edge.types import Chunk, Track

SECOND_NS = 1_000_000_000
STRETCHES_S: dict[Track, tuple[float, float]] = {"video": (31.0, 53.0), "audio": (22.5, 46.0), "ppg": (0.0, 36.0), "eda": (0.0, 36.0)}
"""Of the embedded session, without anything planned."""
KEPT_S: dict[Track, float] = {"video": 0.3, "audio": 1.0, "ppg": 1.0, "eda": 1.0}
"""What a driver keeps for a host that does not come: a few frames, a second of sound."""
STORM_HZ = 300.0
NEVER_NS = 1 << 62
SILENT_AFTER_MS = 2000


@dataclasses.dataclass(frozen=True)
class Spell:
    """``kind`` is wrong with ``part`` in [from_s, to_s) of the run."""

    part: str
    kind: str
    from_s: float
    to_s: float


class World:
    """The run's time, what goes wrong when, and the bus with its two chips.

    Args:
        clock: of the run.
        spells: what goes wrong.
    """

    def __init__(self, clock: Clock, spells: collections.abc.Sequence[Spell] = ()):
        self.clock = clock
        self.spells = tuple(spells)
        self.over = threading.Event()
        """Set it to let go of threads that hang for good."""
        self.stalls = 0
        """Times that a host, or a stage, was held up."""
        self._origin_ns: int | None = None
        self._bus: SimulatedBus | None = None
        self._lock = threading.Lock()
        self._held: set[Spell] = set()

    @property
    def origin_ns(self) -> int:
        """Second 0: the first time that anybody asks."""
        with self._lock:
            if self._origin_ns is None:
                self._origin_ns = self.clock.now_ns()
            return self._origin_ns

    @property
    def now_s(self) -> float:
        origin_ns = self.origin_ns  # first, for it may begin now
        return (self.clock.now_ns() - origin_ns) / 1e9

    def struck(self, part: str, kind: str) -> Spell | None:
        """The spell of ``kind`` that ``part`` is in, if it is in one."""
        if not self.spells:
            return None
        now_s = self.now_s
        return next((s for s in self.spells if s.part == part and s.kind == kind and s.from_s <= now_s < s.to_s), None)

    def once(self, part: str, kind: str) -> Spell | None:
        """As ``struck``, but a spell strikes one time only."""
        spell = self.struck(part, kind)
        with self._lock:
            if spell is None or spell in self._held:
                return None
            self._held.add(spell)
            return spell

    def wait_until(self, s: float) -> bool:
        """Block until second ``s``; True if the world ended before."""
        return self.clock.wait(self.over, self.origin_ns + round(s * 1e9))

    def samples(self, track: Track) -> list[Chunk]:
        """The stretch of ``track``, frames forth and back again, so that it has no seam."""
        return _stretch(track)

    # --- the bus --------------------------------------------------------------------------------------------------------

    def _signal(self, track: Track) -> tuple[np.ndarray, float]:
        chunks = self.samples(track)
        return np.concatenate([chunk.samples for chunk in chunks]).astype(np.float64), chunks[0].rate_hz

    def bus(self) -> SimulatedBus:
        """Bus 1 with a MAX30102 and an ADS1115 behind a divider, on a person."""
        if self._bus is None:
            start_s = self.origin_ns / 1e9
            wave, wave_hz = self._signal("ppg")
            skin, skin_hz = self._signal("eda")
            blood = played(wave / float(np.percentile(np.abs(wave), 95)), wave_hz, start_s=start_s)
            light = during(finger(blood, depth=0.01), self._on_host("max30102", "off"), 2.0)
            touch = during(played(skin, skin_hz, start_s=start_s), self._on_host("ads1115", "off"), np.nan)
            pulse = SimulatedMax30102(self.clock, light, drift_percent=1.3, noise_na=0.3)
            converter = SimulatedAds1115(self.clock, touch, divider())
            self._bus = _PacedBus(self.clock, {0x57: pulse, 0x48: converter})
            for name, address, chip in (("max30102", 0x57, pulse), ("ads1115", 0x48, converter)):
                for from_s, to_s in (*self._on_host(name, "brown-out"), *self._on_host("adapter", "gone")):
                    chip.brown_out(round(from_s * 1e9), round(to_s * 1e9))
                for from_s, to_s in self._on_host(name, "nack"):
                    self._bus.faults.append(Fault("nack", round(from_s * 1e9), round(to_s * 1e9), address=address))
            for from_s, to_s in self._on_host("bus", "stuck"):
                self._bus.faults.append(Fault("stuck", round(from_s * 1e9), round(to_s * 1e9)))
        return self._bus

    def _on_host(self, part: str, kind: str) -> list[tuple[float, float]]:
        start_s = self.origin_ns / 1e9
        return [(start_s + s.from_s, start_s + s.to_s) for s in self.spells if (s.part, s.kind) == (part, kind)]

    @contextlib.contextmanager
    def wired(self) -> collections.abc.Iterator[None]:
        """``import smbus2`` finds this world's bus."""
        module = types.ModuleType("smbus2")
        module.SMBus = lambda number: _Handle(self)  # type: ignore[attr-defined]
        before = sys.modules.get("smbus2")
        sys.modules["smbus2"] = module
        try:
            yield
        finally:
            self.over.set()
            if before is None:
                del sys.modules["smbus2"]
            else:
                sys.modules["smbus2"] = before


@functools.cache
def _stretch(track: Track) -> list[Chunk]:
    from_s, to_s = STRETCHES_S[track]
    chunks = [c for c in open_session(embedded.SESSION).chunks(track) if from_s <= c.t_ns / 1e9 < to_s]
    return chunks + chunks[-2:0:-1] if track == "video" else chunks


class _PacedBus(SimulatedBus):
    """Under a clock that runs, a stuck line blocks for as long as the kernel's adapter waits; bytes take no time."""

    def _pass(self, duration_ns: int) -> None:
        if duration_ns > 1_000_000:
            self._clock.wait(threading.Event(), self._clock.now_ns() + duration_ns)


class _Handle:
    """``smbus2.SMBus(1)``: it dies with the adapter that it was opened on."""

    def __init__(self, world: World):
        if world.struck("adapter", "gone"):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        self._world, self._opened_s = world, world.now_s

    def __getattr__(self, name: str) -> object:
        gone = any(s.part == "adapter" and self._opened_s < s.from_s <= self._world.now_s for s in self._world.spells)
        if gone:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        return getattr(self._world.bus(), name)

    def close(self) -> None:
        """Of this handle; the bus stays."""


class StalledClock:
    """The run's clock, but one wait within each spell "stall" of ``part`` ends when the spell does: the host had other work."""

    def __init__(self, world: World, part: str):
        self._world, self._part = world, part

    def now_ns(self) -> int:
        return self._world.clock.now_ns()

    def wait(self, wake: threading.Event, until_ns: int) -> bool:
        spell = self._world.once(self._part, "stall")
        if spell is not None:
            self._world.stalls += 1
            until_ns = self._world.origin_ns + round(spell.to_s * 1e9)
        return self._world.clock.wait(wake, until_ns)


class Device:
    """A camera, a microphone or a wrist band: one handle, as a driver has it.

    Args:
        world: time, samples and faults.
        part: "camera", "microphone" or "band"; the name that spells call it by.
        tracks: what it delivers.
    """

    live = True
    duration_ns: int | None = None
    planned: collections.abc.Sequence[PlannedAbsence] = ()
    silent_after_ms = SILENT_AFTER_MS

    def __init__(self, world: World, part: str, tracks: tuple[Track, ...]):
        self.tracks = tracks
        self._world, self._part = world, part
        self._closed = threading.Event()
        self._next: dict[Track, int] = {}
        self._storm_ns = 0
        self._opened_s = 0.0

    def open(self) -> None:
        self._check_there()
        self._opened_s = self._world.now_s
        for track in self.tracks:
            self._next[track] = self._number_at(track, self._world.clock.now_ns())

    def close(self) -> None:
        self._closed.set()

    def read(self) -> Chunk | None:
        world = self._world
        while not self._closed.is_set():
            if (spell := world.struck(self._part, "hang")) is not None:
                world.stalls += 1
                if self._opened_s < spell.from_s:
                    world.clock.wait(world.over, NEVER_NS)  # whatever becomes of the device or of this handle
                    return None
                world.wait_until(spell.to_s)
                continue
            self._check_there()
            if world.struck(self._part, "storm"):
                return self._storm()
            track = min(self.tracks, key=self._end_ns)
            if world.clock.wait(self._closed, self._end_ns(track)):
                return None
            chunk = self._take(track)
            if not world.struck(self._part, "hang") and not world.struck(self._part, "gap"):
                return self._spoilt(chunk)
        return None

    def _check_there(self) -> None:
        if self._world.struck(self._part, "gone"):
            raise SensorError(f"{self._part}: {os.strerror(errno.ENODEV)}; plug it in again")

    def _period_ns(self, track: Track) -> int:
        chunk = self._world.samples(track)[0]
        return round(len(chunk.samples) * 1e9 / chunk.rate_hz)

    def _number_at(self, track: Track, now_ns: int) -> int:
        return -(-(now_ns - self._world.origin_ns) // self._period_ns(track))

    def _t_ns(self, track: Track) -> int:
        return self._world.origin_ns + self._next[track] * self._period_ns(track)

    def _end_ns(self, track: Track) -> int:
        now_ns = self._world.clock.now_ns()
        if now_ns - self._t_ns(track) > KEPT_S[track] * 1e9 + self._period_ns(track):  # nobody fetched them: lost
            self._next[track] = self._number_at(track, now_ns - round(KEPT_S[track] * 1e9))
        chunk = self._world.samples(track)[0]
        return self._t_ns(track) + round((len(chunk.samples) - 1) * 1e9 / chunk.rate_hz)

    def _take(self, track: Track) -> Chunk:
        chunks = self._world.samples(track)
        chunk = dataclasses.replace(chunks[self._next[track] % len(chunks)], t_ns=self._t_ns(track))
        self._next[track] += 1
        return chunk

    def _storm(self) -> Chunk:
        self._storm_ns = max(self._storm_ns + round(1e9 / STORM_HZ), self._world.clock.now_ns())
        self._world.clock.wait(self._closed, self._storm_ns)
        track = self.tracks[0]
        chunks = self._world.samples(track)
        newest = chunks[self._number_at(track, self._storm_ns) % len(chunks)]
        return dataclasses.replace(newest, t_ns=self._storm_ns, rate_hz=STORM_HZ)

    def _spoilt(self, chunk: Chunk) -> Chunk:
        """What a driver with a fault makes of ``chunk``."""
        struck = self._world.struck
        if struck(self._part, "resized"):
            chunk = dataclasses.replace(chunk, samples=np.ascontiguousarray(chunk.samples[:, 3:-6:2, 5:-10:2]))
        if struck(self._part, "nan") and chunk.samples.dtype != np.uint8:
            chunk = dataclasses.replace(chunk, samples=np.full_like(chunk.samples, np.nan))
        for kind, rate_hz in (("44.1 kHz", 44_100.0), ("10 Hz", 10.0)):
            if struck(self._part, kind):
                chunk = dataclasses.replace(chunk, rate_hz=rate_hz)
        for kind, shift_s in (("back", -5.0), ("ahead", 3600.0)):
            if struck(self._part, kind):
                chunk = dataclasses.replace(chunk, t_ns=chunk.t_ns + round(shift_s * 1e9))
        return chunk


class LateCamera(Device):
    """A camera that cannot be opened while the spell "refuses" lasts."""

    def open(self) -> None:
        if self._world.struck(self._part, "refuses"):
            raise SensorError(f"{self._part}: {os.strerror(errno.EBUSY)}; close the program that uses it")
        super().open()


def sensor(world: World, name: str, settings: Settings) -> Sensor:
    """A new handle of "camera", "microphone", "band", "max30102" or "ads1115"."""
    if name == "camera":
        return LateCamera(world, name, ("video",))
    if name == "microphone":
        return Device(world, name, ("audio",))
    if name == "band":
        return Device(world, name, ("ppg", "eda"))
    if name == "max30102":
        return PulseSensor(1, StalledClock(world, name), settings.max30102)
    if name == "ads1115":
        return SkinConductanceSensor(1, world.clock, settings.ads1115)
    raise ValueError(f"{name!r} is no source of a fault's run")


class FaultyStage:
    """A model that crashes, answers NaN or hangs while a spell of its name lasts."""

    def __init__(self, model: object, name: str, world: World):
        self._model, self._name, self._world = model, name, world

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        world, name = self._world, self._name
        if world.struck(name, "InferenceError"):
            raise InferenceError(f"stage {name!r} failed: injected")
        if world.struck(name, "RuntimeError"):
            raise RuntimeError(f"injected into stage {name!r}")
        if (spell := world.once(name, "hang")) is not None:
            world.stalls += 1
            world.wait_until(spell.to_s)
        outputs: dict[str, np.ndarray] = self._model.run(**arrays)  # type: ignore[attr-defined]
        if world.struck(name, "nan"):
            return {key: np.full_like(value, np.nan) for key, value in outputs.items()}
        return outputs


def faulty_stages(world: World) -> collections.abc.Callable[[Bundle, Settings], Stages]:
    """Loads and measures the stages of a bundle, then puts ``FaultyStage`` before those that a spell names."""

    def load(bundle: Bundle, settings: Settings) -> Stages:
        made = measured_stages(bundle, settings)
        named = {spell.part for spell in world.spells}
        models = {name: FaultyStage(model, name, world) if name in named else model for name, model in made.models.items()}
        return Stages(models, made.costs)  # type: ignore[arg-type]

    return load
