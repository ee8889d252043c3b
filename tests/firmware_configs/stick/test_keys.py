"""A key file opens with its passphrase, and with nothing else."""

from __future__ import annotations

import json

import pytest

from edge.errors import InputError
from firmware_configs.stick.keys import Cost, Opener, Sealer, file_name, find_keys, new_signer, read_key
from tests.firmware_configs.stick.workshop import CHEAP, PASSPHRASE, ask


@pytest.fixture
def signer():
    return new_signer()


@pytest.fixture
def path(tmp_path, signer):
    path = tmp_path / file_name("targets", signer.public_key.keyid)
    path.write_bytes(Sealer("all keys", PASSPHRASE, CHEAP).seal(signer, "targets"))
    return path


def change(path, edit):
    table = json.loads(path.read_text())
    edit(table)
    path.write_text(json.dumps(table))


def test_what_was_sealed_opens_and_signs(path, signer):
    opened = Opener(ask).open(read_key(path))
    signer.public_key.verify_signature(opened.sign(b"said"), b"said")
    assert opened.public_key == signer.public_key


def test_the_secret_half_is_not_in_the_file(path, signer):
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

    secret = load_pem_private_key(signer.private_bytes, None).private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    content = path.read_bytes()
    assert secret not in content and secret.hex().encode() not in content
    assert signer.public_key.keyval["public"].encode() in content


def test_two_files_of_one_key_share_nothing_that_is_secret(signer):
    first, second = (json.loads(Sealer("all keys", PASSPHRASE, CHEAP).seal(signer, "root")) for _ in range(2))
    assert first["kdf"]["salt"] != second["kdf"]["salt"]
    assert first["cipher"] != second["cipher"]


def test_the_default_cost_is_that_which_guessers_feel():
    assert Cost().n * Cost().r * 128 >= 64 << 20


def test_a_wrong_passphrase_is_one_line(path):
    with pytest.raises(InputError, match=r"^[^\n]*the passphrase of all keys does not open it; type it again[^\n]*$"):
        Opener(lambda whose: ["ten green bottles standing on the wall"]).open(read_key(path))


def test_of_several_passphrases_each_is_tried(path, signer):
    assert Opener(lambda whose: ["another one of those", PASSPHRASE]).open(read_key(path)).public_key == signer.public_key


def test_a_passphrase_is_asked_for_once(tmp_path):
    sealer = Sealer("all keys", PASSPHRASE, CHEAP)
    asked = []

    def counting(whose):
        asked.append(whose)
        return [PASSPHRASE]

    opener = Opener(counting)
    for number in range(3):
        path = tmp_path / f"{number}.key"
        path.write_bytes(sealer.seal(new_signer(), "targets"))
        opener.open(read_key(path))
    assert asked == ["all keys"]


@pytest.mark.parametrize("passphrase", ["", "password", "eleven char"])
def test_a_short_passphrase_is_refused(passphrase):
    with pytest.raises(InputError, match=f"{len(passphrase)} characters, 12 or more are needed"):
        Sealer("all keys", passphrase, CHEAP)


def test_a_key_file_does_not_pass_for_that_of_another_role(path):
    change(path, lambda table: table.update(role="root"))
    with pytest.raises(InputError, match="does not open it"):
        Opener(ask).open(read_key(path))


@pytest.mark.parametrize(
    "edit",
    [
        lambda table: table.pop("kdf"),
        lambda table: table.update(format=2),
        lambda table: table.update(role="king"),
        lambda table: table["kdf"].update(n=3),
        lambda table: table["kdf"].update(n=1 << 40),
        lambda table: table["kdf"].update(name="md5"),
        lambda table: table["cipher"].update(nonce="no hexadecimal"),
    ],
    ids=["no kdf", "format", "role", "n is no power of two", "memory", "kdf", "hexadecimal"],
)
def test_a_damaged_file_is_one_line(path, edit):
    change(path, edit)
    with pytest.raises(InputError, match=rf"^{path}[^\n]*$"):
        read_key(path)


def test_noise_is_no_key_file(tmp_path):
    (tmp_path / "x.key").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="not readable as JSON"):
        find_keys([tmp_path])


def test_keys_are_found_in_several_folders_by_their_id(tmp_path, path, signer):
    other = new_signer()
    (tmp_path / "stick").mkdir()
    (tmp_path / "stick" / "root.key").write_bytes(Sealer("root key 1", PASSPHRASE, CHEAP).seal(other, "root"))
    found = find_keys([tmp_path, tmp_path / "stick"])
    assert {keyid: (file.role, file.whose) for keyid, file in found.items()} == {
        signer.public_key.keyid: ("targets", "all keys"),
        other.public_key.keyid: ("root", "root key 1"),
    }


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(InputError, match="is no folder; give the one with the keys"):
        find_keys([tmp_path / "none"])
