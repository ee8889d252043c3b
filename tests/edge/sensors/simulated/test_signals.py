from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.sensors.simulated.signals import during, finger, moved, played, pulse


def test_a_recording_plays_from_its_start_and_is_held_at_both_ends():
    signal = played([1.0, 3.0, 2.0], 2.0, start_s=10.0)
    assert signal(np.array([0.0, 10.0, 10.25, 10.5, 10.75, 11.0, 99.0])) == pytest.approx([1, 1, 2, 3, 2.5, 2, 2])


@given(st.floats(40.0, 180.0))
def test_a_pulse_repeats_with_its_heart_rate(heart_rate_bpm: float):
    t_s = np.linspace(0.0, 3.0, 301)
    wave = pulse(heart_rate_bpm)
    assert wave(t_s) == pytest.approx(wave(t_s + 60.0 / heart_rate_bpm), abs=1e-9)
    assert wave(t_s).min() >= 0.0 and 0.9 < wave(t_s).max() < 1.6


def test_blood_takes_light():
    light = finger(lambda t_s: t_s, light_na_per_ma=200.0, depth=0.02)
    assert light(np.array([0.0, 1.0])) == pytest.approx([200.0, 196.0])


def test_a_spell_replaces_the_signal_only_while_it_lasts():
    signal = during(lambda t_s: t_s, [(1.0, 2.0), (4.0, 5.0)], -1.0)
    assert signal(np.array([0.5, 1.0, 1.9, 2.0, 4.5, 6.0])) == pytest.approx([0.5, -1, -1, 2, -1, 6])


def test_motion_shakes_by_its_share_and_only_while_it_lasts():
    shaken = moved(lambda t_s: np.full_like(t_s, 100.0), [(5.0, 15.0)], share=0.3)
    t_s = np.linspace(0.0, 20.0, 2001)
    values = shaken(t_s)
    inside = (t_s >= 5.0) & (t_s < 15.0)
    assert (values[~inside] == 100.0).all()
    assert 5.0 < np.abs(values[inside] - 100.0).max() <= 30.0
