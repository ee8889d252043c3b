"""Bundle and settings -> the cycle: every stage a model, every front with the parameters that the manifest says."""

from __future__ import annotations

import collections.abc
import dataclasses
import os
import typing

import numpy as np

from edge.bundle import Bundle
from edge.clock import Clock
from edge.config import Settings
from edge.errors import BundleError, InferenceError
from edge.inference.branch import Branch, Patience
from edge.inference.cycle import Cycle
from edge.inference.fusion import Fusion
from edge.inference.plan import Rates, StageCost, choose_threads, measure
from edge.inference.scheduler import MS
from edge.inference.smoothing import Smoother
from edge.types import MODALITIES, Modality

if typing.TYPE_CHECKING:
    from edge.inference.model import Model
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
    branches = []
    for modality in MODALITIES:
        if modality not in manifest.stages:
            continue
        spec = manifest.stages[modality]
        patience = Patience(settings.sources.lost_after_ms * MS, manifest.max_age_ms.get(modality, DEFAULT_MAX_AGE_MS) * MS)
        branches.append(
            Branch(
                _front(modality, bundle, models),
                models[modality],
                next(iter(spec.inputs)),
                patience=patience,
                clock=clock,
                expected_ms=stages.costs[modality].median_ns / MS if modality in stages.costs else spec.budget_ms,
                smaller=[models[name] for name in smaller_encoders(bundle, modality)],
            )
        )
    takes = models["fusion"].details().inputs
    if unknown := set(MODALITIES) - set(takes):
        raise BundleError(f"{bundle.path}: stage fusion takes {', '.join(takes)}, not {', '.join(sorted(unknown))}; convert it again")
    fusion = Fusion(
        models["fusion"],
        widths={modality: takes[modality].shape[0] for modality in MODALITIES},
        labels=len(manifest.labels),
        temperature=manifest.temperature,
    )
    smoother = Smoother(manifest.labels, abstain_below=manifest.abstain_below, switch_margin=manifest.switch_margin)
    return Cycle(branches, fusion, smoother, clock=clock, cores=cores())


def smaller_encoders(bundle: Bundle, modality: Modality) -> list[str]:
    """Stages that may stand in for the encoder of ``modality``, the largest first: "face@1", "face@2", ..."""
    names: list[str] = []
    while (name := f"{modality}@{len(names) + 1}") in bundle.manifest.stages:
        names.append(name)
    return names


def rates(bundle: Bundle, settings: Settings) -> Rates:
    """How often the stages of ``bundle`` fall due, by its parameters and the camera's rate."""
    parameters = bundle.manifest.preprocess
    speech_hz = 1000.0 / float(parameters.get("speech", {}).get("encode_hop_ms", 500))
    return Rates(float(settings.camera.rate_hz), speech_hz, 1.0, int(parameters.get("face", {}).get("detect_every", 2)))


def _front(modality: Modality, bundle: Bundle, models: collections.abc.Mapping[str, Model]) -> Front:
    """The front of ``modality`` with the parameters of the manifest; a parameter that it does not know is a BundleError."""
    parameters = bundle.manifest.preprocess
    try:
        if modality == "speech":
            from edge.preprocess.speech import SpeechFront, SpeechParameters

            return SpeechFront(SpeechParameters(**parameters["speech"]))
        if modality == "physiology":
            from edge.preprocess.physiology import PhysiologyFront, PhysiologyParameters

            return PhysiologyFront(PhysiologyParameters(**parameters["physiology"]))
        from edge.preprocess.face import FaceFront, FaceParameters

        return FaceFront(FaceParameters(**parameters["face"]), _detector(bundle, models))
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{bundle.path}: parameters of {modality}: {error}; made by another version of affectkit?") from error


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
