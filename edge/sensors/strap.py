"""Inter-beat intervals from a Bluetooth LE heart rate strap: Heart Rate Service 1.0, read through bleak.

What a notification holds is in the Bluetooth SIG's GATT Specification Supplement, section "Heart Rate Measurement" (0x2A37).
"""

from __future__ import annotations

import asyncio
import collections
import collections.abc
import concurrent.futures
import contextlib
import dataclasses
import logging
import struct
import threading
import typing

import numpy as np

from edge.clock import Clock
from edge.errors import SensorError
from edge.sensors import PlannedAbsence
from edge.types import Chunk, Track

log = logging.getLogger("affectkit")

SERVICE_UUID = "0000180d-0000-1000-8000-00805f9b34fb"
MEASUREMENT_UUID = "00002a37-0000-1000-8000-00805f9b34fb"
SCAN_S, CONNECT_S, LEAVE_S = 15.0, 20.0, 1.0
"""Longest that scanning, connecting and disconnecting may take."""
SILENCE_NS = 5_000_000_000
"""Without a notification for so long the strap is lost: it sends one a second."""
BEHIND_NS = 2_500_000_000
"""Intervals that end so long before their notification came are not the next ones: some were lost."""
SLIP_NS = 1_200_000_000
"""The same if it is so for ``SLIP_OF`` notifications in a row: a beat waits up to a second for its notification, and radio delays some."""
SLIP_OF = 8
WITHOUT_RR_OF = 3
"""Notifications without RR intervals from which on the strap is one that sends none; the first after contact seldom hold any."""
ANY = "any"


@dataclasses.dataclass(frozen=True)
class HeartMeasurement:
    """One notification."""

    heart_rate_bpm: int
    contact: bool | None
    """Whether the strap feels skin; None if it cannot tell."""
    energy_kj: int | None
    """Energy expended since reset, kilojoules; None if it is not in this notification."""
    intervals_s: tuple[float, ...]
    """RR intervals in seconds, oldest first."""


def parse_measurement(data: bytes | bytearray) -> HeartMeasurement:
    """A notification's bytes, little-endian: flags (bit 0: 16-bit rate; 1 and 2: contact, and whether it is known; 3: energy; 4: RR),
    rate, energy if any, RR intervals in 1/1024 s to the end. Bits 5 to 7 are reserved and not looked at.

    Raises:
        SensorError: it ends too early, or in the middle of an interval.
    """
    data = bytes(data)
    try:
        flags = data[0]
        (rate,) = struct.unpack_from("<H" if flags & 0x01 else "<B", data, 1)
        at = 3 if flags & 0x01 else 2
        energy = None
        if flags & 0x08:
            (energy,) = struct.unpack_from("<H", data, at)
            at += 2
        ticks: tuple[int, ...] = ()
        if flags & 0x10:
            ticks = tuple(tick for (tick,) in struct.iter_unpack("<H", data[at:]))
    except (IndexError, struct.error):
        raise SensorError(f"heart rate strap: got {len(data)} bytes ({data[:20].hex()}) that are no Heart Rate Measurement") from None
    contact = bool(flags & 0x02) if flags & 0x04 else None
    return HeartMeasurement(rate, contact, energy, tuple(tick / 1024 for tick in ticks))


