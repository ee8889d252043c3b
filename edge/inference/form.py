"""What a bundle's fusion stage takes and gives: read off its tensors, checked against the encoders that feed it."""

from __future__ import annotations

import collections.abc
import dataclasses
import typing

from edge.errors import BundleError
from edge.types import MODALITIES, Modality

if typing.TYPE_CHECKING:
    from edge.inference.model import Tensor

Mask = typing.Literal["none", "now", "steps"]
"""Of a fusion: it takes no mask, one of (modalities,) for now, or one of (steps, modalities) for every step."""
Tensors = collections.abc.Mapping[str, "Tensor"]


@dataclasses.dataclass(frozen=True)
class FusionParameters:
    """``preprocess["fusion"]`` of the manifest, for a fusion that looks back."""

    step_ms: float
    """From one step to the next."""
    steps: int
    """That it looks at, the present one included."""

    def __post_init__(self) -> None:
        if not isinstance(self.steps, int) or isinstance(self.steps, bool) or self.steps < 1:
            raise ValueError(f"steps must be a whole number from 1, got {self.steps!r:.40}")
        number = isinstance(self.step_ms, (int, float)) and not isinstance(self.step_ms, bool)
        if not number or not 1 <= self.step_ms <= 60_000:
            raise ValueError(f"step_ms must be from 1 to 60000, got {self.step_ms!r:.40}")


@dataclasses.dataclass(frozen=True)
class Form:
    """Inputs and outputs of a fusion; the default is that of the classroom's: one vector a modality, mask, feedback and weights."""

    widths: collections.abc.Mapping[Modality, int]
    """Length of the embedding of each modality that it takes, in the order of ``MODALITIES``: that of mask and weights too."""
    windowed: collections.abc.Collection[Modality] = ()
    """Those whose input is (steps, width), oldest step first."""
    steps: int = 1
    step_ns: int = 0
    """From one step to the next; 0 for a fusion that does not look back."""
    mask: Mask = "now"
    previous: bool = True
    """It takes its previous soft answer."""
    weights: bool = True
    """It says how much each modality weighs."""

    @property
    def looks_back(self) -> bool:
        """Whether it takes anything of earlier steps."""
        return bool(self.windowed) or self.mask == "steps"


def read_form(
    inputs: Tensors,
    outputs: Tensors,
    *,
    widths: collections.abc.Mapping[Modality, int],
    labels: int,
    parameters: FusionParameters | None,
    where: str,
) -> Form:
    """The form of a fusion stage.

    Args:
        inputs, outputs: of the stage, by public name: for each modality that it uses one of (width,) or (T, width); perhaps ``mask``,
            (n,) or (T, n) for n modalities; perhaps ``previous`` (labels,). It gives ``logits`` (labels,) and, of several modalities,
            ``weights`` (n,). Further outputs are let be.
        widths: length of the embedding of every modality that has an encoder.
        labels: number of labels.
        parameters: of the manifest; needed for inputs of T steps, and only for those.
        where: names the bundle.

    Raises:
        BundleError: something does not fit; says which tensor, what it has and what is expected.
    """

    past = parameters is not None

    def expect(kind: str, name: str, tensors: Tensors, *shapes: tuple[int, ...]) -> int:
        """Which of ``shapes`` the tensor has."""
        if tensors[name].shape in shapes:
            return shapes.index(tensors[name].shape)
        wanted = " or ".join(str(shape) for shape in shapes)
        hint = "say step_ms and steps in preprocess fusion" if not past and len(tensors[name].shape) == 2 else "convert it again"
        raise BundleError(f"{where}: stage fusion, {kind} {name}: shape {tensors[name].shape}, expected {wanted}; {hint}")

    for name in inputs:
        if name not in (*MODALITIES, "mask", "previous"):
            raise BundleError(
                f"{where}: stage fusion takes {name}, which nothing gives; it may take {', '.join(MODALITIES)}, mask and previous"
            )
    used = [modality for modality in MODALITIES if modality in inputs]
    if not used:
        raise BundleError(f"{where}: stage fusion takes {', '.join(inputs)}, expected at least one of {', '.join(MODALITIES)}")
    for modality in used:
        if modality not in widths:
            raise BundleError(f"{where}: stage fusion takes {modality}, and there is no stage {modality} to give it")
    steps = 1 if parameters is None else parameters.steps
    windowed = []
    for modality in used:
        width = widths[modality]
        if expect("input", modality, inputs, (width,), *([(steps, width)] if past else [])):
            windowed.append(modality)
    mask: Mask = "none"
    if "mask" in inputs:
        mask = "steps" if expect("input", "mask", inputs, (len(used),), *([(steps, len(used))] if past else [])) else "now"
    if "previous" in inputs:
        expect("input", "previous", inputs, (labels,))
    needed = ("logits", "weights") if len(used) > 1 else ("logits",)
    for name in needed:
        if name not in outputs:
            raise BundleError(f"{where}: stage fusion gives {', '.join(outputs)}, expected {' and '.join(needed)}; convert it again")
    expect("output", "logits", outputs, (labels,))
    if "weights" in outputs:
        expect("output", "weights", outputs, (len(used),))
    form = Form(
        widths={modality: widths[modality] for modality in used},
        windowed=tuple(windowed),
        steps=steps,
        step_ns=round(parameters.step_ms * 1_000_000) if parameters is not None else 0,
        mask=mask,
        previous="previous" in inputs,
        weights="weights" in outputs and len(used) > 1,
    )
    if past and not form.looks_back:
        raise BundleError(f"{where}: parameters of fusion: {steps} steps, and stage fusion takes vectors of one; leave them out")
    return form
