"""A card as large as a real one: how long it takes, and in how much memory."""

from __future__ import annotations

import lzma
import os
import pathlib
import subprocess
import sys
import textwrap
import time

import pytest

pytest.importorskip("passlib", reason="libpass is not installed (the extra kit)")
pytest.importorskip("segno", reason="segno is not installed (the extra kit)")

from tests.firmware_configs.disk import MIB, make_disk

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the memory that was taken")
def test_a_card_of_3_gb_is_made_within_a_minute_in_little_memory(tmp_path):
    stock = make_disk(tmp_path / "a.img", boot_mib=512, root_mib=2400, sectors_per_cluster=8)
    packed = tmp_path / "a.img.xz"
    used, streams = os.urandom(8 * MIB) + bytes(range(256)) * (8 * MIB // 256), {}
    with stock.open("rb") as file, packed.open("wb") as out:
        # A stream for each 16 MiB, so that equal ones are packed once; half of the system's partition is full, half of that does not pack.
        for number in range(stock.stat().st_size // (16 * MIB) + 1):
            block = file.read(16 * MIB)
            block = used[: len(block)] if 40 <= number < 110 else block
            streams[block] = streams.get(block) or lzma.compress(block, preset=0)
            out.write(streams[block])
    stock.unlink()
    (tmp_path / "one.csv").write_text("hostname\nkit-01\n")
    script = textwrap.dedent(
        f"""
        import re, sys
        import edge.cli
        edge.cli.commands = lambda: {{"kit": "firmware_configs.cli:add_commands"}}
        status = edge.cli.main(["kit", "card", "--os", "trixie", "--image", {str(packed)!r}, "--kits", {str(tmp_path / "one.csv")!r},
            "-o", {str(tmp_path / "cards")!r}])
        # Not ru_maxrss, which counts the process that this was forked from.
        print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
        sys.exit(status)
        """
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    took = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    peak_mib = int(done.stdout.splitlines()[-1]) / 1024
    print(f"3 GB card: {took:.1f} s, {peak_mib:.0f} MiB")
    assert took < 60
    assert peak_mib < 300
