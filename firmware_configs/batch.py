"""Cards for a classroom: one image for each kit, their passwords and the sheet. Whole or not there, and it can go on later."""

from __future__ import annotations

import collections.abc
import contextlib
import csv
import io
import os
import pathlib
import tempfile

from edge.errors import InputError
from firmware_configs import card, layout, load
from firmware_configs.boot_files import USER
from firmware_configs.classroom import Kit
from firmware_configs.image import open_boot
from firmware_configs.password import fits, hashed, new_password
from firmware_configs.progress import Progress, silent
from firmware_configs.sheet import as_page
from firmware_configs.unpack import copy_sparse, created, holds_holes, is_packed, refuse_full, unpack, unpacked_bytes

PASSWORDS = "passwords.csv"
SHEET = "sheet.html"
Tell = collections.abc.Callable[[str], Progress]
"""Called with what begins; gives the progress of it."""


def quiet(what: str) -> Progress:
    """Tells nobody."""
    return silent


def image_name(kit: Kit) -> str:
    return f"{kit.hostname}.img"


class Batch:
    """Cards of ``kits`` made of ``image`` in the folder ``out``.

    ``passwords.csv`` and ``sheet.html``, both for their owner's eyes alone, come with them. With ``resume`` the passwords that are
    there are kept, and so are cards that are what they should be; without it anything that is there is an error. The sheet shows those
    of ``listed``, the whole list, that have a password. ``word`` is what people should know of the cards, once they have been begun.

    Raises:
        InputError: from here on, anything wrong with what was given; nothing half-written is left.
    """

    def __init__(
        self,
        image: pathlib.Path,
        kits: collections.abc.Sequence[Kit],
        what: load.Load,
        out: pathlib.Path,
        *,
        resume: bool = False,
        listed: collections.abc.Sequence[Kit] = (),
    ):
        self._image, self._kits, self._what, self._out, self._resume = image, kits, what, out, resume
        self._listed = listed or kits
        card.refuse_mismatch(kits, what)
        self._bytes = unpacked_bytes(image) or 0
        self._others: dict[str, str] = {}
        self._wrote: list[pathlib.Path] = []
        self._made = False
        self.word = ""

    @property
    def card_bytes(self) -> int:
        """What a card must hold at least; 0 if only unpacking tells."""
        return self._bytes + (self._what.room.size_bytes - layout.ALIGN_BYTES if self._bytes and self._what.room else 0)

    def _refuse_full(self, images: int) -> None:
        grown = self._what.room.size_bytes if self._what.room and not holds_holes(self._out) else 0
        refuse_full(self._out, (self._bytes + grown) * images)

    def make(self, tell: Tell = quiet) -> list[pathlib.Path]:
        """Every card as an image in ``out``; their paths."""
        paths = [self._out / image_name(kit) for kit in self._kits]
        if not self._resume:
            for path in paths:
                _refuse(path)
        with self._begun() as passwords:
            todo = [kit for kit, path in zip(self._kits, paths, strict=True) if not self._is_done(path, kit, passwords[kit])]
            self._refuse_full(len(todo))
            # Unpacked once: the copies come from there, and the last card is made of it.
            unpacked = self._out / ".unpacked.partial"
            unpacked.unlink(missing_ok=True)
            try:
                source = self._source(unpacked, tell) if todo else self._image
                if todo:
                    self.word = card.probe(source, todo[0], self._what)
                self._write(passwords)
                for kit in todo:
                    move = source is unpacked and kit is todo[-1]
                    self._card(source, self._out / image_name(kit), kit, passwords[kit], tell, move=move)
            finally:
                unpacked.unlink(missing_ok=True)
        return paths

    def make_each(self, tell: Tell = quiet) -> collections.abc.Iterator[tuple[Kit, pathlib.Path]]:
        """One card after the other as an image that is there until the next, for writing to a device."""
        with self._begun() as passwords, tempfile.TemporaryDirectory(prefix=".cards-", dir=self._out) as folder:
            self._refuse_full(min(2, len(self._kits)))
            source = self._source(pathlib.Path(folder) / "unpacked.partial", tell)
            self.word = card.probe(source, self._kits[0], self._what)
            self._write(passwords)
            for kit in self._kits:
                path = pathlib.Path(folder) / image_name(kit)
                copy_sparse(source, path, tell(f"{kit.hostname}: copying"))
                card.edit(path, kit, hashed(passwords[kit]), self._what)
                self._made = True
                yield kit, path
                path.unlink()

    @contextlib.contextmanager
    def _begun(self) -> collections.abc.Iterator[dict[Kit, str]]:
        """The passwords, in a folder that is there; as it was before if not one card comes of it."""
        fresh = not self._out.exists()
        self._out.mkdir(parents=True, exist_ok=True)
        try:
            yield self._passwords()
        except BaseException:
            if not self._made:
                for path in self._wrote:
                    path.unlink(missing_ok=True)
                if fresh:
                    with contextlib.suppress(OSError):
                        self._out.rmdir()
            raise

    def _source(self, unpacked: pathlib.Path, tell: Tell) -> pathlib.Path:
        """The raw image: the one that was given, or ``unpacked`` made of it."""
        if not is_packed(self._image):
            return self._image
        unpack(self._image, unpacked, tell(f"unpacking {self._image.name}"))
        return unpacked

    def _card(self, source: pathlib.Path, path: pathlib.Path, kit: Kit, password: str, tell: Tell, *, move: bool) -> None:
        partial = path.with_name(path.name + ".partial")
        partial.unlink(missing_ok=True)
        try:
            if move:
                source.rename(partial)
            else:
                copy_sparse(source, partial, tell(f"{kit.hostname}: copying"))
            card.edit(partial, kit, hashed(password), self._what)
            if self._resume:
                path.unlink(missing_ok=True)
            _refuse(path)
            partial.rename(path)
            self._made = True
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def _is_done(self, path: pathlib.Path, kit: Kit, password: str) -> bool:
        if not (self._resume and path.exists()):
            return False
        if card.check(path, [kit]) or not card.is_of(path, self._what):
            return False
        with open_boot(path) as volume:
            return fits(password, card.hash_on(volume) or "")

    def _passwords(self) -> dict[Kit, str]:
        """A password for each kit: those in ``out`` when it is resumed, new ones otherwise."""
        known: dict[str, str] = {}
        if self._resume and (self._out / PASSWORDS).exists():
            known = read_passwords(self._out / PASSWORDS)
        else:
            _refuse(self._out / PASSWORDS)
            _refuse(self._out / SHEET)
        self._others = {name: password for name, password in known.items() if name not in {kit.hostname for kit in self._kits}}
        return {kit: known.get(kit.hostname) or new_password() for kit in self._kits}

    def _write(self, passwords: dict[Kit, str]) -> None:
        """Writes the passwords before they are used, so no card exists whose password nobody knows."""
        # The page first: if a package for it is missing, nothing has been written.
        known = self._others | {kit.hostname: password for kit, password in passwords.items()}
        page = as_page({kit: known[kit.hostname] for kit in self._listed if kit.hostname in known})
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("hostname", "user", "password"))
        writer.writerows((name, USER, password) for name, password in self._others.items())
        writer.writerows((kit.hostname, USER, password) for kit, password in passwords.items())
        for path, content in ((self._out / PASSWORDS, text.getvalue()), (self._out / SHEET, page)):
            if not path.exists():
                self._wrote.append(path)
            _replace(path, content)


def read_passwords(path: pathlib.Path) -> dict[str, str]:
    """Host name -> password, of a ``passwords.csv``. InputError if it is damaged."""
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        return {row["hostname"]: row["password"] for row in rows}
    except (OSError, UnicodeDecodeError, KeyError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read; move it away, and make the cards again") from error


def _replace(path: pathlib.Path, text: str) -> None:
    """Writes beside and renames; only the owner may read it."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    with created(partial) as file:
        os.chmod(partial, 0o600)
        file.write(text.encode("utf-8"))
    partial.replace(path)


def _refuse(path: pathlib.Path) -> None:
    if path.exists() or path.is_symlink():
        raise InputError(f"{path}: exists and is not overwritten; delete it, write elsewhere, or go on with --resume")
