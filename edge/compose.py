"""Bundle and settings -> the cycle: every stage a model, every front with the parameters that the manifest says."""

from __future__ import annotations

import collections.abc
import dataclasses
import os
import typing

import numpy as np

from edge.bundle import Bundle, Manifest
from edge.clock import Clock
from edge.config import Settings
from edge.errors import BundleError, InferenceError
from edge.inference.branch import Branch, Patience
from edge.inference.cycle import Cycle
from edge.inference.form import Form, FusionParameters, read_form
from edge.inference.fusion import Fusion
from edge.inference.plan import Rates, StageCost, choose_threads, measure
from edge.inference.scheduler import MS
from edge.inference.smoothing import Smoother
from edge.sensors import Sensor
from edge.types import MODALITIES, Modality, Track

if typing.TYPE_CHECKING:
    from edge.inference.model import Details, Model
    from edge.preprocess.face import Detect
    from edge.preprocess.window import Front

DEFAULT_MAX_AGE_MS = 1500
MOST_THREADS = 4


@dataclasses.dataclass(frozen=True)
class Stages:
    """The models of a bundle, by stage, and what each takes here if that was measured."""

    models: collections.abc.Mapping[str, Model]
    costs: collections.abc.Mapping[str, StageCost] = dataclasses.field(default_factory=dict)


def load_stages(bundle: Bundle, settings: Settings) -> Stages:
    """Every stage with the threads of the settings, one if they leave it open. Raises InferenceError."""
    return Stages({name: _model(bundle, name, max(1, settings.inference.threads)) for name in bundle.manifest.stages})


def measured_stages(bundle: Bundle, settings: Settings) -> Stages:
    """Every stage with the number of threads that pays on this machine, and what it takes. Raises InferenceError."""
    options = [settings.inference.threads] if settings.inference.threads else sorted({1, min(cores(), MOST_THREADS)})
    models: dict[str, Model] = {}
    costs: dict[str, StageCost] = {}
    for name in bundle.manifest.stages:
        tried = [(_model(bundle, name, threads), threads) for threads in options]
        measured = [measure(model, threads) for model, threads in tried]
        costs[name] = choose_threads(measured)
        models[name] = tried[measured.index(costs[name])][0]
    return Stages(models, costs)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _model(bundle: Bundle, stage: str, threads: int) -> Model:
    from edge.inference.model import Model

    spec = bundle.manifest.stages[stage]
    return Model(bundle.stage(stage), name=stage, inputs=spec.inputs, outputs=spec.outputs, threads=threads)


def compose_cycle(bundle: Bundle, settings: Settings, clock: Clock, stages: Stages | None = None) -> Cycle:
    """The cycle of a bundle: its models, and the fronts that its manifest parametrises.

    Args:
        bundle: from ``load_bundle``; stages such as "face@1", "face@2" are smaller encoders into the same space.
        settings: patience and threads.
        clock: measures costs, in the time base of the deadlines.
        stages: from ``measured_stages``; loaded here if None.

    Raises:
        BundleError: a stage or a parameter is not what this version knows.
        InferenceError: no interpreter works here.
    """
    manifest = bundle.manifest
    if "fusion" not in manifest.stages:
        raise BundleError(f"{bundle.path}: no stage fusion; it has {', '.join(manifest.stages)}")
    stages = stages or load_stages(bundle, settings)
    models = stages.models
    form = _fusion_form(bundle, models)
    fusion = Fusion(
        models["fusion"],
        form,
        labels=len(manifest.labels),
        temperature=manifest.temperature,
        max_age_ns={modality: _max_age_ns(manifest, modality) for modality in form.widths},
    )
    branches = []
    for modality in form.widths:
        patience = Patience(settings.sources.lost_after_ms * MS, _max_age_ns(manifest, modality))
        branches.append(
            Branch(
                _front(modality, bundle, models),
                models[modality],
                next(iter(models[modality].details().inputs)),
                patience=patience,
                clock=clock,
                expected_ms=stages.costs[modality].median_ns / MS if modality in stages.costs else manifest.stages[modality].budget_ms,
                smaller=[models[name] for name in smaller_encoders(bundle, modality)],
            )
        )
    smoother = Smoother(
        manifest.labels, abstain_below=manifest.abstain_below, switch_margin=manifest.switch_margin, settle_ms=manifest.settle_ms
    )
    return Cycle(branches, fusion, smoother, clock=clock, cores=cores())


def _max_age_ns(manifest: Manifest, modality: Modality) -> int:
    return manifest.max_age_ms.get(modality, DEFAULT_MAX_AGE_MS) * MS


def _fusion_form(bundle: Bundle, models: collections.abc.Mapping[str, Model]) -> Form:
    """What the fusion takes and gives; a stage whose tensors do not fit those that feed it is a BundleError."""
    where, manifest = str(bundle.path), bundle.manifest
    details = models["fusion"].details()
    used = [modality for modality in MODALITIES if modality in manifest.stages and modality in details.inputs]
    widths = {modality: _embedding_width(bundle, modality, modality, models[modality].details()) for modality in used}
    for modality, width in widths.items():
        for name in smaller_encoders(bundle, modality):
            if (smaller := _embedding_width(bundle, modality, name, models[name].details())) != width:
                raise BundleError(
                    f"{where}: stage {name}, output embedding: shape {(smaller,)}, expected {(width,)} as of stage {modality}"
                )
    parameters = None
    if "fusion" in manifest.preprocess:
        try:
            parameters = FusionParameters(**manifest.preprocess["fusion"])
        except (TypeError, ValueError) as error:
            raise BundleError(f"{where}: parameters of fusion: {error}; made by another version of affectkit?") from error
    return read_form(details.inputs, details.outputs, widths=widths, labels=len(manifest.labels), parameters=parameters, where=where)


