"""Wheels for a device: chosen for its processor, its system and its Python, whatever this machine is."""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
import zipfile

import pytest

if not importlib.util.find_spec("pip"):
    pytest.skip("pip is not installed with this Python", allow_module_level=True)

from edge.errors import InputError
from firmware_configs import boards
from firmware_configs.payload import own, wheels
from firmware_configs.payload.pip import Device
from tests.firmware_configs.payload.tiny import make_index, make_wheel

TRIXIE = Device("trixie", boards.named("pi-4").os["trixie"])
BOOKWORM = Device("bookworm", boards.named("pi-zero-2-w").os["bookworm"])


@pytest.fixture
def mine(tmp_path, monkeypatch) -> pathlib.Path:
    """affectkit's wheel, with an index of its own and nothing else to be had."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return make_index(tmp_path / "index")


def chosen(found):
    return {wheel.name: wheel.version for wheel in found}


def listed(path: pathlib.Path) -> wheels.Wheel:
    """As an index that tells hashes lists it."""
    return dataclasses.replace(wheels.of_file(path), url=path.as_uri())


def test_wheels_are_those_of_the_device_and_conditions_are_read_there(mine, tmp_path):
    found = wheels.resolve(mine, TRIXIE)
    # 2.5 asks for a newer glibc, 2.6 is for another processor; the conditions are true there alone, or nowhere.
    assert chosen(found) == {"numpy": "2.4.0", "smbus2": "0.6", "only-there": "1.0", "newer": "1.0", "tuf": "7.0", "pip": "99.0"}
    (into := tmp_path / "wheels").mkdir()
    fetched = wheels.fetch(found, TRIXIE, into)
    assert {path.name for path in into.iterdir()} == {wheel.file for wheel in fetched}
    for wheel in fetched:
        assert (into / wheel.file).read_bytes() == (tmp_path / "index" / wheel.file).read_bytes()
        assert wheels.of_file(into / wheel.file).line == wheel.line


def test_bookworm_keeps_the_numpy_that_its_camera_packages_were_compiled_against(mine):
    found = chosen(wheels.resolve(mine, BOOKWORM))
    assert found["numpy"] == "1.26.4"
    # Its Python is 3.11.2, which a condition on 3.11.3 is about.
    assert "older" in found and "newer" not in found


def test_what_is_whole_in_the_cache_is_not_fetched_again_and_what_is_not_is(mine, tmp_path):
    index = tmp_path / "index"
    found = [listed(index / f"{name}-py3-none-any.whl") for name in ("newer-1.0", "tuf-7.0")]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    pinned = wheels.fetch(found, TRIXIE, tmp_path / "a")
    cached = tmp_path / "cache/affectkit/payload/wheels" / "tuf-7.0-py3-none-any.whl"
    whole = cached.read_bytes()
    cached.write_bytes(whole[:-1])
    (index / "newer-1.0-py3-none-any.whl").unlink()
    shares: list[float] = []
    wheels.fetch(pinned, TRIXIE, tmp_path / "b", shares.append)
    assert cached.read_bytes() == whole
    assert {path.name for path in (tmp_path / "b").iterdir()} == {wheel.file for wheel in pinned}
    # One of the two was there.
    assert shares == [0.5, 1.0]


def test_versions_of_an_earlier_payload_are_kept(mine, tmp_path):
    earlier = tmp_path / "earlier"
    make_wheel(earlier / "wheels", "pip", "98.0")
    make_wheel(tmp_path / "index", "pip", "98.0")
    make_wheel(tmp_path / "index", "tuf", "6.9")
    (earlier / "requirements.txt").write_text(f"affectkit==0.0.9 --hash=sha256:{'0' * 64}\ntuf==6.9 --hash=sha256:{'1' * 64}\n")
    limits = wheels.versions_of(earlier)
    assert sorted(limits) == ["pip==98.0", "tuf==6.9"]
    found = chosen(wheels.resolve(mine, TRIXIE, limits))
    assert (found["tuf"], found["pip"], found["numpy"]) == ("6.9", "98.0", "2.4.0")


@pytest.mark.parametrize("line", ["tuf", "tuf==6.9", "tuf==6.9 --hash=sha256:12", "-r other.txt"])
def test_requirements_of_others_are_refused(tmp_path, line):
    (tmp_path / "requirements.txt").write_text(f"{line}\n")
    with pytest.raises(InputError, match=r"requirements\.txt, line 1: got .* NAME==VERSION --hash"):
        wheels.versions_of(tmp_path)


def test_a_folder_that_is_no_payload_is_refused(tmp_path):
    with pytest.raises(InputError, match="give the folder of an earlier payload"):
        wheels.versions_of(tmp_path)


def test_what_cannot_be_had_is_one_line(mine, tmp_path):
    (tmp_path / "index" / "tuf-7.0-py3-none-any.whl").unlink()
    with pytest.raises(InputError, match=r"^wheels for trixie: pip failed: .*tuf") as caught:
        wheels.resolve(mine, TRIXIE)
    assert "\n" not in str(caught.value)


def test_a_wheel_that_changes_between_choosing_and_fetching_is_refused(mine, tmp_path):
    (into := tmp_path / "wheels").mkdir()
    pinned = listed(tmp_path / "index" / "tuf-7.0-py3-none-any.whl")
    make_wheel(tmp_path / "index", "tuf", "7.0", content=b"import evil\n")
    with pytest.raises(InputError, match=r"^tuf 7\.0: .*(hash|HASH)"):
        wheels.fetch([pinned], TRIXIE, into)
    assert list(into.iterdir()) == []


def test_a_wheel_of_affectkit_without_the_extras_is_refused(tmp_path):
    old = make_wheel(tmp_path, "affectkit", "0.0.1", extras=["sensors"])
    with pytest.raises(InputError, match="has no extra 'update'"):
        wheels.resolve(old, TRIXIE)
    old.write_bytes(old.read_bytes()[:100])
    with pytest.raises(InputError, match="is a damaged wheel"):
        wheels.resolve(old, TRIXIE)


def test_what_a_wheel_takes_is_the_sum_of_its_files(tmp_path):
    path = make_wheel(tmp_path, "tuf", "7.0", content=b"#" * 5000)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "out")
    assert wheels.unpacked_bytes(path) == sum(file.stat().st_size for file in (tmp_path / "out").rglob("*") if file.is_file())


def test_a_given_wheel_is_taken_as_it_is_and_others_are_refused(tmp_path):
    given = make_wheel(tmp_path / "given", "affectkit", "0.2.0")
    (into := tmp_path / "into").mkdir()
    assert own.own_wheel(into, given).read_bytes() == given.read_bytes()
    for other in (make_wheel(tmp_path / "given", "other", "0.2.0"), tmp_path / "affectkit-0.1.0-py3-none-any.whl"):
        with pytest.raises(InputError, match="is no wheel of affectkit"):
            own.own_wheel(into, other)


def test_without_its_source_a_wheel_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(own, "ROOT", tmp_path)
    with pytest.raises(InputError, match=r"installed here without its source and without.*--wheel FILE"):
        own.own_wheel(tmp_path)


def test_the_source_of_its_wheel_is_all_packages_and_no_leftovers(tmp_path):
    own.copy_source(tmp_path)
    root = pathlib.Path(__file__).resolve().parents[3]
    assert {path.name for path in tmp_path.iterdir()} == {
        "setup.cfg", "pyproject.toml", "README.md", "edge", "convert", "benchmarks", "firmware_configs",
    }  # fmt: skip
    assert not list(tmp_path.rglob("__pycache__"))
    for name in ("edge/data/classroom.affectkit", "firmware_configs/etc/affectkit/kit.toml"):
        assert (tmp_path / name).read_bytes() == (root / name).read_bytes()
