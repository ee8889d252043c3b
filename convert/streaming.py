"""A recurrent network one step at a time: a frame and the states in, the answer and the next states out.

The window form computes all T steps for every answer; the step form computes the newest one. Its states are explicit inputs and
outputs, so that whoever runs it decides when they start afresh (at zero) and nothing is kept between inferences in secret.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import typing

import keras
import numpy as np
from keras import layers

from convert import lowering, verify
from convert.pipeline import Converted, convert_model
from convert.readers import first_line
from convert.readers.keras import KerasSource
from convert.source import Samples
from edge.errors import ConversionError
from edge.inference.model import Model

STATE, NEXT = "state_", "next_state_"
CALIBRATION_STEPS = 600
"""Steps taken out of the calibration's windows, evenly: ranges of states need early and late ones."""

# What computes each step from that step alone, whatever it is given: the same layer serves one step.
_POINTWISE = (
    layers.Dense, layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU, layers.Softmax, layers.Dropout, layers.SpatialDropout1D,
    layers.GaussianNoise, layers.LayerNormalization, layers.BatchNormalization, layers.Add, layers.Multiply, layers.Concatenate,
    layers.Rescaling, layers.Identity,
)  # fmt: skip
_RECURRENT = (layers.LSTM, layers.GRU, layers.SimpleRNN)


@dataclasses.dataclass(frozen=True)
class Stepwise:
    """A network that takes one step."""

    model: keras.Model
    """Inputs of the window form without their time axis, and ``state_<i>``; its outputs, and ``next_state_<i>``."""
    sequences: tuple[str, ...]
    """Inputs that change every step; all others are the same along a window."""
    steps: int
    """Of a window."""
    states: dict[str, tuple[int, ...]]
    """Input name -> shape; all start at zero."""


def stepwise(model: keras.Model) -> Stepwise:
    """The step form of a network with forward recurrent layers, with its weights.

    Raises:
        ConversionError: no layer is recurrent, or one needs steps to come or all steps at once; it is named.
    """
    functional = lowering._functional(model)
    names = lowering.input_names(model)
    leading = _leading_to_recurrence(model)
    sequences = tuple(name for name, x in zip(names, model.inputs, strict=True) if id(x) in leading)
    steps = {int(x.shape[1]) for name, x in zip(names, model.inputs, strict=True) if name in sequences}
    if len(steps) != 1:
        what = "no forward recurrent layer reads an input step by step" if not steps else f"its inputs have {sorted(steps)} steps"
        raise ConversionError(f"{model.name!r} has no step form: {what}")
    inputs = [
        keras.Input(tuple(x.shape[2:]) if name in sequences else tuple(x.shape[1:]), name=name)
        for name, x in zip(names, model.inputs, strict=True)
    ]
    walk = _Walk({id(x) for x, name in zip(inputs, names, strict=True) if name in sequences})
    structured = keras.tree.pack_sequence_as(functional._inputs_struct, inputs)
    try:
        results = functional._run_through_graph(structured, operation_fn=walk.replaced)
    except (ValueError, TypeError) as error:  # a layer that minds the missing axis
        raise ConversionError(f"{model.name!r} has no step form: {first_line(error)}") from error
    outputs = dict(zip(lowering.output_names(model), keras.tree.flatten(results), strict=True))
    states = {x.name: tuple(int(n) for n in x.shape[1:]) for x in walk.states}
    named = {**outputs, **{f"{NEXT}{i}": x for i, x in enumerate(walk.nexts)}}
    try:
        made = keras.Model([*inputs, *walk.states], named, name=f"{model.name.replace('/', '_')}_step")
    except ValueError as error:
        raise ConversionError(f"{model.name!r} has no step form: {first_line(error)}") from error
    return Stepwise(made, sequences, steps.pop(), states)


class _Walk:
    """Calls every layer of a network on one step."""

    def __init__(self, sequences: set[int]):
        self.sequences = sequences
        """ids of tensors that are one step of a sequence."""
        self.states: list[typing.Any] = []
        self.nexts: list[typing.Any] = []
        self._kept: list[typing.Any] = []

    def replaced(self, layer: typing.Any) -> collections.abc.Callable[..., typing.Any]:
        def call(*args: typing.Any, **kwargs: typing.Any) -> typing.Any:
            given = keras.tree.flatten((args, kwargs))
            self._kept += given  # ids are those of living tensors
            if not any(id(x) in self.sequences for x in given):
                return layer(*args, **kwargs)
            if isinstance(layer, _RECURRENT):
                return self._recurrent(layer, *args)
            if isinstance(layer, layers.TimeDistributed):
                result = layer.layer(*args)
            elif isinstance(layer, _POINTWISE):
                result = layer(*args, **kwargs)
            else:
                raise ConversionError(f"layer {layer.name!r} ({type(layer).__name__}) needs all steps at once: there is no step form")
            self._mark(result)
            return result

        return call

    def _mark(self, result: typing.Any) -> None:
        for x in keras.tree.flatten(result):
            self.sequences.add(id(x))
            self._kept.append(x)

    def _recurrent(self, layer: typing.Any, x: typing.Any, *more: typing.Any) -> typing.Any:
        if layer.go_backwards or layer.stateful or layer.return_state or more:
            raise ConversionError(f"layer {layer.name!r} runs backwards or hands its state on: there is no step form")
        sizes = layer.cell.state_size if isinstance(layer.cell.state_size, (list, tuple)) else [layer.cell.state_size]
        before = [keras.Input((int(size),), name=f"{STATE}{len(self.states) + i}") for i, size in enumerate(sizes)]
        self.states += before
        # Under a name of its own: all cells of a kind are called the same, and a model wants names once.
        cell = type(layer.cell).from_config({**layer.cell.get_config(), "name": f"{layer.name}_cell"})
        result, after = cell(x, before)
        cell.set_weights(layer.cell.get_weights())
        self.nexts += list(after) if isinstance(after, (list, tuple)) else [after]
        if layer.return_sequences:
            self._mark(result)
        return result


