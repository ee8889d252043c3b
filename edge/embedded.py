"""Where the default bundle and the recorded session lie that ship with the package."""

from __future__ import annotations

import pathlib

_DATA = pathlib.Path(__file__).resolve().parent / "data"

BUNDLE = _DATA / "classroom.affectkit"
SESSION = _DATA / "classroom.session.zip"
