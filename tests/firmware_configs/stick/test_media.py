"""A stick holds the old content or the new, whatever happens in between, and nothing that lies on it is followed elsewhere."""

from __future__ import annotations

import hashlib
import os
import pathlib
import resource
import shutil

import pytest

from edge.errors import EdgeError, InputError
from firmware_configs.stick import FOLDER, REPORTS, TARGETS
from firmware_configs.stick.media import OLD, WRITING, check_stick, refuse_full, write_stick
from firmware_configs.stick.repository import File, Release
from tests.firmware_configs.stick.workshop import NOW, Workshop, target_of


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    return Workshop.make(tmp_path_factory.mktemp("workshop"))


@pytest.fixture
def release(workshop):
    """What makes a stick like ``workshop.newer``."""
    files = {}
    for path in sorted((workshop.newer / FOLDER).rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            content = path if path.suffix == ".affectkit" else data
            files[path.relative_to(workshop.newer).as_posix()] = File(content, len(data), hashlib.sha256(data).hexdigest())
    return Release(3, {"classroom.affectkit": 3}, NOW, files)


@pytest.fixture
def stick(workshop, tmp_path):
    """With the older update on it, a report, and a file of somebody's."""
    shutil.copytree(workshop.good, tmp_path / "stick")
    (tmp_path / "stick" / REPORTS / "kit-01").mkdir(parents=True)
    (tmp_path / "stick" / REPORTS / "kit-01" / "result.txt").write_text("updated\n")
    (tmp_path / "stick" / "holiday.jpg").write_bytes(b"a beach")
    return tmp_path / "stick"


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def others(content):
    return {name: data for name, data in content.items() if not name.startswith(FOLDER + "/")}


def test_the_new_takes_the_place_of_the_old_and_leaves_the_rest(stick, release, workshop):
    before = tree(stick)
    write_stick(stick, release)
    after = tree(stick)
    assert others(after) == others(before) != {}
    assert {name: data for name, data in after.items() if name.startswith(FOLDER)} == tree(workshop.newer)
    assert sorted(path.name for path in stick.iterdir()) == sorted([FOLDER, REPORTS, "holiday.jpg"])


def test_an_empty_stick_is_written(tmp_path, release, workshop):
    write_stick(tmp_path, release)
    assert tree(tmp_path) == tree(workshop.newer)


def test_progress_rises_to_all(stick, release):
    shares = []
    write_stick(stick, release, shares.append)
    assert shares == sorted(shares) and shares[-1] == 1 and len(shares) == 2 * len(release.files)


@pytest.mark.parametrize("step", range(10))
def test_an_interruption_leaves_the_old_content(stick, release, step):
    before = tree(stick)
    left = [step]

    def interrupt(share):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1

    with pytest.raises(KeyboardInterrupt):
        write_stick(stick, release, interrupt)
    assert tree(stick) == before
    assert not (stick / WRITING).exists() and not (stick / OLD).exists()


def test_a_full_stick_keeps_the_old_content(stick, release):
    before, limit = tree(stick), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises(InputError, match=r"^[^\n]*is full; what was on it is as before: delete something[^\n]*$"):
            write_stick(stick, release)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert tree(stick) == before


def test_how_much_is_missing_is_said_before_anything_is_written(stick):
    free = shutil.disk_usage(stick).free
    with pytest.raises(InputError, match=rf"MB more are needed of [0-9.]+ MB; delete {FOLDER} on it, or take a larger stick"):
        refuse_full(stick, [free + (1 << 30)])
    refuse_full(stick, [1000])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write where nobody may")
def test_a_stick_that_may_not_be_written_is_said(tmp_path, release):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="look for a switch on the stick"):
        write_stick(tmp_path, release)


@pytest.mark.parametrize("name", [FOLDER, OLD, WRITING])
def test_a_link_on_the_stick_is_not_followed(tmp_path, release, name):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    (tmp_path / "stick").mkdir()
    (tmp_path / "stick" / name).symlink_to(tmp_path / "home")
    with pytest.raises(InputError, match=rf"{name}: is a link, which was not made by affectkit"):
        write_stick(tmp_path / "stick", release)
    assert tree(tmp_path / "home") == {"thesis.txt": b"years of work"}


def test_links_within_the_old_content_go_without_what_they_point_to(stick, release, tmp_path, workshop):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    (stick / FOLDER / "more").symlink_to(tmp_path / "home")
    target_of(stick).unlink()
    (stick / FOLDER / "targets" / "x").symlink_to(tmp_path / "home" / "thesis.txt")
    write_stick(stick, release)
    assert tree(tmp_path / "home") == {"thesis.txt": b"years of work"}
    assert {name: data for name, data in tree(stick).items() if name.startswith(FOLDER)} == tree(workshop.newer)


def test_a_file_in_place_of_the_folder_is_not_deleted(tmp_path, release):
    (tmp_path / FOLDER).write_text("mine")
    with pytest.raises(InputError, match="is no folder, which was not made by affectkit"):
        write_stick(tmp_path, release)
    assert (tmp_path / FOLDER).read_text() == "mine"


def test_a_stick_that_lost_power_between_the_renames_gets_its_old_content_back(stick, release):
    before = tree(stick)
    (stick / FOLDER).rename(stick / OLD)
    (stick / WRITING / "metadata").mkdir(parents=True)
    left = [2]

    def interrupt(share):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1

    with pytest.raises(KeyboardInterrupt):
        write_stick(stick, release, interrupt)
    assert tree(stick) == before


def test_remains_of_an_older_writing_go(stick, release, workshop):
    shutil.copytree(workshop.old / FOLDER, stick / OLD)
    shutil.copytree(workshop.old / FOLDER, stick / WRITING)
    write_stick(stick, release)
    assert sorted(path.name for path in stick.iterdir()) == sorted([FOLDER, REPORTS, "holiday.jpg"])


def test_a_stick_that_gives_back_something_else_is_told(stick, release):
    before = tree(stick)

    def rot(share):
        if share == 0.5:
            path = next((stick / WRITING / TARGETS).iterdir())
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)

    with pytest.raises(EdgeError, match="gives back other than what was written; take another stick"):
        write_stick(stick, release, rot)
    assert tree(stick) == before


def test_a_bundle_that_changes_after_it_was_signed_is_not_written(tmp_path, release, workshop):
    before = tree(tmp_path)
    path = tmp_path / "b.affectkit"
    path.write_bytes(b"changed")
    files = {name: File(path, file.bytes, file.sha256) if isinstance(file.content, pathlib.Path) else file
             for name, file in release.files.items()}  # fmt: skip
    (tmp_path / "stick").mkdir()
    with pytest.raises(InputError, match="has changed since it was signed; write the stick again"):
        write_stick(tmp_path / "stick", Release(3, {}, NOW, files))
    assert tree(tmp_path) == before | {"b.affectkit": b"changed"}


@pytest.mark.parametrize("what", ["nothing", "file"])
def test_where_no_stick_is_it_is_said(tmp_path, what):
    if what == "file":
        (tmp_path / "stick").write_text("")
    with pytest.raises(InputError, match="give the folder under which the stick is mounted"):
        check_stick(tmp_path / "stick")
