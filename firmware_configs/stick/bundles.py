"""A bundle that is to go onto sticks: checked as a kit will check it, before it is signed."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib

from edge.bundle import SUFFIX, Bundle, load_bundle
from edge.errors import BundleError, InferenceError
from firmware_configs.stick.operators import refuse_custom


@dataclasses.dataclass(frozen=True)
class Checked:
    """A bundle fit to be signed."""

    bundle: Bundle
    bytes: int
    sha256: str
    """Of the whole file, in hexadecimal; ``bundle.sha256`` leaves out the first line."""
    ran: str | None
    """The interpreter that gave its golden vectors here; None where there is none."""

    @property
    def target(self) -> str:
        """Its name among the targets."""
        return f"{self.bundle.manifest.name}{SUFFIX}"

    @property
    def title(self) -> str:
        """For people: name and version."""
        return f"{self.bundle.manifest.name} {self.bundle.manifest.version}"


def checked(path: pathlib.Path, *, within: float = 0.0) -> Checked:
    """The bundle at ``path``, after every check that can be made here.

    Args:
        path: ``NAME.affectkit``.
        within: steps of the output by which golden vectors may differ; 0 is bit by bit the same.

    Raises:
        BundleError: it is damaged, has operators that no kit has, or does not give its golden vectors here.
    """
    bundle = load_bundle(path)
    refuse_custom(bundle)
    ran = _ran(bundle, within)
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        size = stream.tell()
    # Looked at again: what was checked is what was hashed.
    if load_bundle(path).sha256 != bundle.sha256:
        raise BundleError(f"{path}: changed while it was read; try again when nobody writes it")
    return Checked(bundle, size, sha256, ran)


def _ran(bundle: Bundle, within: float) -> str | None:
    from edge.inference.model import probe
    from edge.inspect import verify

    try:
        probe()
    except InferenceError:
        return None
    try:
        found = verify(bundle)
    except InferenceError as error:
        raise BundleError(f"{bundle.path}: {error}; kits would refuse it too") from error
    for name, stage in found["stages"].items():
        if not stage["largest_difference"] <= within:
            raise BundleError(
                f"{bundle.path}: stage {name} is up to {stage['largest_difference']:g} steps off its golden vectors in {found['runtime']}; "
                "convert it again, or say --within if you know that kits compute it"
            )
    return found["runtime"]