def _embedding_width(bundle: Bundle, modality: Modality, stage: str, details: Details) -> int:
    """Length of the embedding of one encoder, whose tensors are checked."""
    where = f"{bundle.path}: stage {stage}"
    if len(details.inputs) != 1:
        raise BundleError(f"{where} takes {', '.join(details.inputs)}, expected one input: what the front of {modality} gives")
    ((name, tensor),) = details.inputs.items()
    if tensor.shape != (expected := _window_shape(modality, bundle)):
        raise BundleError(f"{where}, input {name}: shape {tensor.shape}, expected {expected} by the parameters of {modality}")
    if "embedding" not in details.outputs:
        raise BundleError(f"{where} gives {', '.join(details.outputs)}, expected embedding; convert it again")
    shape = details.outputs["embedding"].shape
    if len(shape) != 1:
        raise BundleError(f"{where}, output embedding: shape {shape}, expected one axis; convert it again")
    return shape[0]


def smaller_encoders(bundle: Bundle, modality: Modality) -> list[str]:
    """Stages that may stand in for the encoder of ``modality``, the largest first: "face@1", "face@2", ..."""
    names: list[str] = []
    while (name := f"{modality}@{len(names) + 1}") in bundle.manifest.stages:
        names.append(name)
    return names


def unused(cycle: Cycle, sensors: collections.abc.Iterable[Sensor]) -> list[Track]:
    """What live sensors deliver though no stage of the bundle takes it."""
    wanted = {track for branch in cycle.branches for track in branch.tracks}
    return [track for sensor in sensors if sensor.live for track in sensor.tracks if track not in wanted]


def rates(bundle: Bundle, settings: Settings) -> Rates:
    """How often the stages of ``bundle`` fall due, by its parameters and the camera's rate."""
    parameters = bundle.manifest.preprocess
    speech_hz = 1000.0 / float(parameters.get("speech", {}).get("encode_hop_ms", 500))
    return Rates(float(settings.camera.rate_hz), speech_hz, 1.0, int(parameters.get("face", {}).get("detect_every", 2)))


def _front(modality: Modality, bundle: Bundle, models: collections.abc.Mapping[str, Model]) -> Front:
    """The front of ``modality`` with the parameters of the manifest."""
    parameters = _parameters(modality, bundle)
    try:
        if modality == "speech":
            from edge.preprocess.speech import SpeechFront

            return SpeechFront(parameters)
        if modality == "physiology":
            from edge.preprocess.physiology import PhysiologyFront

            return PhysiologyFront(parameters)
        from edge.preprocess.face import FaceFront

        return FaceFront(parameters, _detector(bundle, models))
    except (KeyError, TypeError, ValueError) as error:
        raise _odd_parameters(modality, bundle, error) from error


def _parameters(modality: Modality, bundle: Bundle) -> typing.Any:
    """What the manifest says to the front of ``modality``; a parameter that it does not know is a BundleError."""
    try:
        said = bundle.manifest.preprocess[modality]
        if modality == "speech":
            from edge.preprocess.speech import SpeechParameters

            return SpeechParameters(**said)
        if modality == "physiology":
            from edge.preprocess.physiology import PhysiologyParameters

            return PhysiologyParameters(**said)
        from edge.preprocess.face import FaceParameters

        return FaceParameters(**said)
    except (KeyError, TypeError, ValueError) as error:
        raise _odd_parameters(modality, bundle, error) from error


def _odd_parameters(modality: Modality, bundle: Bundle, error: Exception) -> BundleError:
    return BundleError(f"{bundle.path}: parameters of {modality}: {error}; made by another version of affectkit?")


def _window_shape(modality: Modality, bundle: Bundle) -> tuple[int, ...]:
    """Shape of what the front of ``modality`` gives."""
    parameters = _parameters(modality, bundle)
    if modality == "speech":
        return parameters.frames, parameters.mels
    if modality == "physiology":
        return parameters.window_s, parameters.channels
    return parameters.size_px, parameters.size_px, 1


def _detector(bundle: Bundle, models: collections.abc.Mapping[str, Model]) -> Detect:
    """The bundle's own detector, or OpenCV's cascade for a bundle without one."""
    if "detector" not in bundle.manifest.stages:
        from edge.inference.cascade import Cascade

        return Cascade()
    from edge.preprocess.detection import Detector, DetectorParameters

    stage = models["detector"]
    input_name = next(iter(bundle.manifest.stages["detector"].inputs))
    parameters = DetectorParameters(**bundle.manifest.preprocess["detector"])
    whole = stage.details().inputs[input_name].scale > 0  # a network of integers
    store = (lambda image: stage.quantize(**{input_name: image})[input_name]) if whole else None
    return Detector(parameters, finite(lambda image: stage.run(**{input_name: image})), store)


def finite(
    run: typing.Callable[[np.ndarray], collections.abc.Mapping[str, np.ndarray]],
) -> typing.Callable[[np.ndarray], collections.abc.Mapping[str, np.ndarray]]:
    """``run``, with an InferenceError where it gives NaN: a comparison with NaN is False, which would read as no face in view."""

    def checked(image: np.ndarray) -> collections.abc.Mapping[str, np.ndarray]:
        outputs = run(image)
        if not all(np.isfinite(grid).all() for grid in outputs.values()):
            raise InferenceError("its detector gave NaN")
        return outputs

    return checked