def _leading_to_recurrence(model: keras.Model) -> set[int]:
    """ids of the model's inputs whose steps reach a recurrent layer as steps."""
    found: set[int] = set()
    waiting = [
        tensor for layer in lowering._functional(model).operations if isinstance(layer, _RECURRENT)
        for node in layer._inbound_nodes for tensor in node.input_tensors
    ]  # fmt: skip
    seen: set[int] = set()
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        history = tensor._keras_history
        if isinstance(history.operation, layers.InputLayer):
            found.add(id(tensor))
        else:
            waiting += history.operation._inbound_nodes[history.node_index].input_tensors
    return found


def step_source(source: KerasSource) -> tuple[KerasSource, Stepwise]:
    """The step form as something to convert."""
    made = stepwise(source.model)
    note = f"one step of {made.steps}, with {len(made.states)} states as inputs and outputs; they start at zero"
    return KerasSource(made.model, name=f"{source.name}", notes=(*source.notes, note)), made


def steps_of(made: Stepwise, samples: Samples, *, count: int = CALIBRATION_STEPS) -> dict[str, np.ndarray]:
    """Inputs of single steps, states included, as they come along windows in float; about ``count`` of them, early and late.

    Args:
        made: the step form.
        samples: inputs of the window form, (windows, *shape).
        count: how many.
    """
    windows = min(len(values) for values in samples.values())
    taken = np.linspace(0, windows - 1, min(windows, max(1, -(-count // made.steps) * 4))).astype(int)
    states = {name: np.zeros((len(taken), *shape), np.float32) for name, shape in made.states.items()}
    rows: dict[str, list[np.ndarray]] = {}
    for step in range(made.steps):
        given = {name: np.asarray(values[taken], np.float32) for name, values in samples.items()}
        given = {name: values[:, step] if name in made.sequences else values for name, values in given.items()} | states
        for name, values in given.items():
            rows.setdefault(name, []).append(values)
        answered = lowering.predict(made.model, given)
        states = {name: answered[name.replace(STATE, NEXT, 1)] for name in states}
    whole = {name: np.stack(values, axis=1).reshape(-1, *values[0].shape[1:]) for name, values in rows.items()}
    total = len(next(iter(whole.values())))
    chosen = np.linspace(0, total - 1, min(total, count)).astype(int)
    return {name: values[chosen] for name, values in whole.items()}


def run_windows(stage: Model, made: Stepwise, samples: Samples) -> dict[str, np.ndarray]:
    """Answers at the end of whole windows, the states carried from step to step as the device carries them."""
    rows = []
    for i in range(min(len(values) for values in samples.values())):
        states = {name: np.zeros(shape, np.float32) for name, shape in made.states.items()}
        answered: dict[str, np.ndarray] = {}
        for step in range(made.steps):
            given = {
                name: np.asarray(values[i][step] if name in made.sequences else values[i], np.float32) for name, values in samples.items()
            }
            answered = stage.run(**given, **states)
            states = {name: answered[name.replace(STATE, NEXT, 1)] for name in states}
        rows.append({name: values for name, values in answered.items() if not name.startswith(NEXT)})
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def convert_steps(
    source: KerasSource,
    calibration: Samples,
    *,
    verification: Samples,
    labels: np.ndarray | None = None,
    classes: collections.abc.Sequence[str] = (),
    **options: typing.Any,
) -> tuple[Converted, Samples]:
    """Convert the step form; its report compares whole windows with the window form in float.

    Args:
        source: the window form.
        calibration, verification: windows, (samples, *shape).
        labels, classes: of ``verification``, where they are known.
        **options: of ``pipeline.convert_model``.

    Returns:
        The stage, and single steps out of ``verification`` as it takes them.
    """
    steps, made = step_source(source)
    some = steps_of(made, verification)
    stage = convert_model(steps, steps_of(made, calibration), verification=some, **options)
    got, expected = run_windows(stage.model(), made, verification), source.predict(verification)
    # Outputs of the window form that answer every step are compared at the last one.
    last = {name: values if values.shape == got[name].shape else values[:, -1] for name, values in expected.items()}
    count = len(next(iter(last.values())))
    checked = verify.compare_answers(last, got, name=stage.name, runtime=stage.model().runtime, labels=labels, classes=classes)
    note = f"compared over {count} whole windows of {made.steps} steps, states carried along"
    told = {**stage.report.source, "notes": [*stage.report.source["notes"], note]}
    report = dataclasses.replace(stage.report, verification=checked, lstm_form="step", source=told)
    return dataclasses.replace(stage, report=report), some
