"""A network of the zoo, converted, packed and run by the command line on the embedded session: from Keras to decisions."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("tensorflow")

import keras

from convert.pipeline import Converted, convert_model
from convert.worker import Worker
from convert.zoo import cnn_lstm, inputs
from edge import cli, embedded
from edge.bundle import CARD, Manifest, StageSpec, load_bundle, pack_golden, write_bundle
from edge.inference.golden import golden
from edge.inspect import verify

pytestmark = pytest.mark.convert

LABELS = ("interested", "bored", "confused")
STEPS = 10


def stages() -> tuple[dict[str, Converted], dict[str, dict[str, np.ndarray]]]:
    """Frame encoder and sequence head of a small CNN-LSTM, untrained, in int8; and samples of their inputs."""
    keras.utils.set_random_seed(5)
    encoder = cnn_lstm.frame_encoder(filters=(4, 4, 8))
    head = cnn_lstm.sequence_head(steps=STEPS, features=encoder.output_shape[-1], units=8)
    steps = keras.Input((STEPS, encoder.output_shape[-1]), name="face")
    networks = {"face": encoder, "fusion": keras.Model(steps, {"logits": head(steps)["logits"]}, name="fusion")}
    rng = np.random.default_rng(5)
    faces = inputs.images(48, 48, 1)(rng, 120)
    embeddings = np.asarray(encoder(faces))
    windows = np.stack([np.roll(embeddings, -i, axis=0) for i in range(STEPS)], axis=1)
    samples = {"face": {"face": faces}, "fusion": {"face": windows}}
    with Worker() as worker:
        return {name: convert_model(networks[name], samples[name], name=name, worker=worker) for name in networks}, samples


def test_a_cnn_lstm_decides_on_a_recorded_session(tmp_path, capsys):
    made, samples = stages()
    own = load_bundle(embedded.BUNDLE)
    path = tmp_path / "cnn-lstm.affectkit"
    manifest = Manifest(
        name="cnn_lstm",
        version="0.1.0",
        created="2025-03-01",
        labels=LABELS,
        stages={
            name: StageSpec(name, f"stages/{name}.tflite", one.inputs, one.outputs, 30.0, one.weights, one.macs)
            for name, one in made.items()
        }
        | {"detector": own.manifest.stages["detector"]},
        preprocess={**{name: own.manifest.preprocess[name] for name in ("detector", "face")}, "fusion": {"step_ms": 200, "steps": STEPS}},
        max_age_ms={"face": 700},
        temperature=1.0,
        abstain_below=0.0,
        switch_margin=0.0,
        data_terms=(),
    )
    parts = {CARD: b"# Untrained\n", "stages/detector.tflite": own.stage("detector")}
    parts["golden/detector.npz"] = own.part("golden/detector.npz")
    for name, one in made.items():
        few = {key: values[:4] for key, values in samples[name].items()}
        parts |= {f"stages/{name}.tflite": one.content, f"golden/{name}.npz": pack_golden(golden(one.model(), few))}
    write_bundle(path, manifest, parts)
    assert all(stage["exact"] for stage in verify(load_bundle(path))["stages"].values())

    lines = []
    for name in ("a", "b"):
        out = tmp_path / name
        command = ["run", "--bundle", str(path), "--source", f"replay:{embedded.SESSION}", "--fast", "--duration", "8", "--jsonl", str(out)]
        assert cli.main(command) == 0
        lines.append(out.read_bytes())
    assert lines[0] == lines[1] and "cnn_lstm 0.1.0" in capsys.readouterr().out
    decisions = [json.loads(line) for line in lines[0].splitlines()]
    assert len(decisions) == 32 and sum(one["state"] == "decided" for one in decisions) > 25
    for one in decisions:
        assert set(one["weights"]) <= {"face"} and {"speech", "physiology"} <= set(one["absent"])
        assert one["absent"]["speech"]["detail"] == "not in this bundle"
        if one["state"] == "decided":
            assert set(one["probabilities"]) == set(LABELS)
    assert len({one["confidence"] for one in decisions}) > 10, "the answer moves with the face"
