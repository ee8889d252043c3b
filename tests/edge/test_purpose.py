from __future__ import annotations

import dataclasses

import pytest

from edge.config import Purpose
from edge.errors import PurposeError
from edge.purpose import EU_MEMBERS, check_purpose

DECLARED = Purpose("US", "learning support", "education", "A. Teacher, Room 12", "binder 4, 2025")


def test_replay_needs_no_purpose():
    check_purpose(Purpose(), live=False)


def test_a_declared_purpose_passes():
    check_purpose(DECLARED, live=True)


def test_live_without_a_purpose_says_why_and_what_to_add():
    with pytest.raises(PurposeError) as caught:
        check_purpose(Purpose(jurisdiction="US", responsible="  "), live=True)
    message = str(caught.value)
    assert "live sources sense people" in message and "\n" not in message
    assert message.endswith("purpose, setting, responsible, consent_reference")


@pytest.mark.parametrize("jurisdiction", ["DE", "eu", "de-by", "EL", "FR", " IE "])
@pytest.mark.parametrize("setting", ["education", "workplace"])
def test_emotions_at_school_or_work_in_the_eu_are_refused_with_the_article(jurisdiction, setting):
    with pytest.raises(PurposeError, match=r"\(EU\) 2024/1689, Article 5\(1\)\(f\)"):
        check_purpose(dataclasses.replace(DECLARED, jurisdiction=jurisdiction, setting=setting), live=True)


@pytest.mark.parametrize(
    "allowed",
    [
        dataclasses.replace(DECLARED, jurisdiction="DE", purpose="medical"),
        dataclasses.replace(DECLARED, jurisdiction="EU", purpose="safety", setting="workplace"),
        dataclasses.replace(DECLARED, jurisdiction="DE", purpose="research", setting="laboratory"),
        dataclasses.replace(DECLARED, jurisdiction="GB"),
        dataclasses.replace(DECLARED, jurisdiction="CH"),
    ],
)
def test_what_the_article_leaves_open_passes(allowed):
    check_purpose(allowed, live=True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"jurisdiction": "Deutschland"}, "ISO 3166-1"),
        ({"purpose": "Medical "}, "medical, safety"),
        ({"setting": "school"}, "education, workplace"),
    ],
)
def test_words_that_could_slip_through_the_gate_are_refused(change, says):
    with pytest.raises(PurposeError, match=says):
        check_purpose(dataclasses.replace(DECLARED, **change), live=True)


def test_the_union_has_27_members():
    assert len(EU_MEMBERS) == 27
