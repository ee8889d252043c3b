"""Work made of the session, and what its slope is called."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import scaling
from benchmarks.cycle_session import NS, decode
from benchmarks.scaling import Point
from edge import load_bundle
from edge.embedded import BUNDLE
from edge.errors import InputError


@pytest.fixture(scope="module")
def decoded():
    return decode().until(1.0)


def points(*costs, works=(1, 2, 4, 8)):
    return [Point(work, cost, 10, 10) for work, cost in zip(works, costs, strict=True)]


@pytest.mark.parametrize(
    ("costs", "slope", "said"),
    [
        ((5, 10, 20, 40), 1.0, "linear or better"),
        ((5, 5, 5, 5), 0.0, "linear or better"),
        ((1, 4, 16, 64), 2.0, "worse than linear"),
    ],
)
def test_the_exponent_tells_linear_from_worse(costs, slope, said):
    assert scaling.exponent(points(*costs)) == pytest.approx(slope)
    assert scaling.verdict(points(*costs)) == said


def test_a_cost_that_turns_up_at_its_end_is_worse_than_linear_though_the_whole_is_flat():
    turned = points(10, 10, 10, 40)
    assert scaling.exponent(turned) < 1
    assert scaling.verdict(turned) == "worse than linear"


def test_one_amount_of_work_has_no_exponent():
    with pytest.raises(ValueError, match="two amounts"):
        scaling.exponent(points(1, works=(1,)))


@pytest.mark.parametrize("rate", [5, 10, 60])
def test_frames_come_at_the_rate_asked_for_and_are_never_from_the_future(decoded, rate):
    frames = scaling.at_rate(decoded, rate).by_track["video"]
    source = decoded.by_track["video"]
    assert len(frames) == rate
    assert frames[1].t_ns - frames[0].t_ns == pytest.approx(NS / rate, abs=1)
    for frame in frames:
        newest = [one for one in source if one.t_ns <= frame.t_ns][-1]
        assert frame.samples is newest.samples


def test_tiles_neither_overlap_nor_leave_the_picture_and_more_faces_keep_the_places_of_fewer():
    at = scaling.places(8)
    seen = np.zeros((scaling.HEIGHT_PX, scaling.WIDTH_PX), int)
    for row, column in at:
        part = seen[row : row + scaling.TILE_PX, column : column + scaling.TILE_PX]
        assert part.shape == (scaling.TILE_PX, scaling.TILE_PX)
        part += 1
    assert seen.max() == 1
    assert scaling.places(3) == at[:3]
    with pytest.raises(InputError, match="1 to 8"):
        scaling.places(9)


@pytest.mark.parametrize("count", scaling.FACES)
def test_the_detector_finds_every_face_that_was_pasted(decoded, count):
    find = scaling.detector(load_bundle(BUNDLE))
    made = scaling.with_faces(decoded, count, find)
    assert len(made.by_track["video"]) == len(decoded.by_track["video"])
    assert len(find(made.by_track["video"][-1].samples[-1])) == count


def test_a_page_has_a_plot_a_series_and_loads_nothing():
    page = scaling.page({"faces in view": points(5, 6, 7, 8), "frames a second": points(5, 10, 20, 40)}, "a machine")
    assert page.count("<figure") == 2
    assert "<script" not in page and "https://" not in page
    assert "linear or better" in scaling.markdown({"faces in view": points(5, 6, 7, 8)}, "a machine")
