"""Images are unpacked whole, or nothing is left of them."""

from __future__ import annotations

import gzip
import lzma
import pathlib
import resource
import tracemalloc

import hypothesis
import hypothesis.strategies as st
import pytest

from edge.errors import InputError
from firmware_configs.unpack import MOST_MEMORY_BYTES, copy_sparse, refuse_full, unpack, unpacked_bytes

CONTENT = b"\x55\xaa" * 700_000 + bytes(3_000_000) + b"the end"


def packed(folder: pathlib.Path, kind: str, content: bytes = CONTENT) -> pathlib.Path:
    path = folder / f"a.img{'' if kind == 'raw' else '.' + kind}"
    if kind == "xz":
        path.write_bytes(lzma.compress(content, preset=0))
    elif kind == "gz":
        path.write_bytes(gzip.compress(content, 1))
    elif kind == "zst":
        zstd = pytest.importorskip("backports.zstd", reason="backports.zstd is not installed")
        # As the zstd command does, which adds a checksum.
        path.write_bytes(zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1}))
    else:
        path.write_bytes(content)
    return path


KINDS = ["raw", "xz", "zst", "gz"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_image_and_tells_of_progress(tmp_path, kind):
    source, shares = packed(tmp_path, kind), []
    assert unpacked_bytes(source) in (len(CONTENT), None)
    assert unpack(source, tmp_path / "out", shares.append) == len(CONTENT)
    assert (tmp_path / "out").read_bytes() == CONTENT
    assert shares == sorted(shares)
    assert shares[-1] == 1


@pytest.mark.parametrize("kind", ["xz", "zst"])
def test_several_streams_in_a_file_are_all_unpacked(tmp_path, kind):
    source = packed(tmp_path, kind)
    whole = source.read_bytes()
    source.write_bytes(whole + whole)
    assert unpack(source, tmp_path / "out") == 2 * len(CONTENT)
    assert (tmp_path / "out").read_bytes() == 2 * CONTENT


@pytest.mark.parametrize("kind", ["xz", "zst", "gz"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.99])
def test_a_truncated_file_is_refused_and_nothing_is_left(tmp_path, kind, share):
    source = packed(tmp_path, kind)
    whole = source.read_bytes()
    source.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match="download it again") as caught:
        unpack(source, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("kind", ["xz", "zst", "gz"])
def test_a_damaged_file_is_refused_and_nothing_is_left(tmp_path, kind):
    source = packed(tmp_path, kind, content=bytes(range(256)) * 1000)
    whole = bytearray(source.read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    source.write_bytes(whole)
    with pytest.raises(InputError, match="download it again"):
        unpack(source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [source]


def test_what_exists_is_not_overwritten(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(InputError, match="exists"):
        unpack(packed(tmp_path, "raw"), tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_file_that_may_not_grow_leaves_nothing(tmp_path):
    source = packed(tmp_path, "xz")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(InputError, match="the disk is full"):
            unpack(source, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == [source]


def test_a_disk_that_is_too_small_says_how_much_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"\d+ bytes are missing"):
        refuse_full(tmp_path, 1 << 60)


def test_an_interruption_leaves_nothing(tmp_path):
    def interrupt(share: float) -> None:
        raise KeyboardInterrupt

    source = packed(tmp_path, "xz")
    with pytest.raises(KeyboardInterrupt):
        unpack(source, tmp_path / "out", interrupt)
    assert list(tmp_path.iterdir()) == [source]


def test_a_file_that_needs_too_much_memory_is_refused(tmp_path):
    source = tmp_path / "a.img.xz"
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 2 * MOST_MEMORY_BYTES, "mf": lzma.MF_HC3, "mode": lzma.MODE_FAST}]
    source.write_bytes(lzma.compress(b"x" * 1000, filters=filters))
    with pytest.raises(InputError, match="needs more than 160 MB"):
        unpack(source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [source]


def test_zeros_take_neither_memory_nor_space(tmp_path):
    source = tmp_path / "a.img.xz"
    machine = lzma.LZMACompressor(preset=0)
    source.write_bytes(b"".join(machine.compress(bytes(1 << 20)) for _ in range(64)) + machine.flush())
    tracemalloc.start()
    try:
        assert unpack(source, tmp_path / "out") == 64 << 20
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20
    out = (tmp_path / "out").stat()
    assert out.st_size == 64 << 20
    assert out.st_blocks * 512 <= 1 << 20


@pytest.mark.parametrize(("make", "says"), [(pathlib.Path.mkdir, "folder"), (lambda path: None, "No such file")])
def test_what_is_no_file_is_refused(tmp_path, make, says):
    make(tmp_path / "a")
    with pytest.raises(InputError, match=says):
        unpack(tmp_path / "a", tmp_path / "out")


def test_a_zip_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(InputError, match="unpack it"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@hypothesis.settings(max_examples=20, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(st.lists(st.tuples(st.integers(0, 200_000), st.sampled_from([0, 1])), max_size=8))
def test_a_sparse_copy_is_the_same(tmp_path, runs):
    source, target = tmp_path / "a", tmp_path / "b"
    target.unlink(missing_ok=True)
    source.write_bytes(b"".join(bytes([value]) * length for length, value in runs))
    copy_sparse(source, target)
    assert target.read_bytes() == source.read_bytes()
