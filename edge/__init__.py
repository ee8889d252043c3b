"""affectkit on the device: fused estimates of student affect from face, speech and physiology, in real time.

>>> from edge import Runtime, load_bundle
>>> runtime = Runtime(load_bundle("classroom.affectkit"), ["replay:lesson.session.zip"], fast=True)  # doctest: +SKIP
>>> for decision in runtime:  # doctest: +SKIP
...     print(decision.label, decision.confidence)
"""

from __future__ import annotations

import importlib
import typing

if typing.TYPE_CHECKING:
    from edge.bundle import load_bundle as load_bundle
    from edge.errors import EdgeError as EdgeError
    from edge.runtime import Runtime as Runtime
    from edge.types import Decision as Decision

__version__ = "0.1.0"
__all__ = ["Decision", "EdgeError", "Runtime", "load_bundle"]

_HOME = {"Decision": "edge.types", "EdgeError": "edge.errors", "Runtime": "edge.runtime", "load_bundle": "edge.bundle"}


def __getattr__(name: str) -> object:
    """Imports what is asked for only then: ``affectkit --help`` needs none of it."""
    if name not in _HOME:
        raise AttributeError(f"module 'edge' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
