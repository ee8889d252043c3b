"""Puts ``tiny.py``, the small parts that the runtime's tests are made of, within reach of every test below."""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
