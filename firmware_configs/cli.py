"""``affectkit kit``: cards for the kits of a classroom, whether a card is what it should be, and the commands of the other parts."""

from __future__ import annotations

import argparse
import collections.abc
import pathlib
import sys
import time
import typing

from edge.errors import InputError
from firmware_configs import boards
from firmware_configs.progress import bar

if typing.TYPE_CHECKING:
    from firmware_configs.batch import Batch
    from firmware_configs.classroom import Kit
    from firmware_configs.device import Disks


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Adds ``kit``, with a command of its own for each step."""
    from firmware_configs.payload.cli import add_payload
    from firmware_configs.stick.cli import add_stick
    from firmware_configs.update.cli import add_settle, add_status, add_take

    parser = subparsers.add_parser(
        "kit",
        help="make, check and update classroom kits, offline",
        description="Classroom kits. On the workstation (Linux, macOS, Windows; no root) payload gathers what is installed, once, online; "
        "card makes cards, verify-image checks them, stick writes updates. On the kit status says how it is; take and settle are its "
        "updates.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (add_payload, add_card, add_verify_image, add_stick, add_status, add_take, add_settle):
        add(commands)


def add_card(subparsers: argparse._SubParsersAction) -> None:
    """Adds ``kit card``."""
    parser = subparsers.add_parser(
        "card",
        help="make a card for each kit of a list",
        description="Makes one image for each line of the list, with its own host name, password, radios and keys, or writes them to "
        "cards. Passwords are on sheet.html and in passwords.csv in the output folder, and nowhere else. Nothing is overwritten. Behind "
        "the system a card gets a small writable partition of the kit's own; the rest can then be read-only.",
    )
    parser.add_argument(
        "--image", metavar="IMG", type=pathlib.Path, required=True, help="Raspberry Pi OS Lite 64-bit: .img, .img.xz, .zst or .gz"
    )
    parser.add_argument(
        "--kits", metavar="CSV", type=pathlib.Path, required=True, help="the list: hostname, wifi, wifi_password, wifi_country, ..."
    )
    parser.add_argument("-o", "--output", metavar="DIR", type=pathlib.Path, required=True, help="folder for images, passwords and sheet")
    parser.add_argument("--payload", metavar="DIR", type=pathlib.Path, help="what `affectkit kit payload` made: goes onto each card")
    parser.add_argument("--config", metavar="FILE", type=pathlib.Path, help="kit.toml for all; default: the payload's, or one to fill in")
    parser.add_argument("--os", choices=("bookworm", "trixie"), help="the system in the image; default: what the image looks like")
    parser.add_argument("--board", metavar="NAME", help=f"{', '.join(boards.board_names())}; default: the payload's, or any of them")
    parser.add_argument("--kit", metavar="HOSTNAME", action="append", default=[], help="only this line of the list; may be repeated")
    parser.add_argument(
        "--to", metavar="DEVICE", type=pathlib.Path, help="write to this card (Linux), asking for each kit; makes no images"
    )
    parser.add_argument(
        "--root-room", metavar="MIB", type=int, default=1024, help="how much larger the system's partition gets; default: 1024 MiB"
    )
    parser.add_argument("--data-partition", metavar="MIB", type=int, default=512, help="size of the kit's own; default: 512 MiB")
    parser.add_argument(
        "--no-data-partition", action="store_true", help="leave the image's partitions alone: all stays writable, and grows at first boot"
    )
    parser.add_argument("--resume", action="store_true", help="go on with a folder: keep its passwords, and cards that are complete")
    parser.set_defaults(run=_card)


def add_verify_image(subparsers: argparse._SubParsersAction) -> None:
    """Adds ``kit verify-image``."""
    parser = subparsers.add_parser(
        "verify-image",
        help="say whether a written card is what it should be",
        description="Compares the partitions of a card and every file that it got with what they should be, by length and SHA-256; with "
        "--kits also with its line of the list. Status 0: as it should be; 1: not; 2: no image at all.",
    )
    parser.add_argument("image", metavar="IMG", type=pathlib.Path, help="an image, or the device of a card reader")
    parser.add_argument("--kits", metavar="CSV", type=pathlib.Path, help="the list that it was made with")
    parser.set_defaults(run=_verify_image)


def _card(args: argparse.Namespace) -> int:
    from firmware_configs import batch, boot_files, layout, load
    from firmware_configs.classroom import read_classroom

    listed = read_classroom(args.kits)
    kits = _chosen(listed, args.kit, args.kits)
    says = load.listing(args.payload) if args.payload else {}
    board = args.board or says.get("board", boot_files.ANY_BOARD)
    if board != boot_files.ANY_BOARD:
        boards.named(board)
    began = time.monotonic()
    target = boot_files.Target(args.os or _os_in(args.image, says.get("os")), board)
    room = None if args.no_data_partition else layout.Room(args.root_room, args.data_partition)
    what = load.load(target, args.payload, args.config, room)
    for note in load.notes(what, says):
        print(f"note: {note}")
    cards = batch.Batch(args.image, kits, what, args.output, resume=args.resume, listed=listed)
    if args.to:
        return _to_device(cards, args.to)
    for path in cards.make(bar):
        print(f"{path}: made and read back")
    if cards.word:
        print(cards.word)
    sheet = args.output / batch.SHEET
    print(
        f"{len(kits)} cards for Raspberry Pi OS {what.target.os} in {time.monotonic() - began:.0f} s; print {sheet} and keep it locked away"
    )
    return 0


def _os_in(image: pathlib.Path, payloads: str | None) -> boards.OsName:
    """The system in an image; of a packed one its name tells, or the payload's system is taken, or it has to be said."""
    from firmware_configs.card import os_of
    from firmware_configs.image import open_boot
    from firmware_configs.unpack import is_packed

    if is_packed(image):
        for name in ("bookworm", "trixie"):
            if name in image.name:
                return typing.cast(boards.OsName, name)
        if payloads in ("bookworm", "trixie"):
            return typing.cast(boards.OsName, payloads)
        raise InputError(f"{image}: cannot be looked into before it is unpacked; say --os trixie or --os bookworm")
    with open_boot(image) as volume:
        return os_of(volume)


