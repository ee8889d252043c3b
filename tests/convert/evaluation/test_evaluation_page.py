"""The page says what the JSON says."""

from __future__ import annotations

import numpy as np
import pytest

from convert.evaluation import coverage, metrics, seeds
from convert.evaluation.page import render
from convert.pages import formats
from edge.errors import InputError
from edge.inference.fusion import softmax
from tests.convert.pages.parsed import check

CLASSES = ["positive", "calm", "low", "<tense>"]


def answers(seed: int, classes: int = 4, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, classes, count), softmax(rng.normal(0, 1, (count, classes)))


def single(seed: int) -> dict:
    labels, probabilities = answers(seed)
    summary = metrics.summary(labels, probabilities)
    points = [{"value": v, "samples": 40, "accuracy": 0.9 - v, "uar": 0.87 - v, "ece": 0.01 + v / 70} for v in (0.0, 0.1, 0.2)]
    return {
        "task": "four quadrants",
        "classes": CLASSES,
        "people": 4,
        "int8": summary | coverage.summary(labels, probabilities),
        "float": metrics.summary(*answers(seed + 1)),
        "agreement": 0.9813,
        "majority": metrics.majority(labels, 4),
        "linear": {"accuracy": 0.4567, "uar": 0.4321},
        "by_person": {"emodb-03": 0.5151, "<b>": 0.6262},
        "curves": {"occlusion": {"title": "share covered", "unit": "share", "points": points}},
        "baselines": {"MLP": {"samples": 40, "accuracy": 0.3131, "uar": 0.3232, "macro_f1": 0.3333, "learnt_on": 6001}},
    }


def fusion(seed: int) -> dict:
    def score(offset: int) -> dict:
        got = metrics.summary(*answers(seed + offset))
        extra = {"best_single_accuracy": 0.111 + offset / 100, "gain": 0.0123, "aurc": 0.2345, "agreement": 0.9712, "best_single": "face"}
        extra["best_single_through_fusion"] = 0.1414
        return got | extra | {"float": {key: got[key] for key in ("accuracy", "uar", "macro_f1", "ece", "brier")}}

    by_presence = {"face": score(2), "speech": score(3), "face + speech": score(4)}
    late = {"late_ms": 250, "samples": 300}
    points = [late | {"value": k, "accuracy": 0.7171 - k / 50, "after_change": 0.6161 - k / 40} for k in (0, 1)]
    steady = {
        "flips_per_minute": 0.42, "changes_per_minute": 1.61, "companions_that_flip": 0.1919, "most_flips_per_minute": 3.3,
        "unsure": 0.0606, "accuracy_when_sure": 0.8181,
    }  # fmt: skip
    return {
        "companions": 2000,
        "labels": CLASSES,
        "single": {"face": {"accuracy": 0.5252, "how": "through the fusion"}},
        "gain_with_all_present": 0.0345,
        "least_gain": -0.0045,
        "ece_with_all_present": 0.0543,
        "by_presence": by_presence,
        "without_history": {name: {"accuracy": 0.4141} for name in by_presence},
        "by_missing_rate": {"0.0": score(5), "0.5": score(6)},
        "curves": {"stale": {"title": "late", "unit": "steps", "points": points}},
        "flips": {"companions": 100, "seconds": 60, "not_counted_s": 5, "by_presence": {"face + speech": steady}},
    }


def told(*seeds_: int, results: dict | None = None, **changes) -> dict:
    bundles = [
        {
            "name": "classroom", "version": "0.2", "file": f"c{seed}.affectkit", "sha256": f"{seed:064d}", "seed": seed, "float": True,
            "bytes": {"face": 159272}, "weights": {"face": 144887}, "recorded_spread": {},
            "results": {"speech": single(seed), "fusion": fusion(seed)} if results is None else results,
            "missing": {"face": "fer2013: not in the data"},
        } | changes
        for seed in seeds_
    ]  # fmt: skip
    over = seeds.over([one["results"] for one in bundles]) if len(bundles) > 1 else None
    return {"format": 1, "curves": "full", "baselines": "quick", "bundles": bundles, "over_seeds": over}


def test_every_figure_that_matters_is_on_the_page():
    page = check(render(told(0)))
    text = page.text
    one, together = single(0), fusion(0)
    shares = [one["int8"][key] for key in ("accuracy", "uar", "macro_f1")] + [one["float"]["accuracy"], one["agreement"]]
    shares += [value for value in one["int8"]["recall"] if value is not None]
    shares += [*one["majority"].values(), *one["linear"].values(), *one["by_person"].values()]
    shares += [one["baselines"]["MLP"][key] for key in ("accuracy", "uar", "macro_f1")]
    shares += [point[key] for point in one["curves"]["occlusion"]["points"] for key in ("accuracy", "uar")]
    for got in (*together["by_presence"].values(), *together["by_missing_rate"].values()):
        shares += [got["accuracy"], got["uar"], got["best_single_accuracy"], got["agreement"]]
    shares += [point[key] for point in together["curves"]["stale"]["points"] for key in ("accuracy", "after_change")]
    shares += [0.1919, 0.0606, 0.8181, 0.4141, 0.5252]
    for value in shares:
        assert formats.share(value).replace("\u00a0", " ") in text, value
    plain = [one["int8"][key] for key in ("ece", "brier", "aurc")] + [point["ece"] for point in one["curves"]["occlusion"]["points"]]
    plain += [got[key] for got in together["by_presence"].values() for key in ("ece", "brier", "aurc")]
    for value in plain:
        assert formats.plain(value, ".3f") in text, value
    for words in ("0.42", "1.61", "3.3", "+3.5 points", "6,001", "159.3 kB", "fer2013: not in the data"):
        assert words in text
    assert page.row("speechfour quadrants")[1] == "40"
    assert page.row("face + speech")[1:5] == [
        formats.share(together["by_presence"]["face + speech"]["accuracy"]).replace("\u00a0", " "),
        "15.1 % (face)", "14.1 %", "+1.2 points",
    ]  # fmt: skip


