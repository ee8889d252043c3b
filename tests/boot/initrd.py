"""The initrd, made on this computer: a static busybox for arm64, the modules that the root file system needs, and ``guest/init``."""

from __future__ import annotations

import gzip
import lzma
import pathlib
import shutil
import subprocess
import tempfile

from common import GUEST, CannotError, run

MODULES = ("virtio_pci", "virtio_blk", "sdhci_pci", "mmc_block", "ext4")
"""Disks: a virtio one, and a card in a reader; everything else is loaded by udev from the root file system."""
_APPLETS = ("sh", "mount", "umount", "insmod", "cat", "dd", "hexdump", "usleep", "switch_root")


def make_initrd(root: pathlib.Path, busybox: pathlib.Path, path: pathlib.Path) -> None:
    """Writes it to ``path``, of the kernel in ``root`` and a static ``busybox``. Raises CannotError."""
    release = next((root / "usr" / "lib" / "modules").iterdir())
    with tempfile.TemporaryDirectory() as scratch:
        tree = pathlib.Path(scratch)
        for name in ("bin", "dev", "proc", "sys", "root", "modules"):
            (tree / name).mkdir()
        shutil.copy(busybox, tree / "bin" / "busybox")
        (tree / "bin" / "busybox").chmod(0o755)
        for name in _APPLETS:
            (tree / "bin" / name).symlink_to("busybox")
        shutil.copyfile(GUEST / "init", tree / "init")
        (tree / "init").chmod(0o755)
        order = _in_order(root, release.name)
        for module in order:
            data = module.read_bytes()
            plain = lzma.decompress(data) if module.suffix == ".xz" else data
            (tree / "modules" / module.name.removesuffix(".xz")).write_bytes(plain)
        (tree / "modules" / "order").write_text("".join(f"{module.name.removesuffix('.xz')}\n" for module in order))
        names = "\0".join(sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*"))).encode()
        command = ["cpio", "--quiet", "-0", "-o", "-H", "newc", "-R", "0:0"]
        packed = subprocess.run(command, input=names, capture_output=True, check=False, cwd=tree)
        if packed.returncode:
            raise CannotError(f"the initrd cannot be packed: {packed.stderr.decode(errors='replace').strip()!r}; is the disk full?")
        path.write_bytes(gzip.compress(packed.stdout, 6, mtime=0))


def _in_order(root: pathlib.Path, release: str) -> list[pathlib.Path]:
    """Files of ``MODULES`` and of what they need, each after what it needs itself."""
    if not (root / "usr" / "lib" / "modules" / release / "modules.dep.bin").exists():
        run(["depmod", "-b", str(root), release], "apt-get install --reinstall kmod")
    found: dict[pathlib.Path, None] = {}
    for name in MODULES:
        printed = run(["modprobe", "-d", str(root), "-S", release, "--show-depends", name], "apt-get install --reinstall kmod")
        for line in printed.splitlines():
            if line.startswith("insmod "):
                found[pathlib.Path(line.split()[1])] = None
    return list(found)
