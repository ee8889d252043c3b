"""One table of results from many boards, and a page that renders it; rows that nobody has measured say so, and how to."""

from __future__ import annotations

import collections.abc
import pathlib
import typing

from benchmarks import estimate
from benchmarks.harness import Record
from benchmarks.result import board_name, number, read, write
from convert.pages.markup import Number, Prose, code, document, join, paragraph, table, tag
from edge.errors import InputError

FOLDER = pathlib.Path(__file__).resolve().parent / "results"
"""Where results are kept in a checkout."""
HOW = ("affectkit bench -o mine", "cp mine/result.json benchmarks/results/boards/my-board.json && affectkit bench --boards")
HEAD = ("board", "bundle", "response, ms", "latency, ms", "misses", "CPU s/s", "MiB", "first, s", "at 3x", "fit")
LEGEND = (
    "Response (tick to decision) and latency (newest sample to decision) are p50 / p99; MiB is the peak; first is the best time from "
    "the start to the first decision; at 3x are ticks with a decision when all stages are three times slower than planned"
)
NOT_MEASURED = "not measured"


def rows(results: collections.abc.Sequence[Record], estimates: collections.abc.Mapping[str, str]) -> list[tuple[str, ...]]:
    """A row a result, and one for each known board without any.

    Args:
        results: as ``result.read`` gives them.
        estimates: words for boards that were not measured, by ``estimate.BOARDS``' keys.
    """
    made = [_row(result) for result in sorted(results, key=lambda one: (board_name(one["board"]), one["bundle"]["sha256"]))]
    for key, board in estimate.BOARDS.items():
        if not any(str(result["board"].get("model", "")).startswith(board.model) for result in results):
            made.append((board.name, estimates.get(key, ""), NOT_MEASURED, *[""] * (len(HEAD) - 3)))
    return made


def _row(result: Record) -> tuple[str, ...]:
    bundle = f"{result['bundle']['name']} {result['bundle']['version']} ({result['bundle']['sha256'][:8]})"
    fit = "no" if result["unfit"] else "yes"
    cycle = result["scenarios"].get("cycle")
    if cycle is None:
        return (board_name(result["board"]), bundle, NOT_MEASURED, *[""] * (len(HEAD) - 4), fit)

    def pair(key: str) -> str:
        return " / ".join(number(cycle[key]["percentiles"].get(p), ".2f") for p in ("50", "99"))

    served = [run["served"]["share"] for run in result["scenarios"].get("overload", {}).get("runs", []) if run["factor"] == 3]
    return (
        board_name(result["board"]), bundle, pair("response_ms"), pair("latency_ms"), f"{cycle['misses']} of {cycle['due']}",
        number(cycle["cpu"]["s_per_s"], ".3f"), number(cycle["memory"]["peak_mib"], ".0f"),
        number(min(cycle["start"]["process_to_first_decision_s"]), ".2f"), f"{100 * served[0]:.1f} %" if served else "-", fit,
    )  # fmt: skip


def estimates(bundle: typing.Any, here_ms: collections.abc.Mapping[str, float]) -> dict[str, str]:
    """What is expected of each board for ``bundle``, in words."""
    words = {}
    for key, board in estimate.BOARDS.items():
        said = estimate.estimate(bundle, board, here_ms)
        low, high = (said["plans"][which] for which in ("low", "high"))
        if high["fits"] == "no":
            words[key] = f"{bundle.manifest.name}, estimate: {low['fits']} to no fit"
        else:
            words[key] = (
                f"{bundle.manifest.name}, estimate: models {low['longest_ms']:.0f} to {high['longest_ms']:.0f} ms, fits {high['fits']}"
            )
    return words


def as_markdown(made: collections.abc.Sequence[collections.abc.Sequence[str]]) -> str:
    """The table for a repository."""
    lines = [
        "Results of `affectkit bench`, a row a board; every number is of the run that its file keeps. An estimate is no measurement:",
        "`affectkit bench --estimate BOARD` says what it is made of, and its error where the truth is published.",
        "",
        f"{LEGEND}.",
        "",
        f"| {' | '.join(HEAD)} |",
        "|" + "---|" * len(HEAD),
        *(f"| {' | '.join(row)} |" for row in made),
        "",
        "To add a board:",
        "",
        "```sh",
        *HOW,
        "```",
    ]
    return "\n".join(lines) + "\n"


def as_page(made: collections.abc.Sequence[collections.abc.Sequence[str]]) -> str:
    """The table as a page that opens offline."""
    columns = [HEAD[0], Prose(HEAD[1]), *(Number(title) for title in HEAD[2:])]
    head = tag("header", paragraph("Benchmarks", class_="kicker"), tag("h1", "affectkit, board by board"))
    shown = table(LEGEND, columns, made)
    how = tag(
        "section", tag("h2", "Add a board"), paragraph("Run both on it, in a checkout, and send the file:"), tag("pre", "\n".join(HOW)),
        paragraph("A result that says unfit stays in the table, marked: run it again on a machine that does nothing else."),
    )  # fmt: skip
    note = paragraph(
        "An estimate is no measurement: ", code("affectkit bench --estimate BOARD"),
        " says what it is made of, and its error where the truth is published.", class_="soft",
    )  # fmt: skip
    body = join(head, tag("main", tag("section", shown, note), how), between="\n")
    return document("affectkit: boards", body, description="Latency, memory and CPU of affectkit on several boards")


def known(folder: pathlib.Path = FOLDER) -> list[Record]:
    """Every result in ``folder``/boards, and ``folder``/bench.json. Raises InputError for a file that is none."""
    own = folder / "bench.json"
    return [read(path) for path in ([own] if own.exists() else []) + sorted((folder / "boards").glob("*.json"))]


def update(bundle: typing.Any, here_ms: collections.abc.Mapping[str, float], folder: pathlib.Path = FOLDER) -> list[pathlib.Path]:
    """Render the table anew beside the results; the files written. Raises InputError where there is no folder of results."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; --boards renders the table of a checkout")
    made = rows(known(folder), estimates(bundle, here_ms))
    written = [folder / "boards.md", folder / "boards.html"]
    write(written[0], as_markdown(made))
    write(written[1], as_page(made))
    return written
