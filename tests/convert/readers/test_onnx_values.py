"""Values that rename their axes instead of moving them stay what numpy makes of the same steps."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.convert
tf = pytest.importorskip("tensorflow")
pytest.importorskip("onnx")

from convert.readers.onnx.values import Value, aligned, channels_last  # noqa: E402

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple)


@st.composite
def held(draw):
    """An array, and a value of it that is held in any order."""
    shape = draw(SHAPES)
    array = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    order = tuple(draw(st.permutations(range(len(shape)))))
    return array, Value(tf.constant(array.transpose(order)), order)


@st.composite
def splits(draw, size):
    """A shape of ``size`` elements."""
    shape = []
    while size > 1:
        divisor = draw(st.sampled_from([d for d in range(2, size + 1) if size % d == 0]))
        shape.append(divisor)
        size //= divisor
    for _ in range(draw(st.integers(0, 2))):
        shape.insert(draw(st.integers(0, len(shape))), 1)
    return tuple(shape) or (1,)


@given(st.data())
def test_transposes_and_reshapes_follow_numpy(data):
    array, value = data.draw(held())
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.booleans()):
            order = data.draw(st.permutations(range(array.ndim)))
            array, value = array.transpose(order), value.settled().transposed(order)
        else:
            shape = data.draw(splits(array.size))
            array, value = array.reshape(shape), value.reshaped(shape)
        assert value.shape == array.shape
        np.testing.assert_array_equal(value.settled().ordered(), array)
    for order in itertools.islice(itertools.permutations(range(array.ndim)), 6):
        np.testing.assert_array_equal(value.settled().arranged(order), array.transpose(order))


@given(st.data())
def test_operands_of_any_order_meet_as_in_numpy(data):
    arrays, operands = [], []
    for number in range(data.draw(st.integers(2, 3))):
        array, value = data.draw(held())
        arrays.append(array)
        operands.append(value if number == 0 or data.draw(st.booleans()) else array)
    try:
        expected = sum(arrays[1:], arrays[0])
    except ValueError:
        return
    tensors, lead = aligned(*operands)
    got = lead.with_tensor(sum(tensors[1:], tensors[0]))
    assert got.shape == expected.shape
    np.testing.assert_array_equal(got.settled().ordered(), expected)


def test_a_flattening_waits_for_what_can_do_without_moving():
    array = weights = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    value = Value(tf.constant(array.transpose(channels_last(4))), channels_last(4)).reshaped((1, 24))
    assert value.flattened and value.shape == (1, 24)
    for constant in (weights.reshape(24), weights.reshape(1, 24), np.float32([2])):
        tensors, lead = aligned(value, constant)
        assert lead.flattened
        np.testing.assert_array_equal(lead.with_tensor(tensors[0] * tensors[1]).settled().ordered(), array.reshape(1, 24) * constant)
    tensors, lead = aligned(value, np.ones((5, 24), np.float32))
    assert not lead.flattened and lead.with_tensor(tensors[0] * tensors[1]).shape == (5, 24)


def test_neighbouring_axes_are_joined_as_they_lie():
    value = Value(tf.zeros((1, 3, 4, 2)), channels_last(4))  # (1, 2, 3, 4) in ONNX
    joined = value.reshaped((1, 2, 12))
    assert (joined.held_shape, joined.order) == ((1, 12, 2), (0, 2, 1))
    assert value.reshaped((2, 3, 4)).held_shape == (3, 4, 2)
    assert value.reshaped((1, 2, 1, 3, 4)).held_shape in {(1, 1, 3, 4, 2), (1, 3, 4, 2, 1)}


def test_axes_of_one_element_move_without_a_transpose():
    value = Value(tf.zeros((1, 3, 1, 2)), (0, 1, 2, 3))
    with tf.Graph().as_default() as graph:
        placed = Value(tf.compat.v1.placeholder(tf.float32, (1, 3, 1, 2)), value.order)
        placed.arranged((2, 1, 0, 3))
        assert not any(operation.type == "Transpose" for operation in graph.get_operations())
        placed.arranged((0, 3, 2, 1))
        assert any(operation.type == "Transpose" for operation in graph.get_operations())
