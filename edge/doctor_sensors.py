"""What ``affectkit doctor`` looks at among the sensors: buses and chips, cameras, microphones, Bluetooth, and who may use them."""

from __future__ import annotations

import collections.abc
import dataclasses
import errno
import os
import pathlib
import re
import typing

from edge.clock import Clock
from edge.config import Settings
from edge.doctor_checks import Finding, State, asked, missing, split
from edge.errors import ConfigError, SensorError
from edge.sensors.bus import I2cDevice, SmBus, parse_place

_MAX30102, _ADS1115 = 0x57, (0x48, 0x49, 0x4A, 0x4B)
_MAX30102_REVISION, _MAX30102_PART, _MAX30102_PART_ID = 0xFE, 0xFF, 0x15
_ADS1115_LOW, _ADS1115_HIGH = 0x02, 0x03
_ADS1115_THRESHOLDS = (0x8000, 0x7FFF)
_NOBODY = frozenset({errno.ENXIO, errno.EREMOTEIO, errno.EIO})
"""What a read says where no chip answers; adapters differ."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a chip is expected."""

    bus: int | str
    address: int


def places(settings: Settings, scheme: str, address: int) -> list[Place]:
    """Where the sources of ``scheme`` say that their chips are; those that make no sense are left to ``check_settings``."""
    found = []
    for rest in asked(settings, scheme):
        try:
            found.append(Place(*parse_place(rest, address)))
        except ConfigError:
            continue
    return found


def check_i2c(root: pathlib.Path, open_bus: typing.Callable[[int | str], SmBus], clock: Clock, settings: Settings) -> list[Finding]:
    """Every bus, and what lies on it at the addresses of the kit's chips: by reading alone, so a chip that runs is not disturbed."""
    wanted = {"max30102": places(settings, "max30102", _MAX30102), "ads1115": places(settings, "ads1115", _ADS1115[0])}
    every = [place for known in wanted.values() for place in known]
    numbers = sorted(int(path.name[4:]) for path in (root / "dev").glob("i2c-*") if path.name[4:].isdecimal())
    buses: list[int | str] = [*numbers, *(place.bus for place in every if place.bus not in numbers and not _node_of(place.bus, numbers))]
    if not buses:
        return [Finding("i2c", "absent", "no I2C bus", "on a Raspberry Pi: dtparam=i2c_arm=on in /boot/firmware/config.txt")]
    found: list[Finding] = []
    for bus in dict.fromkeys(buses):
        here = {name: {place.address for place in known if _same(place.bus, bus)} for name, known in wanted.items()}
        found += _check_bus(bus, open_bus, clock, here)
    return found


def _node_of(bus: int | str, numbers: collections.abc.Container[int]) -> bool:
    match = re.fullmatch(r"/dev/i2c-(\d+)", str(bus))
    return match is not None and int(match[1]) in numbers


def _same(one: int | str, other: int | str) -> bool:
    return str(one).removeprefix("/dev/i2c-") == str(other).removeprefix("/dev/i2c-")


def _check_bus(bus: int | str, open_bus: typing.Callable[[int | str], SmBus], clock: Clock, wanted: dict[str, set[int]]) -> list[Finding]:
    name = f"i2c {bus}"
    any_wanted = any(wanted.values())
    try:
        smbus = open_bus(bus)
    except SensorError as error:
        return [missing(name, error, any_wanted)]
    except OSError as error:
        lacks = error.errno in (errno.EACCES, errno.EPERM)
        remedy = "sudo usermod -aG i2c $USER, and log in again" if lacks else "name another bus, or switch I2C on"
        return [Finding(name, "fail" if any_wanted else "warn", f"cannot be opened: {error.strerror}", remedy)]
    findings, chips = [], 0
    try:
        for address in (_MAX30102, *sorted({*_ADS1115, *wanted["ads1115"]}), *sorted(wanted["max30102"] - {_MAX30102})):
            kind = "max30102" if address == _MAX30102 or address in wanted["max30102"] else "ads1115"
            device = I2cDevice(bus, address, clock, smbus=smbus, attempts=2)
            needed = address in wanted[kind]
            try:
                chip, right = _max30102(device) if kind == "max30102" else _ads1115(device)
            except SensorError as error:
                code = getattr(error.__cause__, "errno", None)
                if code == errno.EBUSY and not needed:
                    continue  # a driver of the kernel has it: a clock chip, a thermometer
                if code not in _NOBODY:
                    findings.append(Finding(name, "fail" if any_wanted else "warn", *split(error)))
                    return findings
                if needed:
                    findings.append(Finding(name, "fail", f"{kind} at {address:#04x}: nobody answers", split(error)[1]))
                continue
            chips += 1
            state: State = "pass" if right else "fail" if needed else "warn"
            findings.append(
                Finding(name, state, f"{address:#04x}: {chip}", "" if right else "wire the chip that is meant, or name its bus")
            )
    finally:
        smbus.close()
    return findings or [Finding(name, "absent", "no chip of the kit answers")]


def _max30102(device: I2cDevice) -> tuple[str, bool]:
    """What it is, and whether that is right. The FIFO does not move when these registers are read."""
    part = device.read(_MAX30102_PART)[0]
    if part != _MAX30102_PART_ID:
        return f"part id {part:#04x}, no MAX30102 ({_MAX30102_PART_ID:#04x})", False
    return f"MAX30102, revision {device.read(_MAX30102_REVISION)[0]:#04x}", True


