"""Cost against work: ``python -m benchmarks.scaling -o benchmarks/results``.

CPU time of one thread for a second of session as faces in view, frames a second and decisions a second grow, everything else as the
embedded bundle and session have it. Made of the session itself: its face pasted at several places, its frames given more or less
often, another cadence.
"""

from __future__ import annotations

import argparse
import collections.abc
import dataclasses
import gc
import itertools
import json
import math
import os
import pathlib
import statistics
import sys
import time
import typing

import numpy as np

from benchmarks.cycle_session import NS, Decoded, decode
from convert.pages.markup import Html, Number, document, figure, join, paragraph, table, tag
from convert.pages.plots import Frame, Scale, line, picture, text, ticks, titled
from edge import Runtime, load_bundle
from edge.bundle import Bundle
from edge.compose import Stages, load_stages
from edge.config import BudgetSettings, Settings
from edge.embedded import BUNDLE
from edge.errors import EdgeError, InputError
from edge.preprocess.image import crop_area
from edge.types import Chunk

FACES, FRAMES_HZ, DECISIONS_HZ = (1, 2, 4, 8), (5, 10, 15, 30, 60), (1, 2, 4, 5, 10)
FROM_S, FOR_S = 0.0, 20.0
ROUNDS = 5
HEIGHT_PX, WIDTH_PX = 480, 640
TILE_PX = 150
FACES_SHARE = 0.5
"""Side of a face over the side of the tile that it is pasted in."""
LINEAR = 1.05
"""Exponent up to which cost counts as linear: what noise makes of 1."""
CAPTION = """CPU time of one thread for a second of session, fast, the first 20 s of the embedded session; medians of rounds in turn.
Faces in view: the face of the session pasted at 1 to 8 places of a 640x480 picture, 8 frames a second; one is followed and encoded,
all are detected. Frames a second: its frames given more or less often. Decisions a second: another cadence. The exponent b is that of
cost = a work^b through all points of a series, by least squares of logarithms: up to 1 is linear or better, 0 is free."""


@dataclasses.dataclass(frozen=True)
class Point:
    """One measurement."""

    work: float
    cpu_ms_per_s: float
    decisions: int
    encoded: int
    """Face windows encoded: more work done, or none for all the frames."""


def exponent(points: collections.abc.Sequence[Point]) -> float:
    """b of ``cost = a work^b`` by least squares of logarithms. ValueError for fewer than two amounts of work."""
    x, y = [math.log(p.work) for p in points], [math.log(p.cpu_ms_per_s) for p in points]
    if len(set(x)) < 2:
        raise ValueError(f"exponent: {len(points)} points of one amount of work; measure two amounts at least")
    return statistics.linear_regression(x, y).slope


def steepest(points: collections.abc.Sequence[Point]) -> float:
    """The largest exponent between neighbours: cost may turn up at its end though all of it fits a flat line."""
    return max(math.log(b.cpu_ms_per_s / a.cpu_ms_per_s) / math.log(b.work / a.work) for a, b in itertools.pairwise(points))


def verdict(points: collections.abc.Sequence[Point]) -> str:
    """In words."""
    return "linear or better" if max(exponent(points), steepest(points)) <= LINEAR else "worse than linear"


# --- sessions made of the session ---------------------------------------------------------------------------------------


def with_frames(decoded: Decoded, chunks: collections.abc.Iterable[Chunk]) -> Decoded:
    """The same session with other video."""
    return Decoded(decoded.duration_ns, {**decoded.by_track, "video": tuple(chunks)}, decoded.planned)


def at_rate(decoded: Decoded, rate_hz: float) -> Decoded:
    """At each time of a camera of that rate, the newest frame there was."""
    frames = decoded.by_track["video"]
    made, at = [], 0
    for number in range(int(decoded.duration_ns * rate_hz / NS)):
        t_ns = frames[0].t_ns + round(number * NS / rate_hz)
        while at + 1 < len(frames) and frames[at + 1].t_ns <= t_ns:
            at += 1
        made.append(Chunk("video", t_ns, rate_hz, frames[at].samples))
    return with_frames(decoded, made)


def places(count: int) -> list[tuple[int, int]]:
    """Row and column of the top left of tiles in a picture of 640x480, 4 by 2, the middle first. InputError beyond 8."""
    if not 1 <= count <= 8:
        raise InputError(f"places: got {count} faces; 1 to 8 fit")
    grid = [(row, column) for row in (60, 270) for column in (5, 165, 325, 485)]
    return sorted(grid, key=lambda at: math.hypot(at[0] + TILE_PX / 2 - HEIGHT_PX / 2, at[1] + TILE_PX / 2 - WIDTH_PX / 2))[:count]


