"""The card of a published system: every figure that was measured, and what fell short in plain words."""

from __future__ import annotations

import copy

import pytest

from convert.training.systems import card

SCORE = {"samples": 8, "accuracy": 0.625, "uar": 0.611, "macro_f1": 0.6, "recall": [0.75, 0.5, None], "ece": 0.0433, "brier": 0.5}
TASK = {
    "classes": ["glad", "grim", "odd"],
    "people": 2,
    "int8": SCORE | {"confusion": [[3, 1, 0], [0, 2, 2], [0, 0, 0]]},
    "float": SCORE | {"accuracy": 0.6444, "confusion": [[3, 1, 0], [0, 2, 2], [0, 0, 0]]},
    "majority": {"accuracy": 0.5, "uar": 0.5},
    "agreement": 0.971,
    "by_person": {"emodb-03": 0.4321, "emodb-08": 0.877},
}
ROW = {"what": "linear on bands", "accuracy": 0.31, "uar": 0.3, "samples": 8, "runs": 1, "uar_std": None}
QUALITY = {
    "summary": "Three moods.",
    "epochs_scale": 1.0,
    "paper": {"citation": "Doe 2025", "figure": "accuracy 99 %", "protocol": "split at random"},
    "people": ["EmoDB by speaker"],
    "learnt_people": {"speech": ["emodb-10"], "face": []},
    "results": {"main": TASK},
    "baselines": [ROW],
    "other_splits": [ROW | {"what": "at random by clip", "uar": 0.9}],
    "spread": [ROW | {"what": "three seeds", "runs": 3, "uar_std": 0.0123}],
    "temperature": {"int8": 1.37, "float": 1.2},
    "notes": ["Sizes are ours."],
    "stages": {
        "speech": {
            "bytes": 51_200,
            "float_bytes": 180_000,
            "weights": 45_000,
            "macs": 1_000_000,
            "recipe": "static_wi8_ai8",
            "lstm_form": "fused",
        }
    },
}


@pytest.mark.parametrize(
    "expected",
    [
        "62.5 %", "64.4 %", "61.1 %", "0.043", "glad 75.0 %, grim 50.0 %, odd -", "Doe 2025", "accuracy 99 %", "split at random",
        "linear on bands", "at random by clip", "30.0 % ± 1.2 %", "1.37", "51 kB", "static_wi8_ai8 (fused)",
        "Sizes are ours.", "EmoDB by speaker", "speech: learnt from 1 people: emodb-10", "the terms",
        "prohibited in the European Union", "**below the 98% that this project asks for**",
        "worst class `grim`, recall 50.0 %; most often taken for `odd` (2 of 8 samples)", "emodb-03 43.2 %; best: emodb-08 87.7 %",
    ],
)  # fmt: skip
def test_what_was_measured_is_in_the_card(expected):
    assert expected in card.render("moods", "1", QUALITY, ("the terms",))


def test_a_trial_is_called_one_and_a_full_run_is_not():
    trial = copy.deepcopy(QUALITY) | {"epochs_scale": 0.1}
    assert "A trial: trained for 0.1 times" in card.render("moods", "1", trial, ())
    assert "A trial" not in card.render("moods", "1", QUALITY, ())


def test_agreement_as_asked_for_is_not_called_short_and_no_spread_is_owned_up_to():
    good = copy.deepcopy(QUALITY)
    good["results"]["main"]["agreement"], good["spread"] = 0.985, []
    text = card.render("moods", "1", good, ())
    assert "below the" not in text
    assert "One seed; the spread over seeds is not measured." in text
