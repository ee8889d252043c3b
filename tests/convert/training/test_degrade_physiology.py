from __future__ import annotations

import numpy as np
import pytest

from convert.training.degrade.physiology import drop, hold, jump, lift, move, spells
from edge.preprocess.eda import SkinTracker
from edge.preprocess.physiology import PULSE_VALID, SKIN_VALID
from edge.preprocess.ppg import PulseTracker

EDA = np.exp(np.cumsum(np.random.default_rng(0).normal(0.0, 0.01, 240))).astype(np.float32)


def test_spells_come_as_often_and_last_as_long_as_told():
    rng = np.random.default_rng(0)
    found = spells(36000.0, 2.0, (2.0, 6.0), rng)
    assert len(found) == pytest.approx(1200, rel=0.1)
    lengths = [end - start for start, end in found]
    assert 2.0 <= min(lengths) <= max(lengths) <= 6.0
    assert [start for start, _ in found] == sorted(start for start, _ in found)
    assert spells(600.0, 0.0, (2.0, 6.0), rng) == []


def test_lifted_electrodes_are_off_for_the_tracker_and_on_again_after():
    before = EDA.copy()
    tracker = SkinTracker()
    tracker.push(0, 4.0, lift(EDA, 4.0, [(20.0, 30.0)]))
    assert np.array_equal(EDA, before)
    assert {at.t_s for at in tracker.seconds if not at.on} == set(range(21, 31))


def test_a_drop_leaves_a_share_and_a_jump_stays():
    dropped = drop(EDA, 4.0, [(10.0, 12.0)], 0.25)
    assert dropped[40:48] == pytest.approx(EDA[40:48] * 0.25)
    assert np.array_equal(np.delete(dropped, range(40, 48)), np.delete(EDA, range(40, 48)))
    jumped = jump(EDA, 4.0, [10.0, 40.0], 2.0, np.random.default_rng(1))
    gain = jumped / EDA
    assert gain[:40] == pytest.approx(1.0)
    assert np.ptp(np.log2(gain[40:160])) == pytest.approx(0.0, abs=1e-5)
    assert abs(np.log2(gain[100])) == pytest.approx(1.0)
    assert abs(np.log2(gain[200] / gain[100])) == pytest.approx(1.0)
    assert jumped.dtype == EDA.dtype


def test_a_moving_wrist_spoils_the_pulse_while_it_moves():
    t_s = np.arange(64 * 90) / 64
    ppg = np.sin(2 * np.pi * 1.2 * t_s).astype(np.float32)
    moved = move(ppg, 64.0, [(40.0, 60.0)], 3.0, np.random.default_rng(0))
    assert np.array_equal(moved[: 40 * 64], ppg[: 40 * 64])
    assert np.array_equal(moved[60 * 64 :], ppg[60 * 64 :])
    assert np.std((moved - ppg)[40 * 64 : 60 * 64]) == pytest.approx(3.0 * np.std(ppg), rel=0.2)
    tracker = PulseTracker()
    tracker.push(0, 64.0, moved)
    quality = {at.t_s: at.quality for at in tracker.seconds}
    assert min(quality[t] for t in range(30, 40)) > 0.9
    assert np.mean([quality[t] for t in range(52, 60)]) < 0.75


def test_held_steps_repeat_the_last_value_are_marked_and_skin_is_there_at_the_end():
    windows = np.random.default_rng(2).normal(0.0, 0.5, (40, 60, 12)).astype(np.float32)
    windows[..., [PULSE_VALID, SKIN_VALID]] = 1.0
    before = windows.copy()
    held = hold(windows, np.random.default_rng(0), 1.0)
    assert np.array_equal(windows, before)
    for channels, valid in ((slice(0, 2), PULSE_VALID), (slice(2, 5), SKIN_VALID)):
        assert (held[..., valid] == 0.0).any(axis=1).all()
        for row, step in zip(*np.nonzero(held[:, 1:, valid] == 0.0), strict=True):
            assert np.array_equal(held[row, step + 1, channels], held[row, step, channels])
    assert (held[:, -1, SKIN_VALID] == 1.0).all()
    assert np.array_equal(held[..., 7:], windows[..., 7:])
    assert np.array_equal(hold(windows, np.random.default_rng(0), 0.0), windows)
