"""affectkit's own wheel: built of the source that this runs from, or packed again from where it is installed."""

from __future__ import annotations

import base64
import configparser
import hashlib
import importlib.metadata
import pathlib
import shutil
import zipfile

from edge.errors import InputError
from firmware_configs.payload.cache import folder_for
from firmware_configs.payload.pip import run_pip

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
"""Of the source, if this runs from it."""
_DATE = "315532800"
"""1980-01-01, the first that a zip file can hold: the same source gives the same wheel."""


def own_wheel(folder: pathlib.Path, given: pathlib.Path | None = None) -> pathlib.Path:
    """affectkit's wheel in ``folder``: a copy of ``given``, built of the source, or packed again where there is none.

    Raises:
        InputError: ``given`` is no wheel of affectkit, it cannot be built, or what is installed was changed.
    """
    if given is not None:
        if not given.is_file() or not given.name.startswith("affectkit-") or given.suffix != ".whl":
            raise InputError(f"{given}: is no wheel of affectkit; give a file such as affectkit-0.1.0-py3-none-any.whl")
        return pathlib.Path(shutil.copy(given, folder))
    if not (ROOT / "setup.cfg").is_file() or not (ROOT / "pyproject.toml").is_file():
        return packed_again(importlib.metadata.distribution("affectkit"), folder)
    # In a copy: building leaves folders behind, and takes up what an earlier build has left.
    with folder_for(folder, "source") as source:
        copy_source(source)
        arguments = ["wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
        run_pip(arguments, "affectkit's own wheel", extra={"SOURCE_DATE_EPOCH": _DATE})
    return next(folder.glob("affectkit-*.whl"))


def packed_again(installed: importlib.metadata.Distribution, folder: pathlib.Path) -> pathlib.Path:
    """The wheel that ``installed`` was installed from, in ``folder``; every file is held against the hash that pip noted.

    Source: Python Packaging User Guide, "Recording installed projects" and "Binary distribution format".

    Raises:
        InputError: files are missing or were changed, or pip noted none.
    """
    stem = f"{installed.name}-{installed.version}"
    info = f"{stem}.dist-info"
    made_by_pip = {f"{info}/{name}" for name in ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json")}
    parts: dict[str, bytes] = {}
    record = []
    for file in sorted(installed.files or (), key=str):
        name = file.as_posix()
        # Scripts are made anew by whoever installs it.
        if name.startswith("..") or name in made_by_pip or "__pycache__" in name:
            continue
        if file.hash is None:
            parts = {}
            break
        try:
            parts[name] = file.read_binary()
        except OSError as error:
            raise InputError(f"{file.locate()}: cannot be read ({error.strerror}); install affectkit again") from error
        digest = base64.urlsafe_b64encode(hashlib.sha256(parts[name]).digest()).rstrip(b"=").decode()
        if (file.hash.mode, file.hash.value) != ("sha256", digest):
            raise InputError(f"{file.locate()}: was changed since it was installed; install affectkit again, or give --wheel FILE")
        record.append(f"{name},sha256={digest},{len(parts[name])}")
    if not parts:
        raise InputError(
            f"{ROOT}: affectkit is installed here without its source and without pip's record of it, so no wheel can be made of it; "
            "give one with --wheel FILE, or run this in a clone"
        )
    parts[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in parts.items():
            wheel.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return path


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
