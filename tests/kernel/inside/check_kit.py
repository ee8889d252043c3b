"""The whole kit on device nodes: ``affectkit run`` with a camera, a microphone, a pulse and a skin conductance sensor, all live.

The emulated processor keeps no deadline, so the decisions come late and seldom; what counts is that they come, and that what is
missing is said in words.
"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from check_sound import CAPTURED, RATE_HZ, playing

from edge import embedded
from edge.session import open_session

KIT = """
[sources]
use = ["usb:vivid", "microphone:{microphone}", "max30102:{bus}", "ads1115:{bus}"]
[camera]
width = 320
height = 180
rate_hz = 5
[microphone]
native_rate_hz = {rate_hz}
[budget]
cadence_ms = 1000
budget_ms = 900
[purpose]
jurisdiction = "US"
purpose = "demonstration"
setting = "laboratory"
responsible = "the kernel rig, where nobody is sensed"
consent_reference = "none needed: a test pattern, an actor's recorded voice and simulated chips"
"""
SECONDS = 60
"""The physiology needs 15 s of skin and pulse before it says anything."""
MODALITIES = {"face", "speech", "physiology"}
REASONS = {"lost", "stale", "noisy", "late"}


def speech(seconds: float) -> np.ndarray:
    """The speaker of the embedded session, again and again, at ``RATE_HZ``."""
    from edge.sensors.resampler import resampled

    voice = np.concatenate([chunk.samples for chunk in open_session(embedded.SESSION).chunks("audio")])[: 15 * 16_000]
    voice = resampled(voice, 16_000, RATE_HZ)
    return np.tile(voice, int(np.ceil(seconds * RATE_HZ / len(voice))))


@pytest.fixture
def kit(adapter, tmp_path):
    """Settings file of a kit with everything."""
    path = tmp_path / "kit.toml"
    path.write_text(KIT.format(microphone=CAPTURED, bus=adapter, rate_hz=RATE_HZ))
    return path


def test_a_kit_with_every_sensor_decides_and_says_what_is_missing(kit, tmp_path):
    lines, report = tmp_path / "decisions.jsonl", tmp_path / "report.json"
    command = [sys.executable, "-m", "edge", "run", "--config", kit, "--jsonl", lines, "--report", report, "--duration", str(SECONDS)]
    with playing(tmp_path, speech(240.0)):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=220, check=False)
    assert lines.exists(), done.stderr
    assert "Traceback" not in done.stderr
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    decisions = [record for record in records if "state" in record]
    assert len(decisions) >= SECONDS // 4, done.stderr
    for decision in decisions:
        assert decision["state"] in ("decided", "unsure", "no decision")
        # Every modality has a weight, or a reason and words for its absence.
        assert set(decision["weights"]) | set(decision["absent"]) == MODALITIES
        for absence in decision["absent"].values():
            assert absence["reason"] in REASONS and absence["detail"].strip()
    fused = [set(decision["weights"]) for decision in decisions if decision["weights"]]
    print(f"{len(decisions)} decisions, {len(fused)} of them of {sorted(set().union(*fused))}")
    assert any("physiology" in of for of in fused), "no decision was made of the chips' signals"
    assert any("speech" in of for of in fused), "no decision was made of the voice"
    face = [decision["absent"]["face"]["detail"] for decision in decisions if "face" in decision["absent"]]
    assert len(face) == len(decisions), "a face was seen in a test pattern"
    lost = json.loads(report.read_text())["lost_sources"]
    assert done.returncode == (1 if lost else 0), done.stderr
    assert not {"ppg", "eda"} & set(lost), lost
    # On a busy host the camera or the microphone may miss its time; then it is named, and everything else goes on.
    assert all(len(why.split()) > 3 for why in lost.values()), lost
