"""Which keys are in a file of OpenPGP public keys, so that a fetched one can be held against a known fingerprint.

Source: RFC 4880, sections 4.2 (packet headers), 6.2 (ASCII armor) and 12.2 (fingerprints).
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from edge.errors import InputError

_PUBLIC_KEY = 6


def dearmored(content: bytes, where: str) -> bytes:
    """The packets in ``content``, which may be in ASCII armor or not. InputError if the armor is damaged."""
    lines = [line.strip() for line in content.splitlines()]
    if b"-----BEGIN PGP PUBLIC KEY BLOCK-----" not in lines:
        return content
    # Headers end at an empty line; the line behind "=" is a checksum.
    begin = lines.index(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")
    try:
        data = lines[lines.index(b"", begin) + 1 : lines.index(b"-----END PGP PUBLIC KEY BLOCK-----")]
        return base64.b64decode(b"".join(line for line in data if not line.startswith(b"=")), validate=True)
    except (ValueError, binascii.Error) as error:
        raise InputError(f"{where}: is a damaged OpenPGP key; fetch it again") from error


def fingerprints(content: bytes, where: str) -> list[str]:
    """Fingerprints of the primary keys (version 4) in ``content``, in hexadecimal capitals.

    Raises:
        InputError: it is damaged, or holds no key.
    """
    data, found, at = dearmored(content, where), [], 0
    while at < len(data):
        kind, body, at = _packet(data, at, where)
        if kind == _PUBLIC_KEY and body[:1] == b"\x04":
            found.append(hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body, usedforsecurity=False).hexdigest().upper())
    if not found:
        raise InputError(f"{where}: holds no OpenPGP key of version 4; fetch it again")
    return found


def _packet(data: bytes, at: int, where: str) -> tuple[int, bytes, int]:
    """Kind and body of the packet that begins at ``at``, and where the next one does."""
    head, damaged = data[at], InputError(f"{where}: is a damaged OpenPGP key; fetch it again")
    at += 1
    if not head & 0x80:
        raise damaged
    if head & 0x40:
        kind, first = head & 0x3F, data[at] if at < len(data) else 0
        if first < 192:
            width, length = 1, first
        elif first < 224:
            width, length = 2, ((first - 192) << 8) + int.from_bytes(data[at + 1 : at + 2], "big") + 192
        elif first == 255:
            width, length = 5, int.from_bytes(data[at + 1 : at + 5], "big")
        else:
            raise damaged
    else:
        kind = (head >> 2) & 0xF
        width = (1, 2, 4, 0)[head & 3]
        length = int.from_bytes(data[at : at + width], "big") if width else len(data) - at
    end = at + width + length
    if end > len(data):
        raise damaged
    return kind, data[at + width : end], end
