"""Logs of writes: read as they were written, and damaged ones refused in a line."""

from __future__ import annotations

import struct

import hypothesis
import hypothesis.strategies as st
import pytest

from tests.power.writes import DISCARD, FLUSH, FUA, MAGIC, MARK, Entry, LogError, read_log, write_log

TOLD = st.one_of(
    st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=80),
    st.tuples(st.integers(0, 40), st.integers(1, 4), st.sampled_from([0, FUA, FLUSH | FUA, DISCARD]), st.integers(0, 255)),
    st.just((0, 0, FLUSH, 0)),
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.img"


@hypothesis.given(told=st.lists(TOLD, max_size=12), sector=st.sampled_from([512, 4096]))
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(path, told, sector):
    spelt = [one if isinstance(one, str) else (one[0] * sector, bytes([one[3]]) * (one[1] * sector), one[2]) for one in told]
    write_log(path, spelt, sector)
    log = read_log(path)
    assert len(log.entries) == len(spelt)
    for one, entry in zip(spelt, log.entries, strict=True):
        if isinstance(one, str):
            assert (entry.mark, entry.flags) == (one, MARK)
        else:
            assert (entry.offset, entry.length, entry.flags) == (one[0], len(one[1]), one[2])
            assert entry.writes == (len(one[1]) > 0 and not one[2] & DISCARD)
            assert not entry.writes or log.data(entry) == one[1]


def test_the_bytes_are_those_of_the_kernels_driver(path):
    """drivers/md/dm-log-writes.c: struct log_write_super, then struct log_write_entry in a sector of its own before the data."""
    header = struct.pack("<QQQI", 0x6A736677736872, 1, 2, 512).ljust(512, b"\0")
    write = struct.pack("<QQQQ", 8, 2, 2, 0).ljust(512, b"\0") + b"a" * 512 + b"b" * 512
    flush = struct.pack("<QQQQ", 0, 0, 1, 0).ljust(512, b"\0")
    path.write_bytes(header + write + flush)
    log = read_log(path)
    assert log.entries == (Entry(4096, 1024, FUA, 1024), Entry(0, 0, FLUSH, 2560))
    assert log.data(log.entries[0]) == b"a" * 512 + b"b" * 512
    write_log(path, [(4096, b"a" * 512 + b"b" * 512, FUA), (0, b"", FLUSH)])
    assert path.read_bytes() == header + write + flush


def test_what_lies_behind_the_file_system_is_a_mark(path):
    write_log(path, [(0, b"x" * 512, 0), (8192, b"rename a b".ljust(512, b"\0"), 0), (0, b"", FLUSH)])
    log = read_log(path).split(8192)
    assert [entry.mark for entry in log.entries] == ["", "rename a b", ""]
    assert [entry.writes for entry in log.entries] == [True, False, False]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "not a log"),
        (b"\x7fELF" + bytes(600), "not a log"),
        (struct.pack("<QQQI", MAGIC, 2, 0, 512).ljust(512, b"\0"), "version 2"),
        (struct.pack("<QQQI", MAGIC, 1, 0, 500).ljust(512, b"\0"), "sectors of 500"),
        (struct.pack("<QQQI", MAGIC, 1, 3, 512).ljust(512, b"\0"), "before entry 0 of 3"),
        (
            struct.pack("<QQQI", MAGIC, 1, 1, 512).ljust(512, b"\0") + struct.pack("<QQQQ", 0, 4, 0, 0).ljust(1024, b"\0"),
            "entry 0 of 1 ends",
        ),
    ],
)
def test_what_is_no_log_or_ends_early_is_refused(path, content, word):
    path.write_bytes(content)
    with pytest.raises(LogError, match=word):
        read_log(path)
