from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="needs the convert extra")
from convert.training.fit import Schedule  # noqa: E402
from convert.training.fusion import LABELS, Pool, companions, first_evidence, sequences, train  # noqa: E402
from convert.zoo.fusion import fusion  # noqa: E402
from edge.errors import InputError  # noqa: E402

pytestmark = pytest.mark.convert


def pools(rng: np.random.Generator, spread: float = 0.6) -> dict[str, Pool]:
    def blobs(width: int, classes: int) -> Pool:
        labels = rng.integers(0, classes, 400)
        centres = np.random.default_rng(5).uniform(0, 2, (classes, width))
        return Pool(np.maximum(0, rng.normal(centres[labels], spread)).astype(np.float32), labels, np.zeros(400, int))

    return {"face": blobs(6, 4), "speech": blobs(5, 4), "physiology": blobs(4, 2)}


def test_an_absent_modality_has_no_weight_and_no_influence():
    keras.utils.set_random_seed(0)
    cell = fusion({"face": 6, "speech": 5, "physiology": 4}, 4)
    rng = np.random.default_rng(0)
    inputs = [rng.random((8, n)).astype(np.float32) for n in (6, 5, 4)]
    mask, previous = np.tile(np.float32([1, 0, 1]), (8, 1)), np.full((8, 4), 0.25, np.float32)
    one = cell([*inputs, mask, previous])
    inputs[1] = rng.random((8, 5)).astype(np.float32) * 9
    other = cell([*inputs, mask, previous])
    assert np.asarray(one["weights"])[:, 1].max() < 1 / 256
    np.testing.assert_allclose(np.asarray(one["weights"]).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(one["logits"], other["logits"], atol=0.01)


def test_companions_share_the_label_and_stress_goes_with_tense_only_and_sometimes_positive():
    rng = np.random.default_rng(1)
    some, labels = pools(rng), rng.integers(0, 4, 300)
    rows = companions(some, labels, rng)
    np.testing.assert_array_equal(some["face"].labels[rows["face"]], labels)
    np.testing.assert_array_equal(some["speech"].labels[rows["speech"]], labels)
    stress = some["physiology"].labels[rows["physiology"]]
    assert stress[labels == LABELS.index("tense")].all()
    assert not stress[(labels == LABELS.index("calm")) | (labels == LABELS.index("low"))].any()
    assert 0.3 < stress[labels == LABELS.index("positive")].mean() < 0.7


def test_a_class_that_nobody_shows_is_one_line():
    rng = np.random.default_rng(1)
    some = pools(rng)
    some["speech"] = Pool(some["speech"].vectors, np.zeros(400, int), some["speech"].people)
    with pytest.raises(InputError, match="speech: nobody shows class 1"):
        companions(some, np.arange(4), rng)


def test_sequences_never_have_a_step_with_nobody_and_presence_says_nothing_of_the_label():
    inputs, labels = sequences(pools(np.random.default_rng(2)), 2000, 8, np.random.default_rng(3), absent_rate=None)
    assert inputs["mask"].sum(axis=2).min() >= 1
    for label in range(4):
        np.testing.assert_allclose(inputs["mask"][labels == label].mean(axis=0), inputs["mask"].mean(axis=(0, 1)), atol=0.05)
    absent = inputs["mask"][:, :, 1] == 0
    assert not inputs["speech"][absent].any()


def test_the_fusion_learns_more_from_all_than_from_one(tmp_path):
    learn, check = pools(np.random.default_rng(0), 1.2), pools(np.random.default_rng(9), 1.2)
    cell = train(learn, tmp_path, seed=0, schedule=Schedule(epochs=2, batch=256, learning_rate=5e-3))
    inputs, labels = sequences(check, 600, 1, np.random.default_rng(1), absent_rate=0.0, switch_rate=0.0)
    previous = np.full((600, 4), 0.25, np.float32)

    def accuracy(mask) -> float:
        streams = [inputs[name][:, 0] * mask[i] for i, name in enumerate(check)]
        answer = cell([*streams, np.tile(np.float32(mask), (600, 1)), previous])["logits"]
        return float((np.argmax(answer, 1) == labels[:, 0]).mean())

    everything, best_single = accuracy((1, 1, 1)), max(accuracy((1, 0, 0)), accuracy((0, 1, 0)))
    assert best_single > 0.4
    assert everything > best_single


def encoder(name: str, width: int, classes: int) -> keras.Model:
    embedding = keras.Input((width,), name=name)
    return keras.Model(embedding, keras.layers.Dense(classes, name="logits")(embedding))


def start() -> tuple[dict[str, Pool], dict[str, keras.Model], dict]:
    keras.utils.set_random_seed(3)
    some = pools(np.random.default_rng(0))
    encoders = {"face": encoder("face", 6, 7), "speech": encoder("speech", 5, 4), "physiology": encoder("physiology", 4, 2)}
    return some, encoders, first_evidence(some, encoders, {"face": np.array([3, 3, 3, 0, 2, 0, 1])})


def test_at_first_speech_says_what_its_encoder_says_and_stress_speaks_for_tense_against_calm_and_low_alone():
    some, encoders, evidence = start()
    kernel, bias = evidence["speech"]
    np.testing.assert_allclose(some["speech"].vectors @ kernel + bias, encoders["speech"](some["speech"].vectors), atol=1e-4)
    kernel, bias = evidence["physiology"]
    given = some["physiology"].vectors @ kernel + bias
    rest, stress = np.asarray(encoders["physiology"](some["physiology"].vectors)).T
    np.testing.assert_allclose(given[:, LABELS.index("tense")], (stress - rest) / 2, atol=1e-4)
    np.testing.assert_allclose(given[:, LABELS.index("calm")], (rest - stress) / 2, atol=1e-4)
    np.testing.assert_allclose(given[:, LABELS.index("positive")], 0, atol=1e-6)


def test_at_first_faces_of_seven_classes_tell_the_labels():
    some, encoders, _ = start()
    head = encoders["face"].get_layer("logits")
    head.set_weights([np.zeros_like(value) for value in head.get_weights()])  # an encoder without an opinion: the labels decide
    evidence = first_evidence(some, encoders, {"face": np.array([3, 3, 3, 0, 2, 0, 1])})
    kernel, bias = evidence["face"]
    assert ((some["face"].vectors @ kernel + bias).argmax(axis=1) == some["face"].labels).mean() > 0.9


def test_taught_from_evidence_one_modality_alone_still_answers_as_it_did_and_more_of_them_add_up(tmp_path):
    some, _, evidence = start()
    cell = train(some, tmp_path, seed=0, evidence=evidence, schedule=Schedule(epochs=1, batch=256, learning_rate=1e-3))
    uniform = np.full((400, 4), 0.25, np.float32)

    def logits(mask: tuple[int, int, int]) -> np.ndarray:
        streams = [pool.vectors * present for pool, present in zip(some.values(), mask, strict=True)]
        return np.asarray(cell([*streams, np.tile(np.float32(mask), (400, 1)), uniform])["logits"])

    kernel, bias = evidence["speech"]
    alone = some["speech"].vectors @ kernel + bias
    assert (logits((0, 1, 0)).argmax(axis=1) == alone.argmax(axis=1)).mean() > 0.9
    both = logits((1, 1, 0))
    summed = alone + some["face"].vectors @ evidence["face"][0] + evidence["face"][1]
    assert np.corrcoef(both.ravel(), summed.ravel())[0, 1] > 0.97
