"""What was measured of one conversion; ``convert.page`` shows it."""

from __future__ import annotations

import dataclasses
import typing

from convert.recipe import LstmForm
from convert.verify import Verification


@dataclasses.dataclass(frozen=True)
class LayerError:
    """One operator of the converted model against the same of the float one, on the same inputs of the whole network."""

    index: int
    """In the order in which the operators run."""
    operator: str
    name: str
    """Of the tensor that it writes, in both flatbuffers."""
    elements: int
    sqnr_db: float
    """Power of the float signal over that of the difference, errors of the layers before it included."""
    step_sqnr_db: float | None
    """The same, of this operator alone, against what a float operator makes of the very inputs that this one had. None if not known."""
    error_steps: float | None
    """Root mean square of the difference, in steps of the quantized tensor; None where it is not quantized."""
    max_error: float
    float_range: tuple[float, float]
    """Smallest and largest value in float on these samples."""
    stored_range: tuple[float, float] | None
    """What the quantized tensor can hold; None where it is not quantized."""
    clipped_share: float
    """Float values outside what the quantized tensor can hold."""


@dataclasses.dataclass(frozen=True)
class Latency:
    """Time of one inference, milliseconds, on one thread unless said otherwise."""

    median_ms: float
    p90_ms: float
    runs: int


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One way to write this network, measured in one run with all the others."""

    recipe: str
    lstm_form: LstmForm | None
    """None for networks without recurrent layers."""
    bytes: int
    latency: Latency | None
    agreement: float | None
    mean_error: float | None
    failed: str
    """Why it cannot be taken, in one line; empty if it can."""
    chosen: bool = False


@dataclasses.dataclass(frozen=True)
class RuntimeCheck:
    """What one interpreter made of the file."""

    runtime: str
    """Distribution and version."""
    python: str
    status: typing.Literal["runs", "fails", "differs", "not tried"]
    why: str
    """In one line, where it does not run."""
    largest_difference: float | None
    """From the golden vectors, in steps of the output."""
    delegated: dict[str, int]
    """Operators that XNNPACK runs."""
    left: dict[str, int]
    """Operators that the interpreter's own kernels run."""


@dataclasses.dataclass(frozen=True)
class Gate:
    """One limit that the conversion was held to."""

    name: str
    limit: float
    got: float
    passed: bool


@dataclasses.dataclass(frozen=True)
class Report:
    """What was measured of one conversion."""

    name: str
    source: dict[str, typing.Any]
    """``kind`` of file, ``file`` name, ``sha256``, ``notes`` of the reader."""
    recipe: str
    lstm_form: LstmForm | None
    inputs: dict[str, dict[str, typing.Any]]
    """Public name -> ``shape`` without batch, ``dtype``, ``scale``, ``zero_point``."""
    outputs: dict[str, dict[str, typing.Any]]
    bytes: int
    float_bytes: int
    weights: int
    macs: int
    operators: dict[str, int]
    lowering_error: float
    """Largest difference between the float flatbuffer and the framework that trained the model, relative to the largest output."""
    verification: Verification | None
    """Float against converted; None if no samples were given."""
    latency: Latency | None = None
    float_latency: Latency | None = None
    layers: tuple[LayerError, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    runtimes: tuple[RuntimeCheck, ...] = ()
    gates: tuple[Gate, ...] = ()
    why: str = ""
    """Why this recipe and form were taken, where they were chosen by measurement."""

    def as_dict(self) -> dict[str, typing.Any]:
        """Plain numbers and strings, for JSON."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        size = f"{self.bytes / 1e3:.0f} kB of {self.float_bytes / 1e3:.0f} kB"
        return f"{self.verification or self.name}; {self.recipe}, {size}, {self.weights / 1e3:.0f} k weights, {self.macs / 1e6:.1f} M MACs"
