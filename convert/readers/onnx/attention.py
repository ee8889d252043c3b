"""ONNX's Attention (opset 23): scaled dot products, softmax, and their product with the values."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from convert.readers.onnx.dense import product
from convert.readers.onnx.rewrite import MASKED
from convert.readers.onnx.table import Call, operator
from convert.readers.onnx.values import Operand, Value, aligned, as_float


def _heads(call: Call, operand: Operand, attribute: str) -> Value:
    """(batch, heads, steps, width), also of (batch, steps, heads x width)."""
    value = call.value(operand)
    if len(value.shape) == 4:
        return value
    batch, steps, width = value.shape
    heads = call.attribute(attribute)
    return value.reshaped((batch, steps, heads, width // heads)).transposed((0, 2, 1, 3))


def _mask(call: Call, mask: Operand | None, queries: int, keys: int) -> Operand | None:
    """What is added to the scores."""
    causal = np.where(np.tri(queries, keys, dtype=bool), 0, MASKED).astype(np.float32) if call.attribute("is_causal", 0) else None
    if mask is None:
        return causal
    if isinstance(mask, Value):
        if mask.tensor.dtype == tf.bool or causal is not None:
            raise call.refusal("a mask of truths that is computed, or one beside is_causal, is not supported")
        return mask
    known = np.where(mask, 0, MASKED).astype(np.float32) if mask.dtype == bool else np.maximum(as_float(mask), MASKED)
    return known if causal is None else known + causal


@operator("Attention")
def _attention(
    call: Call, q: Operand, k: Operand, v: Operand, mask: Operand | None = None, *others: Operand | None
) -> tuple[Value | None, ...]:  # fmt: skip
    if any(other is not None for other in others) or any(shape is not None for shape in call.shapes[1:]) or call.attribute("softcap", 0):
        raise call.refusal("keys and values of the past, scores as an output and softcap are not supported")
    query, key, value = (_heads(call, *pair) for pair in ((q, "q_num_heads"), (k, "kv_num_heads"), (v, "kv_num_heads")))
    if query.shape[1] != key.shape[1]:
        raise call.refusal(f"{query.shape[1]} heads of queries and {key.shape[1]} of keys are not supported: make them alike")
    scale = call.attribute("scale") or 1 / math.sqrt(query.shape[3])
    scores = product(call, query.with_tensor(query.tensor * np.float32(scale)), key.transposed((0, 1, 3, 2)))
    added = _mask(call, mask, query.shape[2], key.shape[2])
    if added is not None:
        (x, y), lead = aligned(scores, added)
        scores = lead.with_tensor(x + y)
    result = product(call, Value.plain(tf.nn.softmax(scores.ordered())), value)
    if len(call.shape) == 3:
        result = result.transposed((0, 2, 1, 3)).reshaped(call.shape)
    return result, *(None for _ in call.shapes[1:])
