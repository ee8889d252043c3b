"""Numbers as a page shows them. What was not measured is a dash; what is no number says so."""

from __future__ import annotations

import math

DASH = "\u2013"
_MINUS = "\u2212"
_RAISED = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")
_SPACE = "\u00a0"
"""Keeps a number and its unit on one line."""


def finite(value: object) -> float | None:
    """The value as a float; None if it is no number, not finite or not there."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def plain(value: object, form: str = ".4g", unit: str = "") -> str:
    """Any number."""
    known = finite(value)
    if known is None:
        return DASH if not isinstance(value, float) else "not a number" if math.isnan(value) else "infinite"
    text, _, power = format(known, form).partition("e")
    if text[0] in "+-" and not text.strip("+-0.,"):
        text = text[1:]
    text = text.replace("-", _MINUS)
    if power:
        text += f"{_SPACE}\u00d7{_SPACE}10" + str(int(power)).translate(_RAISED)
    return f"{text}{_SPACE}{unit}" if unit else text


def scaled(value: object, factor: float, form: str, unit: str) -> str:
    """A number in another unit, ``factor`` of which make one."""
    known = finite(value)
    return plain(value if known is None else known * factor, form, unit)


def count(value: object) -> str:
    """A whole number: 5,484,052."""
    return plain(value, ",.0f")


def many(value: object) -> str:
    """A large count in short: 5.48 M."""
    known = finite(value)
    if known is None or abs(known) < 1e4:
        return count(value)
    return scaled(known, 1e-6, ".2f", "M") if abs(known) >= 1e6 else scaled(known, 1e-3, ".1f", "k")


def share(value: object, digits: int = 1) -> str:
    """0.98 as 98.0 %; with more digits where less than all would be rounded to all."""
    known = finite(value)
    while known is not None and known < 1 <= round(known, digits + 2) and digits < 6:
        digits += 1
    return scaled(value, 100, f".{digits}f", "%")


def points(value: object) -> str:
    """0.0067 as 0.67 points: a difference of percentages."""
    return scaled(value, 100, ".2f", "points")


def size(value: object) -> str:
    """Bytes; kB of 1,000."""
    known = finite(value)
    if known is None or known < 1e3:
        return plain(value, ".0f", "B")
    return scaled(known, 1e-3, ".1f", "kB") if known < 1e6 else scaled(known, 1e-6, ".2f", "MB")


def milliseconds(value: object) -> str:
    """A time; microseconds matter below 10 ms."""
    known = finite(value)
    return plain(value, ".3f" if known is not None and known < 10 else ".1f", "ms")


def decibels(value: object) -> str:
    """A ratio of powers."""
    return plain(value, ".1f", "dB")


def ratio(value: object, base: object, form: str = ".2f") -> str:
    """One over the other."""
    return plain(quotient(value, base), form)


def quotient(value: object, base: object) -> float | None:
    """One over the other as a number; None where that cannot be told."""
    above, below = finite(value), finite(base)
    return None if above is None or not below else above / below


def span(limits: object) -> str:
    """Two ends of a range."""
    if not isinstance(limits, list | tuple) or len(limits) != 2:
        return DASH
    return f"{plain(limits[0], '.3g')} to {plain(limits[1], '.3g')}"


def short(name: object, length: int) -> str:
    """A name cut in its middle, for names of layers differ at their ends."""
    text = str(name)
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}\u2026{text[len(text) - (length - 1 - head) :]}"
