"""What a bundle would take on a board that nobody here has: an estimate, and how far off it is where the truth is published.

The time of an inference is MACs over a rate plus bytes moved over a rate (the roofline's two terms, Williams et al., 2009, CACM
52(4), added instead of the larger taken, for XNNPACK does not overlap them). Both rates come from published times of two networks on
one board (``PUBLISHED``), scaled to other boards by clock and by the width of their int8 arithmetic (``BOARDS``). The published times
use all four cores; one core is slower by ``FOUR_THREADS``.

Small and recurrent networks reach less of those rates. How much less is measured here: each stage's time on this machine over what
its work would take at the best rate of any stage. The lower estimate has that left out, the higher one has it in.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import math
import typing

from benchmarks.harness import Record
from edge.bundle import Bundle
from edge.config import Settings
from edge.errors import InferenceError, InputError
from edge.inference.plan import Plan, StageCost, plan

XNNPACK = "XNNPACK README, Raspberry Pi table of 8 February 2022, int8, all cores"
PUBLISHED: dict[str, dict[str, float]] = {
    "pi 4": {"MobileNetV1": 24.0, "MobileNetV2": 17.0},
    "pi 3b+": {"MobileNetV1": 46.0, "MobileNetV2": 30.0},
}
"""ms, of ``XNNPACK``: BCM2711 in 64 bit, BCM2837B0 in 32 bit."""
FOUR_THREADS = (86 / 27 + 53 / 18) / 2
"""One thread over four, MobileNetV1 and V2 on the four large cores of a Pixel 2 (XNNPACK README, mobile phones)."""
PUBLISHED_CLOCK_GHZ = {"pi 4": 1.5, "pi 3b+": 1.4}
"""Of those boards at that time."""


@dataclasses.dataclass(frozen=True)
class Board:
    """A board as its maker describes it."""

    name: str
    model: str
    """How ``/proc/device-tree/model`` begins."""
    clock_ghz: float
    base: str
    """Of ``PUBLISHED``, that with the same or the nearest core."""
    width: float
    """Products of int8 an instruction, over those of ``base``."""
    memory_mib: int
    source: str


BOARDS: dict[str, Board] = {
    "zero2w": Board(
        "Raspberry Pi Zero 2 W", "Raspberry Pi Zero 2 W", 1.0, "pi 3b+", 1.0, 512,
        "product brief: RP3A0, quad Cortex-A53 at 1 GHz, 512 MB; the same core as the 3B+",
    ),
    "3b+": Board(
        "Raspberry Pi 3B+", "Raspberry Pi 3 Model B Plus", 1.4, "pi 3b+", 1.0, 1024,
        "product brief: BCM2837B0, quad Cortex-A53 at 1.4 GHz, 1 GB",
    ),
    "4": Board(
        "Raspberry Pi 4", "Raspberry Pi 4 Model B", 1.5, "pi 4", 1.0, 1024,
        "product brief: BCM2711, quad Cortex-A72 at 1.5 GHz (1.8 GHz in later ones), 1 GB or more",
    ),
    "5": Board(
        "Raspberry Pi 5", "Raspberry Pi 5 Model B", 2.4, "pi 4", 2.0, 2048,
        "product brief: BCM2712, quad Cortex-A76 at 2.4 GHz, 2 GB or more; SDOT of Armv8.2 makes 16 products an instruction, "
        "SMLAL of Armv8.0 8",
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Work:
    """Of one inference."""

    macs: float
    bytes: float
    """Weights, and every layer's inputs and outputs."""


@dataclasses.dataclass(frozen=True)
class Rates:
    """Of one board with all cores, or of one core."""

    ms_per_mac: float
    ms_per_byte: float

    def ms(self, work: Work) -> float:
        return self.ms_per_mac * work.macs + self.ms_per_byte * work.bytes


