"""``kit.toml`` as it lands on a kit: it names every setting there is, says why, and senses nobody before a person has declared why."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import subprocess
import sys
import tomllib
import typing

import pytest

import firmware_configs
from edge.clock import ManualClock
from edge.config import Purpose, Settings, load_settings, settings_from
from edge.doctor_checks import check_settings
from edge.embedded import BUNDLE
from edge.errors import ConfigError
from firmware_configs.update import STORE
from firmware_configs.update.store import CURRENT

ROOT = pathlib.Path(firmware_configs.__file__).parent
KIT = ROOT / "etc/affectkit/kit.toml"
KEY = re.compile(r"(?:# )?(\w+) = (.+)")


def keys() -> list[tuple[str, str, str, bool, str]]:
    """Table, key, value, whether it counts, and the line above it, of each line that is or was a setting."""
    found, table, above = [], "", ""
    for line in KIT.read_text().splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            table = match[1]
        elif match := KEY.fullmatch(line):
            found.append((table, match[1], match[2], not line.startswith("#"), above))
        above = line
    return found


def test_it_loads():
    settings = load_settings(KIT)
    assert settings.sources.use
    assert settings.outputs.jsonl.startswith("/var/lib/affectkit/")
    assert not settings.outputs.overwrite, "an earlier run's decisions are never written over"


def test_it_runs_the_bundle_that_update_sticks_change():
    assert load_settings(KIT).bundle.path == str(STORE / "bundles" / CURRENT)


def test_every_setting_is_in_it_once_and_nothing_else():
    known = {
        (table, field.name)
        for table, kind in typing.get_type_hints(Settings).items()
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]
    }
    named = [(table, key) for table, key, *_ in keys()]
    assert sorted(named) == sorted(known)


def test_a_setting_behind_a_hash_shows_the_default():
    defaults = Settings()
    for table, key, value, counts, _ in keys():
        if not counts:
            assert tomllib.loads(f"x = {value}")["x"] == getattr(getattr(defaults, table), key), f"{table}.{key}"


def test_every_setting_has_a_comment_above_it():
    for table, key, _, _, above in keys():
        assert re.match(r"# [A-Z\"0-9*]", above) or re.match(r"# .*[.;:)]$", above), f"{table}.{key}: {above!r}"
        assert not KEY.fullmatch(above), f"{table}.{key} has another setting above it"


def test_with_all_hashes_taken_away_it_is_valid_too():
    text = re.sub(r"(?m)^# (\w+ = .+)$", r"\1", KIT.read_text())
    settings_from(tomllib.loads(text), where="kit.toml")


def test_a_misspelt_setting_is_refused(tmp_path):
    path = tmp_path / "kit.toml"
    path.write_text(KIT.read_text().replace("jurisdiction =", "juristiction ="))
    with pytest.raises(ConfigError, match=r"unknown key 'purpose.juristiction'; did you mean 'jurisdiction'\?"):
        load_settings(path)


def test_the_purpose_is_left_to_a_person():
    assert load_settings(KIT).purpose == Purpose()


def test_a_kit_without_a_purpose_ends_with_the_status_that_is_not_tried_again():
    command = [sys.executable, "-m", "edge", "run", "--config", str(KIT), "--bundle", str(BUNDLE)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT.parent)
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "missing in [purpose] of kit.toml: jurisdiction, purpose, setting, responsible, consent_reference" in ran.stderr
    unit = (ROOT / "etc/systemd/system/affectkit.service").read_text()
    assert "\nRestartPreventExitStatus=2\n" in unit


def test_doctor_says_in_words_what_is_missing():
    findings = check_settings(load_settings(KIT), str(KIT), ManualClock())
    (purpose,) = [finding for finding in findings if finding.name == "purpose"]
    assert purpose.state == "fail"
    assert "jurisdiction" in f"{purpose.what} {purpose.remedy}"


def test_a_declared_purpose_is_all_that_a_kit_needs(tmp_path):
    text = KIT.read_text()
    for key, value in {
        "jurisdiction": "US-CA",
        "purpose": "research",
        "setting": "laboratory",
        "responsible": "the head of the laboratory",
        "consent_reference": "folder 12",
    }.items():
        assert f'{key} = ""' in text
        text = text.replace(f'{key} = ""', f'{key} = "{value}"')
    path = tmp_path / "kit.toml"
    path.write_text(text)
    findings = check_settings(load_settings(path), str(path), ManualClock())
    assert [finding.state for finding in findings if finding.name == "purpose"] == ["pass"]
