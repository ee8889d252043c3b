"""The bundle's own stages in ONNX Runtime: the same graph rebuilt from the ``.tflite``, its weights as real numbers, then quantized.

The operators that these stages are made of, integer LSTMs among them, are translated here. Int8 is ONNX Runtime's own
quantization as its guide has it: static QDQ, weights per channel, calibrated on what the stages see in the session; LSTMs, which it has
no static form of, dynamically.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import pathlib
import types
import typing

import numpy as np

from convert import flatbuffer
from edge.errors import ConversionError

OPSET = 17
_ACTIVATIONS = {0: "", 1: "Relu", 4: "Tanh"}
_NCHW = (0, 3, 1, 2)
_NHWC = (0, 2, 3, 1)
Arrays = dict[str, np.ndarray]


class Translator:
    """One subgraph of a ``.tflite`` -> an ONNX graph in float32; images inside lie as NCHW, at its ends as in the ``.tflite``.

    Raises:
        ConversionError: an operator, or an option of one, that none of the embedded stages has.
    """

    def __init__(self, content: bytes):
        import onnx

        self._onnx: typing.Any = onnx
        self._model = flatbuffer.unpack(content)
        self._graph = self._model.subgraphs[0]
        self._nodes: list[typing.Any] = []
        self._weights: list[typing.Any] = []
        self._plain: dict[int, str] = {}
        self._image: dict[int, str] = {}
        self._reversed: dict[int, int] = {}
        """Tensor that runs backwards in time -> the one that it is the reverse of."""
        self._turned: dict[int, list[int]] = {}
        """The same -> along which axes."""
        self._made: collections.abc.Sequence[int] = ()
        """All outputs of the operator at hand."""

    def model(self) -> typing.Any:
        """The ``onnx.ModelProto``."""
        helper, floats = self._onnx.helper, self._onnx.TensorProto.FLOAT
        inputs, outputs = [], []
        for index in self._graph.inputs:
            self._plain[index] = self._graph.tensors[index].name.decode()
            inputs.append(helper.make_tensor_value_info(self._plain[index], floats, self._shape(index)))
        for operator in self._graph.operators:
            self._translate(operator)
        for index in self._graph.outputs:
            name = self._graph.tensors[index].name.decode()
            self._nodes.append(helper.make_node("Identity", [self._get(index)], [name]))
            outputs.append(helper.make_tensor_value_info(name, floats, self._shape(index)))
        graph = helper.make_graph(self._nodes, "stage", inputs, outputs, self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = 8
        self._onnx.checker.check_model(model)
        return model

    # --- tensors --------------------------------------------------------------------------------------------------------

    def _shape(self, index: int) -> list[int]:
        shape = self._graph.tensors[index].shape
        return [] if shape is None else [int(n) for n in shape]

    def _constant(self, index: int) -> np.ndarray | None:
        """Real values of a constant tensor; None for one that is computed."""
        tensor = self._graph.tensors[index]
        data = self._model.buffers[tensor.buffer].data
        if data is None or not len(data):
            return None
        stored = np.frombuffer(bytes(data), flatbuffer.TYPES[tensor.type].lower()).reshape(self._shape(index))
        quantization = tensor.quantization
        if quantization is None or quantization.scale is None or not len(quantization.scale):
            return stored
        scale, zero = np.asarray(quantization.scale, np.float64), np.asarray(quantization.zeroPoint, np.float64)
        if len(scale) > 1:
            along = [1] * stored.ndim
            along[quantization.quantizedDimension] = len(scale)
            scale, zero = scale.reshape(along), zero.reshape(along)
        elif stored.ndim == 0:
            scale, zero = scale[0], zero[0]
        return np.asarray((stored.astype(np.float64) - zero) * scale, np.float32)

    def _need(self, index: int) -> np.ndarray:
        found = self._constant(index)
        if found is None:
            raise ConversionError(f"onnx peer: tensor {index} must be constant; add what computes it to benchmarks/cycle_onnx.py")
        return found

    def _weight(self, values: np.ndarray) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(self._onnx.numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def _emit(self, operation: str, inputs: collections.abc.Sequence[str], **attributes: object) -> str:
        name = f"t{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(operation, list(inputs), [name], name=f"{operation}_{name}", **attributes))
        return name

    def _reshaped(self, name: str, shape: collections.abc.Sequence[int]) -> str:
        return self._emit("Reshape", [name, self._weight(np.array(shape, np.int64))])

    def _get(self, index: int, *, image: bool = False) -> str:
        """Name of a tensor, as it lies in the ``.tflite`` or as NCHW."""
        kept, other = (self._image, self._plain) if image else (self._plain, self._image)
        if index not in kept:
            if index in self._reversed and index not in other:
                self._turn(index)
                return self._get(index, image=image)
            if index not in other:
                kept[index] = self._weight(self._need(index))
            else:
                kept[index] = self._emit("Transpose", [other[index]], perm=_NCHW if image else _NHWC)
        return kept[index]

    # --- operators ------------------------------------------------------------------------------------------------------

    def _translate(self, operator: typing.Any) -> None:
        code = self._model.operatorCodes[operator.opcodeIndex]
        name = flatbuffer.OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
        make = getattr(self, f"_{name.lower()}", None)
        if make is None:
            raise ConversionError(f"onnx peer: operator {name} is unknown; add it to benchmarks/cycle_onnx.py")
        self._made = operator.outputs
        make(operator.inputs, operator.outputs[0], operator.builtinOptions)

    def _activated(self, name: str, options: typing.Any) -> str:
        function = _ACTIVATIONS[options.fusedActivationFunction]
        return self._emit(function, [name]) if function else name

    def _conv_2d(self, inputs: typing.Any, output: int, options: typing.Any, *, depthwise: bool = False) -> None:
        weights = self._need(inputs[1])
        kernel = weights.transpose(3, 0, 1, 2) if depthwise else weights.transpose(0, 3, 1, 2)
        strides = (options.strideH, options.strideW)
        shape = self._shape(inputs[0])
        pads = _pads(shape[1:3], kernel.shape[2:], strides) if options.padding == 0 else [0, 0, 0, 0]
        given = [self._get(inputs[0], image=True), self._weight(kernel), self._weight(self._need(inputs[2]))]
        made = self._emit("Conv", given, strides=strides, pads=pads, group=shape[3] if depthwise else 1)
        self._image[output] = self._activated(made, options)

    def _depthwise_conv_2d(self, inputs: typing.Any, output: int, options: typing.Any) -> None:
        self._conv_2d(inputs, output, options, depthwise=True)

    def _average_pool_2d(self, inputs: typing.Any, output: int, options: typing.Any) -> None:
        size, strides = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)
        pads = _pads(self._shape(inputs[0])[1:3], size, strides) if options.padding == 0 else [0, 0, 0, 0]
        given = [self._get(inputs[0], image=True)]
        self._image[output] = self._activated(self._emit("AveragePool", given, kernel_shape=size, strides=strides, pads=pads), options)

    def _fully_connected(self, inputs: typing.Any, output: int, options: typing.Any) -> None:
        weights = self._need(inputs[1])
        given = self._get(inputs[0])
        if len(self._shape(inputs[0])) != 2:
            given = self._reshaped(given, [-1, weights.shape[1]])
        rest = [self._weight(self._need(inputs[2]))] if len(inputs) > 2 and inputs[2] >= 0 else []
        self._plain[output] = self._activated(self._emit("Gemm", [given, self._weight(weights), *rest], transB=1), options)

    def _two(self, operation: str, inputs: typing.Any, output: int, options: typing.Any) -> None:
        image = all(index in self._image for index in inputs)
        kept = self._image if image else self._plain
        kept[output] = self._activated(self._emit(operation, [self._get(index, image=image) for index in inputs]), options)

    def _add(self, inputs: typing.Any, output: int, options: typing.Any) -> None:
        self._two("Add", inputs, output, options)

    def _mul(self, inputs: typing.Any, output: int, options: typing.Any) -> None:
        self._two("Mul", inputs, output, options)

    def _one(self, operation: str, inputs: typing.Any, output: int) -> None:
        image = inputs[0] in self._image
        (self._image if image else self._plain)[output] = self._emit(operation, [self._get(inputs[0], image=image)])

    def _logistic(self, inputs: typing.Any, output: int, options: typing.Any) -> None:
        self._one("Sigmoid", inputs, output)

    def _tanh(self, inputs: typing.Any, output: int, options: typing.Any) -> None:
        self._one("Tanh", inputs, output)

    def _softmax(self, inputs: typing.Any, output: int, options: typing.Any) -> None:
        self._plain[output] = self._emit("Softmax", [self._get(inputs[0])], axis=-1)

    def _quantize(self, inputs: typing.Any, output: int, options: typing.Any) -> None:
        """Another scale: the same real number."""
        if inputs[0] in self._image:
            self._image[output] = self._image[inputs[0]]
        else:
            self._plain[output] = self._get(inputs[0])

    def _reshape(self, inputs: typing.Any, output: int, options: typing.Any) -> None:
        self._plain[output] = self._reshaped(self._get(inputs[0]), self._shape(output))

    def _concatenation(self, inputs: typing.Any, output: int, options: typing.Any) -> None:
        self._plain[output] = self._activated(self._emit("Concat", [self._get(i) for i in inputs], axis=options.axis), options)

    def _reduced(self, operation: str, inputs: typing.Any, output: int, options: typing.Any) -> None:
        axes = sorted(int(axis) for axis in np.ravel(self._need(inputs[1])))
        image = inputs[0] in self._image and axes == [1, 2]
        given = self._get(inputs[0], image=image)
        self._plain[output] = self._emit(operation, [given], axes=[2, 3] if image else axes, keepdims=int(options.keepDims))

    def _mean(self, inputs: typing.Any, output: int, options: typing.Any) -> None:
        self._reduced("ReduceMean", inputs, output, options)

    def _reduce_max(self, inputs: typing.Any, output: int, options: typing.Any) -> None:
        self._reduced("ReduceMax", inputs, output, options)

    def _strided_slice(self, inputs: typing.Any, output: int, options: typing.Any) -> None:
        """One index of one axis, as the last step of a sequence; or a stretch of every axis."""
        if options.shrinkAxisMask == 0:
            self._stretch(inputs, output, options)
            return
        axis = int(options.shrinkAxisMask).bit_length() - 1
        if options.shrinkAxisMask != 1 << axis:
            raise ConversionError("onnx peer: STRIDED_SLICE takes more than one index; add it to benchmarks/cycle_onnx.py")
        chosen = self._weight(np.array(self._need(inputs[1])[axis], np.int64))
        self._plain[output] = self._emit("Gather", [self._get(inputs[0]), chosen], axis=axis)

    def _stretch(self, inputs: typing.Any, output: int, options: typing.Any) -> None:
        if options.ellipsisMask or options.newAxisMask:
            raise ConversionError("onnx peer: STRIDED_SLICE adds an axis; add it to benchmarks/cycle_onnx.py")
        begin, end, steps = (self._need(index).astype(np.int64) for index in inputs[1:4])
        axes = np.arange(len(begin))
        begin = np.where(options.beginMask >> axes & 1, 0, begin)
        end = np.where(options.endMask >> axes & 1, np.iinfo(np.int64).max, end)
        given = [self._get(inputs[0]), *(self._weight(array) for array in (begin, end, axes, steps))]
        self._plain[output] = self._emit("Slice", given)

    def _batch_matmul(self, inputs: typing.Any, output: int, options: typing.Any) -> None:
        turned = []
        for index, turn in zip(inputs, (options.adjX, options.adjY), strict=True):
            rank = len(self._shape(index))
            swapped = [*range(rank - 2), rank - 1, rank - 2]
            turned.append(self._emit("Transpose", [self._get(index)], perm=swapped) if turn else self._get(index))
        self._plain[output] = self._emit("MatMul", turned)

    def _split(self, inputs: typing.Any, output: int, options: typing.Any) -> None:
        """Into equal parts, along an axis that comes first."""
        axis, given = int(self._need(inputs[0]).item()), self._get(inputs[1])
        size = self._shape(inputs[1])[axis] // len(self._made)
        for part, made in enumerate(self._made):
            stretch = [self._weight(np.array([value], np.int64)) for value in (part * size, (part + 1) * size, axis)]
            self._plain[made] = self._emit("Slice", [given, *stretch])

    def _reverse_v2(self, inputs: typing.Any, output: int, options: typing.Any) -> None:
        """Around an LSTM it is the direction of the LSTM, as every exporter writes it; else it is done when it is asked for."""
        if inputs[0] in self._reversed:
            self._plain[output] = self._get(self._reversed[inputs[0]])
        else:
            self._reversed[output] = inputs[0]
            self._turned[output] = [int(axis) for axis in np.ravel(self._need(inputs[1]))]

    def _turn(self, index: int) -> None:
        axes = self._turned[index]
        ends = ([-1] * len(axes), [np.iinfo(np.int64).min] * len(axes), axes, [-1] * len(axes))
        self._plain[index] = self._emit(
            "Slice", [self._get(self._reversed[index]), *(self._weight(np.array(row, np.int64)) for row in ends)]
        )

    def _unidirectional_sequence_lstm(self, inputs: typing.Any, output: int, options: typing.Any) -> None:
        backwards = inputs[0] in self._reversed
        source = self._reversed.get(inputs[0], inputs[0])
        order = (0, 3, 1, 2)  # ONNX: input, output, forget, cell; TFLite: input, forget, cell, output
        w = np.concatenate([self._need(inputs[1 + i]) for i in order])[None]
        r = np.concatenate([self._need(inputs[5 + i]) for i in order])[None]
        b = np.concatenate([self._need(inputs[12 + i]) for i in order])
        _, steps, width = self._shape(source)
        given = self._reshaped(self._get(source), [steps, 1, width])
        direction, units = "reverse" if backwards else "forward", r.shape[2]
        bias = np.concatenate([b, np.zeros_like(b)])[None]
        weights = [self._weight(array) for array in (w, r, bias)]
        made = self._reshaped(self._emit("LSTM", [given, *weights], hidden_size=units, direction=direction), [1, steps, units])
        if backwards:
            forwards = -1 - output  # no tensor of the ``.tflite``: its output in the order of time
            self._plain[forwards] = made
            self._reversed[output] = forwards
        else:
            self._plain[output] = made


def _pads(size: collections.abc.Sequence[int], kernel: collections.abc.Sequence[int], strides: collections.abc.Sequence[int]) -> list[int]:
    """TensorFlow's SAME as ONNX pads: above, left, below, right."""
    total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, kernel, strides, strict=True)]
    before = [n // 2 for n in total]
    return [*before, *(n - b for n, b in zip(total, before, strict=True))]


def translate(content: bytes, path: pathlib.Path) -> None:
    """Write a ``.tflite`` as float ONNX. Raises ConversionError."""
    path.write_bytes(Translator(content).model().SerializeToString())


def quantize(path: pathlib.Path, calibration: collections.abc.Mapping[str, np.ndarray], out: pathlib.Path) -> None:
    """ONNX Runtime's int8 of a float file.

    Args:
        path: float ONNX.
        calibration: input name -> (samples, *shape).
        out: where to write.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Rows(CalibrationDataReader):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            count = len(next(iter(calibration.values())))
            self._rows = iter([{name: values[i : i + 1] for name, values in calibration.items()} for i in range(count)])

        def get_next(self) -> Arrays | None:
            return next(self._rows, None)

    ready, static = out.with_suffix(".pre.onnx"), out.with_suffix(".static.onnx")
    quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
    kinds = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8}
    quantize_static(str(ready), str(static), Rows(), quant_format=QuantFormat.QDQ, per_channel=True, **kinds)
    quantize_dynamic(str(static), str(out), op_types_to_quantize=["LSTM"], weight_type=QuantType.QInt8)
    ready.unlink()
    static.unlink()


@dataclasses.dataclass(frozen=True)
class _Real:
    """A tensor of real numbers, as ``edge.inference.model.Tensor`` describes one."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    scale: float = 0.0
    zero_point: int = 0


class OrtStage:
    """One stage in ONNX Runtime on one thread: what ``edge.inference.model.Model`` is to the cycle.

    Args:
        path: of the ONNX file, its inputs and outputs called as in the bundle.
    """

    def __init__(self, path: pathlib.Path):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._details = types.SimpleNamespace(
            inputs={one.name: _Real(tuple(one.shape[1:])) for one in self._session.get_inputs()},
            outputs={one.name: _Real(tuple(one.shape[1:])) for one in self._session.get_outputs()},
        )

    def details(self) -> types.SimpleNamespace:
        """Shapes of inputs and outputs, without the batch axis."""
        return self._details

    def run(self, **arrays: np.ndarray) -> Arrays:
        """One inference: named float32 arrays in and out, without a batch axis."""
        results = self._session.run(self._outputs, {name: array[None] for name, array in arrays.items()})
        return {name: result[0] for name, result in zip(self._outputs, results, strict=True)}
