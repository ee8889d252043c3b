"""The bundle: all that one trained system needs on the device, in one file, checked before anything runs.

Layout of ``NAME.affectkit``::

    AFFECTKIT-BUNDLE 1 <SHA-256, in hexadecimal, of all that follows>\\n
    a zip: bundle.json            the manifest, with size and SHA-256 of every other part
           card.md                the model card
           quality.json           optional: what was measured, and whom the stages learnt from
           stages/<stage>.tflite  one model per stage, int8 wherever that is good enough
           golden/<stage>.npz     input_<name>, output_<name>: (samples, ...) as stored, what the stage must answer bit by bit

The zip is readable by ordinary tools too, which skip the first line.

A bundle that decides has an encoder for each modality that it uses, one or more of ``face``, ``speech`` and ``physiology``, which takes
what that modality's front gives and gives ``embedding`` (width,); perhaps ``face@1`` and so on, smaller ones into the same space; perhaps
a ``detector``; and ``fusion``, whose inputs and outputs ``edge.inference.form`` describes and checks.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import hashlib
import io
import json
import os
import pathlib
import re
import typing
import zipfile

import numpy as np

from edge.archive import Fields, Limits, add_part, beside, check_archive, complaining, dump_json, parse_json, read_part
from edge.errors import BundleError
from edge.types import MODALITIES

FORMAT = 1
SUFFIX = ".affectkit"
MANIFEST = "bundle.json"
CARD = "card.md"
QUALITY = "quality.json"
GOLDEN_TYPES = ("int8", "int16", "float32")
"""Of golden vectors: what the inputs and outputs of a stage may be stored as."""
LIMITS = Limits(parts=64, total_bytes=256 << 20)
_GOLDEN_LIMITS = Limits(parts=64, total_bytes=64 << 20)
_MAGIC = b"AFFECTKIT-BUNDLE "
_HEADER = re.compile(rb"AFFECTKIT-BUNDLE ([1-9][0-9]{0,5}) ([0-9a-f]{64})\n")
_HEADER_BYTES = 96
_NAME = re.compile(r"[a-z0-9][a-z0-9._+-]{0,63}")


@dataclasses.dataclass(frozen=True)
class PartSpec:
    """What a part must be."""

    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class StageSpec:
    """One model of the bundle."""

    name: str
    file: str
    """Always ``stages/<name>.tflite``."""
    inputs: collections.abc.Mapping[str, str]
    """Public name -> name of the tensor in the flatbuffer."""
    outputs: collections.abc.Mapping[str, str]
    budget_ms: float
    """What one run may take on the slowest board that is supported."""
    weights: int
    macs: int
    """Multiply-accumulates of one run."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What the bundle says of itself."""

    name: str
    version: str
    created: str
    """ISO date, given by whoever writes the bundle: no clock is read."""
    labels: tuple[str, ...]
    """Of the decisions, or of the only stage; empty where a stage has no classes."""
    stages: collections.abc.Mapping[str, StageSpec]
    preprocess: collections.abc.Mapping[str, collections.abc.Mapping[str, typing.Any]]
    """Parameters of each front, as ``dataclasses.asdict`` gives them; of the fusion, where it looks back on steps."""
    max_age_ms: collections.abc.Mapping[str, int]
    """Modality -> age at which its newest embedding is stale."""
    temperature: float
    """Divides the logits of the fusion; fitted after quantization."""
    abstain_below: float
    """Confidence under which the decision is "unsure"."""
    switch_margin: float
    """How far a new label must lead the one that holds."""
    data_terms: tuple[str, ...]
    """What it was trained on, and the terms that its weights inherit."""
    settle_ms: float = 0.0
    """Time constant of the average over estimates; 0 takes each as it is."""
    cadence_ms: int = 250
    budget_ms: int = 200
    format: int = FORMAT
    parts: collections.abc.Mapping[str, PartSpec] = dataclasses.field(default_factory=dict)
    """Filled in by ``write_bundle``."""


