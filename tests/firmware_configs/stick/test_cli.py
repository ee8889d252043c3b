"""``affectkit kit stick`` from the keys to a stick that a kit takes, and every mistake in one line."""

from __future__ import annotations

import argparse
import datetime
import json
import re
import shutil

import pytest

from edge import embedded
from edge.errors import EdgeError, InputError
from firmware_configs.stick import FOLDER, REPORTS
from firmware_configs.stick.cli import add_stick
from firmware_configs.stick.keyring import Keyring, create_keys
from tests.firmware_configs.stick.attacks import flex_bundle
from tests.firmware_configs.stick.workshop import CHEAP, PASSPHRASE, Workshop, ask

NOW = datetime.datetime.now(datetime.UTC)


def run(*words):
    parser = argparse.ArgumentParser()
    add_stick(parser.add_subparsers())
    args = parser.parse_args(["stick", *map(str, words)])
    return args.run(args)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Keys that open fast, and their passphrase in a file."""
    folder = tmp_path_factory.mktemp("made")
    create_keys(folder / "keys", ask, NOW, cost=CHEAP)
    (folder / "words.txt").write_text(PASSPHRASE + "\n")
    (folder / "words.txt").chmod(0o600)
    return folder


@pytest.fixture
def keys(made, tmp_path):
    shutil.copytree(made / "keys", tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def words(made):
    return made / "words.txt"


@pytest.fixture
def stick(tmp_path):
    (tmp_path / "stick").mkdir()
    return tmp_path / "stick"


def test_from_the_keys_to_a_stick_that_a_kit_takes(tmp_path, words, stick, capsys):
    """The only test that pays the real cost of a passphrase."""
    keys = tmp_path / "keys"
    assert run("init", "-o", keys, "--passphrase-file", words) == 0
    told = capsys.readouterr().out
    assert f"affectkit kit payload --root {keys / 'root.json'}" in told and re.search(r"root-[0-9a-f]{8}.key: copy it to a stick", told)
    assert run("write", embedded.BUNDLE, "--keys", keys, "--to", stick, "--passphrase-file", words) == 0
    told = capsys.readouterr()
    assert "classroom" in told.out and "number 1" in told.out and "gives its golden vectors in" in told.out
    assert re.search(r"decides \w+, .* every 250 ms, within 200 ms", told.out)
    assert f"{stick}: written and read back" in told.out and "is no mounted stick but a folder" in told.err
    assert run("check", stick, "--root", keys / "root.json") == 0
    assert "number 1" in capsys.readouterr().out


def test_every_stick_has_larger_numbers_and_a_kit_that_has_the_newer_refuses_the_older(keys, words, stick, tmp_path, capsys):
    (tmp_path / "second").mkdir()
    for folder in (stick, tmp_path / "second"):
        run("write", embedded.BUNDLE, "--keys", keys, "--to", folder, "--passphrase-file", words)
    assert run("check", tmp_path / "second", "--root", keys / "root.json", "--after", stick) == 0
    with pytest.raises(InputError, match="older than what this kit has seen"):
        run("check", stick, "--root", keys / "root.json", "--after", tmp_path / "second")


def test_two_sticks_at_once_are_the_same(keys, words, stick, tmp_path, capsys):
    (tmp_path / "second").mkdir()
    run("write", embedded.BUNDLE, "--keys", keys, "--to", stick, "--to", tmp_path / "second", "--passphrase-file", words)
    first, second = ({path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
                     for folder in (stick, tmp_path / "second"))  # fmt: skip
    assert first == second != {}


def test_what_others_signed_is_replaced_and_that_is_told(keys, words, stick, tmp_path, capsys):
    workshop = Workshop.make(tmp_path / "workshop")
    shutil.copytree(workshop.newer / FOLDER, stick / FOLDER)
    run("write", embedded.BUNDLE, "--keys", keys, "--to", stick, "--passphrase-file", words)
    told = capsys.readouterr()
    assert "number 1" in told.out and "was not signed with these keys, or is damaged; it is replaced" in told.err
    assert run("check", stick, "--root", keys / "root.json") == 0


def test_a_root_that_ends_soon_is_told(tmp_path, words, stick, capsys):
    create_keys(tmp_path / "keys", ask, NOW - datetime.timedelta(days=3400), cost=CHEAP)
    run("write", embedded.BUNDLE, "--keys", tmp_path / "keys", "--to", stick, "--passphrase-file", words)
    assert "note: the root ends on" in capsys.readouterr().err


def test_a_wrong_passphrase_changes_nothing(keys, stick, tmp_path):
    (tmp_path / "wrong.txt").write_text("not the right passphrase\n")
    (tmp_path / "wrong.txt").chmod(0o600)
    with pytest.raises(InputError, match="does not open it"):
        run("write", embedded.BUNDLE, "--keys", keys, "--to", stick, "--passphrase-file", tmp_path / "wrong.txt")
    assert not list(stick.iterdir()) and Keyring(keys).repository.state().serial == 0


@pytest.mark.parametrize(
    ("words_", "line"),
    [
        (("write", "{tmp}/none.affectkit", "--keys", "{tmp}/keys", "--to", "{tmp}/stick"), "cannot be read"),
        (("write", "{bundle}", "--keys", "{tmp}/none", "--to", "{tmp}/stick"), "make the keys with `affectkit kit stick init"),
        (("write", "{bundle}", "--keys", "{tmp}/keys", "--to", "{tmp}/none"), "give the folder under which the stick is mounted"),
        (("write", "{bundle}", "{bundle}", "--keys", "{tmp}/keys", "--to", "{tmp}/stick"), "both are named classroom"),
        (("write", "{bundle}", "--keys", "{tmp}/keys", "--to", "{tmp}/stick", "--expires-days", "0"), "--expires-days 0"),
        (("init", "-o", "{tmp}/keys"), "exists and is not overwritten"),
        (("init", "-o", "{tmp}/new", "--threshold", "2"), "--threshold 2: with 1 root keys"),
        (("check", "{tmp}/stick", "--root", "{tmp}/keys/root.json"), "has no affectkit-update"),
        (("reports", "{tmp}/stick"), "no kit has left a report there"),
        (("revoke", "00000000", "--keys", "{tmp}/keys"), "no key of this ID counts; those that do begin with"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_mistake_is_one_line_with_status_2_and_leaves_nothing(keys, words, stick, tmp_path, words_, line):
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    given = [word.format(tmp=tmp_path, bundle=embedded.BUNDLE) for word in words_]
    if given[0] in ("write", "init", "revoke"):
        given += ["--passphrase-file", str(words)]
    with pytest.raises(EdgeError) as refused:
        run(*given)
    assert refused.value.exit_status == 2 and line in str(refused.value) and "\n" not in str(refused.value)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_a_bundle_with_flex_is_refused_before_the_passphrase_is_asked(keys, stick, tmp_path):
    with pytest.raises(InputError, match="Flex"):
        run("write", flex_bundle(tmp_path / "flex.affectkit"), "--keys", keys, "--to", stick)
    assert not (stick / FOLDER).exists()


def test_new_keys_are_taken_by_kits_with_the_old_root(keys, words, stick, tmp_path, capsys):
    shutil.copy(keys / "root.json", tmp_path / "on-the-card.json")
    assert run("rotate", "--keys", keys, "--role", "all", "--passphrase-file", words) == 0
    told = capsys.readouterr().out
    assert told.count(": new\n") == 4 and told.count("counts no more; delete it") == 4 and "version 2" in told
    assert run("write", embedded.BUNDLE, "--keys", keys, "--to", stick, "--passphrase-file", words) == 0
    assert run("check", stick, "--root", tmp_path / "on-the-card.json") == 0


def test_the_root_is_renewed(keys, words, capsys):
    assert run("rotate", "--keys", keys, "--only-renew", "--passphrase-file", words) == 0
    told = capsys.readouterr().out
    assert ": new\n" not in told and "version 2" in told and "kits follow with the next stick" in told


def test_one_key_is_revoked_by_the_beginning_of_its_id(keys, words, capsys):
    before = Keyring(keys).repository.root.signed
    (keyid,) = before.roles["snapshot"].keyids
    assert run("revoke", keyid[:8], "--keys", keys, "--passphrase-file", words) == 0
    after = Keyring(keys).repository.root.signed
    assert keyid not in after.keys and after.roles["targets"].keyids == before.roles["targets"].keyids


def test_reports_are_shown_and_make_a_page(stick, tmp_path, capsys):
    for name, outcome in (("kit-01", "updated"), ("kit-02", "refused")):
        (stick / REPORTS / name).mkdir(parents=True)
        (stick / REPORTS / name / "report.json").write_text(json.dumps({"result": {"outcome": outcome, "line": "as told"}}))
    assert run("reports", stick, "--page", tmp_path / "kits.html") == 1
    assert capsys.readouterr().out.splitlines()[1].startswith("kit-02  refused")
    assert "1 of 2 need attention" in (tmp_path / "kits.html").read_text()
    with pytest.raises(InputError, match="exists already"):
        run("reports", stick, "--page", tmp_path / "kits.html")
    shutil.rmtree(stick / REPORTS / "kit-02")
    assert run("reports", stick) == 0


def test_help_tells_of_lost_keys(capsys):
    for command in ([], ["init"]):
        with pytest.raises(SystemExit):
            run(*command, "--help")
        told = capsys.readouterr().out
        assert "if keys are lost" in told and "the cards must be made anew" in told


def test_the_passphrase_is_never_an_option():
    parser = argparse.ArgumentParser()
    add_stick(parser.add_subparsers())
    with pytest.raises(SystemExit):
        parser.parse_args(["stick", "init", "-o", "keys", "--passphrase", PASSPHRASE])
