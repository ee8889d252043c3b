"""Every format becomes the same kind of source, and what cannot is refused in one line before anything slow starts."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest

pytestmark = pytest.mark.convert
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
layers = keras.layers

from convert import flatbuffer  # noqa: E402
from convert.pipeline import convert_model  # noqa: E402
from convert.readers import check_path, read  # noqa: E402
from convert.worker import Worker  # noqa: E402
from edge.errors import InputError  # noqa: E402

RANDOM = np.random.default_rng(0)
SAMPLES = RANDOM.normal(size=(120, 8, 8, 1)).astype(np.float32)


@pytest.fixture(scope="module")
def worker():
    with Worker() as running:
        yield running


def network(shape=(8, 8, 1)):
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input(shape, name="picture")
    x = layers.ReLU()(layers.Conv2D(6, 3)(x))
    x = layers.GlobalAveragePooling2D()(x)
    made = keras.Model(inputs, {"logits": layers.Dense(4, name="logits")(x)}, name="net")
    random = np.random.default_rng(1)
    for variable in made.weights:  # the converter merges equal constants, such as biases of zeros
        variable.assign(variable + 0.1 * random.normal(size=variable.shape))
    return made


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    model.save(folder / "net.keras")
    model.save(folder / "net.h5")
    model.export(folder / "net_saved", verbose=False)
    fixed = tf.lite.TFLiteConverter.from_saved_model(str(_fixed(folder)))
    (folder / "net.tflite").write_bytes(fixed.convert())
    return folder


def _fixed(folder: pathlib.Path) -> pathlib.Path:
    from convert import lowering

    lowering.export(network(), folder / "fixed_saved")
    return folder / "fixed_saved"


@pytest.mark.filterwarnings("ignore:.*HDF5 file:UserWarning")
@pytest.mark.parametrize("name", ["net.keras", "net.h5", "net_saved", "net.tflite"])
def test_every_format_becomes_the_same_int8_network(name, files, model, worker):
    source = read(files / name)
    shapes = list(source.inputs.values())
    assert shapes == [(8, 8, 1)]
    samples = {next(iter(source.inputs)): SAMPLES}
    expected = model.predict(SAMPLES, verbose=0)["logits"]
    np.testing.assert_allclose(source.predict(samples)[source.outputs[0]], expected, atol=1e-5)
    made = convert_model(source, samples, worker=worker)
    assert made.report.verification.agreement > 0.9
    assert {tensor["dtype"] for tensor in (*made.report.inputs.values(), *made.report.outputs.values())} == {"int8"}
    assert set(made.report.operators) == {"CONV_2D", "MEAN", "FULLY_CONNECTED"}
    assert source.weights == model.count_params() == made.weights


def test_weights_alone_can_be_quantized_in_any_format(files, model, worker):
    # Wide enough that the weights are worth quantizing.
    keras.utils.set_random_seed(2)
    x = inputs = keras.Input((8, 8, 1), name="picture")
    x = layers.Dense(32, name="end")(layers.Flatten()(layers.DepthwiseConv2D(3)(layers.Conv2D(32, 3)(x))))
    wide = keras.Model(inputs, x)
    from convert import lowering

    lowering.export(wide, files / "wide_saved")
    (files / "wide.tflite").write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(files / "wide_saved")).convert())
    ours = convert_model(
        read(files / "wide.tflite"), None, recipe="dynamic_wi8_afp32", verification={"input_0": SAMPLES[:20]}, worker=worker
    )
    theirs = convert_model(
        read(files / "wide_saved"), None, recipe="dynamic_wi8_afp32", verification={"input_0": SAMPLES[:20]}, worker=worker
    )
    assert ours.report.bytes < 0.4 * ours.report.float_bytes
    assert abs(ours.report.bytes - theirs.report.bytes) < 0.1 * theirs.report.bytes
    for made in (ours, theirs):
        assert max(output.mean_error for output in made.report.verification.outputs.values()) < 0.01


def test_sixteen_bit_activations_come_from_every_route(files, worker):
    for name in ("net.keras", "net.tflite"):
        source = read(files / name)
        made = convert_model(source, {next(iter(source.inputs)): SAMPLES}, recipe="static_wi8_ai16", worker=worker)
        assert {tensor["dtype"] for tensor in made.report.outputs.values()} == {"int16"}
        assert max(output.mean_error for output in made.report.verification.outputs.values()) < 2e-3


@pytest.mark.parametrize("kind", ["float16", "weights alone"])
def test_weights_stored_small_are_taken_as_the_numbers_they_stand_for(kind, tmp_path, worker):
    from convert import lowering

    keras.utils.set_random_seed(2)
    x = inputs = keras.Input((8, 8, 1), name="picture")
    model = keras.Model(inputs, layers.Dense(32, name="end")(layers.Flatten()(layers.Conv2D(16, 3, activation="relu")(x))))
    lowering.export(model, tmp_path / "saved")
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    (tmp_path / "small.tflite").write_bytes(converter.convert())
    source = read(tmp_path / "small.tflite")
    assert "are taken as the real numbers they stand for" in source.notes[0]
    expected = model.predict(SAMPLES[:20], verbose=0)
    got = source.predict({next(iter(source.inputs)): SAMPLES[:20]})[source.outputs[0]]
    assert np.abs(got - expected).max() < (1e-2 if kind == "float16" else 5e-2) * np.abs(expected).max()
    made = convert_model(source, {next(iter(source.inputs)): SAMPLES}, worker=worker)
    assert {tensor["dtype"] for tensor in made.report.outputs.values()} == {"int8"}
    assert "DEQUANTIZE" not in made.report.operators


def test_an_open_axis_is_named_and_can_be_pinned(tmp_path, worker):
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((None, 6), name="signal")
    logits = layers.Dense(3, name="logits")(layers.LSTM(5)(layers.Conv1D(4, 3, padding="same")(x)))
    keras.Model(inputs, logits).save(tmp_path / "open.keras")
    with pytest.raises(InputError, match=r"input 'signal' has an open axis 1 in \(\?, \?, 6\): fix its size with --pin signal:1=SIZE"):
        read(tmp_path / "open.keras")
    with pytest.raises(InputError, match="no open axis is called time"):
        read(tmp_path / "open.keras", pins={"signal:1": 9, "time": 3})
    source = read(tmp_path / "open.keras", pins={"signal:1": 9})
    assert source.inputs == {"signal": (9, 6)}
    assert source.notes == ("axis signal:1 is fixed at 9",)
    made = convert_model(source, {"signal": RANDOM.normal(size=(100, 9, 6)).astype(np.float32)}, worker=worker)
    assert made.report.lowering_error < 1e-5


def test_damaged_and_foreign_files_are_one_line(files, tmp_path):
    whole = (files / "net.tflite").read_bytes()
    int8 = convert_model(read(files / "net.keras"), {"picture": SAMPLES}).content
    cases = {
        "text.tflite": (b"nothing of the kind", "is no .tflite file"),
        "short.tflite": (whole[:12], "is no .tflite file"),
        "cut.tflite": (whole[: len(whole) // 2], "is damaged|cannot be used"),
        "done.tflite": (int8, "is quantized already"),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=words) as caught:
            read(tmp_path / name)
        assert "\n" not in str(caught.value)
    model = flatbuffer.unpack((files / "net.tflite").read_bytes())
    model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].shape = np.array([2, 8, 8, 1], np.int32)
    (tmp_path / "two.tflite").write_bytes(flatbuffer.pack(model))
    with pytest.raises(InputError, match=r"has shape \(2, 8, 8, 1\): a batch of one"):
        read(tmp_path / "two.tflite")


def test_a_saved_model_without_the_signature_or_with_python_inside_is_refused(tmp_path):
    class Bare(tf.Module):
        pass

    tf.saved_model.save(Bare(), str(tmp_path / "bare"))
    with pytest.raises(InputError, match="has no signature 'serving_default'"):
        read(tmp_path / "bare")

    class Calling(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 3), tf.float32)])
        def __call__(self, x):
            y = tf.numpy_function(lambda v: v * 2, [x], tf.float32)
            return {"y": tf.ensure_shape(y, (1, 3))}

    tf.saved_model.save(Calling(), str(tmp_path / "calling"))
    with pytest.raises(InputError, match=r"calls Python \((Eager)?PyFunc\)"):
        read(tmp_path / "calling")
    (tmp_path / "bare" / "saved_model.pb").write_bytes(b"\xff\x00damaged")
    with pytest.raises(InputError, match="is damaged, or no SavedModel"):
        read(tmp_path / "bare")


def test_folders_and_unknown_kinds_are_refused_at_once(tmp_path):
    with pytest.raises(InputError, match=r"without saved_model\.pb"):
        check_path(tmp_path)
    with pytest.raises(InputError, match="cannot be read: give one of"):
        check_path(tmp_path / "model.pt")
