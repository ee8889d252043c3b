"""The list of kits: what is read, and the line that is named when it cannot be."""

from __future__ import annotations

import base64
import hashlib

import hypothesis
import hypothesis.strategies as st
import pytest

from edge.errors import InputError
from firmware_configs.classroom import Kit, Wifi, read_classroom
from firmware_configs.countries import ISO_3166

BLOB = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(range(32))
KEY = f"ssh-ed25519 {base64.b64encode(BLOB).decode()} teacher@school"
HEADER = "hostname,wifi,wifi_password,wifi_country,bluetooth,ssh_key,note\n"


def read(tmp_path, text: str | bytes):
    path = tmp_path / "classroom.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_classroom(path)


def test_a_line_is_a_kit(tmp_path):
    kits = read(tmp_path, HEADER + f'kit-01,School,longenough,ke,yes,{KEY},"by the window, left"\nKIT-02,none,,,,,\n')
    assert kits == (Kit("kit-01", Wifi("School", "longenough", "KE"), True, KEY, "by the window, left"), Kit("kit-02"))


@pytest.mark.parametrize("encode", [str.encode, lambda text: b"\xef\xbb\xbf" + text.encode(), lambda text: text.encode("utf-16")])
@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_spreadsheets_write_is_read(tmp_path, encode, delimiter, end):
    text = end.join([delimiter.join(("Hostname", "Note")), delimiter.join(("kit-01", "Fensterplätze")), delimiter * 1, ""])
    assert read(tmp_path, encode(text)) == (Kit("kit-01", note="Fensterplätze"),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("hostname\n", "lists no kit"),
        ("name\nkit-01\n", "line 1: unknown column 'name'"),
        ("note\nx\n", "line 1: no column 'hostname'"),
        ("hostname,hostname\na,b\n", "line 1: column 'hostname' is there twice"),
        ("hostname,wifi,wifi_password\na,b,c\n", "without 'wifi_country'"),
        ("hostname,wifi,wifi_country\na,b,c\n", "without 'wifi_password'"),
        ("hostname,note\nkit-01\n", "line 2: has 1 cells, the first line has 2"),
        ("hostname,note\nkit-01,a,b\n", "line 2: has 3 cells"),
        ("hostname\nkit-01\nkit-02\nKIT-01\n", "line 4: host name 'kit-01' is taken by line 2"),
        ("hostname\nkit 01\n", "line 2: host name 'kit 01'"),
        ("hostname\nkit_01\n", "line 2: host name 'kit_01'"),
        ("hostname\n-kit\n", "line 2: host name '-kit'"),
        ("hostname,note\n,x\n", "line 2: host name ''"),
        (f"hostname\n{'a' * 64}\n", "1 to 63 letters"),
        ("hostname\nlocalhost\n", "means something else"),
        ("hostname\n123\n", "means something else"),
        (HEADER + "k,,secretsecret,,,,\n", "wifi_password without wifi"),
        (HEADER + "k,School,,KE,,,\n", "has no wifi_password"),
        (HEADER + "k,School,short,KE,,,\n", "has 5 characters"),
        (HEADER + "k,School,päßwörter,KE,,,\n", "all of them ASCII"),
        (HEADER + f"k,School,{'g' * 64},KE,,,\n", "not all are hexadecimal"),
        (HEADER + f"k,{'S' * 33},longenough,KE,,,\n", "at most 32"),
        (HEADER + "k,School,longenough,XX,,,\n", "line 2: wifi_country 'XX' is no country"),
        (HEADER + "k,School,longenough,UK,,,\n", "write GB"),
        (HEADER + "k,School,longenough,,,,\n", "wifi_country '' is no country"),
        (HEADER + "k,,,,maybe,,\n", "bluetooth 'maybe'"),
        (HEADER + "k,,,,,ssh-ed25519 AAAA,\n", "ssh_key is damaged or cut"),
        (HEADER + "k,,,,,ssh-ed25519 !!!,\n", "ssh_key is damaged"),
        (HEADER + "k,,,,,hello there,\n", "ssh_key is none that is known"),
        (HEADER + "k,,,,,-----BEGIN OPENSSH PRIVATE KEY-----,\n", "PRIVATE"),
        ('hostname,note\nkit-01,"open\nline\n', "is not a line of a table"),
        (b"hostname,note\nkit-01,caf\xe9\n", "line 2: is not UTF-8"),
        (b"hostname\nkit\0\n", "line 2: is not text"),
        ("hostname,note\nkit,a\x1bb\n", "cannot be printed"),
        ("hostname\n" + "".join(f"k{n}\n" for n in range(501)), "lists 501 kits"),
    ],
)
def test_a_mistake_is_one_line_that_says_where(tmp_path, text, says):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


def test_a_missing_list_is_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_classroom(tmp_path / "none.csv")


def test_the_key_of_a_network_is_that_of_the_standard():
    # IEEE 802.11i, annex H.4.3, test cases 1 and 2.
    assert Wifi("IEEE", "password", "US").key == "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"
    assert Wifi("ThisIsASSID", "ThisIsAPassword", "US").key == "0dc0d6eb90555ed6419756b9a15ec3e3209b63df707dd508d14581f8982721af"


def test_a_key_is_taken_as_it_is_and_an_open_network_has_none(tmp_path):
    key = hashlib.sha256(b"x").hexdigest()
    kits = read(tmp_path, f"hostname,wifi,wifi_password,wifi_country\na,S,{key.upper()},DE\nb,S,OPEN,DE\n")
    assert [kit.wifi.key for kit in kits] == [key, ""]


def test_there_are_249_countries():
    assert len(ISO_3166) == 249
    assert all(len(code) == 2 and code.isupper() for code in ISO_3166)


@hypothesis.given(st.binary(max_size=300))
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_any_bytes_are_kits_or_one_line(tmp_path, raw):
    try:
        assert all(isinstance(kit, Kit) for kit in read(tmp_path, raw))
    except InputError as error:
        assert "\n" not in str(error)
