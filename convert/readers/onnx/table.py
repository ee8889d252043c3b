"""The table of ONNX operators that can be written, which the modules beside this fill, and what each of them gets to see."""

from __future__ import annotations

import collections.abc
import dataclasses
import typing

import numpy as np

from convert.readers.onnx.graph import Key, Node
from convert.readers.onnx.values import Operand, Value
from convert.recipe import LstmForm
from edge.errors import ConversionError

Result = Value | tuple[Value | None, ...]
"""One output, or one for each; None for one that nobody reads."""


@dataclasses.dataclass(frozen=True)
class Call:
    """One node as its operator sees it."""

    node: Node
    shapes: tuple[tuple[int, ...] | None, ...]
    """Of the outputs, as onnxruntime made them; None for one that nobody reads."""
    form: LstmForm

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the first output."""
        assert self.shapes[0] is not None
        return self.shapes[0]

    @property
    def opset(self) -> int:
        return self.node.opset

    def attribute(self, name: str, default: typing.Any = None) -> typing.Any:
        """An attribute of the node."""
        return self.node.attributes.get(name, default)

    def numbers(self, name: str, operand: Operand | None) -> list[int] | None:
        """Integers that older opsets keep in an attribute and newer ones in an input; None where both are left out."""
        if operand is None:
            found = self.attribute(name)
            return None if found is None else [int(n) for n in np.ravel(found)]
        return [int(n) for n in np.ravel(self.known(name, operand))]

    def known(self, what: str, operand: Operand | None) -> np.ndarray:
        """An operand that has to be a constant.

        Raises:
            ConversionError: it is computed from the inputs, or left out.
        """
        if not isinstance(operand, np.ndarray):
            raise self.refusal(f"{what} is {'left out' if operand is None else 'computed from the inputs'}: it has to be constant")
        return operand

    def value(self, operand: Operand | None) -> Value:
        """An operand that has to depend on the inputs."""
        if not isinstance(operand, Value):
            raise self.refusal("its first input is constant and another is not, which is not supported")
        return operand

    def refusal(self, why: str) -> ConversionError:
        """An error that names the node."""
        return ConversionError(f"{self.node} cannot be written: {why}")


Writer = collections.abc.Callable[..., Result]


@dataclasses.dataclass(frozen=True)
class Operator:
    """How one operator is written; ``takes_flattened`` if it knows what to do with a flattening that waits."""

    write: Writer
    takes_flattened: bool


OPERATORS: dict[Key, Operator] = {}


def operator(*kinds: str, domain: str = "", takes_flattened: bool = False) -> collections.abc.Callable[[Writer], Writer]:
    """Enter a function into the table: (call, an operand or None for each input) -> result."""

    def enter(write: Writer) -> Writer:
        for kind in kinds:
            OPERATORS[domain, kind] = Operator(write, takes_flattened)
        return write

    return enter
