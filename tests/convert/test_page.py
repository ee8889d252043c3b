"""The page says what the report says, loads nothing, and no name in a model can write into it."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import html
import json
import math
import pathlib
import re
import shlex
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convert import cli, page
from convert.report import Candidate, Gate, Latency, LayerError, Report, RuntimeCheck
from convert.verify import OutputError, Task, Verification
from tests.convert.pages.parsed import Parsed, check, figures


def layer(index: int, step_db: float | None = 35.0, **changes: typing.Any) -> LayerError:
    told = LayerError(
        index, "CONV_2D", f"block/conv_{index}/Relu;block/conv_{index}/Bias", 100, 30.0, step_db, 0.5, 0.1, (0.0, 5.0), (0.0, 6.0), 0.0
    )
    return dataclasses.replace(told, **changes)


def report(count: int = 6, **changes: typing.Any) -> dict[str, typing.Any]:
    """A report with all of its parts."""
    names = ("calm", "bored", "lost")
    task = Task(
        "p", names, 0.4, 0.80, 0.79, 0.78, 0.77, 0.05, 0.06, [[40, 5, 0], [3, 30, 2], [0, 10, 10]], [[39, 6, 0], [3, 30, 2], [0, 10, 10]]
    )
    told = Report(
        name="face",
        source={"kind": "keras", "file": "face.keras", "sha256": "ab" * 32, "notes": ["axis batch fixed to 1"]},
        recipe="static_wi8_ai8",
        lstm_form="fused",
        inputs={"image": {"shape": [48, 48, 1], "dtype": "int8", "scale": 1 / 128, "zero_point": -1}},
        outputs={"p": {"shape": [3], "dtype": "int8", "scale": 1 / 256, "zero_point": -128}},
        bytes=77_640,
        float_bytes=230_292,
        weights=58_168,
        macs=5_484_052,
        operators={"CONV_2D": 5, "SOFTMAX": 1},
        lowering_error=4.8e-7,
        verification=Verification("face", "ai-edge-litert 2.3.0", 100, {"p": OutputError("probabilities", 0.98, 0.12, 0.007)}, task),
        latency=Latency(0.142, 0.175, 60),
        float_latency=Latency(0.284, 0.311, 60),
        layers=tuple(layer(i, step_db=30.0 + i) for i in range(count)),
        candidates=(
            Candidate("static_wi8_ai8", "fused", 77_640, Latency(0.142, 0.175, 60), 0.98, 0.007, "", chosen=True),
            Candidate("static_wi8_ai16", "fused", 0, None, None, None, "no such kernel"),
        ),
        runtimes=(
            RuntimeCheck("ai-edge-litert 2.3.0", "3.11.7", "runs", "", 0.0, {"CONV_2D": 5}, {"SOFTMAX": 1}),
            RuntimeCheck("tflite-runtime 2.14.0", "", "not tried", "not installed here", None, {}, {}),
        ),
        gates=(Gate("min-agreement", 0.98, 0.98, True), Gate("max-bytes", 80_000.0, 77_640.0, True)),
        why="the fastest",
    )
    return dataclasses.replace(told, **changes).as_dict()


def minimal() -> dict[str, typing.Any]:
    nothing = {"layers": (), "candidates": (), "runtimes": (), "gates": (), "latency": None, "float_latency": None, "why": ""}
    return report(recipe="float32", lstm_form=None, verification=None, source={"notes": []}, **nothing)


def sections(text: str) -> set[str]:
    return {attributes["id"] or "" for name, attributes in Parsed(text).elements if name == "section"}


def leaves(value: typing.Any, path: tuple[typing.Any, ...] = ()) -> list[tuple[tuple[typing.Any, ...], typing.Any]]:
    """Everything in a report that is neither a table nor a list, and the way to it."""
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))]
    if isinstance(value, list | tuple):
        return [leaf for key, inner in enumerate(value) for leaf in leaves(inner, (*path, key))]
    return [(path, value)]


def replaced(told: dict[str, typing.Any], path: tuple[typing.Any, ...], value: typing.Any) -> dict[str, typing.Any]:
    changed = json.loads(json.dumps(told))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def with_strings(told: typing.Any, words: str) -> typing.Any:
    """The report with other words for all of its strings, and names of tensors and operators too."""
    if isinstance(told, dict):
        named = {"inputs", "outputs", "operators", "delegated", "left"}
        return {
            key: {words: with_strings(next(iter(inner.values())), words)} if key in named and inner else with_strings(inner, words)
            for key, inner in told.items()
        }
    if isinstance(told, list | tuple):
        return [with_strings(inner, words) for inner in told]
    return words if isinstance(told, str) else told


def shape(text: str) -> list[str]:
    """Names of all elements; where a name of a layer may break is left out."""
    return [name for name, _ in Parsed(text).elements if name != "wbr"]


def test_a_full_report_shows_every_part():
    parsed = check(text := page.render(report()))
    assert sections(text) == {
        "gates", "cost", "candidates", "agreement", "task", "layers", "ranges", "operators", "runtimes", "tensors", "source", "reproduce",
    }  # fmt: skip
    assert "Not measured" not in parsed.text
    assert "All 2 gates passed" in parsed.text
    assert "Keras model face.keras became static_wi8_ai8 (fused): 77.6 kB, 0.34 of the 230.3 kB" in parsed.text
    assert "answers as float does on 98.0 % of 100 samples, and is right on 79.0 %, where float is on 80.0 %" in parsed.text
    assert "2.0 times faster (0.142 ms, in float 0.284 ms)" in parsed.text
    assert parsed.row("one inference, median")[1:] == ["0.284 ms", "0.142 ms", "0.50"]
    assert parsed.row("accuracy")[1:] == ["80.0 %", "79.0 %", "\u22121.00 points"]
    assert parsed.row("expected calibration error")[1:] == ["0.050", "0.060", "+0.010"]
    assert parsed.row("calm")[1:] == ["45", "88.9 %", "86.7 %", "\u22122.22 points"]
    assert parsed.row("static_wi8_ai16")[1:] == ["\u2013", "\u2013", "\u2013", "\u2013", "no such kernel"]
    assert parsed.row("ai-edge-litert")[2:] == ["runs", "0", "5 of 6", "1 SOFTMAX"]
    assert parsed.row("image")[1:] == ["in", "48 \u00d7 48 \u00d7 1", "int8", "0.0078125", "\u22121"]
    assert "axis batch fixed to 1" in parsed.text


def test_what_was_not_measured_is_named_with_its_reason_and_not_shown():
    parsed = check(text := page.render(minimal()))
    assert sections(text) == {"cost", "operators", "tensors", "source", "reproduce", "absent"}
    absent = parsed.text[parsed.text.rindex("Not measured") :]
    for title, why in (
        ("Gates", "no limit was set"),
        ("Candidates", "one recipe was asked for"),
        ("Converted against float", "no samples were given"),
        ("Right and wrong before and after", "no samples were given"),
        ("Error layer by layer", "is the float model"),
        ("Runtimes", "was not tried"),
    ):
        assert re.search(f"{title}\\s*not measured: [^.]*{why}", absent)
    assert "Latency: not measured" in parsed.text
    assert all(picture.get("role") != "img" for picture in figures(text))


def test_a_report_with_nothing_in_it_is_still_a_page():
    assert "not measured" in check(page.render({})).text


def test_the_same_report_gives_the_same_bytes_also_after_a_round_trip():
    told = report()
    assert page.render(told) == page.render(copy.deepcopy(told)) == page.render(json.loads(json.dumps(told)))


def test_rendering_leaves_the_report_as_it_was():
    told = report()
    before = copy.deepcopy(told)
    page.render(told)
    assert told == before


@pytest.mark.parametrize(
    "words",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "</style><svg onload=x>",
        "]]>&amp;<!--",
        "a\x00b\ud800c\u202ed",
        "' onfocus='x",
    ],
)
def test_names_cannot_write_into_the_page(words):
    told = report()
    text = page.render(with_strings(told, words))
    check(text)
    assert shape(text) == shape(page.render(with_strings(told, "harmless")))
    assert html.escape(words.translate({0: 0xFFFD, 0xD800: 0xFFFD, 0x202E: 0xFFFD})) in text


@settings(max_examples=25, deadline=None)
@given(st.text(min_size=1, max_size=30))
def test_no_name_at_all_can_write_into_the_page(words):
    told = report(count=3)
    text = page.render(with_strings(told, f"a{words}"))
    check(text)
    assert shape(text) == shape(page.render(with_strings(told, "harmless")))


def test_any_number_may_be_missing_or_not_finite():
    told = report(count=2)
    numbers = [path for path, value in leaves(told) if isinstance(value, int | float) and not isinstance(value, bool)]
    assert len(numbers) > 80
    for path in numbers:
        for value in (None, math.nan, math.inf, -math.inf):
            check(page.render(replaced(told, path, value)))


def test_what_is_no_number_is_called_so():
    parsed = check(page.render(report(latency=Latency(math.nan, math.inf, 60))))
    assert parsed.row("one inference, median")[2:] == ["not a number", "\u2013"]
    assert parsed.row("one inference, 90th percentile")[2:] == ["infinite", "\u2013"]


def test_the_gates_that_failed_stand_in_the_first_sentence():
    gates = (Gate("min-agreement", 0.99, 0.98, False), Gate("max-drop", 0.02, 0.01, True))
    parsed = check(page.render(report(gates=gates)))
    assert "1 of 2 gates failed: min-agreement." in parsed.text
    assert parsed.row("min-agreement")[1:4] == ["FAILED", "98.00 %", "99.00 %"]
    assert parsed.row("max-drop")[1:4] == ["passed", "1.00 points", "2.00 points"]


@pytest.mark.parametrize(
    ("step_db", "gate", "words"),
    [
        (30.0, "min-agreement", "The layer to blame first is block/conv_3/Relu (CONV_2D): its error is 3.2 % of its signal"),
        (
            14.0,
            "max-bytes",
            "One layer stands out, block/conv_3/Relu (CONV_2D): its error is 20.0 % of its signal, and it clips 1.50 % of its values",
        ),
        (30.0, "max-bytes", "No layer stands out; the least exact is block/conv_3/Relu"),
        (-3.0, "max-bytes", "its error is as large as its signal or larger"),
    ],
)
def test_the_layer_that_adds_most_error_is_blamed_not_the_one_that_inherits_it(step_db, gate, words):
    layers = [layer(i, sqnr_db=20.0 - i) for i in range(6)]
    layers[3] = layer(3, step_db, clipped_share=0.015)
    told = report(layers=tuple(layers), gates=(Gate(gate, 0.99, 0.98, False),))
    assert words in check(page.render(told)).text


def test_where_the_own_error_is_not_known_the_gathered_one_counts():
    layers = (layer(0, None, sqnr_db=33.0), layer(1, None, sqnr_db=21.0), layer(2, None, sqnr_db=120.0))
    parsed = check(page.render(report(layers=layers)))
    assert "the least exact is block/conv_1/Relu" in parsed.text
    assert parsed.row("block/conv_1/Relu")[1:3] == ["\u2013", "21.0"]
    assert parsed.row("block/conv_2/Relu")[1:3] == ["\u2013", "exact"]


def test_layers_that_are_all_exact_need_no_plot():
    layers = tuple(layer(i, 120.0, sqnr_db=120.0, stored_range=None) for i in range(3))
    parsed = check(text := page.render(report(recipe="dynamic_wi8_afp32", layers=layers)))
    assert "No layer differs from float" in parsed.text
    assert "ranges" not in sections(text)
    assert "keeps activations in float" in parsed.text


def test_layers_measured_without_samples_are_said_to_be_so():
    assert "may have been random numbers" in check(page.render(report(verification=None))).text
    assert "may have been random numbers" not in check(page.render(report())).text


def test_the_worst_ten_are_listed_the_worst_first():
    layers = tuple(layer(i, step_db=50.0 - i) for i in range(25))
    parsed = check(page.render(report(layers=layers)))
    place = next(i for i, row in enumerate(parsed.rows) if row[0] == "layer")
    listed = [row[0] for row in parsed.rows[place + 1 : place + 11]]
    assert [name.split("/")[1] for name in listed] == [f"conv_{24 - i}" for i in range(10)]
    assert "The 10 least exact of 25 layers" in parsed.text


def test_a_plot_flags_the_three_worst_layers_and_how_much_is_clipped():
    layers = [layer(i, step_db=60.0 - i) for i in range(30)]
    layers[4] = layer(4, 58.0, float_range=(-1.0, 9.0), clipped_share=0.0321)
    pictures = [picture for picture in figures(page.render(report(layers=tuple(layers)))) if picture.get("role") == "img"]
    flags = [[text.text for text in picture.iter("text") if text.get("class") == "flag"] for picture in pictures]
    assert flags[-2:] == [["1", "2", "3"], ["3.21\u00a0%"]]
    assert len([mark for mark in pictures[-1].iter("rect") if mark.get("class") == "clipped"]) == 2
    assert len([mark for mark in pictures[-1].iter("rect") if mark.get("class") == "stored"]) == 30


@pytest.mark.parametrize(("count", "limit_bytes"), [(60, 150_000), (200, 400_000)])
def test_pages_stay_small(count, limit_bytes):
    layers = tuple(
        layer(i, name="/".join(["a_long_name_of_a_block"] * 6) + str(i), float_range=(-0.1, 7.0), clipped_share=0.01) for i in range(count)
    )
    text = page.render(report(layers=layers))
    check(text)
    assert len(text.encode()) < limit_bytes


def test_a_hundred_classes_stay_small_too():
    rows = [[40 if i == j else (i * j) % 3 for j in range(100)] for i in range(100)]
    told = report()
    told["verification"]["task"] |= {"classes": [f"class {i}" for i in range(100)], "confusion": rows, "float_confusion": rows}
    text = page.render(told)
    check(text)
    assert len(text.encode()) < 400_000


@pytest.mark.parametrize("table", [[], [[1, 2]], [[1, 2], [3]], [[1, "x"], [2, 3]], None, [[1]]])
def test_a_broken_confusion_table_is_not_drawn(table):
    told = report()
    told["verification"]["task"]["confusion"] = table
    assert "Confusion: not measured" in check(page.render(told)).text


def test_values_without_classes_are_compared_by_their_error():
    checked = Verification("face", "here", 40, {"box": OutputError("values", None, 0.03, 0.002)})
    parsed = check(page.render(report(verification=checked)))
    assert "On 40 samples it is 0.20 % of the span off float in the mean" in parsed.text
    assert "the samples had no labels" in parsed.text


def test_an_interpreter_that_answers_wrongly_is_named_in_the_verdict():
    bad = RuntimeCheck("tflite-runtime 2.14.0", "3.11.7", "differs", "loads, and answers 34 steps off", 120.0, {}, {"ADD": 1})
    parsed = check(page.render(report(runtimes=(bad,))))
    assert "Not for every interpreter: tflite-runtime 2.14.0 differs." in parsed.text
    assert parsed.row("tflite-runtime")[2:4] == ["differs: loads, and answers 34 steps off", "120"]


def test_a_choice_that_misses_a_gate_is_marked_as_such():
    one = Candidate("static_wi8_ai8", None, 10, Latency(1.0, 2.0, 60), 0.9, 0.1, "min-agreement is 98.00%, and it has 90.00%", chosen=True)
    parsed = check(page.render(report(candidates=(one,))))
    assert parsed.row("static_wi8_ai8")[-1] == "chosen, though min-agreement is 98.00%, and it has 90.00%"


@pytest.mark.parametrize("name", ["face", "two words; rm -rf /"])
@pytest.mark.parametrize("auto", [True, False])
def test_the_command_to_reproduce_is_one_that_convert_takes(name, auto):
    told = report(name=name, gates=(Gate("min-agreement", 0.98, 0.99, True), Gate("max-bytes", 80_000.0, 77_640.0, True)))
    told["candidates"] = told["candidates"] if auto else []
    parsed = Parsed(page.render(told))
    command = next(words for words in parsed.words if words.startswith("affectkit convert"))
    parser = argparse.ArgumentParser()
    cli.add_commands(parser.add_subparsers())
    args = parser.parse_args(shlex.split(command)[1:])
    assert (args.model, args.output) == (pathlib.Path("face.keras"), pathlib.Path(f"{name}.affectkit"))
    assert args.recipe == ("auto" if auto else "static_wi8_ai8")
    assert args.lstm_form == (None if auto else "fused")
    assert (args.min_agreement, args.max_bytes, args.max_drop) == (0.98, 80_000, None)
    assert (args.name or "face") == name
