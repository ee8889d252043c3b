"""A payload: whole, with a hash of everything, or not there at all."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.util
import json
import pathlib
import resource
import shutil

import pytest

if not importlib.util.find_spec("pip"):
    pytest.skip("pip is not installed with this Python", allow_module_level=True)

from edge import embedded
from edge.bundle import load_bundle
from edge.errors import EdgeError, InputError
from firmware_configs import boards
from firmware_configs.payload import assemble, cli, roots
from firmware_configs.payload.assemble import Wanted
from firmware_configs.payload.cache import sha256_of
from tests.firmware_configs.payload.tiny import make_index

HOME = pathlib.Path(assemble.__file__).resolve().parent.parent
SEEN = {
    "emulator": "qemu-aarch64 10.0.2", "cpu": "cortex-a72", "base": "Debian GNU/Linux 13 (trixie)", "footprint_bytes": 160_000_000,
    "seconds": {"install": 90.0}, "steps_off_golden": {"face": 0.0}, "decisions": 21,
}  # fmt: skip
ROOT = {"signatures": [], "signed": {"_type": "root", "roles": {"root": {}, "timestamp": {}, "snapshot": {}, "targets": {}}}}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """An index of small wheels, and a cache that is filled once."""
    folder = tmp_path_factory.mktemp("places")
    make_index(folder / "index")
    return folder


@pytest.fixture(autouse=True)
def offline(places, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(places / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(places / "index"))


@pytest.fixture
def wanted(places, tmp_path) -> Wanted:
    (tmp_path / "root.json").write_text(json.dumps(ROOT))
    return Wanted("pi-4", "trixie", wheel=next((places / "index").glob("affectkit*")), root=tmp_path / "root.json")


@pytest.fixture(scope="module")
def chosen(places):
    """What pip chose, once: it takes a second each time it is asked."""
    return {}


@pytest.fixture(autouse=True)
def once(chosen, monkeypatch):
    real = assemble.wheels.resolve

    def resolve(own, device, constraints=()):
        key = (device.os, tuple(constraints))
        if key not in chosen:
            chosen[key] = real(own, device, constraints)
        return chosen[key]

    monkeypatch.setattr(assemble.wheels, "resolve", resolve)


def debs(folder: pathlib.Path):
    (folder / "Packages").write_text("Package: libportaudio2\n\n")
    (folder / "libportaudio2_19_arm64.deb").write_bytes(b"deb" * 100)
    return ("python3-pyaudio",), {"libportaudio2": 5_000_000}


def test_a_payload_has_everything_and_says_so(wanted, tmp_path):
    out, seen = tmp_path / "payload", []

    def prove(folder):
        seen.append(json.loads((folder / "payload.json").read_text())["proved"])
        return SEEN

    now = datetime.datetime(2026, 11, 21, 19, 0, 0, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    made = assemble.make(wanted, out, debs, prove, now=lambda: now)
    says = json.loads((out / "payload.json").read_text())
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    assert set(files) - set(says["files"]) == {"payload.json", "kit.toml"}
    for name, listed in says["files"].items():
        assert listed == {"bytes": files[name].stat().st_size, "sha256": sha256_of(files[name])}
    assert {key: says[key] for key in ("format", "os", "board", "model", "machine", "python", "debian", "built")} == {
        "format": 1, "os": "trixie", "board": "pi-4", "model": "Raspberry Pi 4 Model B", "machine": "aarch64", "python": "cp313",
        "debian": ["python3-pyaudio"], "built": "2026-11-21T17:00:00Z",
    }  # fmt: skip
    assert says["bundle_sha256"] == load_bundle(embedded.BUNDLE).sha256
    assert (out / "bundle.affectkit").read_bytes() == embedded.BUNDLE.read_bytes()
    assert (out / "board.conf").read_text() == boards.named("pi-4").drop_in()
    # The proof tried what is there, and is told of in the end.
    assert (seen, says["proved"]) == ([None], SEEN)
    assert made.folder == out and made.bytes == sum(path.stat().st_size for path in files.values())
    assert made.by_package["libportaudio2 (Debian)"] == 5_000_000
    assert says["footprint_bytes"] == made.footprint_bytes == sum(made.by_package.values())
    assert list(tmp_path.glob(".payload*")) == []


def test_requirements_pin_every_wheel_but_pips(wanted, tmp_path):
    assemble.make(wanted, out := tmp_path / "payload")
    lines = (out / "requirements.txt").read_text().splitlines()
    wheels = {path.name: path for path in (out / "wheels").iterdir()}
    pinned = {line.partition("sha256:")[2] for line in lines}
    assert {name for name, path in wheels.items() if sha256_of(path) not in pinned} == {"pip-99.0-py3-none-any.whl"}
    assert len(lines) == len(wheels) - 1
    assert "affectkit==0.1.0 --hash=sha256:" in lines[0] and lines == sorted(lines)
    assert not (out / "debs").exists()


def test_the_system_lies_there_as_it_lands(wanted, tmp_path):
    assemble.make(wanted, out := tmp_path / "payload")
    for part in ("etc", "usr"):
        there = {
            path.relative_to(HOME).as_posix() for path in (HOME / part).rglob("*") if path.is_file() and "__pycache__" not in path.parts
        }
        copied = {path.relative_to(out / "system").as_posix() for path in (out / "system" / part).rglob("*") if path.is_file()}
        # Settings are the kit's own.
        assert there - copied == ({"etc/affectkit/kit.toml"} if part == "etc" else set())
        assert copied <= there
    for path in (HOME / "boot/firmware/affectkit").glob("install*"):
        assert (out / path.name).read_bytes() == path.read_bytes()


def test_what_is_there_is_not_overwritten(wanted, tmp_path):
    (tmp_path / "payload").mkdir()
    with pytest.raises(InputError, match=r"payload: exists and is not overwritten; delete it or write elsewhere"):
        assemble.make(wanted, tmp_path / "payload")
    assert list((tmp_path / "payload").iterdir()) == []


def failing(folder):
    raise EdgeError("the payload was tried and failed")


def interrupted(folder):
    raise KeyboardInterrupt


@pytest.mark.parametrize(("step", "kind"), [(failing, EdgeError), (interrupted, KeyboardInterrupt)])
@pytest.mark.parametrize("where", ["debian", "prove"])
def test_a_failure_or_ctrl_c_leaves_nothing_but_the_cache(wanted, tmp_path, places, step, kind, where):
    with pytest.raises(kind):
        assemble.make(wanted, tmp_path / "payload", **{where: step})
    assert {path.name for path in tmp_path.iterdir()} == {"root.json"}
    assert (places / "cache/affectkit/payload/wheels/tuf-7.0-py3-none-any.whl").is_file()
    assert not list((places / "cache/affectkit/payload/wheels").glob(".*"))


def test_a_full_disk_is_one_line_and_nothing_is_left(wanted, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Less than the bundle, more than any of the wheels.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(InputError, match="the disk is full") as caught:
            assemble.make(wanted, tmp_path / "payload")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"root.json"}


def test_what_would_take_too_much_of_the_device_is_refused(wanted, tmp_path):
    def large(folder):
        return debs(folder)[0], {"opencv": 260_000_000}

    with pytest.raises(InputError, match=r"would take 26\d MB of the device, 250 are allowed; most are opencv \(Debian\) 260 MB"):
        assemble.make(wanted, tmp_path / "payload", large)
    assert {path.name for path in tmp_path.iterdir()} == {"root.json"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"board": "pi-44"}, "board 'pi-44': unknown; did you mean 'pi-4'"),
        ({"bundle": "x"}, "not an affectkit bundle"),
        ({"settings": "x"}, "x: "),
        ({"root": "x"}, "is no root metadata of update sticks"),
        ({"root": "timestamp"}, "is no root metadata of update sticks"),
        ({"like": "none"}, "give the folder of an earlier payload"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_fetched(wanted, tmp_path, monkeypatch, change, says):
    (tmp_path / "x").write_text("hello")
    (tmp_path / "timestamp").write_text(json.dumps({"signed": {"_type": "timestamp", "roles": {}}}))
    monkeypatch.setattr(assemble, "_gather", None)
    change = {key: value if key == "board" else tmp_path / value for key, value in change.items()}
    with pytest.raises(InputError, match=says) as caught:
        assemble.make(dataclasses.replace(wanted, **change), tmp_path / "out/payload")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def command(*words: object) -> int:
    parser = argparse.ArgumentParser()
    cli.add_payload(parser.add_subparsers())
    args = parser.parse_args(["payload", *map(str, words)])
    return args.run(args)


def test_the_command_makes_a_payload_and_shows_what_it_takes(wanted, tmp_path, capsys):
    out = tmp_path / "payload"
    options = ("--board", "pi-zero-2-w", "--os", "trixie", "--wheel", wanted.wheel, "--no-debian", "--prove", "no")
    assert command(*options, "-o", out) == 0
    said = capsys.readouterr().out
    assert "unpacked on the device" in said and "of 250, beyond the system" in said
    assert f"{out}: " in said
    assert json.loads((out / "payload.json").read_text())["board"] == "pi-zero-2-w"


def test_without_an_emulator_it_goes_on_and_says_why(wanted, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(roots.os, "geteuid", lambda: 1000)
    options = ("--board", "pi-4", "--os", "trixie", "--wheel", wanted.wheel, "--no-debian", "-o")
    assert command(*options, tmp_path / "payload") == 0
    assert "not proved: needs " in capsys.readouterr().out
    assert json.loads((tmp_path / "payload/payload.json").read_text())["proved"] is None
    # Somebody who names a place to prove it in means it.
    with pytest.raises(EdgeError, match="needs ") as caught:
        command(*options, tmp_path / "other", "--prove", tmp_path)
    assert caught.value.exit_status == 1
    assert not (tmp_path / "other").exists()


def test_options_that_cannot_be_are_refused(wanted, tmp_path):
    options = ("--board", "pi-4", "--os", "trixie", "--wheel", wanted.wheel, "-o", tmp_path / "payload")
    with pytest.raises(InputError, match="--prove nowhere: is no folder"):
        command(*options, "--prove", "nowhere")
    with pytest.raises(InputError, match="--debian and --no-debian"):
        command(*options, "--debian", "vim", "--no-debian", "--prove", "no")


def test_packages_that_the_image_has_need_no_archive(wanted, tmp_path, capsys):
    base = tmp_path / "base"
    for name, text in {
        "var/lib/dpkg/status": "".join(
            f"Package: {package}\nStatus: install ok installed\nArchitecture: arm64\n\n"
            for package in ("dpkg", "python3-pyaudio", "python3-picamera2")
        ),
        "usr/lib/os-release": "VERSION_CODENAME=trixie\n",
    }.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text)
    out = tmp_path / "payload"
    assert command("--board", "pi-4", "--os", "trixie", "--wheel", wanted.wheel, "--base", base, "--prove", "no", "-o", out) == 0
    assert "python3-picamera2: is in " in capsys.readouterr().out
    assert json.loads((out / "payload.json").read_text())["debian"] == []
    shutil.rmtree(out)
