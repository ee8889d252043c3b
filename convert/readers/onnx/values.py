"""Tensors that know in which order they hold their axes, so that ONNX's channels-first networks run channels-last.

A transpose moves no data here: it renames axes. Data moves only where an operator needs an order that the tensor has not.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import math
import typing

import numpy as np
import tensorflow as tf

Order = tuple[int, ...]
"""Axis k of a tensor is axis ``order[k]`` of the ONNX value: (0, 2, 3, 1) holds (N, C, H, W) as (N, H, W, C)."""


def channels_last(rank: int) -> Order:
    """The order of image, sequence and feature tensors in TensorFlow: channels, ONNX's axis 1, behind the places."""
    return (0, *range(2, rank), 1) if rank > 2 else tuple(range(rank))


@dataclasses.dataclass(frozen=True)
class Value:
    """One value of the graph while it is written; never changed."""

    tensor: typing.Any
    order: Order
    nonnegative: bool = False
    """Known to be zero or more: padding by zero leaves a maximum as it is, and a division needs no sign."""
    radicand: typing.Any = None
    """The tensor of which this is the square root: a division by it is a product with a reciprocal root."""
    flattened: bool = False
    """The ONNX value is (first axis, all others in ONNX's order in one); the tensor still has them all, in ``order``."""

    @classmethod
    def plain(cls, tensor: typing.Any) -> Value:
        """A tensor in ONNX's order."""
        return cls(tensor, tuple(range(len(tensor.shape))))

    @property
    def held_shape(self) -> tuple[int, ...]:
        """Sizes in the order of the tensor."""
        return tuple(int(size) for size in self.tensor.shape)

    @property
    def unflattened_shape(self) -> tuple[int, ...]:
        """Sizes in ONNX's order, before the flattening if there is one."""
        held = self.held_shape
        return tuple(held[self.order.index(axis)] for axis in range(len(held)))

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes in ONNX's order."""
        sizes = self.unflattened_shape
        return (sizes[0], math.prod(sizes[1:])) if self.flattened else sizes

    def with_tensor(self, tensor: typing.Any, *, nonnegative: bool = False, radicand: typing.Any = None) -> Value:
        """Another tensor of the same axes, for operators that work element by element."""
        return Value(tensor, self.order, nonnegative, radicand, self.flattened)

    def position(self, axis: int) -> int:
        """Where the tensor holds an ONNX axis, which may be negative."""
        return self.order.index(axis % len(self.order))

    def settled(self) -> Value:
        """The same without a flattening that waits."""
        if not self.flattened:
            return self
        return Value.plain(tf.reshape(Value(self.tensor, self.order).ordered(), self.shape))

    def arranged(self, order: Order) -> typing.Any:
        """The tensor with its axes in this order; a reshape where only axes of one element move."""
        if self.order == order:
            return self.tensor
        shape = self.held_shape
        permutation = [self.order.index(axis) for axis in order]
        moved = [place for place in permutation if shape[place] != 1]
        if moved == sorted(moved):
            return tf.reshape(self.tensor, [shape[place] for place in permutation])
        return tf.transpose(self.tensor, permutation)

    def ordered(self) -> typing.Any:
        """The tensor in ONNX's order."""
        return self.arranged(tuple(range(len(self.order))))

    def transposed(self, permutation: collections.abc.Sequence[int]) -> Value:
        """ONNX axis i of the result is axis ``permutation[i]`` of this; moves nothing."""
        return dataclasses.replace(self, order=tuple(list(permutation).index(axis) for axis in self.order))

    def expanded(self, rank: int) -> Value:
        """With axes of one element in front, up to ``rank``."""
        more = rank - len(self.order)
        if more == 0:
            return self
        order = (*range(more), *(axis + more for axis in self.order))
        return Value(tf.reshape(self.tensor, (1,) * more + self.held_shape), order, self.nonnegative)

    def reshaped(self, shape: collections.abc.Sequence[int]) -> Value:
        """Another shape of as many elements, moving data only if the order of the tensor does not allow for it."""
        shape, now = tuple(shape), self.shape
        if shape == now:
            return self
        if self.flattened:
            return self.settled().reshaped(shape)
        order = _regrouped(self.order, now, shape)
        if order is not None:
            return Value(tf.reshape(self.tensor, [shape[axis] for axis in order]), order, self.nonnegative)
        if len(shape) == 2 and shape[0] == now[0] and self.order[0] == 0:
            return Value(self.tensor, self.order, self.nonnegative, flattened=True)
        return Value.plain(tf.reshape(self.ordered(), shape))

    def constant(self, array: np.ndarray) -> np.ndarray:
        """A constant of at most this rank, arranged to meet the tensor element by element."""
        array = as_float(array)
        if array.size == 1:
            return array.reshape((1,) * len(self.order))
        if self.flattened:
            sizes = self.unflattened_shape
            array = np.broadcast_to(array, self.shape)[:1].reshape((1, *sizes[1:]))
        return np.ascontiguousarray(array.reshape((1,) * (len(self.order) - array.ndim) + array.shape).transpose(self.order))

    def takes(self, array: np.ndarray) -> bool:
        """Whether a constant can meet this as it is held, and leaves its shape alone."""
        if array.ndim > len(self.shape) or (self.flattened and array.ndim == 2 and array.shape[0] != 1):
            return False
        return np.broadcast_shapes(array.shape, self.shape) == self.shape


