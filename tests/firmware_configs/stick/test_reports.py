"""What kits left is shown, those in trouble first; what no kit has left does no harm."""

from __future__ import annotations

import html.parser
import json
import os

import pytest

from edge import embedded
from edge.errors import InputError
from firmware_configs.stick import REPORTS
from firmware_configs.stick.page import render
from firmware_configs.stick.reports import MOST_BYTES, as_lines, read_reports

FINE = {
    "affectkit": "0.1.0",
    "at": "2030-06-02T08:00:00Z",
    "clock_trusted": True,
    "result": {"outcome": "updated", "line": "the kit runs classroom 2030.3 now: 240 decisions in a minute"},
    "service": {"state": "deciding", "restarts": 0},
    "bundle": {"name": "classroom", "version": "2030.3", "on_trial": False},
    "latency": {"longest_ms": 61.25, "budget_ms": 200, "stages_ms": {"face": {"median": 12.3456}}, "plan": ["one thread"]},
    "health": {"findings": [{"name": "i2c", "state": "pass", "what": "bus 1", "remedy": ""}], "board": {"model": "Raspberry Pi 4"}},
    "boots": 12,
    "system_read_only": True,
}
ILL = {
    "at": "1970-01-01T00:02:00Z",
    "result": {"outcome": "fell back", "line": "classroom 2030.3 was taken back: no decisions"},
    "service": {"state": "deciding"},
    "health": {
        "findings": [
            {"name": "microphone", "state": "fail"},
            {"name": "space", "state": "fail", "what": "2 MB left", "remedy": "delete sessions"},
            {"name": "temperature", "state": "warn", "what": "79 C", "remedy": "give it air"},
        ]
    },
}


@pytest.fixture
def stick(tmp_path):
    def put(name, report):
        folder = tmp_path / REPORTS / name
        folder.mkdir(parents=True)
        content = report if isinstance(report, bytes) else json.dumps(report).encode()
        (folder / "report.json").write_bytes(content)
        return tmp_path

    return put