class Bundle:
    """A checked bundle. Parts are read from the file when asked for, and compared with their hash again."""

    def __init__(self, path: pathlib.Path, sha256: str, manifest: Manifest):
        self.path = path
        self.sha256 = sha256
        """Of all that follows the first line; names this bundle in reports."""
        self.manifest = manifest

    def part(self, name: str) -> bytes:
        """Content of one part.

        Raises:
            BundleError: there is no such part, or the file has changed since it was checked.
        """
        if name not in self.manifest.parts:
            raise BundleError(f"{self.path}: no part {name}; it has {', '.join(sorted(self.manifest.parts))}")
        with complaining(str(self.path), BundleError), zipfile.ZipFile(self.path) as archive:
            return _read_part(archive, name, self.manifest.parts[name], str(self.path))

    def stage(self, name: str) -> bytes:
        """The flatbuffer of one stage."""
        return self.part(self._stage(name).file)

    def golden(self, stage: str) -> dict[str, np.ndarray]:
        """``input_<name>`` and ``output_<name>`` -> (samples, ...), int8 for an int8 stage, as it takes and must give them."""
        spec = self._stage(stage)
        return _unpack_golden(self.part(f"golden/{stage}.npz"), spec, str(self.path))

    def _stage(self, name: str) -> StageSpec:
        if name not in self.manifest.stages:
            raise BundleError(f"{self.path}: no stage {name}; it has {', '.join(self.manifest.stages)}")
        return self.manifest.stages[name]

    @property
    def quality(self) -> dict[str, typing.Any] | None:
        """What was measured, and whom the stages learnt from; None where the maker said nothing."""
        return json.loads(self.part(QUALITY)) if QUALITY in self.manifest.parts else None

    @property
    def card(self) -> str:
        """The model card, Markdown."""
        return self.part(CARD).decode("utf-8")


def load_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Check the whole file, then return it.

    Raises:
        BundleError: in one line, whatever is wrong: not a bundle, cut short, changed, of a newer format, parts that are
            missing, unknown, doubled, unsafely named or not what their hash says, a manifest that makes no sense.
    """
    where = pathlib.Path(path)
    with complaining(str(where), BundleError), open(where, "rb") as stream:
        sha256 = _check_header(stream, str(where))
        with zipfile.ZipFile(stream) as archive:
            check_archive(archive, where=str(where), kind=BundleError, limits=LIMITS)
            names = {part.filename for part in archive.infolist()}
            if MANIFEST not in names:
                raise BundleError(f"{where}: part {MANIFEST} is missing; not made by affectkit")
            manifest = _manifest(parse_json(read_part(archive, MANIFEST), where=f"{where}, {MANIFEST}", kind=BundleError))
            _check_names(manifest, names - {MANIFEST}, str(where))
            for name, spec in manifest.parts.items():
                content = _read_part(archive, name, spec, str(where))
                _check_content(manifest, name, content, str(where))
    return Bundle(where, sha256, manifest)


def write_bundle(
    path: str | os.PathLike[str], manifest: Manifest, parts: collections.abc.Mapping[str, bytes], *, overwrite: bool = False
) -> str:
    """Write a bundle beside its final name, sync it and rename it; the same input gives the same bytes.

    Args:
        path: ``NAME.affectkit``.
        manifest: its ``parts`` is filled in here.
        parts: part name -> content: ``card.md``, perhaps ``quality.json``; of each stage ``stages/<stage>.tflite``, ``golden/<stage>.npz``.
        overwrite: replace what is there.

    Returns:
        SHA-256 as ``Bundle.sha256`` gives it.

    Raises:
        BundleError: the path exists, or ``load_bundle`` would refuse the result.
    """
    where = pathlib.Path(path)
    if where.suffix != SUFFIX:
        raise BundleError(f"{where}: a bundle's name ends in {SUFFIX}")
    specs = {name: PartSpec(len(parts[name]), hashlib.sha256(parts[name]).hexdigest()) for name in sorted(parts)}
    manifest = dataclasses.replace(manifest, format=FORMAT, parts=specs)
    try:
        packed = dump_json(dataclasses.asdict(manifest))
    except (ValueError, TypeError) as error:
        raise BundleError(f"{where}: the manifest holds what JSON cannot: {error}") from error
    read_back = _manifest(parse_json(packed, where=f"{where}, {MANIFEST}", kind=BundleError))
    _check_names(read_back, set(parts), str(where))
    for name in specs:
        _check_content(read_back, name, parts[name], str(where))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in sorted({MANIFEST: packed, **parts}.items()):
            add_part(archive, name, content)
        check_archive(archive, where=str(where), kind=BundleError, limits=LIMITS)
    body = buffer.getvalue()
    sha256 = hashlib.sha256(body).hexdigest()
    with beside(where, overwrite=overwrite, kind=BundleError) as stream:
        stream.write(_MAGIC + f"{FORMAT} {sha256}\n".encode("ascii"))
        stream.write(body)
    return sha256


def pack_golden(arrays: collections.abc.Mapping[str, np.ndarray]) -> bytes:
    """Content of ``golden/<stage>.npz`` from ``input_<name>`` and ``output_<name>`` -> (samples, ...) of a type in ``GOLDEN_TYPES``."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)})  # type: ignore[arg-type]
    return buffer.getvalue()


