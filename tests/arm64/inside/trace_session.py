"""Replays the embedded session and keeps all that its models saw and said; the same file runs natively and on an emulated aarch64.

Usage: ``trace_session.py FOLDER``, which gets ``decisions.jsonl``, ``trace.npz`` and ``versions.json``.

``trace.npz`` has, for each stage, ``STAGE/real/INPUT`` (calls, *shape) float32 as the features made it, ``STAGE/stored/INPUT`` int8 as the
interpreter got it, and ``STAGE/output/OUTPUT`` int8 as it answered.
"""

from __future__ import annotations

import collections
import importlib.metadata
import json
import pathlib
import platform
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))

from edge.cli import main
from edge.inference import model as models

Trace = collections.defaultdict[str, list[np.ndarray]]


class Traced(models.Model):
    """A stage that writes down what goes in and what comes out."""

    trace: Trace = Trace(list)

    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        for name, array in arrays.items():
            self.trace[f"{self.name}/real/{name}"].append(np.array(array, np.float32))
        return super().run(**arrays)

    def _start(self) -> None:
        for slot in self._inputs:
            self.trace[f"{self.name}/stored/{slot.name}"].append(slot.view()[0].copy())
        super()._start()
        for slot in self._outputs:
            self.trace[f"{self.name}/output/{slot.name}"].append(slot.view()[0].copy())


def trace(folder: pathlib.Path) -> int:
    """Run the command that anybody types, with traced stages; its exit status."""
    folder.mkdir(parents=True, exist_ok=True)
    models.Model = Traced  # type: ignore[misc]
    status = main(["run", "--fast", "--threads", "1", "--overwrite", "--jsonl", str(folder / "decisions.jsonl")])
    np.savez(folder / "trace.npz", **{name: np.stack(arrays) for name, arrays in Traced.trace.items()})
    packages = ("numpy", "ai-edge-litert", "pillow", "soundfile")
    versions = {name: importlib.metadata.version(name) for name in packages}
    table = {"machine": platform.machine(), "python": platform.python_version(), **versions}
    (folder / "versions.json").write_text(json.dumps(table, indent=1) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(trace(pathlib.Path(sys.argv[1])))
