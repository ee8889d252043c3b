from __future__ import annotations

import pytest

from benchmarks import estimate
from edge import embedded
from edge.bundle import load_bundle
from edge.errors import InputError

HERE_MS = {"detector": 0.16, "face": 0.15, "fusion": 0.03, "physiology": 0.09, "speech": 0.95}


def test_the_published_networks_have_the_published_macs():
    assert round(estimate.NETWORKS["MobileNetV1"].macs / 1e6) == 569
    assert round(estimate.NETWORKS["MobileNetV2"].macs / 1e6) == 301


@pytest.mark.parametrize("base", ["pi 4", "pi 3b+"])
def test_the_fit_gives_back_what_was_published(base):
    rates = estimate.fit(base)
    assert rates.ms_per_mac > 0 and rates.ms_per_byte > 0
    for name, ms in estimate.PUBLISHED[base].items():
        assert rates.ms(estimate.NETWORKS[name]) == pytest.approx(ms)


def test_its_error_on_cases_it_was_not_given_is_known_and_below_a_tenth():
    cases = estimate.errors()
    assert {case for case, _, _ in cases} >= {"MobileNetV2 on pi 4 from MobileNetV1 there", "MobileNetV1 on pi 3b+ from pi 4"}
    assert 0 < estimate.worst_error() < 0.10
    assert all(abs(estimated / published - 1) <= estimate.worst_error() for _, estimated, published in cases)


def test_a_weaker_board_takes_longer_and_the_range_is_one():
    bundle = load_bundle(embedded.BUNDLE)
    said = [estimate.estimate(bundle, estimate.BOARDS[name], HERE_MS) for name in ("zero2w", "3b+", "4", "5")]
    for stage in HERE_MS:
        lows = [one["stages"][stage]["low_ms"] for one in said]
        assert lows == sorted(lows, reverse=True) and lows[0] > lows[-1]
        assert all(one["stages"][stage]["high_ms"] >= one["stages"][stage]["low_ms"] * 0.999 for one in said)
    assert said[0]["plans"]["low"]["utilisation"] > said[-1]["plans"]["low"]["utilisation"]


def test_an_estimate_says_that_it_is_one_and_where_its_numbers_come_from():
    bundle = load_bundle(embedded.BUNDLE)
    text = estimate.as_text(estimate.estimate(bundle, estimate.BOARDS["zero2w"], HERE_MS), "classroom")
    assert text.startswith("ESTIMATE, not a measurement") and "error on published cases" in text
    assert "Cortex-A53 at 1 GHz" in text and "XNNPACK README" in text and "the budget" in text


def test_a_bundle_too_slow_for_a_board_does_not_fit_it():
    bundle = load_bundle(embedded.BUNDLE)
    slow = {stage: ms * (1000 if stage == "fusion" else 1) for stage, ms in HERE_MS.items()}
    said = estimate.estimate(bundle, estimate.BOARDS["zero2w"], slow)
    assert said["plans"]["high"]["fits"] == "no" and "the budget does not fit" in estimate.as_text(said, "classroom")


@pytest.mark.parametrize(
    ("name", "key"), [("zero2w", "zero2w"), ("Raspberry Pi 4", "4"), ("Pi 3B+", "3b+"), ("5", "5"), ("Pi Zero 2 W", "zero2w")]
)
def test_a_board_may_be_called_by_its_name(name, key):
    assert estimate.board_of(name) is estimate.BOARDS[key]


def test_an_unknown_board_is_refused_with_those_that_are_known():
    with pytest.raises(InputError, match=r"zero2w, 3b\+, 4, 5"):
        estimate.board_of("jetson")
