"""What a cut leaves: all that was flushed, some of the rest, nothing else, and the same for the same seed."""

from __future__ import annotations

import collections

import hypothesis
import hypothesis.strategies as st
import pytest

from tests.power.cuts import Cut, Replay, last_flush, marks, random_cuts
from tests.power.writes import DISCARD, FLUSH, FUA, read_log, write_log

SECTORS, SECTOR = 12, 512


@st.composite
def histories(draw):
    """Words, flushes and writes on a tiny disk; the sectors of the n-th one are filled with n."""
    told = []
    for number in range(1, draw(st.integers(1, 14)) + 1):
        kind = draw(st.sampled_from(["write", "write", "write", "fua", "discard", "flush", "mark"]))
        first = draw(st.integers(0, SECTORS - 1))
        length = draw(st.integers(1, min(4, SECTORS - first))) * SECTOR
        if kind == "mark":
            told.append(f"step {number}")
        elif kind == "flush":
            told.append((0, b"", FLUSH))
        elif kind == "discard":
            told.append((first * SECTOR, bytes(length), DISCARD))
        else:
            told.append((first * SECTOR, bytes([number]) * length, FUA if kind == "fua" else 0))
    return told


def allowed(told, done):
    """Sector -> what it may hold: the model of cuts.py once more, sector by sector."""
    may = {sector: {0xEE} for sector in range(SECTORS)}
    for at, one in enumerate(told[: done + 1]):
        if isinstance(one, str):
            continue
        offset, data, flags = one
        if flags & FLUSH and at < done:  # all of what was done is there, so what each sector may hold is what it was told last
            for sector in may:
                may[sector] = {_last(told[:at], sector)}
        for sector in range(offset // SECTOR, (offset + len(data)) // SECTOR):
            value = data[0]
            may[sector] = {value} if flags & FUA and at < done else may[sector] | {value}
    return may


def _last(told, sector):
    value = 0xEE
    for one in told:
        if not isinstance(one, str) and one[0] <= sector * SECTOR < one[0] + len(one[1]):
            value = one[1][0]
    return value


def disks(folder, told, cuts):
    write_log(folder / "log.img", told)
    (folder / "start.img").write_bytes(b"\xee" * (SECTORS * SECTOR))
    replay = Replay(read_log(folder / "log.img"), folder / "start.img", folder)
    return [replay.cut(cut, folder / "out.img").read_bytes() for cut in cuts]


shared_folder = hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])


@hypothesis.given(told=histories(), seed=st.integers(0, 1 << 32), data=st.data())
@shared_folder
def test_every_sector_is_one_that_the_model_allows(tmp_path, told, seed, data):
    done = data.draw(st.integers(0, len(told)))
    (disk,) = disks(tmp_path, told, [Cut(done, seed)])
    may = allowed(told, done)
    for sector in range(SECTORS):
        held = disk[sector * SECTOR : (sector + 1) * SECTOR]
        assert len(set(held)) == 1, "a sector is old or new, never a mixture"
        assert held[0] in may[sector], f"sector {sector} holds {held[0]:#x}, of {told} cut after {done}"


@hypothesis.given(told=histories(), seed=st.integers(0, 1 << 32))
@shared_folder
def test_what_is_flushed_is_all_there(tmp_path, told, seed):
    told = [*told, (0, b"", FLUSH)]
    (disk,) = disks(tmp_path, told, [Cut(len(told), seed)])
    assert [disk[sector * SECTOR] for sector in range(SECTORS)] == [_last(told, sector) for sector in range(SECTORS)]


@hypothesis.given(told=histories(), seed=st.integers(0, 1 << 32), data=st.data())
@shared_folder
def test_cuts_in_a_row_are_those_made_one_by_one(tmp_path, told, seed, data):
    cuts = [Cut(done, seed + done) for done in sorted(data.draw(st.lists(st.integers(0, len(told)), max_size=4)))]
    assert disks(tmp_path, told, cuts) == [disks(tmp_path, told, [cut])[0] for cut in cuts]


def test_all_that_the_model_allows_comes_about(tmp_path):
    """Two writes behind a flush, one of two sectors: no order and no tear is left out, or the rig would be too kind."""
    told = [(0, b"\1" * 1024, 0), (0, b"", FLUSH), (0, b"\2" * 1024, 0), (512, b"\3" * 512, 0)]
    seen = collections.Counter((disk[0], disk[512]) for disk in disks(tmp_path, told, [Cut(4, seed) for seed in range(300)]))
    assert set(seen) == {(a, b) for a in (1, 2) for b in (1, 2, 3)}


def test_what_is_under_way_may_be_there_in_part_even_if_it_is_to_be_forced(tmp_path):
    told = [(0, b"\1" * 1024, FUA)]
    seen = {(disk[0], disk[512]) for disk in disks(tmp_path, told, [Cut(0, seed) for seed in range(100)])}
    assert seen == {(0xEE, 0xEE), (1, 0xEE), (0xEE, 1), (1, 1)}


def test_a_flush_that_is_under_way_promises_nothing(tmp_path):
    told = [(0, b"\1" * 512, 0), (0, b"", FLUSH)]
    assert {disk[0] for disk in disks(tmp_path, told, [Cut(1, seed) for seed in range(50)])} == {0xEE, 1}
    assert {disk[0] for disk in disks(tmp_path, told, [Cut(2, seed) for seed in range(50)])} == {1}
    assert (last_flush(read_log(tmp_path / "log.img").entries, 1), last_flush(read_log(tmp_path / "log.img").entries, 2)) == (0, 2)


def test_cuts_out_of_order_are_refused(tmp_path):
    with pytest.raises(ValueError, match="sort them"):
        disks(tmp_path, [(0, b"\1" * 512, 0), (0, b"", FLUSH)], [Cut(2, 0), Cut(0, 0)])


def test_short_phases_are_cut_as_often_as_long_ones(tmp_path):
    told = ["copy", *[(0, b"\1" * 512, 0)] * 900, "switch", (0, b"\2" * 512, 0), "confirm", (0, b"\3" * 512, 0)]
    write_log(tmp_path / "log.img", told)
    log = read_log(tmp_path / "log.img")
    assert marks(log)[0] == "" and marks(log)[1] == "copy" and marks(log)[-1] == "confirm"
    phases = marks(log)
    cuts = random_cuts(phases, 100, 4, range(1, len(phases)))
    assert cuts == random_cuts(phases, 100, 4, range(1, len(phases))) != random_cuts(phases, 100, 5, range(1, len(phases)))
    assert [cut.done for cut in cuts] == sorted(cut.done for cut in cuts) and len({cut.seed for cut in cuts}) == 100
    counts = collections.Counter(phases[cut.done] for cut in cuts)
    assert counts["copy"] > 50 and counts["switch"] > 8 and counts["confirm"] > 8
