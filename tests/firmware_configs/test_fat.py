"""The FAT layer does what mtools and fsck.fat take for granted."""

from __future__ import annotations

import io
import shutil
import subprocess

import hypothesis
import hypothesis.strategies as st
import pytest

from edge.errors import InputError
from firmware_configs.fat import FatVolume
from firmware_configs.image import open_boot
from tests.firmware_configs.disk import MIB, START, STOCK, by_mtools, checked, dos_table, format_fat, make_disk

needs_mtools = pytest.mark.skipif(not shutil.which("mtype"), reason="mtools is not installed (apt install mtools)")
needs_fsck = pytest.mark.skipif(not shutil.which("fsck.fat"), reason="fsck.fat is not installed (apt install dosfstools)")
MAKERS = ["python", pytest.param("mkfs.fat", marks=pytest.mark.skipif(not shutil.which("mkfs.fat"), reason="mkfs.fat is not installed"))]


@pytest.fixture(params=["FAT16", "FAT32"])
def wide(request):
    return request.param == "FAT32"


@pytest.fixture(params=MAKERS)
def disk(request, tmp_path, wide):
    return make_disk(tmp_path / "a.img", wide=wide, maker=request.param, boot_mib=36 if wide else 8)


FILES = {
    "UPPER.TXT": b"",
    "user-data": b"x",
    "affectkit/payload/wheelhouse/numpy-2.1.0-cp313-cp313-manylinux_2_17_aarch64.manylinux2014_aarch64.whl": bytes(range(256)) * 300,
    "affectkit/Überschrift 日本語 😀.toml": b"[purpose]\n" * 100,
    "affectkit/a.b.c.d": b"dots",
    "a.dtbo": b"short base, long extension",
}


def test_files_and_folders_come_back(disk):
    with open_boot(disk, write=True) as volume:
        for path, content in FILES.items():
            volume.write(path, content)
    with open_boot(disk) as volume:
        assert {path: volume.read(path) for path in volume.walk() if path in FILES} == FILES
        assert volume.read("AFFECTKIT/A.B.C.D") == b"dots"


@needs_mtools
@needs_fsck
def test_mtools_sees_every_byte_and_fsck_finds_nothing(disk):
    with open_boot(disk, write=True) as volume:
        for path, content in FILES.items():
            volume.write(path, content)
        volume.write("config.txt", b"replaced" * 700)
        volume.delete("overlays")
    assert checked(disk) == ""
    for path, content in {**FILES, "config.txt": b"replaced" * 700}.items():
        if path.isascii():
            assert by_mtools(disk, path) == content
    with pytest.raises(subprocess.CalledProcessError):
        by_mtools(disk, "overlays/vc4.dtbo")


@needs_mtools
def test_what_mtools_wrote_is_read(disk, tmp_path):
    (tmp_path / "long name.with dots").write_bytes(b"mtools" * 5000)
    subprocess.run(["mcopy", "-i", f"{disk}@@{START}", str(tmp_path / "long name.with dots"), "::overlays"], check=True)
    with open_boot(disk) as volume:
        assert volume.read("overlays/long name.with dots") == b"mtools" * 5000


def test_a_replaced_file_keeps_its_name_and_its_space_is_free_again(disk):
    with open_boot(disk, write=True) as volume:
        volume.write("room for an entry", b"")
        volume.delete("room for an entry")
        before = volume.free_bytes
        volume.write("CONFIG.TXT", b"x" * 100_000)
        assert [entry.name for entry in volume.list() if entry.name.lower() == "config.txt"] == ["config.txt"]
        volume.write("config.txt", STOCK["config.txt"])
        assert volume.free_bytes == before
        volume.write("new", b"x" * 5000)
        volume.delete("new")
        assert volume.free_bytes == before


def test_the_free_space_is_known_again_when_it_is_opened_anew(disk):
    with open_boot(disk, write=True) as volume:
        volume.write("affectkit/x", b"x" * 70_000)
        free = volume.free_bytes
    with open_boot(disk) as volume:
        assert volume.free_bytes == free


