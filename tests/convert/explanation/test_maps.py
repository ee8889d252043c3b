from __future__ import annotations

import numpy as np
import pytest

from convert.explanation.explain import of_face, of_physiology, of_speech
from convert.explanation.maps import Asked, Check, occlusion, parts, rank_correlation, sliding, without
from edge.preprocess.physiology import CHANNELS
from tests.convert.explanation.planted import adding, decider, looking_at

RANDOM = np.random.default_rng(7)


def asked(modality: str, region: np.ndarray, window: np.ndarray, gain: float = 4.0) -> Asked:
    """A decision that hangs on nothing but ``region`` of one window."""
    return Asked(decider(adding({modality: gain}), {modality: looking_at(modality, region, window)}), modality)


def test_the_face_map_finds_the_only_place_that_is_looked_at():
    face = RANDOM.uniform(-0.3, 0.3, (48, 48, 1)).astype(np.float32)
    face[30:42, 10:22] += 0.9
    region = np.zeros((48, 48))
    region[30:42, 10:22] = 1
    told = of_face(asked("face", region, face), {}, np.random.default_rng(0))
    found = np.array(told["map"])
    assert found.shape == (48, 48)
    y, x = np.unravel_index(found.argmax(), found.shape)
    assert abs(y - 36) <= 2 and abs(x - 16) <= 2
    assert np.all(found[:20] == 0) and np.all(found[:, 34:] == 0)
    assert told["check"]["verdict"] == "points" and told["check"]["costlier"] == 0
    assert told["check"]["drop_top"] > 2 * np.mean(told["check"]["drop_random"])


def test_what_speaks_against_the_label_is_below_zero():
    face = np.full((16, 16, 1), -0.5, np.float32)
    face[:8] = 0.5  # grey, which is 0 here, takes it away
    region = np.zeros((16, 16))
    region[:8] = 1
    told = of_face(asked("face", region, face, gain=-2.0), {}, np.random.default_rng(0))
    assert np.min(told["map"]) < -0.01 and np.max(told["map"]) == 0
    assert told["check"]["direction"] == -1 and told["check"]["drop_top"] < -0.01 and told["check"]["verdict"] == "points"


def test_the_speech_map_finds_the_only_band_and_time_that_are_heard():
    heard = RANDOM.uniform(0.2, 1.0, (300, 40)).astype(np.float32)
    heard[:60] = 0  # before the voice began
    region = np.zeros((300, 40))
    region[200:220, 8:12] = 1
    told = of_speech(asked("speech", region, heard), {"hop_ms": 10.0, "fmin_hz": 60.0, "fmax_hz": 7600.0}, np.random.default_rng(0))
    found = np.array(told["map"])
    assert found.shape == (10, 15)  # bands, low first, by stretches, old first
    assert found[2, 10] == found.max() > 0.05 and np.count_nonzero(found) == 1
    assert np.argmax(told["whole_bands"]) == 2 and np.argmax(told["whole_blocks"]) == 10
    assert told["edges_s"][10] == -1.0 and told["edges_s"][-1] == 0 and len(told["edges_s"]) == 16
    assert told["edges_hz"] == sorted(told["edges_hz"]) and 60 < told["edges_hz"][0] < told["edges_hz"][-1] < 7600
    assert told["check"]["of"] == 120  # what was silent already is not drawn: it would flatter the map
    assert told["check"]["verdict"] == "points"


def test_the_physiology_map_and_values_find_the_only_channel():
    window = RANDOM.uniform(0.5, 2.0, (60, len(CHANNELS))).astype(np.float32)
    region = np.zeros(window.shape)
    region[50:60, 3] = 1
    told = of_physiology(asked("physiology", region, window, gain=1.0), {}, np.random.default_rng(0))
    found, values = np.array(told["map"]), {one["channels"][0]: one["value"] for one in told["players"]}
    assert found.shape == (len(CHANNELS), 12)
    assert set(zip(*np.nonzero(found), strict=True)) == {(3, 10), (3, 11)}
    assert values.pop(CHANNELS[3]) == pytest.approx(told["all"] - told["none"], abs=2e-6)
    assert set(values.values()) == {0.0}


def test_more_channels_than_can_be_played_out_are_put_together():
    window = RANDOM.uniform(0.5, 2.0, (12, 23)).astype(np.float32)
    told = of_physiology(asked("physiology", np.ones(window.shape), window), {}, np.random.default_rng(0))
    assert len(told["players"]) == 10 and sum(len(one["channels"]) for one in told["players"]) == 23
    assert told["channels"][0] == "channel 1"
    assert sum(one["value"] for one in told["players"]) == pytest.approx(told["all"] - told["none"], abs=1e-5)


