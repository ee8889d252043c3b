"""The house keeps its shape: data walks one way, files stay small, and the device needs nothing of the workstation's."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = sorted(path for package in ("edge", "convert", "benchmarks", "firmware_configs") for path in (ROOT / package).rglob("*.py"))

# From the bottom up: a room may import the rooms before it, never those after it.
EDGE_ORDER = [
    ("edge.errors", "edge.types", "edge.clock", "edge.words", "edge.embedded", "edge.archive"),
    ("edge.preprocess",),
    ("edge.journal", "edge.session_tracks"),
    ("edge.session", "edge.session_writer"),
    ("edge.sensors",),
    ("edge.bundle",),
    ("edge.inference",),
    ("edge.config",),
    ("edge.purpose",),
    ("edge.outputs",),
    ("edge.compose",),
    ("edge.runtime",),
    ("edge.inspect", "edge.board", "edge.doctor_checks", "edge.doctor_sensors", "edge.doctor"),
    ("edge.cli",),
    ("edge.record",),
]
CONVERT_MAY_IMPORT = ("edge.errors", "edge.types", "edge.bundle", "edge.session", "edge.preprocess", "edge.inference")
# An explanation decides a session again.
CONVERT_MAY_IMPORT += ("edge.compose", "edge.config", "edge.clock", "edge.sensors.replay", "edge.journal", "edge.embedded")
DEVICE_PACKAGES = {"numpy", "PIL", "soundfile", "rich", "ai_edge_litert", "tflite_runtime", "cv2", "edge"}
DEVICE_PACKAGES |= {"smbus2", "picamera2", "libcamera", "pyaudio", "soxr", "bleak"}  # the drivers'


def imports(path: pathlib.Path) -> set[str]:
    """Full names of all modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def module_name(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(name: str) -> int | None:
    for number, rooms in enumerate(EDGE_ORDER):
        if any(name == one or name.startswith(one + ".") for one in rooms):
            return number
    return None


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_point_one_way(path):
    name = module_name(path)
    for imported in imports(path):
        package = imported.split(".")[0]
        if name.startswith("edge"):
            assert package not in {"convert", "benchmarks", "firmware_configs"}, f"{name} imports {imported}"
            here, there = room(name), room(imported)
            if here is not None and there is not None:
                assert there <= here, f"{name} imports {imported}, which comes after it"
        if name.startswith("convert") and package == "edge" and imported != "edge":
            assert imported.startswith(CONVERT_MAY_IMPORT), f"{name} imports {imported}"


@pytest.mark.parametrize("path", [p for p in SOURCES if p.parts[len(ROOT.parts)] == "edge"], ids=module_name)
def test_the_device_side_needs_only_device_packages(path):
    foreign = {name.split(".")[0] for name in imports(path)} - DEVICE_PACKAGES - set(sys.stdlib_module_names)
    assert not foreign, f"{module_name(path)} imports {sorted(foreign)}"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_no_file_is_long(path):
    assert len(path.read_text().splitlines()) <= 400


def test_the_heavy_packages_stay_out_of_the_start():
    heavy = "{'tensorflow', 'keras', 'cv2', 'scipy', 'sklearn', 'ai_edge_litert', 'PIL', 'soundfile'}"
    code = f"import sys, edge, edge.cli; print(sorted({heavy} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert printed.strip() == "[]"
