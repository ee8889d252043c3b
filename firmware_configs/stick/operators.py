"""Operators of a ``.tflite`` flatbuffer that no kit has: custom ones, among them TensorFlow's own (Flex).

Read without an interpreter, and with suspicion: every offset is checked by the reading itself.
Source: the FlatBuffers binary format (flatbuffers.dev/internals) and TensorFlow Lite's schema.fbs (tables Model, OperatorCode).
"""

from __future__ import annotations

import struct

from edge.bundle import Bundle
from edge.errors import BundleError

_CUSTOM = 32
_MOST_CODES = 10_000
_MOST_NAME = 80


def custom_operators(content: bytes) -> tuple[str, ...]:
    """Names of the custom operators that a model declares, sorted; those of Flex begin with "Flex".

    Raises:
        ValueError: ``content`` is no flatbuffer of a model.
    """
    try:
        if content[4:8] != b"TFL3":
            raise ValueError("not a .tflite flatbuffer")
        model = struct.unpack_from("<I", content, 0)[0]
        at = _field(content, model, 1)
        if at is None:
            return ()
        codes = at + struct.unpack_from("<I", content, at)[0]
        count = struct.unpack_from("<I", content, codes)[0]
        if count > _MOST_CODES:
            raise ValueError(f"declares {count} operators")
        found = set()
        for place in range(codes + 4, codes + 4 + 4 * count, 4):
            name = _custom(content, place + struct.unpack_from("<I", content, place)[0])
            if name is not None:
                found.add(name)
        return tuple(sorted(found))
    except struct.error as error:
        raise ValueError("a damaged .tflite flatbuffer") from error


def refuse_custom(bundle: Bundle) -> None:
    """BundleError if a stage of ``bundle`` has an operator that no kit has."""
    for name in bundle.manifest.stages:
        try:
            found = custom_operators(bundle.stage(name))
        except ValueError as error:
            raise BundleError(f"{bundle.path}: stage {name} is {error}; convert the model again") from error
        if found:
            kind = "TensorFlow's (Flex)" if any(one.startswith("Flex") for one in found) else "custom"
            raise BundleError(
                f"{bundle.path}: stage {name} has {kind} operators, which no kit has: {', '.join(found)[:200]}; "
                "convert the model with builtin operators alone"
            )


def _custom(content: bytes, code: int) -> str | None:
    """Name of one operator code if it is custom."""
    old, new, named = _field(content, code, 0), _field(content, code, 3), _field(content, code, 1)
    number = max(
        struct.unpack_from("<b", content, old)[0] if old is not None else 0,
        struct.unpack_from("<i", content, new)[0] if new is not None else 0,
    )
    if number != _CUSTOM:
        return None
    if named is None:
        return "without a name"
    at = named + struct.unpack_from("<I", content, named)[0]
    length = struct.unpack_from("<I", content, at)[0]
    text = content[at + 4 : at + 4 + min(length, _MOST_NAME)].decode("utf-8", "replace")
    return "".join(one if one.isprintable() else "?" for one in text) or "without a name"


def _field(content: bytes, table: int, number: int) -> int | None:
    """Where a field of a table lies; None if it has its default."""
    fields = table - struct.unpack_from("<i", content, table)[0]
    if fields < 0:
        raise struct.error("before the beginning")
    if 4 + 2 * number >= struct.unpack_from("<H", content, fields)[0]:
        return None
    offset = struct.unpack_from("<H", content, fields + 4 + 2 * number)[0]
    return table + offset if offset else None