def with_faces(decoded: Decoded, count: int, detect: collections.abc.Callable[[np.ndarray], np.ndarray]) -> Decoded:
    """The face of the session at ``count`` places of a larger grey picture; a frame without a face shows the one before.

    Args:
        decoded: the session.
        count: 1 to 8.
        detect: uint8 frame -> boxes (n, 5), strongest first.
    """
    made: list[Chunk] = []
    tile = np.full((TILE_PX, TILE_PX), 128, np.uint8)
    for chunk in decoded.by_track["video"]:
        frame = chunk.samples[-1]
        boxes = detect(frame)
        if len(boxes):
            x0, y0, x1, y1 = (float(v) for v in boxes[0, :4])
            half, x, y = max(x1 - x0, y1 - y0) / FACES_SHARE / 2, (x0 + x1) / 2, (y0 + y1) / 2
            tile = np.rint(crop_area(frame, (x - half, y - half, x + half, y + half), TILE_PX, TILE_PX)).astype(np.uint8)
        picture_ = np.full((1, HEIGHT_PX, WIDTH_PX), 128, np.uint8)
        for row, column in places(count):
            picture_[0, row : row + TILE_PX, column : column + TILE_PX] = tile
        made.append(Chunk("video", chunk.t_ns, chunk.rate_hz, picture_))
    return with_frames(decoded, made)


def detector(bundle: Bundle) -> collections.abc.Callable[[np.ndarray], np.ndarray]:
    """The bundle's own."""
    from edge.inference.model import Model
    from edge.preprocess.detection import Detector, DetectorParameters

    spec = bundle.manifest.stages["detector"]
    model = Model(bundle.stage("detector"), name="detector", inputs=spec.inputs, outputs=spec.outputs)
    return Detector(DetectorParameters(**bundle.manifest.preprocess["detector"]), lambda image: model.run(image=image))


# --- measuring ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Case:
    """What is measured."""

    work: float
    decoded: Decoded
    settings: Settings = dataclasses.field(default_factory=Settings)


