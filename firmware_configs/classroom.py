"""``classroom.csv`` -> kits: one line a kit, everything checked before anything is made.

The first line names the columns: ``hostname``, and where wanted ``wifi``, ``wifi_password``, ``wifi_country``, ``bluetooth``,
``ssh_key`` and ``note``. Commas or semicolons, UTF-8 (with the mark of a spreadsheet or not).
"""

from __future__ import annotations

import base64
import binascii
import collections.abc
import csv
import dataclasses
import hashlib
import pathlib
import re
import string

from edge.errors import InputError
from edge.words import nearest
from firmware_configs.countries import ISO_3166, MISTAKEN

COLUMNS = ("hostname", "wifi", "wifi_password", "wifi_country", "bluetooth", "ssh_key", "note")
NONE = ("", "none", "-")
"""What says that there is nothing."""
OPEN = "open"
"""Password of a network that has none: it must be said, for a password that was forgotten looks the same."""
MOST_KITS = 500
MOST_BYTES = 1 << 20
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_KEY_TYPES = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)


@dataclasses.dataclass(frozen=True)
class Wifi:
    """A network that a kit joins."""

    name: str
    """1 to 32 bytes in UTF-8 (IEEE 802.11, SSID)."""
    password: str
    """8 to 63 characters of ASCII, or the 64 digits of its key; empty for an open network."""
    country: str
    """ISO 3166-1, two capitals: the radio stays silent until it knows whose rules apply."""

    @property
    def key(self) -> str:
        """The key as 64 hexadecimal digits, which goes onto the card instead of the password; empty for an open network.

        PBKDF2 with SHA-1 and 4096 rounds (IEEE 802.11i, annex H.4).
        """
        if len(self.password) in (0, 64):
            return self.password
        return hashlib.pbkdf2_hmac("sha1", self.password.encode("ascii"), self.name.encode("utf-8"), 4096, 32).hex()


@dataclasses.dataclass(frozen=True)
class Kit:
    """What is particular to one kit: a line of the list."""

    hostname: str
    wifi: Wifi | None = None
    bluetooth: bool = False
    ssh_key: str = ""
    """Public key that may log in; none, and no SSH at all, if empty."""
    note: str = ""


def read_classroom(path: pathlib.Path) -> tuple[Kit, ...]:
    """The kits that ``path`` lists, in its order.

    Raises:
        InputError: one line that names the file, the line and what to change.
    """
    text = _text(path)
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    if not first:
        raise InputError(f"{path}: is empty; its first line names the columns: {','.join(COLUMNS)}")
    reader = csv.reader(lines, delimiter=";" if first.count(";") > first.count(",") else ",", strict=True)
    header: list[str] | None = None
    kits: list[Kit] = []
    seen: dict[str, int] = {}
    try:
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if not any(cell.strip() for cell in row) or row[0].startswith("#"):
                continue
            if header is None:
                header = _header(row, where)
                continue
            kit = _kit(dict(zip(header, _filled(row, header, where), strict=True)), where)
            if kit.hostname in seen:
                raise InputError(f"{where}: host name {kit.hostname!r} is taken by line {seen[kit.hostname]}; give each kit its own")
            seen[kit.hostname] = reader.line_num
            kits.append(kit)
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: is not a line of a table: {error}; check its quotes") from error
    if not kits:
        raise InputError(f"{path}: lists no kit; write one line a kit under the names of the columns")
    if len(kits) > MOST_KITS:
        raise InputError(f"{path}: lists {len(kits)} kits; make at most {MOST_KITS} at a time")
    return tuple(kits)


def _text(path: pathlib.Path) -> str:
    try:
        raw = path.read_bytes() if path.stat().st_size <= MOST_BYTES else None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if raw is None:
        raise InputError(f"{path}: is larger than {MOST_BYTES} bytes; it is a table with one line a kit")
    utf16 = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = raw.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: is not UTF-8; save it as 'CSV UTF-8'") from error
    if "\0" in text:
        raise InputError(f"{path}, line {text[: text.index(chr(0))].count(chr(10)) + 1}: is not text; save it as 'CSV UTF-8'")
    return text


