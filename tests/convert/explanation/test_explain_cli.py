from __future__ import annotations

import argparse
import base64
import io
import json
import re

import numpy as np
import PIL.Image
import pytest
from linear_stage import linear, refitted

from convert.explanation import cli
from convert.explanation.explain import explain
from convert.explanation.page import render
from edge.errors import BundleError, InputError, SessionError
from edge.session import open_session
from edge.session_writer import SessionWriter
from edge.types import MODALITIES
from tests.convert.pages.parsed import Parsed, check, figures


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    cli.add_commands(parser.add_subparsers())
    args = parser.parse_args(["explain", *map(str, arguments)])
    return args.run(args)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The page and the JSON of the embedded session, and the folder."""
    folder = tmp_path_factory.mktemp("explained")
    assert run("--at", 85, "-o", folder / "page.html", "--json", folder / "page.json") == 0
    return (folder / "page.html").read_text(encoding="utf-8"), json.loads((folder / "page.json").read_text(encoding="utf-8")), folder


def test_the_embedded_session_gives_a_whole_page_that_shows_nobody(made):
    page, record, _ = made
    parsed = check(page)
    assert len(figures(page)) >= 1 + 2 * 3
    assert "data:image" not in page and "No picture, sound or body signal" in parsed.text
    for title in (
        "Over the session",
        "What each modality was worth",
        "Where in the face",
        "Where in the voice",
        "What in the body signals",
    ):
        assert title in parsed.text
    assert all(modality in record for modality in MODALITIES)
    # Maps and values, and nothing that a face or a voice could be made from.
    assert record["face"].keys() == {"size_px", "map", "shuffled_map", "check"}
    assert record["speech"].keys() == {"edges_s", "edges_hz", "whole_bands", "whole_blocks", "map", "shuffled_map", "check"}


def test_the_page_says_what_the_json_says(made):
    page, record, _ = made
    assert page == render(record)
    parsed, decision = Parsed(page), record["decision"]
    rows = [[cell.replace("\u00a0", " ") for cell in row] for row in parsed.rows]
    assert f"{decision['label']}, {100 * decision['probability']:.1f} %" in parsed.text
    for one in record["modalities"]["players"]:
        assert any(row[0] == one["player"] and signed(one["value"]) in row for row in rows)
    for spell in record["over_time"]["absences"]:
        assert [spell["modality"], f"{spell['from_s']:g}", f"{spell['to_s']:g}", spell["reason"], spell["detail"]] in rows
    assert "affectkit explain classroom.session.zip --bundle classroom.affectkit --at 85 --seed 0 -o page.html" in parsed.text
    for modality in MODALITIES:
        found = record[modality]["check"]
        words = "highest costs" if found["direction"] == 1 else "lowest gains the label"
        assert f"{words} {signed(found['direction'] * found['drop_top']).lstrip('+')}" in parsed.text


def signed(value: float) -> str:
    """As the page says it: a rounded 0 has no sign, and minus is a minus."""
    told = f"{100 * value:+.1f}"
    return f"{told[1:] if float(told) == 0 else told} points".replace("-", "\u2212")


def test_the_numbers_hold_together(made):
    _, record, _ = made
    told, decision = record["modalities"], record["decision"]
    assert told["none"] == 0.25 and told["all"] == decision["probability"]
    assert decision["settle_ms"] > 0 and decision["probabilities"][decision["label"]] != decision["probability"]  # an average is told
    assert sum(one["value"] for one in told["players"]) == pytest.approx(told["all"] - told["none"], abs=1e-5)
    body = record["physiology"]
    assert sum(one["value"] for one in body["players"]) == pytest.approx(body["all"] - body["none"], abs=1e-5)
    assert body["all"] == pytest.approx(told["all"], abs=1e-6)  # every window, asked again, gives the decision
    track = record["over_time"]
    assert len(track["t_s"]) == 360 and track["t_s"][-1] == 90
    place = track["t_s"].index(decision["t_s"])
    assert (track["label"][place], track["state"][place]) == (decision["label"], "decided")
    for place, state in enumerate(track["state"]):
        weights = [track["weights"][modality][place] for modality in MODALITIES]
        given = [weight for weight in weights if weight is not None]
        assert sum(given) == pytest.approx(1 if given else 0, abs=1e-5) and bool(given) == (state != "no decision")


def test_a_map_of_the_embedded_bundle_points_at_more_than_chance_does(made):
    _, record, _ = made
    found = [record[modality]["check"] for modality in ("face", "speech")]
    assert any(one["direction"] * (one["drop_top"] - np.mean(one["drop_random"])) > np.std(one["drop_random"]) for one in found)


def test_an_hour_of_decisions_is_drawn_thinned_and_counted_whole(made):
    page, record, _ = made
    track = record["over_time"]
    many, seconds = 14_400, 3600.0
    long = {key: {name: (column * 40)[:many] for name, column in track[key].items()} for key in ("probabilities", "weights")}
    long |= {key: (track[key] * 40)[:many] for key in ("state", "label")} | {"t_s": [0.25 * (place + 1) for place in range(many)]}
    told = record | {"over_time": track | long, "session": record["session"] | {"duration_s": seconds}}
    drawn = render(told)
    check(drawn)
    assert "One decision in 12 is drawn." in drawn and "14400 decisions in 3600" in Parsed(drawn).text
    assert len(drawn) < 3 * len(page)


@pytest.fixture(scope="module")
def of_short(short, tmp_path_factory):
    """The folder of two explanations of a short session: ``a``, and ``b`` with the face, which replaced what was there."""
    folder = tmp_path_factory.mktemp("short-explained")
    run(short.path, "--at", 3, "-o", folder / "a.html", "--json", folder / "a.json")
    (folder / "b.html").write_text("before")
    run(short.path, "--at", 3, "-o", folder / "b.html", "--json", folder / "b.json", "--with-face", "--overwrite")
    return folder


def test_twice_gives_the_same_bytes(of_short):
    assert (of_short / "a.json").read_bytes() == (of_short / "b.json").read_bytes()
    assert (of_short / "a.html").read_text(encoding="utf-8") == render(json.loads((of_short / "b.json").read_text(encoding="utf-8")))


def test_files_are_replaced_only_if_asked_and_nothing_is_left_beside_them(of_short):
    before = (of_short / "a.html").read_bytes()
    for arguments in (["-o", of_short / "a.html"], ["-o", of_short / "c.html", "--json", of_short / "a.json"]):
        with pytest.raises(InputError, match="exists; name another file or say --overwrite"):
            run(*arguments)
    assert (of_short / "a.html").read_bytes() == before and (of_short / "b.html").read_text(encoding="utf-8") != "before"
    assert sorted(path.name for path in of_short.iterdir()) == ["a.html", "a.json", "b.html", "b.json"]


def test_what_was_absent_is_said_in_words_and_names_are_no_markup(of_short):
    record = json.loads((of_short / "a.json").read_text(encoding="utf-8"))
    parsed = check((of_short / "a.html").read_text(encoding="utf-8"))
    assert "physiology" not in record and "Absent at this moment (lost: warming up)" in parsed.text
    assert "Physiology was absent (lost: warming up) and has no part in it." in parsed.text
    assert "Short <lesson>, at 3 s" in parsed.text and "folder 3" in parsed.text
    assert "physiology was absent: lost, warming up" in "\n".join(cli.as_lines(record))


def test_the_face_is_drawn_only_when_asked_for(of_short):
    page = (of_short / "b.html").read_text(encoding="utf-8")
    (data,) = re.findall(r'href="data:image/png;base64,([^"]+)"', page)
    picture = np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(data))))
    assert picture.shape == (48, 48) and picture.std() > 10
    assert "This page shows a face" in page and "--with-face" in page
    assert "data:image" not in (of_short / "a.html").read_text(encoding="utf-8")


def test_with_nothing_present_there_is_a_page_that_says_so(bundle, chunks, tmp_path):
    with SessionWriter(tmp_path / "nobody.session.zip", title="Nobody", duration_ms=1000) as writer:
        writer.add(next(chunk for chunk in chunks if chunk.track == "eda"))
    record, face = explain(bundle, open_session(tmp_path / "nobody.session.zip"))
    assert face is None and record["decision"]["state"] == "no decision" and "modalities" not in record
    text = check(render(record)).text
    assert "No decision: nothing was present" in text and "face (lost: no source)" in text
    assert "no decision: face lost (no source)" in "\n".join(cli.as_lines(record))


def test_a_fusion_that_looks_back_at_one_modality_is_explained_too(short, tmp_path):
    matrix = np.zeros((4, 3 * 48), np.float32)
    matrix[:, 96:] = np.random.default_rng(0).normal(0, 0.3, (4, 48))
    made = linear({"face": (3, 48)}, {"logits": matrix})
    keep = ("detector", "face")
    bundle = refitted(tmp_path / "b.affectkit", made, {"face": (3, 48)}, ("logits",), keep=keep, parameters={"step_ms": 250, "steps": 3})
    record, _ = explain(bundle, short, at_s=3.0)
    (face,) = record["modalities"]["players"]
    assert face["player"] == "face" and face["value"] == pytest.approx(record["decision"]["probability"] - 0.25, abs=1e-6)
    assert np.ptp(record["face"]["map"]) > 0
    assert "This bundle does not use speech." in check(render(record)).text


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (["--at", "91"], InputError, r"--at 91 is outside classroom\.session\.zip, which lasts 90 s"),
        (["--bundle", "missing.affectkit"], BundleError, "missing.affectkit: cannot be read"),
        (["missing.session.zip"], SessionError, "missing.session.zip"),
        (["--json", "page.html"], InputError, "both the page and the JSON"),
        (["--seed", "-1"], InputError, "0 or more"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_writes_nothing(arguments, error, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=match) as caught:
        run(*arguments, "-o", "page.html")
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("told", ["-1", "nan", "inf", "soon"])
def test_a_time_that_is_none_is_refused_by_its_option(told, capsys):
    with pytest.raises(SystemExit, match="2"):
        run("-o", "page.html", f"--at={told}")
    assert "number of seconds from the start" in capsys.readouterr().err
