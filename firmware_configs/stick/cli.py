"""``affectkit kit stick``: keys, sticks for kits, and the reports that kits leave on them."""

from __future__ import annotations

import argparse
import collections.abc
import datetime
import pathlib
import sys
import typing

from edge.errors import InputError
from firmware_configs.stick import DAILY, FOLDER, ROLES
from firmware_configs.stick.times import STICK_DAYS, as_date, refuse_wrong_clock, root_warning, whole

if typing.TYPE_CHECKING:
    from firmware_configs.stick.bundles import Checked
    from firmware_configs.stick.keyring import Keyring
    from firmware_configs.stick.repository import Release

_LOST = """if keys are lost:
  a daily key      `affectkit kit stick rotate --role daily` with the root key: kits follow by themselves
  one root key     of several: `affectkit kit stick revoke ID` with the others
  all root keys    sticks work as long as the daily keys and the root last; then the cards must be made anew
  a key is stolen  rotate at once, and visit every kit with a new stick: until then the thief can update it
Keep a second copy of the folder in another building, and the passphrase on paper, apart from both.
"""
# No parser here takes abbreviations: --passphrase WORDS would pass for --passphrase-file, and show the words in an error.


def add_stick(subparsers: argparse._SubParsersAction) -> None:
    """Adds ``kit stick``, with a command of its own for each step."""
    parser = subparsers.add_parser(
        "stick",
        allow_abbrev=False,
        help="make and check update sticks, and read what kits left on them",
        description="Makes sticks that update kits without a network. A kit takes only what your keys have signed, and never what is older "
        "than what it has.",
        epilog=_LOST,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_init(commands)
    _add_write(commands)
    _add_check(commands)
    _add_reports(commands)
    _add_rotate(commands)
    _add_revoke(commands)


def _add_init(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "init",
        allow_abbrev=False,
        help="make the keys, once for all kits",
        description="Makes the keys in a new folder, sealed with a passphrase that is asked for, and root.json for `affectkit kit payload "
        "--root`. Do it once, before the first card: a kit trusts these keys for its whole life.",
        epilog=_LOST,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-o", "--output", metavar="DIR", type=pathlib.Path, required=True, help="a new folder for the keys")
    parser.add_argument("--root-keys", metavar="N", type=int, default=1, help="people who hold a root key, each with a passphrase (1)")
    parser.add_argument("--threshold", metavar="N", type=int, default=1, help="of them who must agree to change keys (1)")
    parser.add_argument(
        "--passphrase-file", metavar="FILE", type=pathlib.Path, help="its first line for all keys, or a line each: daily, root 1, root 2"
    )
    parser.set_defaults(run=_init)


def _add_write(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "write",
        allow_abbrev=False,
        help="write bundles onto a stick, signed",
        description="Checks the bundles as a kit does, signs them and puts them onto the stick in place of what was there. What kits left "
        "on the stick stays. Kits that have taken a later stick refuse an earlier one, so write in the order in which they are used.",
    )
    parser.add_argument("bundles", metavar="BUNDLE", type=pathlib.Path, nargs="+", help="NAME.affectkit; several only with other names")
    _keys(parser)
    parser.add_argument(
        "--to", metavar="FOLDER", type=pathlib.Path, action="append", required=True, help="where the stick is mounted; may be repeated"
    )
    parser.add_argument("--expires-days", metavar="N", type=int, default=STICK_DAYS, help=f"for which it counts ({STICK_DAYS})")
    _within(parser)
    parser.add_argument("--clock-is-right", action="store_true", help="this computer's clock is right although the last stick is old")
    parser.set_defaults(run=_write)


def _add_check(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "check",
        allow_abbrev=False,
        help="say what a kit would make of a stick",
        description="Verifies a stick as a kit does that knows the time and has taken no stick yet. Status 2, with the reason, if the kit "
        "would refuse it.",
    )
    parser.add_argument("stick", metavar="FOLDER", type=pathlib.Path, help="where the stick is mounted")
    parser.add_argument("--root", metavar="FILE", type=pathlib.Path, required=True, help="root.json as it went onto the kit's card")
    parser.add_argument("--after", metavar="FOLDER", type=pathlib.Path, help="a stick that the kit has taken before")
    _within(parser)
    parser.set_defaults(run=_check)


def _add_reports(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "reports",
        allow_abbrev=False,
        help="show what kits left on a stick",
        description="Shows health, update and speed of the kits that the stick was in. Status 1 if one of them needs attention.",
    )
    parser.add_argument("stick", metavar="FOLDER", type=pathlib.Path, help="where the stick is mounted")
    parser.add_argument("--page", metavar="FILE", type=pathlib.Path, help="also as a page to look at: FILE.html")
    parser.set_defaults(run=_reports)


def _add_rotate(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "rotate",
        allow_abbrev=False,
        help="replace keys by new ones, or renew the root before it ends",
        description="Makes new keys and a new root, signed with the old root keys and the new. Kits follow with the next stick.",
    )
    _keys(parser)
    parser.add_argument("--role", choices=(*ROLES, "daily", "all"), default="root", help="whose keys; daily: all but the root's (root)")
    parser.add_argument("--only-renew", action="store_true", help="no new keys: the root counts for ten years from now")
    parser.add_argument("--threshold", metavar="N", type=int, help="root keys that must agree from now on; default: as before")
    _root_keys(parser)
    parser.set_defaults(run=_rotate)


def _add_revoke(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "revoke",
        allow_abbrev=False,
        help="replace one key, which was lost or stolen",
        description="Makes a new key in place of one, and a new root. Kits follow with the next stick.",
    )
    parser.add_argument("keys_to_go", metavar="KEYID", nargs="+", help="its ID or the beginning of it, as in the name of its file")
    _keys(parser)
    _root_keys(parser)
    parser.set_defaults(run=_revoke)


def _keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keys", metavar="DIR", type=pathlib.Path, required=True, help="what `affectkit kit stick init` made")
    parser.add_argument(
        "--passphrase-file", metavar="FILE", type=pathlib.Path, help="passphrases, a line each: all are tried; default: asked for"
    )


def _root_keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root-keys-from", metavar="DIR", type=pathlib.Path, action="append", default=[], help="where root keys lie; may be repeated"
    )
    parser.add_argument(
        "--new-passphrase-file", metavar="FILE", type=pathlib.Path, help="of the new keys; default: as --passphrase-file, or asked for"
    )


def _within(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--within", metavar="STEPS", type=float, default=0.0, help="by which golden vectors may differ here (0: bit by bit the same)"
    )


def _init(args: argparse.Namespace) -> int:
    from edge.doctor import built_on
    from firmware_configs.stick import keyring, passphrases

    now = _now()
    refuse_wrong_clock(now, datetime.datetime.combine(built_on(), datetime.time(), datetime.UTC), sure=True)
    ask = passphrases.new_from_file(args.passphrase_file, _note) if args.passphrase_file else passphrases.typed_new
    ring = keyring.create_keys(args.output, ask, now, root_keys=args.root_keys, threshold=args.threshold)
    folder, roots = args.output, [file.path.name for file in ring.root_files()]
    print(f"keys made in {folder}; {folder / keyring.README} says what to keep where:")
    print(f"  {keyring.ROOT}: not secret; onto every card with `affectkit kit payload --root {folder / keyring.ROOT}`")
    print(f"  {', '.join(roots)}: copy {'it' if len(roots) == 1 else 'each'} to a stick of its own, lock that away, and delete it here")
    print("  the rest: stays on this computer, with a copy of the whole folder in another building")
    print("  the passphrase: on paper, apart from both; nobody can bring it back")
    print(f"the root counts until {as_date(ring.repository.root.signed.expires)}")
    return 0


def _write(args: argparse.Namespace) -> int:
    from firmware_configs.progress import bar
    from firmware_configs.stick import bundles, media, repository
    from firmware_configs.stick.keyring import Keyring

    now = _now()
    ring = Keyring(args.keys)
    for stick in args.to:
        media.check_stick(stick)
    found = [bundles.checked(path, within=args.within) for path in args.bundles]
    repository.refuse_twice(found)
    for stick in args.to:
        media.refuse_full(stick, [one.bytes for one in found] + [len(content) for content in ring.repository.roots.values()])
    above = repository.State(dict.fromkeys(DAILY, 0), 0, None)
    for stick in args.to:
        there = repository.state_on(stick, ring.repository.root.signed)
        above = repository.highest(above, there)
        if there is None and (stick / FOLDER).exists():
            _note(f"{stick}: what is on it was not signed with these keys, or is damaged; it is replaced")
    signers = ring.daily(_passphrases(args))
    release = ring.repository.publish(found, signers, now, days=args.expires_days, above=above, sure=args.clock_is_right)
    for stick in args.to:
        media.write_stick(stick, release, bar(f"writing {stick}"))
    _tell(args.to, found, release, now, ring)
    return 0


def _tell(
    sticks: collections.abc.Sequence[pathlib.Path],
    found: collections.abc.Sequence[Checked],
    release: Release,
    now: datetime.datetime,
    ring: Keyring,
) -> None:
    for one in found:
        _show(one, release.serials[one.target])
        if one.ran is None:
            _note(f"{one.title}: not run here, for no interpreter works on this computer; the kit runs it before it takes it")
    for stick in sticks:
        print(f"{stick}: written and read back, {release.bytes / 1e6:.2f} MB; eject it before you pull it out")
        if not stick.is_mount():
            _note(f"{stick}: is no mounted stick but a folder of this computer; copy what is in it onto one")
    print(f"signed on {as_date(now)}; kits take it until {as_date(release.expires)}")
    if warning := root_warning(ring.repository.root.signed.expires, now):
        _note(warning)


def _show(one: Checked, serial: int) -> None:
    manifest = one.bundle.manifest
    ran = f"gives its golden vectors in {one.ran}" if one.ran else "not run here"
    print(f"{one.title}, number {serial}, made {manifest.created}, {one.bytes / 1e6:.2f} MB: {ran}")
    print(f"  decides {', '.join(manifest.labels) or 'nothing'} every {manifest.cadence_ms} ms, within {manifest.budget_ms} ms")


def _check(args: argparse.Namespace) -> int:
    from firmware_configs.stick.check import check

    answer = check(args.stick, args.root, _now(), after=args.after, within=args.within)
    for serial, one in answer.bundles:
        _show(one, serial)
    print(f"{args.stick}: signed on {as_date(answer.signed_at)}; a kit takes it until {as_date(answer.expires)}")
    for warning in answer.warnings:
        _note(warning)
    return 0


def _reports(args: argparse.Namespace) -> int:
    from firmware_configs.stick.reports import as_lines, read_reports

    found = read_reports(args.stick)
    if args.page:
        from edge.archive import beside
        from firmware_configs.stick.page import render

        with beside(args.page, overwrite=False, kind=InputError) as stream:
            stream.write(render(found).encode("utf-8"))
    print("\n".join(as_lines(found)))
    if args.page:
        print(f"\n{args.page}: the same to look at")
    return 1 if any(one.needs_attention for one in found) else 0


def _rotate(args: argparse.Namespace) -> int:
    from firmware_configs.stick.keyring import Keyring

    ring = Keyring(args.keys, args.root_keys_from)
    roles = {"daily": DAILY, "all": ROLES}.get(args.role, (args.role,))
    known = ring.repository.root.signed.roles
    return _replace(args, ring, [] if args.only_renew else [keyid for role in roles for keyid in known[role].keyids], args.threshold)


def _revoke(args: argparse.Namespace) -> int:
    from firmware_configs.stick.keyring import Keyring

    return _replace(args, Keyring(args.keys, args.root_keys_from), args.keys_to_go, None)


def _replace(args: argparse.Namespace, ring: Keyring, keyids: list[str], threshold: int | None) -> int:
    from firmware_configs.stick import keyring, passphrases
    from firmware_configs.stick.keys import file_name
    from firmware_configs.stick.root import full_id, role_of

    before = ring.repository.root.signed
    gone = [full_id(before, keyid) for keyid in keyids]
    new = args.new_passphrase_file or args.passphrase_file
    ask_new = passphrases.new_from_file(new, lambda line: None) if new else passphrases.typed_new
    made = ring.replace(gone, _passphrases(args), ask_new, _now(), threshold=threshold)
    for path in made:
        print(f"{path}: new")
    for keyid in gone:
        print(f"{file_name(role_of(before, keyid), keyid)}: counts no more; delete it, and its copies")
    root = ring.repository.root.signed
    print(f"{args.keys / keyring.ROOT}: version {root.version}, counts until {as_date(root.expires)}; for cards that are made from now on")
    print("kits follow with the next stick: write one, and take it to every kit")
    return 0


def _passphrases(args: argparse.Namespace) -> typing.Any:
    from firmware_configs.stick import passphrases

    return passphrases.from_file(args.passphrase_file, _note) if args.passphrase_file else passphrases.typed


def _now() -> datetime.datetime:
    return whole(datetime.datetime.now(datetime.UTC))


def _note(line: str) -> None:
    print(f"note: {line}", file=sys.stderr)
