"""``affectkit kit payload``: everything a kit is installed from, gathered once with a network and proved without one."""

from __future__ import annotations

import argparse
import collections.abc
import contextlib
import pathlib
import sys
import time
import typing

from edge import embedded
from edge.errors import InputError
from firmware_configs.progress import bar

if typing.TYPE_CHECKING:
    from firmware_configs import boards
    from firmware_configs.payload.assemble import Debian, Made, Prove, Wanted

_SHOWN = 8


def add_payload(subparsers: argparse._SubParsersAction) -> None:
    """Adds ``kit payload``."""
    parser = subparsers.add_parser(
        "payload",
        help="gather all that a kit is installed from, once, with a network",
        description="Gathers wheels, Debian packages, bundle, settings and units for one board and system into a folder for `affectkit "
        "kit card --payload`, and proves in an emulated arm64 system that it installs and decides without a network. What was fetched "
        "is kept in the cache and not fetched again. Status 0: made; 1: the proof failed; 2: something given is wrong or cannot be had.",
    )
    parser.add_argument("--board", metavar="NAME", required=True, help="such as pi-4; a wrong name shows those known")
    parser.add_argument("--os", choices=("bookworm", "trixie"), required=True, help="Raspberry Pi OS Lite 64-bit of that name")
    parser.add_argument("-o", "--output", metavar="DIR", type=pathlib.Path, required=True, help="new folder for the payload")
    parser.add_argument("--bundle", metavar="FILE", type=pathlib.Path, help="the models; default: the embedded ones")
    parser.add_argument("--config", metavar="FILE", type=pathlib.Path, help="kit.toml for all kits; default: one to fill in")
    parser.add_argument("--root", metavar="FILE", type=pathlib.Path, help="root.json of your update sticks; without it kits take no sticks")
    parser.add_argument("--wheel", metavar="FILE", type=pathlib.Path, help="affectkit's own wheel; default: built of this source")
    parser.add_argument("--like", metavar="DIR", type=pathlib.Path, help="an earlier payload: the same versions of everything that it has")
    system = parser.add_argument_group("Debian packages (on a workstation with apt-get)")
    system.add_argument("--debian", metavar="PACKAGE", action="append", default=[], help="one more; may be repeated")
    system.add_argument("--no-camera", action="store_true", help="without python3-picamera2: no CSI camera; USB cameras need nothing")
    system.add_argument("--no-microphone", action="store_true", help="without python3-pyaudio")
    system.add_argument("--no-debian", action="store_true", help="without any")
    known = system.add_mutually_exclusive_group()
    known.add_argument("--image", metavar="IMG", type=pathlib.Path, help="the unpacked image for the cards: what is in it is not fetched")
    known.add_argument("--base", metavar="DIR", type=pathlib.Path, help="the same, of a root folder")
    system.add_argument("--mirror", metavar="URL", help="of Debian; default: http://deb.debian.org/debian")
    parser.add_argument(
        "--prove",
        metavar="auto|no|DIR",
        default="auto",
        help="auto: if this workstation can (Linux, root, QEMU 10), in a copy of --image or --base, or of a base that is made once and "
        "kept in the cache; DIR: in a copy of that root folder",
    )
    parser.set_defaults(run=_payload)


def _payload(args: argparse.Namespace) -> int:
    from firmware_configs.payload import assemble

    wanted = assemble.Wanted(
        args.board,
        args.os,
        bundle=args.bundle or embedded.BUNDLE,
        settings=args.config or assemble.SETTINGS,
        root=args.root,
        wheel=args.wheel,
        like=args.like,
    )
    if args.prove not in ("auto", "no") and not pathlib.Path(args.prove).is_dir():
        raise InputError(f"--prove {args.prove}: is no folder; say auto, no, or give a root folder of {args.os} for arm64")
    began = time.monotonic()
    made = assemble.make(wanted, args.output, _debian(args), _prove(args, wanted), bar)
    _tell(made, args.output, time.monotonic() - began)
    return 0


def _debian(args: argparse.Namespace) -> Debian | None:
    """What fills the folder of Debian packages; None if there are to be none."""
    from firmware_configs.payload import debs

    names = [*([] if args.no_microphone else [debs.MICROPHONE]), *([] if args.no_camera else [debs.CAMERA]), *args.debian]
    if args.no_debian or not names:
        if args.debian and args.no_debian:
            raise InputError("--debian and --no-debian: say one of them")
        return None
    return lambda folder: _fill(args, names, folder)


