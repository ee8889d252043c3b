from __future__ import annotations

import numpy as np

from convert.evaluation import metrics
from convert.training import card
from edge.inference.fusion import softmax


def summary(classes: int) -> dict:
    rng = np.random.default_rng(classes)
    return metrics.summary(rng.integers(0, classes, 50), softmax(rng.normal(0, 1, (50, classes))))


def single(classes: int, people: object, by_person: dict) -> dict:
    return {
        "task": f"{classes} classes",
        "classes": [f"class{i}" for i in range(classes)],
        "people": people,
        "int8": summary(classes),
        "majority": {"accuracy": 0.3, "uar": 1 / classes},
        "linear": {"accuracy": 0.4, "uar": 0.4},
        "by_person": by_person,
    }


def test_every_figure_terms_limits_and_uses_are_in_the_card():
    results = {
        "face": single(7, "not named", {}),
        "speech": single(4, 2, {"a-01": 0.5, "b-02": 0.75}),
        "physiology": single(2, 2, {"4": 0.6, "12": 0.9}),
        "fusion": {
            "companions": 10,
            "by_presence": {"face": summary(4)},
            "without_history": {"face": summary(4)},
            "by_missing_rate": {"0.0": summary(4), "0.5": summary(4)},
        },
    }
    results["face"] |= {"float": summary(7), "agreement": 0.9876}
    results["face"]["curves"] = {"size": {"title": "face width", "unit": "px", "points": [{"value": 16, "accuracy": 0.4321}]}}
    results["fusion"]["flips"] = {"by_presence": {"face": {"flips_per_minute": 0.37}}}
    agreement = {"face": {"samples": 1000, "top1": 0.991, "max_error": 0.0512, "mean_error": 0.0031}}
    spread = {"face": {"runs": 1}, "speech": {"runs": 3, "uar_mean": 0.61, "uar_std": 0.02, "what": "by speaker"}}
    text = card.render(name="classroom", version="9", results=results, agreement=agreement, spread=spread, temperature=1.23)
    for expected in (
        *card.TERMS,
        "99.1 %",
        "0.051",
        "UAR 61.0 % +- 2.0 % over 3 runs; by speaker",
        "face: one seed; the spread over seeds is not measured",
        "b-02 75.0 %",
        "1.23",
        f"{100 * results['face']['int8']['accuracy']:.1f} %",
        "prohibited in the European Union",
        "constructed companions",
        "98.8 %",
        "face width (px), accuracy at 16: 43.2 %",
        "face 0.37",
    ):
        assert expected in text


def test_the_class_that_is_known_least_is_named_with_what_it_is_taken_for():
    table = [[9, 1, 0], [1, 8, 1], [6, 2, 2]]
    one = {"classes": ["a", "b", "c"], "int8": {"recall": [0.9, 0.8, 0.2], "confusion": table}}
    lines = card._failure_lines({"face": one, "speech": one, "physiology": one, "fusion": {}})
    assert lines[0] == "- face: `c` is recognised in 20.0 %; in 60.0 % it is taken for `a`."


def test_without_float_stages_the_card_says_that_nothing_was_measured():
    assert card._float_table({"face": single(7, "not named", {})}) == ["Not measured."]