class Strict(html.parser.HTMLParser):
    """Collects tags and text, and whether what is opened is closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.texts, self.outside = [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.outside += [value for key, value in attrs if key in ("src", "href") and value and not value.startswith(("#", "data:"))]
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_a_report_is_read(stick):
    (one,) = read_reports(stick("kit-01", FINE))
    assert (one.hostname, one.outcome, one.bundle, one.health, one.affectkit) == ("kit-01", "updated", "classroom 2030.3", "well", "0.1.0")
    assert one.clock_trusted and not one.needs_attention and one.trouble == ""
    assert (one.state, one.board, one.latency) == ("deciding", "Raspberry Pi 4", "61 of 200 ms")
    numbers = dict(one.numbers)
    assert numbers["stages ms face median"] == "12.3456" and numbers["boots"] == "12" and numbers["system read only"] == "yes"
    assert "plan" not in numbers


def test_a_report_as_a_kit_leaves_it_is_read(tmp_path):
    from firmware_configs.update import report
    from firmware_configs.update.service import State
    from firmware_configs.update.store import Store
    from firmware_configs.update.take import Result
    from tests.firmware_configs.update import made

    store = Store(tmp_path / "srv")
    store.recover()
    state = State("active", "success", 0, 1, 1, 0)
    result = Result("refused", "the stick's timestamp has expired", "2030-06-02T08:00:00Z", False, "")
    measured = made.passes(embedded.BUNDLE)
    found = {"findings": [{"name": "space", "state": "fail", "what": "2 MB left", "remedy": ""}], "board": {"model": "a board"}}
    said = report.compose(store, state, result, measured, hostname="kit-07", found=found)
    assert "a report was left" in report.leave(tmp_path, said)
    (one,) = read_reports(tmp_path)
    assert (one.hostname, one.outcome, one.line, one.at) == ("kit-07", "refused", result.line, result.at)
    assert (one.state, one.board, one.health, one.trouble) == (state.word, "a board", "1 failed", "")
    assert (one.longest_ms, one.budget_ms) == (measured.longest_ms, measured.budget_ms) and one.needs_attention


def test_those_in_trouble_come_first(stick):
    for name, report in (("kit-01", FINE), ("kit-02", ILL), ("kit-03", FINE), ("kit-04", b"{")):
        folder = stick(name, report)
    found = read_reports(folder)
    assert [(one.hostname, one.needs_attention, one.health) for one in found] == [
        ("kit-02", True, "2 failed, 1 to look at"),
        ("kit-04", True, "not readable"),
        ("kit-01", False, "well"),
        ("kit-03", False, "well"),
    ]
    lines = as_lines(found)
    assert lines[0].split() == ["kit", "update", "runs", "state", "slowest", "health", "by", "the", "kit's", "clock"]
    assert lines[1].startswith("kit-02  fell back") and lines[1].endswith("1970-01-01T00:02:00Z, not set")
    told = "\n".join(lines)
    assert "  classroom 2030.3 was taken back: no decisions\n  microphone\n  space: 2 MB left; delete sessions" in told
    assert "report.json: not readable as JSON" in told


def test_the_folder_may_be_a_copy_of_that_on_the_stick(stick):
    assert read_reports(stick("kit-01", FINE) / REPORTS)[0].hostname == "kit-01"


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"result": []},
        {"result": {"outcome": 5}, "health": {"findings": {"a": 1}}, "latency": [1], "bundle": "x", "at": 5, "boots": 10**400},
        {"health": {"findings": [1, None, {"name": ["x"], "state": "fail\n"}]}},
        {"latency": {"a": {"b": {"c": 1e400}}, "d": "x" * 10_000, "e\u202e": -0.0, "longest_ms": True, "budget_ms": 1e99}},
        b"[1]",
        b"\xff",
        b"[" * 100_000,
        b'{"result":' * 50_000,
        b'{"latency":{"a":NaN}}',
    ],
    ids=lambda report: str(report)[:24].replace("\x1b", "?"),
)
def test_whatever_a_file_holds_it_is_shown_in_plain_text(stick, report):
    found = read_reports(stick("kit-01", report))
    assert all(line.isprintable() or not line for line in as_lines(found))
    assert "<script" not in render(found)


def test_names_and_words_cannot_become_commands_or_markup(stick):
    evil = "<script>alert(1)</script>\x1b[2J\u202e\n"
    report = {
        "result": {"outcome": evil, "line": evil},
        "at": evil,
        "affectkit": evil,
        "health": {"findings": [{"name": evil, "state": evil, "what": evil, "remedy": evil}], "board": {"model": evil}},
        "latency": {"stages_ms": {"<b>": evil}},
        "bundle": {"name": evil, "version": evil},
        "service": {"state": evil},
    }
    found = read_reports(stick("kit <b>\x1b[2J", report))
    told = "\n".join(as_lines(found))
    assert "\x1b" not in told and "\u202e" not in told
    page = Strict(render(found))
    assert "script" not in page.tags and "b" not in page.tags and page.open == [] and page.outside == []


def test_a_link_or_a_pipe_is_not_followed(tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps({"result": {"outcome": "updated", "line": "a secret"}}))
    for name in ("linked", "piped", "device"):
        (tmp_path / REPORTS / name).mkdir(parents=True)
    (tmp_path / REPORTS / "linked" / "report.json").symlink_to(secret)
    os.mkfifo(tmp_path / REPORTS / "piped" / "report.json")
    (tmp_path / REPORTS / "device" / "report.json").symlink_to("/dev/zero")
    (tmp_path / REPORTS / "away").symlink_to(tmp_path)
    found = read_reports(tmp_path)
    assert {one.hostname for one in found} == {"linked", "piped", "device"}
    assert all("is a link or no plain file" in one.trouble for one in found)
    assert "a secret" not in "\n".join(as_lines(found))


def test_a_link_in_place_of_all_reports_is_not_followed(tmp_path):
    (tmp_path / "elsewhere" / "kit-01").mkdir(parents=True)
    (tmp_path / REPORTS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is a link or no folder"):
        read_reports(tmp_path)


def test_a_report_that_does_not_end_is_not_read(stick):
    folder = stick("kit-01", FINE)
    os.truncate(folder / REPORTS / "kit-01" / "report.json", 8 << 30)
    (one,) = read_reports(folder)
    assert f"more than {MOST_BYTES >> 20} MiB" in one.trouble


def test_without_reports_it_is_said(tmp_path):
    with pytest.raises(InputError, match="no kit has left a report there"):
        read_reports(tmp_path)
    (tmp_path / REPORTS).mkdir()
    with pytest.raises(InputError, match="is empty: no kit has left a report yet"):
        read_reports(tmp_path)
    for number in range(1001):
        (tmp_path / REPORTS / str(number)).mkdir()
    with pytest.raises(InputError, match="has 1001 folders, at most 1000 are read"):
        read_reports(tmp_path)


def test_the_page_opens_offline_and_shows_all(stick):
    for name, report in (("kit-01", FINE), ("kit-02", ILL)):
        folder = stick(name, report)
    found = read_reports(folder)
    page = Strict(render(found))
    assert page.open == [] and page.outside == [] and "script" not in page.tags
    text = " ".join(page.texts)
    for words in (
        "1 of 2 need attention",
        "kit-01",
        "kit-02",
        "microphone",
        "delete sessions",
        "stages ms face median",
        "61 of 200 ms",
        "fell back",
        "nobody has set",
    ):
        assert words in text, words
    assert render(found) == render(found)
    assert "prefers-color-scheme: dark" in render(found)


def test_the_page_says_that_all_is_well(stick):
    assert "All is well" in " ".join(Strict(render(read_reports(stick("kit-01", FINE)))).texts)