def _check_header(stream: typing.BinaryIO, where: str) -> str:
    """Compare the first line with what follows it; ``stream`` is at its beginning."""
    line = stream.readline(_HEADER_BYTES)
    if not line.startswith(_MAGIC):
        raise BundleError(f"{where}: not an affectkit bundle; its first line is not that of one")
    header = _HEADER.fullmatch(line)
    if header is None:
        raise BundleError(f"{where}: the first line is damaged; copy the bundle again from where it came")
    if int(header[1]) != FORMAT:
        raise BundleError(f"{where}: bundle format {int(header[1])}, this affectkit reads {FORMAT}; update affectkit")
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    if digest.hexdigest() != header[2].decode("ascii"):
        raise BundleError(
            f"{where}: cut short or changed: its SHA-256 is {digest.hexdigest()[:12]}, not {header[2].decode()[:12]}; copy it again"
        )
    return digest.hexdigest()


def _read_part(archive: zipfile.ZipFile, name: str, spec: PartSpec, where: str) -> bytes:
    content = read_part(archive, name)
    if len(content) != spec.bytes or hashlib.sha256(content).hexdigest() != spec.sha256:
        raise BundleError(
            f"{where}: part {name} is not what the manifest says ({len(content)} bytes, or its SHA-256 differs); copy it again"
        )
    return content


def _check_names(manifest: Manifest, present: set[str], where: str) -> None:
    wanted = {CARD, *(f"stages/{name}.tflite" for name in manifest.stages), *(f"golden/{name}.npz" for name in manifest.stages)}
    wanted |= {QUALITY} & set(manifest.parts)
    for missing in sorted((wanted | set(manifest.parts)) - present):
        raise BundleError(f"{where}: part {missing} is missing; copy the bundle again from where it came")
    for unknown in sorted(present - (wanted & set(manifest.parts))):
        raise BundleError(f"{where}: part {unknown} is not known to the manifest; not made by affectkit")


def _check_content(manifest: Manifest, name: str, content: bytes, where: str) -> None:
    if name == CARD:
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BundleError(f"{where}: part {CARD} is not UTF-8 text; write the bundle again") from error
    elif name == QUALITY:
        parse_json(content, where=f"{where}, {QUALITY}", kind=BundleError)
    elif name.endswith(".npz"):
        _unpack_golden(content, manifest.stages[pathlib.PurePosixPath(name).stem], where)
    elif content[4:8] != b"TFL3":
        raise BundleError(f"{where}: part {name} is not a .tflite flatbuffer; write the bundle again")


def _unpack_golden(content: bytes, stage: StageSpec, where: str) -> dict[str, np.ndarray]:
    at = f"{where}, golden/{stage.name}.npz"
    wanted = {*(f"input_{name}" for name in stage.inputs), *(f"output_{name}" for name in stage.outputs)}
    with complaining(at, BundleError):
        with zipfile.ZipFile(io.BytesIO(content)) as inner:
            check_archive(inner, where=at, kind=BundleError, limits=_GOLDEN_LIMITS)
        with np.load(io.BytesIO(content), allow_pickle=False) as table:
            arrays = {name: table[name] for name in table.files}
    if set(arrays) != wanted:
        raise BundleError(f"{at}: has {', '.join(sorted(arrays))}, the manifest wants {', '.join(sorted(wanted))}; write the bundle again")
    samples = {array.shape[0] if array.ndim else 0 for array in arrays.values()}
    if any(array.dtype.name not in GOLDEN_TYPES for array in arrays.values()) or len(samples) != 1 or samples == {0}:
        wanted_types = ", ".join(GOLDEN_TYPES)
        raise BundleError(f"{at}: every array must be of {wanted_types} with the same number of samples first; write the bundle again")
    return arrays


