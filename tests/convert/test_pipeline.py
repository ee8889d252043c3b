"""From a model with named inputs and outputs to a stage that a bundle can take."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
layers = keras.layers

from convert import lowering, macs, pipeline  # noqa: E402
from convert.pipeline import convert_model  # noqa: E402
from convert.worker import Worker  # noqa: E402
from edge.errors import ConversionError  # noqa: E402
from edge.inference.golden import check_golden, golden  # noqa: E402

RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def worker():
    with Worker() as running:
        yield running


def fusion():
    """Two streams weighed by a masked softmax, as in the classroom's fusion."""
    keras.utils.set_random_seed(0)
    face, speech, mask = keras.Input((6,), name="face"), keras.Input((4,), name="speech"), keras.Input((2,), name="mask")
    streams = [layers.Dense(5, activation="relu")(x) for x in (face, speech)]
    scores = layers.Concatenate()([layers.Dense(1, activation="tanh")(x) for x in streams])
    weights = layers.Softmax()(layers.add([scores, layers.Rescaling(16.0, offset=-16.0)(mask)]))
    stacked = layers.Reshape((2, 5))(layers.Concatenate()(streams))
    fused = layers.Flatten()(layers.Multiply()([stacked, layers.Reshape((2, 1))(weights)]))
    return keras.Model([face, speech, mask], {"weights": weights, "logits": layers.Dense(3)(fused)}, name="fusion")


def samples(count=120):
    mask = RANDOM.integers(0, 2, (count, 2)).astype(np.float32)
    mask[mask.sum(axis=1) == 0] = 1
    # Given in another order than the model's inputs: names count.
    return {"mask": mask, "speech": RANDOM.random((count, 4), np.float32), "face": RANDOM.random((count, 6), np.float32)}


@pytest.fixture(scope="module")
def converted(worker):
    return convert_model(fusion(), samples(), worker=worker, verification=samples(60))


def test_names_lead_to_the_right_tensors(converted):
    data = samples(20)
    stage, reference = converted.model(), lowering.predict(fusion(), data)
    for i in range(20):
        result = stage.run(**{name: values[i] for name, values in data.items()})
        np.testing.assert_allclose(result["weights"], reference["weights"][i], atol=0.04)
        np.testing.assert_allclose(result["logits"], reference["logits"][i], atol=0.15)
    assert converted.inputs == {"face": "face", "speech": "speech", "mask": "mask"}
    assert set(converted.outputs) == {"weights", "logits"}


def test_an_absent_stream_weighs_nothing(converted):
    result = converted.model().run(face=np.ones(6), speech=np.ones(4), mask=np.array([1.0, 0.0]))
    assert result["weights"].tolist() == pytest.approx([1, 0], abs=0.01)


def test_the_report_counts_and_compares(converted):
    report = converted.report
    assert converted.weights == report.weights == 6 * 5 + 5 + 4 * 5 + 5 + 6 + 6 + 10 * 3 + 3
    assert converted.macs == 6 * 5 + 4 * 5 + 5 + 5 + 10 * 3
    assert report.verification.samples == 60
    assert report.verification.agreement >= 0.95
    assert report.lowering_error < 1e-5
    assert report.bytes == len(converted.content)
    assert json.loads(json.dumps(report.as_dict()))["recipe"] == "static_wi8_ai8"
    assert "\n" not in str(report)


def test_golden_vectors_of_a_stage_repeat_exactly(converted):
    stage = converted.model()
    assert check_golden(converted.model(), golden(stage, samples(8))) == 0


def test_a_missed_gate_fails(worker):
    with pytest.raises(ConversionError, match=r"agrees with float on .* below 101\.0%"):
        convert_model(fusion(), samples(), worker=worker, min_agreement=1.01)


def test_a_layer_exported_wrongly_is_noticed(worker, monkeypatch):
    def wrong(original):
        return lambda self, inputs: inputs * 1.5

    monkeypatch.setattr(lowering, "_layer_normalization", wrong)
    x = keras.Input((4,), name="x")
    model = keras.Model(x, layers.LayerNormalization(name="norm")(x))
    with pytest.raises(ConversionError, match=r"output 'norm' of the float flatbuffer is .* off the original"):
        convert_model(model, None, recipe="float32", worker=worker)
    assert pipeline.LOWERING_TOLERANCE < 0.01


def test_the_classrooms_face_encoder_converts(worker):
    from convert.zoo.face import face_encoder

    keras.utils.set_random_seed(0)
    made = convert_model(face_encoder(), {"face": RANDOM.uniform(-1, 1, (100, 48, 48, 1))}, worker=worker)
    assert made.report.verification.outputs["probabilities"].max_error < 0.03
    assert set(made.report.operators) <= {"CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED", "SOFTMAX"}
    assert made.report.bytes < 0.3 * made.report.float_bytes


def test_multiply_accumulates_by_hand(worker):
    x = keras.Input((8, 8, 2), name="x")
    y = layers.Conv2D(4, 3, padding="same")(x)  # 64 places x 4 filters x 18
    y = layers.DepthwiseConv2D(3, strides=2, padding="same")(y)  # 16 x 4 x 9
    y = layers.Reshape((16, 4))(y)
    y = layers.LSTM(5)(y)  # 16 steps x 20 gates x (4 + 5)
    model = keras.Model(x, y)
    for variable in model.weights:  # The converter merges equal constants, such as biases of zeros.
        variable.assign(RANDOM.normal(size=variable.shape))
    made = convert_model(model, None, recipe="float32", lstm_form="fused", worker=worker)
    assert made.macs == 64 * 4 * 18 + 16 * 4 * 9 + 16 * 20 * 9
    assert macs.count_weights(made.float_content) == made.weights == 18 * 4 + 4 + 36 + 4 + 20 * 9 + 20
