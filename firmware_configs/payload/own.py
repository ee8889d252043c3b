"""affectkit's own wheel, made of the source that this runs from."""

from __future__ import annotations

import configparser
import pathlib
import shutil

from edge.errors import InputError
from firmware_configs.payload.cache import folder_for
from firmware_configs.payload.pip import run_pip

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
"""Of the source, if this runs from it."""
_DATE = "315532800"
"""1980-01-01, the first that a zip file can hold: the same source gives the same wheel."""


def own_wheel(folder: pathlib.Path, given: pathlib.Path | None = None) -> pathlib.Path:
    """affectkit's wheel in ``folder``: a copy of ``given``, or built of the source.

    Raises:
        InputError: ``given`` is no wheel of affectkit, there is no source, or it cannot be built.
    """
    if given is not None:
        if not given.is_file() or not given.name.startswith("affectkit-") or given.suffix != ".whl":
            raise InputError(f"{given}: is no wheel of affectkit; give a file such as affectkit-0.1.0-py3-none-any.whl")
        return pathlib.Path(shutil.copy(given, folder))
    if not (ROOT / "setup.cfg").is_file() or not (ROOT / "pyproject.toml").is_file():
        raise InputError(
            f"{ROOT}: affectkit is installed here without its source, so no wheel can be made of it; give one with --wheel FILE, "
            "or run this in a clone"
        )
    # In a copy: building leaves folders behind, and takes up what an earlier build has left.
    with folder_for(folder, "source") as source:
        copy_source(source)
        arguments = ["wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
        run_pip(arguments, "affectkit's own wheel", extra={"SOURCE_DATE_EPOCH": _DATE})
    return next(folder.glob("affectkit-*.whl"))


def copy_source(to: pathlib.Path) -> None:
    """Copies what a wheel is built of, as setup.cfg says."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    for name in ("setup.cfg", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, to)
    for pattern in settings["options.packages.find"]["include"].split():
        for package in ROOT.glob(pattern):
            if (package / "__init__.py").is_file():
                shutil.copytree(package, to / package.name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