class IntervalTimes:
    """When intervals ended: their sum is exact, and arrivals, which jitter, only say where it lies.

    Ends follow from one another by the intervals themselves. They never lie after the arrival of their notification, never go back,
    and jump ahead when intervals were lost.
    """

    def __init__(self) -> None:
        self.jumps = 0
        """Breaks in the chain after the first interval."""
        self._end_ns: int | None = None
        self._behind: collections.deque[int] = collections.deque(maxlen=SLIP_OF)
        self._broken = True

    def restart(self) -> None:
        """The next intervals do not follow those before."""
        self._behind.clear()
        self._broken = True

    def place(self, arrival_ns: int, intervals_s: collections.abc.Sequence[float]) -> list[int]:
        """Ends in ns of the intervals of one notification, each later than the one before."""
        lengths_ns = [round(interval_s * 1e9) for interval_s in intervals_s]
        total_ns = sum(lengths_ns)
        chained_ns = None if self._broken or self._end_ns is None else self._end_ns + total_ns
        last_ns = arrival_ns
        if chained_ns is not None and 0 <= arrival_ns - chained_ns <= BEHIND_NS:
            self._behind.append(arrival_ns - chained_ns)
            slipped = len(self._behind) == SLIP_OF and min(self._behind) > SLIP_NS
            last_ns = chained_ns + (min(self._behind) if slipped else 0)
        if chained_ns is None or last_ns != chained_ns:
            self.jumps += self._end_ns is not None
            self._behind.clear()
            self._broken = False
        ends, end_ns = [], last_ns - total_ns
        for length_ns in lengths_ns:
            end_ns += length_ns
            if self._end_ns is None or end_ns > self._end_ns:
                self._end_ns = end_ns
                ends.append(end_ns)
            else:  # would go back: too little time has passed for so many intervals
                self._end_ns += 1
                ends.append(self._end_ns)
        return ends


