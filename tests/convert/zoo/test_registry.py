"""The registry lists every system, whole and in stages, with inputs that fit."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.convert
pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

from convert import lowering  # noqa: E402
from convert.zoo.blocks import stages  # noqa: E402
from convert.zoo.cnn_rnn import Row  # noqa: E402
from convert.zoo.registry import NETWORKS  # noqa: E402

# What makes building slow is made small; shapes of inputs stay.
SMALLER = {
    "four_stream/whole": {"face_dense": (2, 256)},
    "four_stream/face_encoder": {"dense": (2, 256)},
    "cnn_rnn/": {"table": (Row(1, 8, 1, 2), Row(1, 8, 1, 2), Row(1, 8, 1, 2), Row(1, 8, 1, 2))},
}


def build(network):
    options = next((value for name, value in SMALLER.items() if network.name.startswith(name)), {})
    return network.build(**({} if "sequence_head" in network.name else options))


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_samples_fit_the_network(network):
    model = build(network)
    x = network.samples(np.random.default_rng(0), 2)
    shapes = {name: tensor.shape[1:] for name, tensor in zip(lowering.input_names(model), model.inputs, strict=True)}
    assert {name: values.shape[1:] for name, values in x.items()} == shapes
    assert all(values.dtype == np.float32 and len(values) == 2 for values in x.values())


@pytest.mark.parametrize("system", ["cnn_lstm", "av_attention", "four_stream", "cnn_rnn", "edu_emotionnet"])
def test_every_stage_of_a_whole_is_listed_with_its_shapes(system):
    for name, stage in stages(build(NETWORKS[f"{system}/whole"])).items():
        listed = [build(network) for key, network in NETWORKS.items() if key.startswith(f"{system}/{name}")]
        assert any((one.input_shape, one.output_shape) == (stage.input_shape, stage.output_shape) for one in listed), name


def test_kinds_and_papers_are_told():
    assert {network.kind for network in NETWORKS.values()} == {"whole", "encoder", "sequence", "fusion"}
    assert {name.split("/")[0] for name, network in NETWORKS.items() if network.kind == "whole"} == {
        "cnn_lstm", "av_attention", "four_stream", "cnn_rnn", "edu_emotionnet",
    }  # fmt: skip
    assert all(network.paper for network in NETWORKS.values())