def _chosen(kits: collections.abc.Sequence[Kit], wanted: collections.abc.Sequence[str], where: pathlib.Path) -> tuple[Kit, ...]:
    from edge.words import nearest

    names = [kit.hostname for kit in kits]
    for name in wanted:
        if name not in names:
            raise InputError(f"--kit {name}: no line of {where} has it{nearest(name, names)}")
    return tuple(kit for kit in kits if not wanted or kit.hostname in wanted)


def _to_device(cards: Batch, device: pathlib.Path, disks: Disks | None = None) -> int:
    from firmware_configs.card import written
    from firmware_configs.device import check_device, write_device

    check_device(device, cards.card_bytes, disks)
    for kit, path in cards.make_each(bar):
        disk = check_device(device, path.stat().st_size, disks)
        print(f"{kit.hostname}: ALL that is on {disk} will be lost. Put the card for {kit.hostname} in and type yes: ", end="", flush=True)
        if sys.stdin.readline().strip().lower() != "yes":
            raise InputError(f"{device}: not written, as nobody said yes")
        # Another card may have been put in meanwhile.
        disk = check_device(device, path.stat().st_size, disks)
        write_device(path, disk.path, bar(f"{kit.hostname}: writing and reading back"), spans=written(path))
        print(f"{kit.hostname}: written to {device} and read back; take the card out and label it")
    if cards.word:
        print(cards.word)
    return 0


def _verify_image(args: argparse.Namespace) -> int:
    from firmware_configs.card import check
    from firmware_configs.classroom import read_classroom

    wrong = check(args.image, read_classroom(args.kits) if args.kits else None)
    for line in wrong:
        print(f"{args.image}: {line}")
    print(f"{args.image}: {'NOT what it should be' if wrong else 'is what it should be'}")
    return 1 if wrong else 0