def test_an_open_file_is_streamed_and_one_that_ends_early_is_not_listed(disk):
    with open_boot(disk, write=True) as volume:
        volume.write("a", io.BytesIO(b"y" * 3_000_000), 3_000_000)
        assert volume.read("a") == b"y" * 3_000_000
        free = volume.free_bytes
        with pytest.raises(InputError, match="ended after 5 of 10 bytes"):
            volume.write("b", io.BytesIO(b"short"), 10)
        assert volume.find("b") is None
        assert volume.free_bytes == free


def test_a_full_partition_says_how_much_is_missing_and_keeps_what_was_there(disk):
    with open_boot(disk, write=True) as volume:
        volume.write("big", b"")
        size = volume.free_bytes + 5 * volume.cluster_bytes
        assert volume.missing_bytes({"big": size}) == 5 * volume.cluster_bytes
        with pytest.raises(InputError, match=f"{5 * volume.cluster_bytes} bytes are missing"):
            volume.write("config.txt", bytes(size))
        assert volume.read("config.txt") == STOCK["config.txt"]
        volume.write("big", bytes(volume.free_bytes))
        assert volume.free_bytes == 0
    assert checked(disk) in ("", "absent")


def test_a_folder_grows_and_its_gaps_are_used_again(disk):
    with open_boot(disk, write=True) as volume:
        for number in range(60):
            volume.write(f"many/a rather long file name {number}.txt", str(number).encode())
        for number in range(0, 60, 2):
            volume.delete(f"many/a rather long file name {number}.txt")
        free = volume.free_bytes
        for number in range(0, 60, 2):
            volume.write(f"many/a rather long file name {number}.txt", b"")
        assert volume.free_bytes == free
        assert len(volume.list("many")) == 60
    assert checked(disk) in ("", "absent")


def test_the_root_folder_of_a_fat16_cannot_grow(tmp_path):
    disk = make_disk(tmp_path / "a.img", wide=False, boot_mib=8)
    with open_boot(disk, write=True) as volume:
        names = [f"a name of two parts {number}" for number in range(600)]
        with pytest.raises(InputError, match="root folder of the boot partition is full"):
            volume.missing_bytes(dict.fromkeys(names, 0))
        with pytest.raises(InputError, match="root folder of the boot partition is full"):
            for name in names:
                volume.write(name, b"")
    assert checked(disk) in ("", "absent")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda v: v.write("overlays", b""), "is a folder"),
        (lambda v: v.write("config.txt/x", b""), "is a file"),
        (lambda v: v.read("nothing"), "no file nothing"),
        (lambda v: v.read("overlays"), "no file overlays"),
        (lambda v: v.list("config.txt"), "no folder config.txt"),
        (lambda v: v.delete("nothing"), "no such file"),
        (lambda v: v.delete(""), "root folder"),
        (lambda v: v.write("", b""), "is no name"),
        (lambda v: v.write("../x", b""), "is no name"),
        (lambda v: v.write("a:b", b""), "':'"),
        (lambda v: v.write("x", io.BytesIO(), 1 << 32), "less than 4 GiB"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path, call, says):
    disk = make_disk(tmp_path / "a.img", wide=False, boot_mib=8)
    with open_boot(disk, write=True) as volume, pytest.raises(InputError, match=says) as caught:
        call(volume)
    assert "\n" not in str(caught.value)


def test_a_damaged_chain_is_told(tmp_path):
    disk = make_disk(tmp_path / "a.img", wide=False, boot_mib=8)
    with open_boot(disk, write=True) as volume:
        volume.write("long", b"x" * 3000)
        first = volume.find("long").cluster
    with disk.open("r+b") as file:
        file.seek(START + 4 * 512 + first * 2)
        file.write(first.to_bytes(2, "little"))
    with open_boot(disk) as volume, pytest.raises(InputError, match="damaged at cluster"):
        volume.read("long")