Operand = Value | np.ndarray
"""What an operator gets: a value that depends on the inputs, or a constant."""


def as_float(array: np.ndarray) -> np.ndarray:
    """float32, but booleans as they are."""
    return array if array.dtype == bool else np.asarray(array, np.float32)


def _axis_blocks(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[list[int], list[int]]] | None:
    """Smallest groups of neighbouring axes with as many elements before as after; axes of one element are left out."""
    before, after = ([axis for axis, size in enumerate(sizes) if size != 1] for sizes in (old, new))
    blocks = []
    while before and after:
        ours, theirs = [before.pop(0)], [after.pop(0)]
        left, right = old[ours[0]], new[theirs[0]]
        while left != right:
            source, taken = (before, ours) if left < right else (after, theirs)
            if not source:
                return None
            taken.append(source.pop(0))
            left, right = math.prod(old[axis] for axis in ours), math.prod(new[axis] for axis in theirs)
        blocks.append((ours, theirs))
    return None if before or after else blocks


def _regrouped(order: Order, old: tuple[int, ...], new: tuple[int, ...]) -> Order | None:
    """The order in which a tensor holds ``new`` if it is reshaped as it lies; None if its elements would have to move."""
    blocks = _axis_blocks(old, new) if 0 not in old else None
    if blocks is None:
        return None
    places = {axis: place for place, axis in enumerate(axis for axis in order if old[axis] != 1)}
    for ours, _ in blocks:
        first = places[ours[0]]
        if [places[axis] for axis in ours] != list(range(first, first + len(ours))):
            return None
    held = [axis for ours, theirs in sorted(blocks, key=lambda block: places[block[0][0]]) for axis in theirs]
    for axis, size in enumerate(new):
        if size == 1:  # Behind its neighbour, though any place would do.
            held.insert(held.index(axis - 1) + 1 if axis else 0, axis)
    return tuple(held)


def aligned(*operands: Operand) -> tuple[list[typing.Any], Value]:
    """Operands, one a Value at least, as tensors that broadcast against each other, and a value whose axes the result has."""
    values = [operand for operand in operands if isinstance(operand, Value)]
    lead = values[0]
    alike = all((value.flattened, value.order, value.held_shape) == (lead.flattened, lead.order, lead.held_shape) for value in values)
    if not alike or not all(lead.takes(operand) for operand in operands if not isinstance(operand, Value)):
        rank = max(len(operand.shape) for operand in operands)
        operands = tuple(operand.settled().expanded(rank) if isinstance(operand, Value) else operand for operand in operands)
        values = [operand for operand in operands if isinstance(operand, Value)]
        lead = max(values, key=lambda value: math.prod(value.held_shape))
    tensors = [_as_held(operand, lead) for operand in operands]
    return tensors, lead


def _as_held(operand: Operand, lead: Value) -> typing.Any:
    if not isinstance(operand, Value):
        return lead.constant(operand)
    return operand.tensor if operand.order == lead.order else operand.arranged(lead.order)