def test_a_window_that_the_decision_does_not_hang_on_has_a_flat_map_that_is_not_believed():
    face = RANDOM.uniform(-1, 1, (16, 16, 1)).astype(np.float32)
    told = of_face(asked("face", np.ones((16, 16)), face, gain=0.0), {}, np.random.default_rng(0))
    assert not np.any(told["map"]) and told["check"]["verdict"] == "flat" and told["check"]["likeness"] is None


def test_a_window_that_is_all_fill_has_nothing_to_remove():
    silence = np.zeros((30, 10), np.float32)
    found = occlusion(asked("speech", np.ones((30, 10)), silence), parts(30, 10, 5, 5), 0.0, np.random.default_rng(0))
    assert (found.check.of, found.check.removed, found.check.drop_random, found.check.verdict) == (0, 0, (), "empty")


def counted(regions, height: int, width: int) -> np.ndarray:
    """How often each place is in one of ``regions``."""
    count = np.zeros((height, width), int)
    for region in regions:
        count[region] += 1
    return count


def check(top: float, draws: list[float], *, direction: int = 1, step: float = 0.0, largest: float = 1.0) -> str:
    return Check(direction, top, tuple(draws), 2, 10, None, np.zeros((1, 1)), step, largest).verdict


def test_the_verdict_follows_the_draws_and_never_sees_less_than_a_step_of_int8():
    assert check(0.5, [0.1] * 95 + [0.6] * 5) == "points"
    assert check(0.5, [0.1] * 94 + [0.6] * 6) == "weak"
    assert check(0.5, [0.1] * 79 + [0.6] * 21) == "chance"
    assert check(0.5, [0.5] * 100) == "chance" == check(-0.1, [-0.2] * 100, step=0.2)
    assert check(0.0, [-0.3] * 100) == "chance"  # what costs nothing is no cause, whatever else gains
    assert check(-0.5, [-0.1] * 95 + [-0.6] * 5, direction=-1) == "points" and check(0.5, [0.1] * 100, direction=-1) == "chance"
    assert check(0.01, [0.0] * 100, step=0.02, largest=0.01) == "flat"
    assert check(0.01, [0.0] * 100, step=0.02, largest=0.05) == "chance"


@pytest.mark.parametrize(("height", "width", "rows", "columns"), [(300, 40, 15, 10), (60, 7, 12, 7), (10, 3, 4, 3)])
def test_parts_cover_a_window_once(height, width, rows, columns):
    grid = parts(height, width, rows, columns)
    assert len(grid.regions) == rows * columns
    np.testing.assert_array_equal(counted(grid.regions, height, width), 1)
    worths = RANDOM.random((rows, columns))
    np.testing.assert_array_equal(grid.block_worths(worths), worths.ravel())


@pytest.mark.parametrize("size", [8, 48, 64, 100, 256])
def test_a_patch_slides_over_every_place_and_its_blocks_cover_the_face_once(size):
    grid = sliding(size)
    assert grid.rows == grid.columns <= 48 and len(grid.regions) == grid.rows**2
    assert np.all(counted(grid.regions, size, size) > 0)
    np.testing.assert_array_equal(counted(grid.blocks, size, size), 1)
    assert len({region[0].start + region[0].stop for region in grid.regions}) == grid.rows  # each place once
    down, across = grid.regions[(grid.rows // 2) * grid.columns + grid.columns // 2]
    assert down == across and down.stop - down.start == pytest.approx(size / 4, abs=1)
    # The worth of a block is that of the cells whose middles lie in it.
    stride = -(-size // 48)
    for cell in (0, 5, grid.rows - 1):
        cells = np.zeros((grid.rows, grid.columns))
        cells[cell, 0] = 1.0
        block = grid.blocks[int(grid.block_worths(cells).argmax())]
        assert block[0].start <= min((cell + 0.5) * stride, size - 0.5) <= block[0].stop and block[1].start == 0


def test_removing_leaves_the_window_itself_alone():
    window = np.ones((4, 4, 1), np.float32)
    changed = without(window, [(slice(0, 2), slice(0, 2)), (slice(3, 4), slice(0, 4))], -1.0)
    assert changed.sum() == 16 - 2 * 8 and window.sum() == 16


def test_ranks_are_compared_with_ties_and_flat_maps_cannot_be():
    one = np.array([0.0, 0.0, 1.0, 2.0])
    assert rank_correlation(one, one**3) == pytest.approx(1)
    assert rank_correlation(one, -one) == pytest.approx(-1)
    assert rank_correlation(one, np.array([1.0, 0.0, 0.0, 2.0])) == pytest.approx(np.corrcoef([1.5, 1.5, 3, 4], [3, 1.5, 1.5, 4])[0, 1])
    assert rank_correlation(one, np.zeros(4)) is None