def test_fat12_is_refused(tmp_path):
    path = tmp_path / "a.img"
    with path.open("xb") as file:
        file.truncate(START + MIB)
    dos_table(path, [(0x01, START, MIB)])
    format_fat(path, START, MIB, wide=False)
    with pytest.raises(InputError, match="FAT12"), open_boot(path):
        pass


NAME = st.text(st.characters(codec="utf-8", exclude_characters='"*/:<>?\\|~\x7f', exclude_categories=("Cc", "Cs")), min_size=1, max_size=40)
NAME = NAME.filter(lambda name: name[-1] not in " ." and name[0] != " ")


class Ram(io.BytesIO):
    """A small volume in memory."""


def small(wide: bool) -> tuple[Ram, FatVolume]:
    import pathlib
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "a"
        size = (34 if wide else 3) * MIB
        path.touch()
        with path.open("r+b") as file:
            file.truncate(size)
        format_fat(path, 0, size, wide=wide, root_entries=512)
        ram = Ram(path.read_bytes())
    return ram, FatVolume(ram, 0, size, "ram")


@hypothesis.settings(max_examples=25, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@hypothesis.given(st.lists(st.tuples(NAME, st.none() | st.integers(0, 5000)), max_size=20), st.booleans())
def test_any_names_and_sizes_behave_as_a_dictionary(steps, in_folder):
    _, volume = small(wide=False)
    start = volume.free_bytes
    model: dict[str, bytes] = {}
    from firmware_configs.fat_names import folded

    spelt: dict[str, str] = {}
    for number, (name, size) in enumerate(steps):
        path = f"folder/{name}" if in_folder else name
        if size is None:
            if folded(path) in model:
                volume.delete(path)
                del model[folded(path)], spelt[folded(path)]
        else:
            content = bytes([number]) * size
            assert volume.missing_bytes({path: size}) == 0
            volume.write(path, content)
            model[folded(path)] = content
            spelt.setdefault(folded(path), path)
    assert {path: volume.read(path) for path in volume.walk()} == {spelt[key]: content for key, content in model.items()}
    for path in spelt.values():
        volume.delete(path)
    if volume.find("folder"):
        volume.delete("folder")
    assert volume.free_bytes == start


@hypothesis.settings(max_examples=15, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@hypothesis.given(st.dictionaries(st.tuples(st.sampled_from(["", "a", "a/b", "c"]), NAME), st.integers(0, 400_000), max_size=12))
def test_what_is_said_to_fit_fits(files):
    _, volume = small(wide=False)
    from firmware_configs.fat_names import folded

    unique = {folded(f"{folder}/{name}"): (f"{folder}/{name}".lstrip("/"), size) for (folder, name), size in files.items()}
    files = {path: size for path, size in unique.values() if path not in ("a", "A", "c", "C", "a/b", "a/B", "A/b")}
    missing = volume.missing_bytes(files)
    if missing:
        with pytest.raises(InputError, match="missing"):
            for path, size in files.items():
                volume.write(path, bytes(size))
    else:
        for path, size in files.items():
            volume.write(path, bytes(size))
        assert {path: len(volume.read(path)) for path in volume.walk()} == files


def test_a_big_partition_as_of_raspberry_pi_os_takes_a_payload(tmp_path):
    disk = make_disk(tmp_path / "a.img", boot_mib=512, sectors_per_cluster=8)
    with open_boot(disk, write=True) as volume:
        for number in range(10):
            volume.write(f"affectkit/wheelhouse/wheel-{number}-py3-none-any.whl", bytes([number]) * 1_000_001)
    assert checked(disk) in ("", "absent")
    with open_boot(disk) as volume:
        assert volume.read("affectkit/wheelhouse/wheel-9-py3-none-any.whl") == b"\x09" * 1_000_001
