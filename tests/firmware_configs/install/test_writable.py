"""affectkit-rw and affectkit-ro, in a root of their own: what a person changes gets to the card, and the card is read-only again."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

import firmware_configs

SCRIPTS = pathlib.Path(firmware_configs.__file__).parent / "usr/lib/affectkit"
READ_ONLY = "LABEL=rootfs / ext4 defaults,noatime,ro 0 1"
WRITABLE = "LABEL=rootfs / ext4 defaults,noatime 0 1"
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kit's system is Linux")


def in_a_root(folder: pathlib.Path, fstab: str, lines: str) -> subprocess.CompletedProcess[str]:
    """Runs ``lines`` with a root file system and a boot partition in memory, of which this machine's own know nothing."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not pathlib.Path("/bin").is_symlink():
        pytest.skip("only root may mount, and only where /bin is in /usr")
    script = f"""
        set -eu
        mount -t tmpfs root "{folder}"; cd "{folder}"
        mkdir -p usr proc etc scripts boot/firmware dev; touch dev/null
        ln -s usr/bin usr/sbin usr/lib .; [ ! -d /usr/lib64 ] || ln -s usr/lib64 .
        mount --bind /usr usr; mount --bind /dev/null dev/null; mount -t proc proc proc; mount -t tmpfs boot boot/firmware
        cp "{SCRIPTS}/affectkit-rw" "{SCRIPTS}/affectkit-ro" scripts
        echo "{fstab}" >etc/fstab
        mount -o remount,ro "{folder}/boot/firmware"; mount -o remount,ro "{folder}"
        exec chroot "{folder}" sh -c '{lines}'
    """
    ran = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    if "permission denied" in ran.stderr or "Operation not permitted" in ran.stderr:
        pytest.skip(f"mounting is not allowed here: {ran.stderr.strip()[:80]}")
    return ran


def test_a_person_may_write_in_between_and_only_then(tmp_path):
    ran = in_a_root(
        tmp_path,
        READ_ONLY,
        """
        ! touch /etc/before 2>/dev/null || echo written before
        sh /scripts/affectkit-rw
        touch /etc/between /boot/firmware/between
        sh /scripts/affectkit-ro
        ! touch /etc/after 2>/dev/null || echo written after
        ! touch /boot/firmware/after 2>/dev/null || echo written after
        ls /etc /boot/firmware
        """,
    )
    assert ran.returncode == 0, ran.stderr
    assert "before" not in ran.stdout and "after" not in ran.stdout
    assert ran.stdout.count("between\n") == 2
    assert "writable" in ran.stdout and "read-only again" in ran.stdout


def test_what_still_writes_is_told_and_nothing_is_forced(tmp_path):
    ran = in_a_root(
        tmp_path, READ_ONLY, "sh /scripts/affectkit-rw >/dev/null; exec 3>/etc/open; sh /scripts/affectkit-ro; echo $?; touch /etc/still"
    )
    assert ran.stdout.split() == ["1"], ran.stderr
    assert "affectkit-ro: / is still being written to" in ran.stderr


def test_a_kit_whose_card_is_writable_stays_so(tmp_path):
    ran = in_a_root(tmp_path, WRITABLE, "sh /scripts/affectkit-rw >/dev/null; sh /scripts/affectkit-ro; touch /etc/still")
    assert ran.returncode == 0, ran.stderr
    assert "nothing was changed" in ran.stdout


@pytest.mark.parametrize("name", ["affectkit-rw", "affectkit-ro"])
def test_nobody_but_root_may(name):
    command = ["sh", "-s"]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("setpriv is not installed")
        command = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *command]
    ran = subprocess.run(command, input=(SCRIPTS / name).read_text(), capture_output=True, text=True, check=False, cwd="/")
    assert ran.returncode == 1 and "only root may do this" in ran.stderr
