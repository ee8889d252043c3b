"""Where the other converters live: an environment each, with every version pinned, below $XDG_CACHE_HOME/affectkit/peers.

Their requirements contradict each other's and this project's, and none is needed but to be compared with.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys

from edge.errors import ConversionError, InputError

TIME_LIMIT_S = 600
"""For one installation."""


@dataclasses.dataclass(frozen=True)
class Environment:
    """One virtual environment."""

    name: str
    pins: tuple[str, ...]
    base: str = sys.executable
    """The Python that it is made with."""
    missing: str = ""
    """Why it cannot be made at all; empty if it can."""

    @property
    def folder(self) -> pathlib.Path:
        """The name holds the versions: other pins are another folder."""
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
        return cache / "affectkit" / "peers" / self.name

    @property
    def python(self) -> str:
        """Path of its Python; empty if it is not installed."""
        path = self.folder / "bin" / "python"
        return str(path) if (self.folder / ".ready").exists() else ""

    @property
    def why(self) -> str:
        """What to do where it is not installed."""
        return self.missing or "not installed: run again with --install"


QUANTIZER = Environment("ai-edge-quantizer-0.10.0", ("ai-edge-quantizer==0.10.0", "ai-edge-litert==2.3.0", "numpy==2.4.6"))
ONNX = Environment(
    "tf2onnx-1.17.0",
    (
        "tf2onnx==1.17.0", "onnx==1.23.2", "onnxruntime==1.31.1", "sympy==1.14.0",  # sympy: for the pre-processing before quantizing
        "tensorflow==2.21.0", "keras==3.15.1", "tf_keras==2.21.0", "numpy==2.4.6",
    ),
)  # fmt: skip

ONNX2TF_OLD = ("onnx2tf==1.29.24",)
"""Pins TensorFlow 2.19, numpy 1.26.4, protobuf 4.25.5 and the rest itself; Python 3.11 or older."""
ONNX2TF_NEW = ("onnx2tf==2.6.9",)
"""Pins the rest itself; Python 3.12 or newer."""


def onnx2tf(python: str) -> Environment:
    """The newest onnx2tf that this Python can have: 1.29 up to 3.11, 2.x from 3.12.

    Raises:
        InputError: ``python`` cannot be run.
    """
    code = "import sys; print(sys.version_info[0] * 100 + sys.version_info[1])"
    try:
        version = int(subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, timeout=60).stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise InputError(f"--onnx2tf-python {python} cannot be run: give the path of a Python of 3.10 or newer") from error
    pins = ONNX2TF_OLD if version < 312 else ONNX2TF_NEW
    return Environment(pins[0].replace("==", "-"), pins, python)


def install(environment: Environment) -> None:
    """Make it, unless it is there.

    Raises:
        ConversionError: pip failed or took longer than ``TIME_LIMIT_S``.
    """
    if environment.python or environment.missing:
        return
    folder = environment.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *environment.pins]
    try:
        for command in ([environment.base, "-m", "venv", str(folder)], pip):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIME_LIMIT_S)
    except (subprocess.SubprocessError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines() or [""]
        raise ConversionError(f"{environment.name} cannot be installed: {said[-1][:200]}") from error
    (folder / ".ready").touch()