class HeartStrap:
    """Track ``ibi`` of a heart rate strap: one chunk for each interval, stamped with its end.

    A strap that sends no RR values gives 60 over its heart rate at each notification from the third on, and ``averaged`` says so.
    While it feels no skin it gives nothing, and ``trouble`` says so. ``read`` raises SensorError after 5 s without a notification, and
    when the strap has gone: open a new one then.

    Args:
        name_or_address: as the strap advertises itself, whatever the case; "any" takes the first heart rate strap there is.
        clock: stamps arrivals.
        bleak: the package, or what looks like it; imported by ``open`` if None.
        live: False for a simulated strap.
    """

    tracks: tuple[Track, ...] = ("ibi",)
    duration_ns: int | None = None
    planned: collections.abc.Sequence[PlannedAbsence] = ()

    def __init__(self, name_or_address: str, clock: Clock, *, bleak: typing.Any = None, live: bool = True):
        self.live = live
        self.contact: bool | None = None
        """Whether it feels skin; None if it cannot tell."""
        self.averaged = False
        """True while its intervals are made of a heart rate, which hides their variability."""
        self.trouble: str | None = None
        """What is wrong now, in one line; None if nothing is."""
        self.garbled = 0
        """Notifications that were none."""
        self._wanted, self._clock, self._bleak = name_or_address.strip(), clock, bleak
        self._times = IntervalTimes()
        self._ready: collections.deque[Chunk] = collections.deque(maxlen=256)
        self._wake = threading.Event()
        self._closed = False
        self._gone: str | None = None
        self._heard_ns = 0
        self._has_rr = False
        self._without_rr = 0
        self._client: typing.Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Scan, connect and subscribe, within 35 s.

        Raises:
            SensorError: bleak is missing, there is no Bluetooth, no such strap is in reach, or it refuses.
        """
        if self._bleak is None:
            try:
                import bleak
            except ImportError:
                raise SensorError(f"{self._name}: the package bleak is missing; install it: pip install 'affectkit[sensors]'") from None
            self._bleak = bleak
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, args=(self._loop,), name=f"bluetooth {self._wanted}", daemon=True)
        self._thread.start()
        try:
            self._await(self._connect(), SCAN_S + CONNECT_S + 5.0)
        except SensorError:
            self.close()
            raise
        self._heard_ns = self._clock.now_ns()

    def read(self) -> Chunk | None:
        while not self._closed:
            self._wake.clear()
            if self._ready:
                return self._ready.popleft()
            if self._gone is not None:
                raise SensorError(f"{self._name}: {self._gone}; put it on, wet its electrodes and come nearer")
            silent_ns = self._heard_ns + SILENCE_NS
            if not self._closed and not self._clock.wait(self._wake, silent_ns) and self._clock.now_ns() >= self._heard_ns + SILENCE_NS:
                raise SensorError(f"{self._name}: nothing from it for {SILENCE_NS // 10**9} s; is it worn, and its battery full?")
        return None

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._wake.set()
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        if self._client is not None:
            with contextlib.suppress(SensorError):
                self._await(self._client.disconnect(), LEAVE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(LEAVE_S)

    @property
    def _name(self) -> str:
        return f"heart rate strap {self._wanted}"

    def _await(self, task: collections.abc.Coroutine[typing.Any, typing.Any, None], timeout_s: float) -> None:
        """Run ``task`` in the loop's thread to its end; whatever Bluetooth says is a SensorError."""
        assert self._loop is not None
        future = asyncio.run_coroutine_threadsafe(task, self._loop)
        try:
            future.result(timeout_s)
        except SensorError:
            raise
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise SensorError(f"{self._name}: Bluetooth did not answer within {timeout_s:.0f} s; try: bluetoothctl power on") from None
        # bleak lets errors of D-Bus and of the system through beside its own, which derive from nothing nearer than Exception.
        except Exception as error:
            raise SensorError(f"{self._name}: {type(error).__name__}: {error}; try: bluetoothctl power on") from error

    @staticmethod
    def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.close()

    async def _connect(self) -> None:
        device = await self._bleak.BleakScanner.find_device_by_filter(self._is_wanted, timeout=SCAN_S)
        if device is None:
            raise SensorError(f"{self._name}: not found within {SCAN_S:.0f} s; wear it, and end other programs' connections to it")
        client = self._bleak.BleakClient(device, disconnected_callback=self._disconnected, timeout=CONNECT_S)
        await client.connect()
        self._client = client
        await client.start_notify(MEASUREMENT_UUID, self._notified)

    def _is_wanted(self, device: typing.Any, advertisement: typing.Any) -> bool:
        if self._wanted.lower() == ANY:
            return SERVICE_UUID in advertisement.service_uuids
        names = (device.address, device.name, advertisement.local_name)
        return self._wanted.lower() in (name.strip().lower() for name in names if name)

    # --- called in the loop's thread --------------------------------------------------------------------------------------

    def _disconnected(self, client: typing.Any) -> None:
        self._gone = "disconnected"
        self._wake.set()

    def _notified(self, characteristic: typing.Any, data: bytearray) -> None:
        arrival_ns = self._clock.now_ns()
        try:
            measurement = parse_measurement(data)
        except SensorError as error:
            self.garbled += 1
            if self.garbled == 1:
                log.warning("%s (later ones are only counted)", error)
            return
        self._heard_ns = arrival_ns
        self.contact = measurement.contact
        if measurement.contact is False:
            self.trouble = f"{self._name}: it feels no skin; wet its electrodes"
            self._times.restart()
        else:
            self.trouble = None
            self._ready.extend(self._chunks(arrival_ns, measurement))
        self._wake.set()

    def _chunks(self, arrival_ns: int, measurement: HeartMeasurement) -> list[Chunk]:
        intervals_s = [interval_s for interval_s in measurement.intervals_s if interval_s > 0.0]
        if intervals_s:
            self._has_rr, self.averaged = True, False
        elif self._has_rr or not measurement.heart_rate_bpm:  # no beat ended since the last one
            return []
        else:
            self._without_rr += 1
            if self._without_rr < WITHOUT_RR_OF:
                return []
            if not self.averaged:
                log.warning("%s: it sends no RR intervals; its mean heart rate is used, which has no variability", self._name)
            self.averaged = True
            self._times.restart()
            intervals_s = [60.0 / measurement.heart_rate_bpm]
        ends_ns = self._times.place(arrival_ns, intervals_s)
        pairs = zip(ends_ns, intervals_s, strict=True)
        return [Chunk("ibi", end_ns, 1.0, np.array([interval_s], np.float32)) for end_ns, interval_s in pairs]