def _fill(args: argparse.Namespace, names: collections.abc.Sequence[str], folder: pathlib.Path) -> tuple[tuple[str, ...], dict[str, int]]:
    from firmware_configs.payload import archives, debs, present
    from firmware_configs.payload.cache import cache_folder

    os_name: boards.OsName = args.os
    there = None
    if args.image or args.base:
        there = present.of_image(args.image, os_name) if args.image else present.of_folder(args.base, os_name)
    missing = [name for name in names if there is None or name not in there.packages]
    for name in sorted(set(names) - set(missing)):
        print(f"{name}: is in {args.image or args.base} already")
    if not missing:
        return (), {}
    sources = archives.debian(os_name, args.mirror or archives.DEBIAN)
    # Its own archive for what only Raspberry Pi has; and what an image has from there may be needed anew.
    if debs.CAMERA in missing:
        sources.append(archives.raspberry(os_name, there.read if there else lambda path: None))
    apt = debs.Apt(cache_folder("payload", f"apt-{os_name}"), sources)
    progress = bar("lists of Debian packages")
    apt.update()
    progress(1.0)
    if there is None:
        apt.assume_least()
        print(f"the system is taken to have no more than {', '.join(present.LITE)} and what no Debian is without; --image IMG looks there")
    else:
        apt.assume(there.status)
    packages = apt.needed(missing)
    progress = bar(f"fetching {len(packages)} Debian packages")
    apt.fetch(missing, packages, folder)
    progress(1.0)
    return tuple(missing), {package.name: package.unpacked_bytes for package in packages}


def _prove(args: argparse.Namespace, wanted: Wanted) -> Prove | None:
    if args.prove == "no":
        return None

    def prove(folder: pathlib.Path) -> dict[str, typing.Any] | None:
        from firmware_configs.payload import prove, roots

        def tell(what: str) -> None:
            print(f"proof: {what} ...", file=sys.stderr, flush=True)

        try:
            roots.emulator()
            with _root(args, tell) as root:
                return prove.prove(folder, wanted.board, root, tell)
        except roots.CannotProveError as error:
            if args.prove != "auto":
                raise
            print(f"not proved: {error}")
            return None

    return prove


def _root(args: argparse.Namespace, tell: collections.abc.Callable[[str], None]) -> contextlib.AbstractContextManager[pathlib.Path]:
    """Where it is proved: packages are for what is in the image or folder, and may need all of it."""
    from firmware_configs.payload import archives, roots

    if args.prove != "auto":
        return roots.copied(pathlib.Path(args.prove))
    if args.image:
        tell(f"taking the system out of {args.image}")
        return roots.of_image(args.image)
    return roots.copied(args.base or roots.lite(args.os, args.mirror or archives.DEBIAN, tell))


def _tell(made: Made, out: pathlib.Path, seconds: float) -> None:
    from firmware_configs.payload.assemble import MOST_BYTES

    shown = list(made.by_package.items())
    rows = [*shown[:_SHOWN], (f"{len(shown) - _SHOWN} more", sum(size for _, size in shown[_SHOWN:]))] if len(shown) > _SHOWN else shown
    width = max(len(name) for name, _ in rows)
    for name, size in rows:
        print(f"  {name:<{width}} {size / 1e6:6.1f} MB")
    print(f"  {'unpacked on the device':<{width}} {made.footprint_bytes / 1e6:6.1f} MB of {MOST_BYTES / 1e6:.0f}, beyond the system")
    if seen := made.proved:
        off = max(seen["steps_off_golden"].values())
        exact = f"up to {off:g} steps off" if off else "bit by bit the same"
        print(f"proved on {seen['base']} without a network ({seen['emulator']}, {seen['cpu']}):")
        print(f"  installed in {seen['seconds']['install']:.0f} s, {seen['footprint_bytes'] / 1e6:.0f} MB on its disk,")
        print(f"  golden vectors {exact}, {seen['decisions']} decisions")
    print(f"{out}: {made.bytes / 1e6:.1f} MB for the card, made in {seconds:.0f} s")