def cases(bundle: Bundle, decoded: Decoded) -> dict[str, list[Case]]:
    """Series by name, each from little to much work."""
    find = detector(bundle)
    return {
        "faces in view": [Case(count, with_faces(decoded, count, find)) for count in FACES],
        "frames a second": [Case(rate, at_rate(decoded, rate)) for rate in FRAMES_HZ],
        "decisions a second": [
            # A budget is at most the cadence; in virtual time nothing is late.
            Case(rate, decoded, Settings(budget=BudgetSettings(cadence_ms=1000 // rate, budget_ms=100)))
            for rate in DECISIONS_HZ
        ],
    }


def measure(bundle: Bundle, series: collections.abc.Mapping[str, collections.abc.Sequence[Case]], rounds: int) -> dict[str, list[Point]]:
    """CPU time of every case, rounds in turn, medians."""
    every = [(name, place) for name, several in series.items() for place in range(len(several))]
    took: dict[tuple[str, int], list[float]] = {key: [] for key in every}
    told: dict[tuple[str, int], dict[str, typing.Any]] = {}
    models = load_stages(bundle, Settings()).models
    for number in range(rounds + 1):
        for name, place in every:
            case = series[name][place]
            runtime = Runtime(bundle, [case.decoded.sensor()], settings=case.settings, fast=True, stages=lambda *_: Stages(models))
            gc.collect()
            began_s = time.process_time()
            told[name, place] = runtime.run()
            if number:  # the first warms up
                took[name, place].append(time.process_time() - began_s)
    points: dict[str, list[Point]] = {name: [] for name in series}
    for name, place in every:
        case, report = series[name][place], told[name, place]
        cpu_ms = 1000 * statistics.median(took[name, place]) / (case.decoded.duration_ns / NS)
        points[name].append(Point(case.work, cpu_ms, int(report["decisions"]), int(report["encoded"]["face"])))
    return points


# --- telling ------------------------------------------------------------------------------------------------------------


def rows_of(points: collections.abc.Sequence[Point]) -> list[list[str]]:
    """A row a point."""
    return [[f"{p.work:g}", f"{p.cpu_ms_per_s:.2f}", f"{p.cpu_ms_per_s / p.work:.2f}", str(p.encoded), str(p.decisions)] for p in points]


COLUMNS = ("CPU ms a second", "a unit of work", "faces encoded", "decisions")


def summary(points: collections.abc.Sequence[Point]) -> str:
    """Exponents and what they mean."""
    return f"exponent {exponent(points):.2f}, steepest between neighbours {steepest(points):.2f}: {verdict(points)}"


def markdown(series: collections.abc.Mapping[str, collections.abc.Sequence[Point]], facts: str) -> str:
    """All of it in Markdown."""
    from benchmarks.cycle_table import markdown as rendered

    parts = ["# Cost against work", CAPTION, facts, "Repeat: `python -m benchmarks.scaling -o benchmarks/results`."]
    for name, points in series.items():
        parts += [f"## {name[0].upper()}{name[1:]}", f"{summary(points)}.", rendered((name, *COLUMNS), rows_of(points))]
    return "\n\n".join(parts) + "\n"


def plot(name: str, points: collections.abc.Sequence[Point]) -> Html:
    """Cost over work from 0, with what would be in proportion to the first point dotted in."""
    most_x, most_y = points[-1].work, max(p.cpu_ms_per_s for p in points)
    frame = Frame(640, 300, Scale(0, most_x * 1.05, 60, 620), Scale(0, most_y * 1.15, 250, 15))
    first = points[0]
    reach = min(most_x, first.work * frame.y.high / first.cpu_ms_per_s)
    proportional = line([(frame.x(0), frame.y(0)), (frame.x(reach), frame.y(reach * first.cpu_ms_per_s / first.work))], "grid")
    places_ = [(frame.x(p.work), frame.y(p.cpu_ms_per_s)) for p in points]
    dots = [
        titled(f"{p.work:g} {name}: {p.cpu_ms_per_s:.2f} ms", tag("circle", cx=x, cy=y, r=4, class_="met"))
        for p, (x, y) in zip(points, places_, strict=True)
    ]
    return picture(
        640, 300, f"CPU time over {name}",
        frame.rows({value: f"{value:g}" for value in ticks(0, most_y * 1.1)}),
        frame.columns({p.work: f"{p.work:g}" for p in points}, name),
        proportional, line(places_, "total"), *dots, text(60, 10, "ms a second", class_="axis"),
    )  # fmt: skip


def page(series: collections.abc.Mapping[str, collections.abc.Sequence[Point]], facts: str) -> str:
    """One self-contained HTML page."""
    sections = []
    for name, points in series.items():
        drawn = figure(plot(name, points), f"{summary(points)}. Thin: in proportion to the first point", wide=f"CPU time over {name}")
        columns = [name, *(Number(column) for column in COLUMNS)]
        sections.append(tag("section", tag("h2", f"{name[0].upper()}{name[1:]}"), drawn, table(name, columns, rows_of(points))))
    head = tag("header", paragraph("Benchmark", class_="kicker"), tag("h1", "Cost against work"))
    lead = tag("div", paragraph(" ".join(CAPTION.split())), paragraph(facts), class_="verdict")
    body = join(head, tag("main", lead, *sections), between="\n")
    return document("Cost against work", body, description="CPU time over faces in view, frames a second and decisions a second")


def main(arguments: collections.abc.Sequence[str] | None = None) -> int:
    """Measure, print and write; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description="Cost against work.")
    parser.add_argument("-o", "--output", type=pathlib.Path, metavar="DIR", help="for scaling.json, .md and .html")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="timed runs of each case (default: %(default)s)")
    args = parser.parse_args(arguments)
    if os.environ.get("OMP_NUM_THREADS") != "1":  # libraries read it when they are loaded
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.scaling", *(sys.argv[1:] if arguments is None else arguments)],
                  {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")})  # fmt: skip
    try:
        from benchmarks.peers import machine

        bundle = load_bundle(BUNDLE)
        series = measure(bundle, cases(bundle, decode().until(FOR_S)), args.rounds)
        machine_ = machine()
        named = ("processor", "cores", "system", "python", "ai-edge-litert", "numpy")
        facts = f"Machine: {', '.join(f'{name} {machine_[name]}' for name in named)}; other computers differ."
        print(markdown(series, facts))
        if args.output is not None:
            args.output.mkdir(parents=True, exist_ok=True)
            told = {"machine": machine_, "series": {name: [dataclasses.asdict(p) for p in points] for name, points in series.items()}}
            (args.output / "scaling.json").write_text(json.dumps(told, indent=1) + "\n")
            (args.output / "scaling.md").write_text(markdown(series, facts))
            (args.output / "scaling.html").write_text(page(series, facts))
    except EdgeError as error:
        print(f"scaling: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
