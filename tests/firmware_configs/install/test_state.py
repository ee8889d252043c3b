"""A card that is full, read-only or without its data partition does not keep the kit from deciding."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

import firmware_configs

SCRIPTS = pathlib.Path(firmware_configs.__file__).parent / "usr/lib/affectkit"


def may_mount() -> bool:
    """Whether this test may mount in a mount name space of its own."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "x", "/mnt"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not may_mount(), reason="only root may mount file systems, here in a name space of its own")


def on_card(folder: pathlib.Path, lines: str) -> str:
    """Runs ``lines`` where nothing that is mounted is seen elsewhere; ``$var`` is /var/lib, ``$data`` is /srv/affectkit."""
    script = f"""
        set -eu
        var="{folder}/var" data="{folder}/data" run="{folder}/run"
        mkdir -p "$var/affectkit" "$data" "$run"
        chown -R nobody "$var/affectkit" "$run"; chmod 0711 "{folder}" "{folder.parent}" "{folder.parent.parent}"
        state() {{ AFFECTKIT_DATA="$data" AFFECTKIT_VAR="$var" AFFECTKIT_USER=65534 sh "{SCRIPTS}/state" "$@"; }}
        before_run() {{
            STATE_DIRECTORY="$var/affectkit" RUNTIME_DIRECTORY="$run" AFFECTKIT_SLEEP=: \\
                as_kit sh "$run/before-run"
        }}
        # As the kit's own user does it, and where that user may read.
        cp "{SCRIPTS}/before-run" "$run/before-run"; chmod 0755 "$run/before-run"
        as_kit() {{ setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }}
        decides() {{ as_kit sh -c 'set -C; echo "{{}}" >"$1"' sh "$var/affectkit/now/decisions.jsonl.partial"; }}
        {lines}
    """
    ran = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_on_a_card_that_is_well_nothing_is_mounted(tmp_path):
    said = on_card(tmp_path, 'before_run; state; before_run; state; ! mountpoint -q "$var/affectkit"; decides')
    assert "in memory" not in said


def test_with_a_data_partition_its_folders_are_put_in_place_once(tmp_path):
    said = on_card(
        tmp_path,
        """
        mkdir -p "$data/state" "$data/system/systemd/timesync" "$var/systemd"; chown nobody "$data/state"
        state; state
        before_run; decides
        test -s "$data/state/now/decisions.jsonl.partial"
        test -d "$var/systemd/timesync"
        grep -c " $var/affectkit " /proc/self/mountinfo; grep -c " $var/systemd " /proc/self/mountinfo
        """,
    )
    assert said.split() == ["1", "1"]


def test_a_run_that_a_power_cut_left_is_moved_on_the_card_at_the_next_boot(tmp_path):
    said = on_card(
        tmp_path,
        """
        mkdir -p "$data/state/now" "$data/state/earlier"
        echo "{}" >"$data/state/now/decisions.jsonl.partial"; chown -R nobody "$data/state"
        state --boot; before_run; state; decides
        test -s "$data/state/earlier/00000001/decisions.jsonl.partial"
        test -s "$data/state/now/decisions.jsonl.partial"
        """,
    )
    assert "in memory" not in said


def test_a_data_partition_that_did_not_come_up_is_made_up_for_in_memory(tmp_path):
    """Root is read-only then, and /srv/affectkit shows the folder below the mount: the first bundle, and no state."""
    said = on_card(
        tmp_path,
        """
        mkdir "$var/affectkit/now"; mount --bind "$var" "$var"; mount -o remount,bind,ro "$var"
        state
        before_run; state; decides
        grep " $var/affectkit " /proc/self/mountinfo
        """,
    )
    assert "cannot be written to or is full" in said and "size=32768k" in said and "mode=700" in said and "uid=65534" in said


def test_it_still_starts_after_the_kernel_made_a_damaged_card_read_only_while_it_ran(tmp_path):
    """What the run left cannot be moved then, and would be refused to write over."""
    said = on_card(
        tmp_path,
        """
        mount -t tmpfs card "$var/affectkit"; chown nobody "$var/affectkit"
        before_run; state; decides
        mount -o remount,ro "$var/affectkit"
        before_run; state; decides
        before_run; state; decides
        """,
    )
    assert said.count("in memory") == 1


@pytest.mark.parametrize("by", ["an earlier run", "this run", "somebody else"])
def test_a_full_card_is_freed_or_made_up_for(tmp_path, by):
    filled = {
        "an earlier run": '"$var/affectkit/earlier/00000001/decisions.jsonl"',
        "this run": '"$var/affectkit/now/decisions.jsonl.partial"',
        "somebody else": '"$var/affectkit/other"',
    }[by]
    said = on_card(
        tmp_path,
        f"""
        mount -t tmpfs -o size=8M card "$var/affectkit"; chown nobody "$var/affectkit"
        before_run; mkdir "$var/affectkit/earlier/00000001"
        dd if=/dev/zero of={filled} bs=1M 2>/dev/null || true
        chown -R nobody "$var/affectkit"
        before_run; state; decides
        ls "$var/affectkit/earlier" 2>/dev/null || true
        """,
    )
    assert ("in memory" in said) == (by == "somebody else")
    assert "0000" not in said, "runs went, for the one to come"


def test_on_a_small_card_an_eighth_is_kept_free_and_no_more(tmp_path):
    """A day of decisions would be more than all of it: earlier runs would never be kept."""
    said = on_card(
        tmp_path,
        """
        mount -t tmpfs -o size=16M card "$var/affectkit"; chown nobody "$var/affectkit"
        for number in 1 2; do before_run; as_kit dd if=/dev/zero of="$var/affectkit/now/decisions.jsonl" bs=1M count=6 2>/dev/null; done
        before_run
        ls "$var/affectkit/earlier"
        """,
    )
    assert said.split() == ["00000001", "00000002"]


def test_memory_fills_up_no_further_than_its_limit_and_is_freed_for_the_next_run(tmp_path):
    said = on_card(
        tmp_path,
        """
        mount --bind "$var" "$var"; mount -o remount,bind,ro "$var"
        state; before_run; state
        as_kit dd if=/dev/zero of="$var/affectkit/now/decisions.jsonl.partial" bs=1M 2>&1 | tail -n 1
        before_run; state; decides
        """,
    )
    assert "(34 MB, 32 MiB) copied" in said
    assert said.count("in memory") == 1
