"""Payload folders for tests, with a ``payload.json`` as `affectkit kit payload` writes it."""

from __future__ import annotations

import collections.abc
import hashlib
import json
import os
import pathlib

FILES = {
    "install.sh": b"#!/bin/sh\n",
    "wheels/numpy-2.1.0-cp313-cp313-manylinux_2_17_aarch64.whl": os.urandom(300_000),
    "system/usr/lib/affectkit/led": b"#!/bin/sh\n# led\n",
}
PYTHON = {"trixie": "cp313", "bookworm": "cp311"}


def make_payload(
    folder: pathlib.Path, *, os_name: str = "trixie", board: str = "pi-4", files: collections.abc.Mapping[str, bytes] = FILES
) -> pathlib.Path:
    """A payload of ``files`` for a system and a board, in the new folder ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    listed = {name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()}
    says = {"format": 1, "os": os_name, "board": board, "python": PYTHON[os_name], "debian": [], "files": listed}
    (folder / "payload.json").write_text(json.dumps(says))
    return folder
