"""Whether the interpreters that kits have can run a file: proved by running it there, each in a process of its own.

Versions of operators do not tell: one file loads in an older interpreter and answers wrongly. So every one must repeat the golden
vectors. The child (``python -m convert.runtimes FILE VECTORS MAPS``) needs nothing but the interpreter and NumPy.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import typing

import numpy as np

from edge.errors import ConversionError, EdgeError

OLD = "tflite-runtime==2.14.0"
"""The last release; on boards whose Python has no other wheel."""
OLD_NUMPY = "numpy<2"
TIME_LIMIT_S = 120
MEAN_DIFFERENCE = 4.0
"""Steps of an integer output that kernels of another version may be off in the mean: they round otherwise, layer after layer (a
detector of 13 convolutions is 2 off in 2.14, most networks under 0.2). What computes something else is tens of steps off. Float
outputs: 1e-3."""


@dataclasses.dataclass(frozen=True)
class Interpreter:
    """One Python with an interpreter in it."""

    runtime: str
    """What it should be, for messages."""
    python: str
    """Path of the Python; empty if it is not there."""
    why: str = ""
    """What to do if it is not there."""


def old_runtime_folder() -> pathlib.Path:
    """Where ``install_old`` puts its environment: below $XDG_CACHE_HOME, or ~/.cache."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    return cache / "affectkit" / OLD.replace("==", "-")


def known() -> list[Interpreter]:
    """The interpreter of this Python, and tflite-runtime 2.14 if it was installed with ``affectkit runtimes --install``."""
    python = old_runtime_folder() / "bin" / "python"
    missing = "not installed here: affectkit runtimes --install"
    old = Interpreter(OLD.replace("==", " "), str(python) if python.exists() else "", "" if python.exists() else missing)
    return [Interpreter("ai-edge-litert", sys.executable), old]


def install_old() -> pathlib.Path:
    """Make an environment with tflite-runtime 2.14, which needs Python 3.11 (or older) and NumPy 1; the path of its Python.

    Raises:
        ConversionError: no Python 3.11 is here, or pip failed.
    """
    folder = old_runtime_folder()
    python = folder / "bin" / "python"
    if python.exists():
        return python
    base = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if base is None:
        raise ConversionError(f"{OLD} has wheels up to Python 3.11, and none is on the path: install python3.11")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Made beside and renamed would break the paths inside: a half-made one is removed instead.
    try:
        subprocess.run([base, "-m", "venv", str(folder)], check=True, capture_output=True, text=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", OLD, OLD_NUMPY]
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (subprocess.CalledProcessError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines() or [""]
        raise ConversionError(f"{OLD} cannot be installed in {folder}: {said[-1][:200]}") from error
    return python


def check(
    interpreter: Interpreter,
    content: bytes,
    inputs: collections.abc.Mapping[str, str],
    outputs: collections.abc.Mapping[str, str],
    vectors: collections.abc.Mapping[str, np.ndarray],
) -> dict[str, typing.Any]:
    """Run golden vectors through a file in another interpreter; a ``report.RuntimeCheck`` as a dict.

    Args:
        interpreter: where.
        content: the ``.tflite``.
        inputs, outputs: public name -> tensor name.
        vectors: as ``edge.inference.golden.golden`` gives them.
    """
    empty: dict[str, typing.Any] = {"largest_difference": None, "delegated": {}, "left": {}}
    told = {"runtime": interpreter.runtime, "python": "", **empty}
    if not interpreter.python:
        return {**told, "status": "not tried", "why": interpreter.why}
    with tempfile.TemporaryDirectory(prefix="affectkit-runtime-") as name:
        folder = pathlib.Path(name)
        (folder / "model.tflite").write_bytes(content)
        np.savez(folder / "vectors.npz", **vectors)  # type: ignore[arg-type]
        (folder / "maps.json").write_text(json.dumps({"inputs": dict(inputs), "outputs": dict(outputs)}))
        environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).resolve().parent.parent)}
        files = [str(folder / part) for part in ("model.tflite", "vectors.npz", "maps.json")]
        try:
            done = subprocess.run(
                [interpreter.python, "-m", "convert.runtimes", *files],
                capture_output=True, text=True, env=environment, timeout=TIME_LIMIT_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {**told, "status": "fails", "why": f"gave no answer within {TIME_LIMIT_S} s"}
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {**told, "status": "fails", "why": f"crashed (status {done.returncode}): {last[:200]}"}
    return {**told, **json.loads(done.stdout.splitlines()[-1])}


def delegated(details: list[dict[str, typing.Any]]) -> tuple[dict[str, int], dict[str, int]]:
    """Operators that a delegate runs, and those left to the interpreter, from ``Interpreter._get_ops_details``.

    A DELEGATE node lists what goes in and what comes out; what lies between is its own.
    """
    plain = {int(entry["index"]): entry for entry in details if entry["op_name"] != "DELEGATE"}
    writer = {int(tensor): number for number, entry in plain.items() for tensor in entry["outputs"]}
    taken: set[int] = set()
    for node in (entry for entry in details if entry["op_name"] == "DELEGATE"):
        border, open_ends = {int(i) for i in node["inputs"]}, [int(i) for i in node["outputs"]]
        while open_ends:
            tensor = open_ends.pop()
            if tensor in border or tensor not in writer or writer[tensor] in taken:
                continue
            taken.add(writer[tensor])
            open_ends += [int(i) for i in plain[writer[tensor]]["inputs"]]
    counts = [collections.Counter(e["op_name"] for n, e in plain.items() if (n in taken) == inside) for inside in (True, False)]
    return dict(sorted(counts[0].items())), dict(sorted(counts[1].items()))


def _answer(content: bytes, vectors: dict[str, np.ndarray], maps: dict[str, dict[str, str]]) -> dict[str, typing.Any]:
    """The child's work."""
    from edge.inference.golden import compare_golden
    from edge.inference.model import Model, probe

    runtime = probe()
    told: dict[str, typing.Any] = {"runtime": str(runtime), "python": platform.python_version()}
    try:
        interpreter = runtime.interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        inside, left = delegated(interpreter._get_ops_details())
        told |= {"delegated": inside, "left": left}
        model = Model(content, name="the file", inputs=maps["inputs"], outputs=maps["outputs"])
        difference = compare_golden(model, vectors)
    except (EdgeError, RuntimeError, ValueError) as error:
        return {**told, "status": "fails", "why": " ".join(str(error).split())[:300]}
    integer = all(values.dtype.kind in "iu" for name, values in vectors.items() if name.startswith("output_"))
    near = difference.mean <= (MEAN_DIFFERENCE if integer else 1e-3)
    why = "" if near else f"loads, and answers {difference.mean:.3g} {'steps ' if integer else ''}off in the mean"
    return {**told, "status": "runs" if near else "differs", "why": why, "largest_difference": difference.largest}


def main(arguments: list[str]) -> int:
    """Print one line of JSON."""
    content, vectors, maps = (pathlib.Path(part) for part in arguments)
    with np.load(vectors) as stored:
        arrays = {name: stored[name] for name in stored.files}
    print(json.dumps(_answer(content.read_bytes(), arrays, json.loads(maps.read_text()))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