def _ads1115(device: I2cDevice) -> tuple[str, bool]:
    """It has no id; its comparator's thresholds (SBAS444D, table 9) are nobody else's, and the kit never writes them."""
    low, high = (int.from_bytes(device.read(register, 2), "big") for register in (_ADS1115_LOW, _ADS1115_HIGH))
    if (low, high) == _ADS1115_THRESHOLDS:
        return "ADS1115", True
    return f"answers, but not as an ADS1115 (thresholds {low:#06x}, {high:#06x})", False


def check_cameras(
    csi: typing.Callable[[], collections.abc.Sequence[tuple[int, str]]],
    usb: typing.Callable[[], collections.abc.Sequence[tuple[str, str]]],
    settings: Settings,
) -> list[Finding]:
    """Cameras on the ribbon cable, by libcamera, and on USB, by V4L2."""
    findings = []
    wanted_csi = asked(settings, "picamera2")
    try:
        models = {str(number): model for number, model in csi()}
        findings += [Finding("camera", "pass", f"picamera2:{number}: {model}") for number, model in models.items()]
        findings += [
            Finding("camera", "fail", f"picamera2:{rest}: not found", "check the ribbon cable at both ends, with the power off")
            for rest in wanted_csi
            if (rest.strip() or "0") not in models
        ]
    except SensorError as error:
        findings.append(missing("camera", error, wanted_csi))
    known = usb()
    findings += [Finding("camera", "pass", f"usb:{number}: {name}, {path}") for number, (path, name) in enumerate(known)]
    for rest in asked(settings, "usb"):
        findings += _wanted_usb(rest, known)
    return findings or [Finding("camera", "absent", "no camera")]


def _wanted_usb(rest: str, known: collections.abc.Sequence[tuple[str, str]]) -> list[Finding]:
    from edge.sensors.v4l2 import find_camera, parse_camera

    try:
        path = find_camera(parse_camera(rest), known)
        if path not in (there for there, _ in known):
            raise SensorError(f"camera usb:{rest}: {path} is no camera that can be opened; plug it in, or name another")
    except (ConfigError, SensorError) as error:
        return [Finding("camera", "fail", *split(error, "plug it in, or name another"))]
    return []


def check_microphones(known: typing.Callable[[], collections.abc.Sequence[typing.Any]], settings: Settings) -> list[Finding]:
    """Every device that captures (``edge.sensors.portaudio.MicrophoneInfo``), and whether those asked for are among them."""
    from edge.sensors.portaudio import find_input

    wanted = asked(settings, "microphone")
    try:
        found = known()
    except SensorError as error:
        return [missing("microphone", error, wanted)]
    findings = [
        Finding("microphone", "pass", f"{info}, {info.channels} channels, {info.rate_hz} Hz{', the default' if info.default else ''}")
        for info in found
    ]
    for device in wanted:
        try:
            info = find_input(device, found)
            if settings.microphone.channel >= info.channels:
                raise SensorError(
                    f"microphone {info}: no channel {settings.microphone.channel}; set microphone.channel below {info.channels}"
                )
        except SensorError as error:
            findings.append(Finding("microphone", "fail", *split(error, "plug it in, or name another in [sources] use")))
    return findings or [Finding("microphone", "absent", "no device that captures")]


def check_bluetooth(root: pathlib.Path, settings: Settings, *, has_bleak: bool = True) -> list[Finding]:
    """The adapter, and whether it is blocked. Straps are not looked for: they advertise only while worn."""
    wanted = asked(settings, "strap")
    if wanted and not has_bleak:
        return [Finding("bluetooth", "fail", "the package bleak is missing", "pip install 'affectkit[sensors]'")]
    adapters = sorted((root / "sys/class/bluetooth").glob("hci[0-9]*"))
    adapters = [adapter for adapter in adapters if ":" not in adapter.name]  # connections look like hci0:64
    if not adapters:
        remedy = "plug in an adapter, or remove dtoverlay=disable-bt" if wanted else ""
        return [Finding("bluetooth", "fail" if wanted else "absent", "no adapter", remedy)]
    findings = []
    for adapter in adapters:
        if any(_first_line(switch) == "1" for kind in ("soft", "hard") for switch in adapter.glob(f"rfkill*/{kind}")):
            findings.append(Finding("bluetooth", "fail" if wanted else "warn", f"{adapter.name} is blocked", "rfkill unblock bluetooth"))
        else:
            findings.append(Finding("bluetooth", "pass", adapter.name))
    return findings


_NODES = {"video": ("video*", ("usb", "picamera2")), "i2c": ("i2c-*", ("max30102", "ads1115")), "audio": ("snd/pcm*c", ("microphone",))}
"""Group -> the device nodes that it opens, and the sources that need them."""


def check_permissions(
    root: pathlib.Path, settings: Settings, access: typing.Callable[[pathlib.Path], bool] = lambda path: os.access(path, os.R_OK | os.W_OK)
) -> list[Finding]:
    """Whether this user may open the device nodes of cameras, I2C buses and microphones."""
    findings = []
    for group, (nodes, schemes) in _NODES.items():
        there = sorted((root / "dev").glob(nodes))
        closed = [path.name for path in there if not access(path)]
        wanted = any(asked(settings, scheme) for scheme in schemes)
        if not there:
            findings.append(Finding(f"group {group}", "absent", f"no device /dev/{nodes}"))
        elif closed:
            remedy = f"sudo usermod -aG {group} $USER, and log in again"
            findings.append(Finding(f"group {group}", "fail" if wanted else "warn", f"no permission for {', '.join(closed)}", remedy))
        else:
            findings.append(Finding(f"group {group}", "pass", f"may use {', '.join(path.name for path in there)}"))
    return findings


def _first_line(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
