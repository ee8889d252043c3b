from __future__ import annotations

import dataclasses
import itertools
import typing

import pytest

from edge.config import Settings, load_settings, settings_from
from edge.errors import ConfigError

GOOD = """
[bundle]
path = "lesson.affectkit"
[sources]
use = ["replay:a.zip", "replay:/abs/b.zip"]
queue_chunks = 8
[budget]
budget_ms = 150
[outputs]
console = false
jsonl = "-"
report = "report.json"
[purpose]
jurisdiction = "US"
"""


def test_what_is_said_is_set_what_is_not_has_its_default_and_paths_start_at_the_file(tmp_path):
    (tmp_path / "kit.toml").write_text(GOOD)
    settings = load_settings(tmp_path / "kit.toml")
    assert settings.bundle.path == str(tmp_path / "lesson.affectkit")
    assert settings.sources.use == (f"replay:{tmp_path}/a.zip", "replay:/abs/b.zip")
    assert (settings.sources.queue_chunks, settings.budget.budget_ms, settings.budget.cadence_ms) == (8, 150, 0)
    assert (settings.outputs.jsonl, settings.outputs.report) == ("-", str(tmp_path / "report.json"))
    assert settings.purpose.jurisdiction == "US" and settings.inference.threads == 0


def test_an_empty_file_is_all_defaults():
    assert settings_from({}, where="kit.toml") == Settings()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[budget]\nbudgt_ms = 1", "unknown key 'budget.budgt_ms'; did you mean 'budget_ms'?"),
        ("[sorces]\nuse = []", "unknown key 'sorces'; did you mean 'sources'?"),
        ("[outputs]\nzzz = 1", "unknown key 'outputs.zzz'; known: console, jsonl, overwrite, report"),
        ("[inference]\nthreads = 1.5", "inference.threads: got 1.5; it is a whole number"),
        ("[inference]\nthreads = true", "inference.threads: got True; it is a whole number"),
        ("[inference]\nthreads = -1", "inference.threads: got -1; it is at least 0"),
        ("[outputs]\nconsole = 1", "outputs.console: got 1; it is true or false"),
        ('[sources]\nuse = "replay:a"', "sources.use: got 'replay:a'; it is a list"),
        ("[sources]\nuse = [1]", "sources.use: got [1]; it is a list"),
        ('bundle = "x"', "bundle is a table; write [bundle]"),
        ("[bundle\n", "is not TOML"),
        ("[purpose]\npurpose = 1", "purpose.purpose: got 1; it is a text in quotes"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_key_and_remedy(tmp_path, text, says):
    path = tmp_path / "kit.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and says in message and "\n" not in message


def test_a_file_that_is_not_there_or_not_text_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_settings(tmp_path / "bytes.toml")


def test_every_field_has_a_line_of_documentation():
    import ast
    import inspect

    for cls in (Settings, *(kind for kind in typing.get_type_hints(Settings).values())):
        body = [line for base in cls.__mro__[:-1] for line in ast.parse(inspect.getsource(base)).body[0].body]
        documented = {
            field.target.id
            for field, doc in itertools.pairwise(body)
            if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant)
        }
        assert documented == {field.name for field in dataclasses.fields(cls)}
