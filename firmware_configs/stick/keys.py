"""Key files: ed25519 (RFC 8032), each sealed with a passphrase.

A file is JSON: who the key is, its public half, and the secret one under ChaCha20-Poly1305 (RFC 8439) with a key that scrypt (RFC 7914)
makes of the passphrase. PKCS#8 would be more usual, but what ``cryptography`` writes has 2048 rounds of PBKDF2, which a guesser with a
graphics card laughs at.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import hashlib
import itertools
import json
import pathlib
import secrets
import typing

from edge.archive import dump_json, parse_json
from edge.errors import InputError
from firmware_configs.stick import ROLES

if typing.TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

SUFFIX = ".key"
LEAST_PASSPHRASE = 12
_FORMAT = 1
_MOST_BYTES = 64 << 10
_MOST_MEMORY_BYTES = 1 << 30
Ask = collections.abc.Callable[[str], collections.abc.Iterable[str]]
"""Called with whose passphrase is wanted ("all keys", "root key 1"); gives what is to be tried."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one guess at a passphrase costs: scrypt's parameters (RFC 7914, section 2); memory is 128 * n * r bytes."""

    n: int = 1 << 17
    r: int = 8
    p: int = 1


@dataclasses.dataclass(frozen=True)
class KeyFile:
    """A key as it lies in its folder; the secret half is sealed."""

    path: pathlib.Path
    role: str
    keyid: str
    """As The Update Framework names it: SHA-256 of the public key's canonical JSON, in hexadecimal."""
    whose: str
    """Which passphrase opens it."""
    cost: Cost
    salt: bytes
    nonce: bytes
    sealed: bytes


def file_name(role: str, keyid: str) -> str:
    return f"{role}-{keyid[:8]}{SUFFIX}"


def new_signer() -> CryptoSigner:
    """A new ed25519 key, from the system's randomness."""
    needed()
    from securesystemslib.signer import CryptoSigner

    return CryptoSigner.generate_ed25519()


def needed() -> None:
    """InputError naming the extra if the packages that sign are not installed."""
    try:
        import cryptography  # noqa: F401
        import securesystemslib.signer  # noqa: F401
        import tuf.api.metadata  # noqa: F401
    except ImportError as error:
        raise InputError(f"kit stick: needs {error.name or 'tuf'}, which is not installed; pip install 'affectkit[kit]'") from error


class Sealer:
    """Seals keys with one passphrase; it is stretched once for all of them.

    Raises:
        InputError: the passphrase is too short.
    """

    def __init__(self, whose: str, passphrase: str, cost: Cost | None = None):
        if len(passphrase) < LEAST_PASSPHRASE:
            raise InputError(
                f"passphrase of {whose}: {len(passphrase)} characters, {LEAST_PASSPHRASE} or more are needed; five random words are good"
            )
        self._whose, self._cost, self._salt = whose, cost or Cost(), secrets.token_bytes(16)
        self._key = _stretched(passphrase, self._salt, self._cost)

    def seal(self, signer: CryptoSigner, role: str) -> bytes:
        """Content of the key file."""
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

        secret = load_pem_private_key(signer.private_bytes, None).private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        keyid, nonce = signer.public_key.keyid, secrets.token_bytes(12)
        sealed = ChaCha20Poly1305(self._key).encrypt(nonce, secret, _label(role, keyid))
        return dump_json(
            {
                "format": _FORMAT,
                "about": "A signing key of update sticks for classroom kits. Keep it secret, keep a copy, and never lose the passphrase.",
                "role": role,
                "keyid": keyid,
                "public": signer.public_key.keyval["public"],
                "whose": self._whose,
                "kdf": {"name": "scrypt", **dataclasses.asdict(self._cost), "salt": self._salt.hex()},
                "cipher": {"name": "chacha20-poly1305", "nonce": nonce.hex(), "sealed": sealed.hex()},
            }
        )


class Opener:
    """Opens key files. What opened one is tried on the next, so each passphrase is asked for once."""

    def __init__(self, ask: Ask):
        self._ask = ask
        self._known: list[str] = []
        self._stretched: dict[tuple[str, bytes, Cost], bytes] = {}

    def open(self, file: KeyFile) -> CryptoSigner:
        """The key.

        Raises:
            InputError: no passphrase fits, or the file is damaged.
        """
        needed()
        for passphrase in itertools.chain(tuple(self._known), self._new(file.whose)):
            signer = self._tried(file, passphrase)
            if signer is not None:
                return signer
        raise InputError(f"{file.path}: the passphrase of {file.whose} does not open it; type it again, or take the copy of the key file")

    def _new(self, whose: str) -> collections.abc.Iterator[str]:
        """Those not tried yet; nobody is asked before the first is wanted."""
        fresh = [one for one in self._ask(whose) if one not in self._known]
        self._known += fresh
        yield from fresh

    def _tried(self, file: KeyFile, passphrase: str) -> CryptoSigner | None:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
        from securesystemslib.signer import CryptoSigner

        which = (passphrase, file.salt, file.cost)
        if which not in self._stretched:
            self._stretched[which] = _stretched(*which)
        try:
            secret = ChaCha20Poly1305(self._stretched[which]).decrypt(file.nonce, file.sealed, _label(file.role, file.keyid))
        except (InvalidTag, ValueError):
            return None
        signer = CryptoSigner(Ed25519PrivateKey.from_private_bytes(secret))
        return signer if signer.public_key.keyid == file.keyid else None


def read_key(path: pathlib.Path) -> KeyFile:
    """What lies in a key file, without opening it. InputError if it is none."""
    try:
        with path.open("rb") as stream:
            fields = parse_json(stream.read(_MOST_BYTES), where=str(path), kind=InputError)
        if fields.whole("format") != _FORMAT:
            raise fields.error("an unknown format of key file")
        kdf, cipher = fields.inner("kdf"), fields.inner("cipher")
        cost = Cost(kdf.whole("n", least=2), kdf.whole("r", least=1), kdf.whole("p", least=1, most=16))
        # A key file from elsewhere must not eat the memory of the workstation.
        if 128 * cost.n * cost.r > _MOST_MEMORY_BYTES or cost.n & (cost.n - 1):
            raise fields.error("scrypt's n must be a power of two, and its memory 1 GB at most")
        role = fields.text("role")
        if role not in ROLES or kdf.text("name") != "scrypt" or cipher.text("name") != "chacha20-poly1305":
            raise fields.error("an unknown role, kdf or cipher")
        salt, nonce, sealed = (bytes.fromhex(part.text(key)) for part, key in ((kdf, "salt"), (cipher, "nonce"), (cipher, "sealed")))
        return KeyFile(path, role, fields.text("keyid"), fields.text("whose"), cost, salt, nonce, sealed)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: a damaged key file ({error}); take your copy of it") from error


def find_keys(folders: collections.abc.Iterable[pathlib.Path]) -> dict[str, KeyFile]:
    """Key ID -> key file, of all that lie in ``folders``."""
    found = {}
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: is no folder; give the one with the keys")
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            file = read_key(path)
            found[file.keyid] = file
    return found


def _stretched(passphrase: str, salt: bytes, cost: Cost) -> bytes:
    memory = 128 * cost.n * cost.r + 128 * cost.r * cost.p + (1 << 20)
    return hashlib.scrypt(passphrase.encode("utf-8"), salt=salt, n=cost.n, r=cost.r, p=cost.p, maxmem=memory, dklen=32)


def _label(role: str, keyid: str) -> bytes:
    """Bound to the sealed half, so that no key file passes for that of another role."""
    return json.dumps([role, keyid]).encode()