def _mobile_net(blocks: collections.abc.Iterable[tuple[int, int, int]], last: int) -> Work:
    """Work of a network of (expansion, channels, stride) blocks on 224 x 224 x 3; no expansion is a block of V1."""
    macs = moved = 0

    def layer(height: int, inputs: int, outputs: int, kernel: int, stride: int, *, depthwise: bool = False) -> int:
        nonlocal macs, moved
        after = -(-height // stride)
        weights = outputs * kernel * kernel * (1 if depthwise else inputs)
        macs += after * after * weights
        moved += weights + height * height * inputs + after * after * outputs
        return after

    height, channels = layer(224, 3, 32, 3, 2), 32
    for expansion, outputs, stride in blocks:
        inner = channels * max(expansion, 1)
        if expansion > 1:
            layer(height, channels, inner, 1, 1)
        height = layer(height, inner, inner, 3, stride, depthwise=True)
        layer(height, inner, outputs, 1, 1)
        channels = outputs
    if last > channels:
        layer(height, channels, last, 1, 1)
    layer(1, last, 1001, 1, 1)
    return Work(macs, moved)


_V1 = [(0, 64, 1), (0, 128, 2), (0, 128, 1), (0, 256, 2), (0, 256, 1), (0, 512, 2), *[(0, 512, 1)] * 5, (0, 1024, 2), (0, 1024, 1)]
_V2_TABLE = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
"""Sandler et al., 2018, CVPR, table 2: expansion, channels, repeats, stride of the first."""
NETWORKS = {
    "MobileNetV1": _mobile_net(_V1, 1024),
    "MobileNetV2": _mobile_net([(t, c, s if i == 0 else 1) for t, c, n, s in _V2_TABLE for i in range(n)], 1280),
}
"""569 and 301 million MACs."""


def fit(base: str) -> Rates:
    """The rates with which both networks take on ``base`` what was published: two equations, two unknowns."""
    (one, first_ms), (two, second_ms) = ((NETWORKS[name], ms) for name, ms in PUBLISHED[base].items())
    determinant = one.macs * two.bytes - two.macs * one.bytes
    return Rates((first_ms * two.bytes - second_ms * one.bytes) / determinant, (one.macs * second_ms - two.macs * first_ms) / determinant)


def scaled(base: str, clock_ghz: float, width: float) -> Rates:
    """Rates of ``base`` at another clock and width; bytes follow the clock alone."""
    known, clock = fit(base), clock_ghz / PUBLISHED_CLOCK_GHZ[base]
    return Rates(known.ms_per_mac / clock / width, known.ms_per_byte / clock)


def errors() -> list[tuple[str, float, float]]:
    """What this way of estimating makes of published times that it was not given: (case, estimated ms, published ms).

    From one network to the other on one board, with the price of a byte in MACs taken from the other board; and from the Pi 4 to
    the 3B+, whose core is half as wide.
    """
    cases = []
    for base, other in (("pi 4", "pi 3b+"), ("pi 3b+", "pi 4")):
        price = fit(other).ms_per_byte / fit(other).ms_per_mac
        for given, asked in (("MobileNetV1", "MobileNetV2"), ("MobileNetV2", "MobileNetV1")):
            work = {name: NETWORKS[name].macs + price * NETWORKS[name].bytes for name in (given, asked)}
            estimated = PUBLISHED[base][given] * work[asked] / work[given]
            cases.append((f"{asked} on {base} from {given} there", estimated, PUBLISHED[base][asked]))
    rates = scaled("pi 4", PUBLISHED_CLOCK_GHZ["pi 3b+"], 0.5)
    cases += [(f"{name} on pi 3b+ from pi 4", rates.ms(NETWORKS[name]), ms) for name, ms in PUBLISHED["pi 3b+"].items()]
    return cases


def worst_error() -> float:
    """Largest of ``errors`` as a share."""
    return max(abs(estimated / published - 1) for _, estimated, published in errors())


def work_of(bundle: Bundle, stage: str) -> Work:
    """MACs as the manifest says, bytes of weights and activations by the flatbuffer's shapes."""
    try:
        from convert import flatbuffer
    except ImportError as error:
        raise InputError(f"estimate: needs {error.name}; pip install ai-edge-litert") from error
    model = flatbuffer.unpack(bundle.stage(stage))
    sizes = {"FLOAT32": 4, "INT32": 4, "INT16": 2, "INT8": 1, "UINT8": 1, "BOOL": 1, "INT64": 8, "FLOAT16": 2}

    def size(index: int) -> int:
        kind = flatbuffer.TYPES[model.subgraphs[0].tensors[index].type]
        return math.prod(flatbuffer.shape_of(model, index)) * sizes.get(kind, 4)

    moved = sum(size(index) for operator in flatbuffer.operators(model) for index in (*operator.inputs, *operator.outputs))
    return Work(bundle.manifest.stages[stage].macs, moved)


def estimate(bundle: Bundle, board: Board, here_ms: collections.abc.Mapping[str, float]) -> Record:
    """What ``bundle`` would take on ``board``.

    Args:
        here_ms: median of each stage on this machine, one thread.

    Returns:
        Per stage ``low_ms`` and ``high_ms`` on one thread, for both what the plan would decide, and the error on published cases.
    """
    all_cores = scaled(board.base, board.clock_ghz, board.width)
    one_core = Rates(all_cores.ms_per_mac * FOUR_THREADS, all_cores.ms_per_byte * FOUR_THREADS)
    work = {stage: work_of(bundle, stage) for stage in here_ms}
    best = min(here_ms[stage] / one_core.ms(work[stage]) for stage in here_ms)
    stages = {
        stage: {
            "macs": work[stage].macs,
            "bytes": work[stage].bytes,
            "low_ms": round(one_core.ms(work[stage]), 4),
            "high_ms": round(here_ms[stage] / best, 4),
        }
        for stage in here_ms
    }
    plans = {which: _planned(bundle, {stage: one[f"{which}_ms"] for stage, one in stages.items()}) for which in ("low", "high")}
    return {
        "board": board.name,
        "source": board.source,
        "stages": stages,
        "plans": plans,
        "error_share": round(worst_error(), 4),
        "errors": [[case, round(estimated, 2), published] for case, estimated, published in errors()],
    }


def _planned(bundle: Bundle, costs_ms: collections.abc.Mapping[str, float]) -> Record:
    from edge.compose import rates, smaller_encoders
    from edge.inference.ladder import steps
    from edge.inference.scheduler import Budget
    from edge.types import MODALITIES

    costs = {stage: StageCost(ms * 1e6, ms * 1e6, ms * 1e6, 1) for stage, ms in costs_ms.items()}
    fed = [modality for modality in MODALITIES if modality in bundle.manifest.stages]
    variants = 1 + max((len(smaller_encoders(bundle, modality)) for modality in fed), default=0)
    decide = functools.partial(plan, costs, steps(fed, variants), fed, rates(bundle, Settings()))
    try:
        made: Plan = decide(Budget(bundle.manifest.cadence_ms, bundle.manifest.budget_ms))
    except InferenceError as error:
        return {"fits": "no", "why": [str(error)], "utilisation": None, "longest_ms": None}
    fits = "in full" if made.rung == 0 else f"with {made.rung} steps less"
    return {"fits": fits, "why": list(made.why), "utilisation": round(made.utilisation, 4), "longest_ms": round(made.longest_ms, 2)}


def measure_here(bundle: Bundle) -> dict[str, float]:
    """Median of each stage on this machine, one thread, ms."""
    from edge.compose import measured_stages
    from edge.config import InferenceSettings

    costs = measured_stages(bundle, Settings(inference=InferenceSettings(threads=1))).costs
    return {stage: cost.median_ns / 1e6 for stage, cost in costs.items()}


def board_of(name: str) -> Board:
    """The board that ``name`` means, such as "zero2w" or "Raspberry Pi 4". Raises InputError."""
    plain = "".join(character for character in name.lower().removeprefix("raspberry").strip() if character.isalnum() or character == "+")
    plain = plain.removeprefix("pi")
    if plain in BOARDS:
        return BOARDS[plain]
    raise InputError(f"--estimate: no board {name!r}; it is one of {', '.join(BOARDS)}")


def as_text(said: collections.abc.Mapping[str, typing.Any], bundle: str) -> str:
    """For a terminal."""
    lines = [f"ESTIMATE, not a measurement: {bundle} on {said['board']}, one thread, ms for one inference", ""]
    lines.append(f"  {'stage':<12}{'MACs':>14}{'bytes moved':>14}{'by its work':>14}{'with overheads as here':>26}")
    for stage, one in said["stages"].items():
        lines.append(f"  {stage:<12}{one['macs']:>14,}{one['bytes']:>14,}{one['low_ms']:>14.3f}{one['high_ms']:>26.3f}")
    lines.append("")
    for which, words in (("low", "by its work"), ("high", "with overheads as here")):
        one = said["plans"][which]
        lines.append(f"  {words}: the budget fits {one['fits']}" if one["fits"] != "no" else f"  {words}: the budget does not fit")
        lines += [f"    {why}" for why in one["why"]]
    lines += ["", f"  error on published cases: up to {100 * said['error_share']:.0f} %"]
    lines += [f"    {case}: {estimated:.1f} ms, published {published:g} ms" for case, estimated, published in said["errors"]]
    lines += [
        f"  board: {said['source']}",
        f"  times: {XNNPACK}; the 3B+ in 32 bit; one thread is {FOUR_THREADS:.2f} times slower than four (same source, Pixel 2)",
        "  not in it: sensors, features, fusion's surroundings and Python, for which a plan leaves 30 % of a core and of the budget",
    ]
    return "\n".join(lines) + "\n"