def test_the_same_evaluation_gives_the_same_page_and_names_are_escaped():
    text = render(told(0))
    assert text == render(told(0))
    assert "<tense>" not in text and "&lt;tense&gt;" in text and "<b>" not in text


def test_a_promise_that_is_broken_is_called_so():
    results = {"fusion": fusion(0) | {"least_gain": -0.0101}}
    assert "worse by more than a point somewhere" in check(render(told(0, results=results))).text
    assert "never worse by more than a point" in check(render(told(0))).text


def test_several_bundles_give_mean_deviation_and_each():
    page = check(render(told(0, 1, 2)))
    each = [single(seed)["int8"]["uar"] for seed in (0, 1, 2)]
    row = page.row("speech: UAR")
    shown = [formats.share(value).replace("\u00a0", " ") for value in each]
    mean, std = (formats.share(float(f(each))).replace("\u00a0", " ") for f in (np.mean, lambda x: np.std(x, ddof=1)))
    assert row[1:] == [f"{mean} \u00b1 {std}", *shown]


def test_one_seed_is_said_to_be_one_seed_unless_its_maker_measured_more():
    assert "one seed; spread not measured" in check(render(told(0))).text
    noted = {"speech": {"runs": 3, "uar_mean": 0.6161, "uar_std": 0.0202, "what": "other speakers"}}
    page = check(render(told(0, recorded_spread=noted)))
    assert "spread not measured" not in page.text
    assert page.row("speech")[1:] == ["3", "61.6 % \u00b1 2.0 %", "other speakers"] or "61.6 % \u00b1 2.0 %" in page.text


def test_what_was_left_out_is_named():
    bare = single(0)
    for key in ("float", "agreement", "curves", "baselines"):
        del bare[key]
    text = check(render(told(0, results={"speech": bare}))).text
    for title in ("int8 beside float", "When the input is bad", "Classical baselines", "All modalities together", "Steadiness"):
        assert title in text
    assert text.count("not measured: ") >= 6


def test_a_published_system_with_no_more_than_its_scores_has_a_page():
    one = single(0)
    labels, probabilities = answers(0)
    one = {key: one[key] for key in ("classes", "people", "majority", "by_person")} | {"int8": metrics.summary(labels, probabilities)}
    assert "a task" in check(render(told(0, results={"a task": one}, missing={}))).text


def test_a_class_without_a_sample_and_a_single_person():
    labels, probabilities = answers(0, count=5)
    one = single(0) | {"by_person": {"a": 1.0}, "people": 1}
    one["int8"] = metrics.summary(labels % 2, probabilities) | coverage.summary(labels % 2, probabilities)
    assert "no sample" in check(render(told(0, results={"speech": one}))).text


def test_spread_is_over_runs_and_of_one_value_there_is_none():
    assert seeds.spread([0.5, 0.7]) == {"mean": pytest.approx(0.6), "std": pytest.approx(0.1 * 2**0.5), "runs": 2, "each": [0.5, 0.7]}
    assert seeds.spread([0.5])["std"] is None


def test_what_a_maker_recorded_is_read_in_both_forms():
    assert seeds.recorded(None) == {} == seeds.recorded({"spread": {"face": {"runs": 1}}})
    row = {"what": "CNN only", "accuracy": 0.5, "uar": 0.4, "samples": 9, "runs": 3, "uar_std": 0.01}
    told = seeds.recorded({"spread": [row, row | {"what": "once", "runs": 1}]})
    assert told == {"CNN only": {"runs": 3, "uar_mean": 0.4, "uar_std": 0.01, "what": "CNN only"}}


def test_bundles_of_different_systems_or_of_one_seed_are_not_averaged():
    seeds.require_alike(["a", "a"], [0, 1], ["x", "y"])
    with pytest.raises(InputError, match="a and b are different systems"):
        seeds.require_alike(["a", "b"], [0, 1], ["x", "y"])
    with pytest.raises(InputError, match="given twice, or two have one seed"):
        seeds.require_alike(["a", "a"], [0, 0], ["x", "y"])


def test_only_what_every_run_has_is_averaged():
    over = seeds.over([{"speech": single(0), "fusion": fusion(0)}, {"speech": single(1)}])
    assert set(over) == {"speech"}
    assert over["speech"]["uar"]["each"] == [single(seed)["int8"]["uar"] for seed in (0, 1)]