def _header(row: list[str], where: str) -> list[str]:
    header = [cell.strip().lower().replace(" ", "_").replace("-", "_") for cell in row]
    while header and not header[-1]:
        header.pop()
    header = ["hostname" if name == "host_name" else name for name in header]
    for name in header:
        if name not in COLUMNS:
            raise InputError(f"{where}: unknown column {name!r}{nearest(name, COLUMNS)}")
        if header.count(name) > 1:
            raise InputError(f"{where}: column {name!r} is there twice; delete one")
    if "hostname" not in header:
        raise InputError(f"{where}: no column 'hostname'; the first line names the columns: {','.join(COLUMNS)}")
    if "wifi" in header and "wifi_country" not in header:
        raise InputError(f"{where}: column 'wifi' without 'wifi_country'; add it, with codes such as KE or DE")
    if "wifi" in header and "wifi_password" not in header:
        raise InputError(f"{where}: column 'wifi' without 'wifi_password'; add it ({OPEN!r} for a network without one)")
    return header


def _filled(row: list[str], header: list[str], where: str) -> list[str]:
    cells = [cell.strip() for cell in row]
    while len(cells) > len(header) and not cells[-1]:
        cells.pop()
    if len(cells) != len(header):
        raise InputError(f"{where}: has {len(cells)} cells, the first line has {len(header)}; put quotes around a cell with a delimiter")
    return cells


def _kit(cells: collections.abc.Mapping[str, str], where: str) -> Kit:
    def cell(column: str) -> str:
        text = cells.get(column, "")
        return "" if text.lower() in NONE else text

    for column, text in cells.items():
        if not text.isprintable():
            raise InputError(f"{where}: {column} has a character that cannot be printed; type it anew")
    return Kit(
        hostname=checked_hostname(cell("hostname"), where),
        wifi=_wifi(cell("wifi"), cell("wifi_password"), cell("wifi_country"), where),
        bluetooth=_yes(cell("bluetooth"), where),
        ssh_key=_ssh_key(cell("ssh_key"), where),
        note=cell("note"),
    )


def checked_hostname(text: str, where: str) -> str:
    """A host name of one label (RFC 1123, section 2.1), in small letters; InputError if it is none."""
    name = text.lower()
    if not _LABEL.fullmatch(name):
        raise InputError(f"{where}: host name {text!r}: it is 1 to 63 letters a to z, digits and hyphens, no hyphen first or last")
    if name.isdigit() or name == "localhost":
        raise InputError(f"{where}: host name {text!r} means something else to a network; take one such as kit-01")
    return name


def _wifi(name: str, password: str, country: str, where: str) -> Wifi | None:
    if not name:
        if password:
            raise InputError(f"{where}: wifi_password without wifi; name the network, or empty both")
        return None
    if not 1 <= len(name.encode("utf-8")) <= 32:
        raise InputError(f"{where}: wifi {name!r} has {len(name.encode())} bytes; the name of a network has at most 32")
    if not password:
        raise InputError(f"{where}: wifi {name!r} has no wifi_password; write it, or {OPEN!r} if the network has none")
    if password.lower() == OPEN:
        password = ""
    elif len(password) == 64:
        if set(password) - set(string.hexdigits):
            raise InputError(f"{where}: wifi_password has 64 characters, so it is a key, and not all are hexadecimal; check it")
        password = password.lower()
    elif not 8 <= len(password) <= 63 or not password.isascii():
        raise InputError(f"{where}: wifi_password has {len(password)} characters; it has 8 to 63, all of them ASCII (WPA2)")
    code = country.upper()
    if code not in ISO_3166:
        hint = f"; write {MISTAKEN[code]}" if code in MISTAKEN else "; it is two letters of ISO 3166-1 such as KE, BR or DE"
        raise InputError(f"{where}: wifi_country {country!r} is no country{hint}")
    return Wifi(name, password, code)


def _yes(text: str, where: str) -> bool:
    if text.lower() not in ("yes", "no", ""):
        raise InputError(f"{where}: bluetooth {text!r}: it is yes or no")
    return text.lower() == "yes"


def _ssh_key(text: str, where: str) -> str:
    """A public key as one line of ``authorized_keys``, without options."""
    if not text:
        return ""
    if "PRIVATE" in text:
        raise InputError(f"{where}: ssh_key is a PRIVATE key, which nobody else may have; give the file that ends in .pub")
    kind, _, rest = text.partition(" ")
    if kind not in _KEY_TYPES or not rest:
        raise InputError(f"{where}: ssh_key is none that is known; it begins with one such as ssh-ed25519, as the file that ends in .pub")
    body = rest.partition(" ")[0]
    try:
        blob = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{where}: ssh_key is damaged; copy the whole line of the file that ends in .pub") from error
    # RFC 4253, section 6.6: the type once more, after its length.
    if not blob.startswith(len(kind).to_bytes(4, "big") + kind.encode()) or len(blob) < 4 + len(kind) + 4 + 32:
        raise InputError(f"{where}: ssh_key is damaged or cut; copy the whole line of the file that ends in .pub")
    return text