def _manifest(fields: Fields) -> Manifest:
    """Read the manifest; all that is unknown, missing, of another type or out of range is an error."""
    number = fields.whole("format", least=1)
    if number != FORMAT:
        raise BundleError(f"{fields.where}: format {number}, this affectkit reads {FORMAT}; update affectkit")
    stages = fields.inner("stages")
    preprocess = fields.inner("preprocess")
    ages = fields.inner("max_age_ms")
    parts = fields.inner("parts")
    manifest = Manifest(
        format=number,
        name=_named(fields, "name"),
        version=_named(fields, "version"),
        created=fields.text("created"),
        labels=fields.texts("labels"),
        cadence_ms=fields.whole("cadence_ms", least=1, most=3_600_000),
        budget_ms=fields.whole("budget_ms", least=1, most=3_600_000),
        stages={name: _stage(name, stages.inner(name)) for name in stages.names()},
        preprocess={name: _settings(preprocess, name) for name in preprocess.names()},
        max_age_ms={name: ages.whole(name, least=1) for name in ages.names()},
        temperature=fields.number("temperature", least=1e-3, most=1e3),
        abstain_below=fields.number("abstain_below", least=0, most=1),
        switch_margin=fields.number("switch_margin", least=0, most=1),
        settle_ms=fields.number("settle_ms", 0.0, least=0, most=60_000),
        data_terms=fields.texts("data_terms"),
        parts={name: _part(parts.inner(name)) for name in parts.names()},
    )
    fields.done()
    try:
        datetime.date.fromisoformat(manifest.created)
    except ValueError as error:
        raise fields.error(f"created must be a date such as 2025-03-01, got {manifest.created!r:.60}") from error
    if len(set(manifest.labels)) != len(manifest.labels):
        raise fields.error("labels has one twice")
    for name in manifest.max_age_ms:
        if name not in MODALITIES:
            raise fields.error(f"max_age_ms names {name!r:.60}, which is none of {', '.join(MODALITIES)}")
    if not manifest.stages:
        raise fields.error("stages is empty")
    if "fusion" in manifest.stages and len(manifest.labels) < 2:
        raise fields.error(f"labels has {len(manifest.labels)} entries, and a bundle that decides needs 2 or more")
    return manifest


def _named(fields: Fields, key: str) -> str:
    value = fields.text(key)
    if not _NAME.fullmatch(value):
        raise fields.error(f"{key} must be small letters, digits and . _ + -, got {value!r:.60}")
    return value


def _settings(preprocess: Fields, name: str) -> dict[str, typing.Any]:
    value = preprocess.take(name)
    if not isinstance(value, dict):
        raise preprocess.error(f"{name} must be an object, got {type(value).__name__}")
    return value


def _stage(name: str, fields: Fields) -> StageSpec:
    stage = StageSpec(
        name=_named(fields, "name"),
        file=fields.text("file"),
        inputs=_tensors(fields.inner("inputs")),
        outputs=_tensors(fields.inner("outputs")),
        budget_ms=fields.number("budget_ms", least=0),
        weights=fields.whole("weights"),
        macs=fields.whole("macs"),
    )
    fields.done()
    if stage.name != name or stage.file != f"stages/{name}.tflite":
        raise fields.error(f"stage {name!r:.60} must have that name and the file stages/{name}.tflite"[:200])
    return stage


def _tensors(fields: Fields) -> dict[str, str]:
    names = {name: fields.text(name) for name in fields.names()}
    if not names or not all(name.isidentifier() for name in names):
        raise fields.error("at least one tensor is needed, and each has a plain name")
    return names


def _part(fields: Fields) -> PartSpec:
    spec = PartSpec(bytes=fields.whole("bytes"), sha256=fields.text("sha256"))
    fields.done()
    return spec
