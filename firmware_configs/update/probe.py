"""Whether a bundle computes on this kit what it computed where it was made, fast enough and in its memory: asked in a process of its own.

A model is a program for an interpreter that is not made to be attacked. So the process that is root never looks into a bundle; this one
does, as the user of the kit where it can, with limits on memory and time, and answers with one line of JSON.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import typing

from edge.archive import parse_json
from edge.errors import EdgeError, InputError

if typing.TYPE_CHECKING:
    from edge.bundle import Bundle
    from edge.config import Settings

USER = "affectkit"
LONGEST_S = 300.0
MOST_MEMORY_MIB = 1024
"""Address space, which is several times what is used; the unit's MemoryMax= holds the rest."""
SESSION_S = 5.0
"""Of the embedded session that the bundle must decide."""
_MOST_ANSWER = 256 << 10


@dataclasses.dataclass(frozen=True)
class Probed:
    """What the bundle showed on this kit."""

    name: str
    version: str
    sha256: str
    """As ``Bundle.sha256``."""
    runtime: str
    steps_off: collections.abc.Mapping[str, float]
    """By stage: largest difference from its golden vectors, in steps of the output."""
    stages_ms: collections.abc.Mapping[str, collections.abc.Mapping[str, float]]
    """By stage: median, p90 and first run."""
    utilisation: float
    """Cores that the stages take."""
    longest_ms: float
    budget_ms: int
    cadence_ms: int
    why: tuple[str, ...]
    """What was planned and why, a line each."""
    dropped: tuple[str, ...]
    """Modalities that there is no time for."""
    decisions: int
    """Of the embedded session, those that are none being left out."""
    peak_mib: float

    def as_record(self) -> dict[str, typing.Any]:
        """As JSON takes it."""
        return dataclasses.asdict(self)


def probe(path: pathlib.Path, config: pathlib.Path | None, *, user: str | None = USER, longest_s: float = LONGEST_S) -> Probed:
    """Ask a process of its own about the bundle at ``path``.

    Args:
        path: readable by ``user``.
        config: ``kit.toml``, for its budget and threads; the bundle's alone if None or not there.
        user: who asks, if this process is root and there is such a user.
        longest_s: after which it is ended.

    Raises:
        InputError: the bundle is refused, with the reason; or the process died over it.
    """
    # -P: the folder that it happens to run in is none to import from.
    command = [sys.executable, "-P", "-m", "firmware_configs.update.probe", str(path), *([str(config)] if config is not None else [])]
    environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {key: os.environ[key] for key in ("PYTHONPATH", "LD_LIBRARY_PATH") if key in os.environ}
    options: dict[str, typing.Any] = {"user": user, "group": user, "extra_groups": []} if _may_become(user) else {}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=longest_s, check=False, **options
        )
    except subprocess.TimeoutExpired:
        raise InputError(f"the new bundle gave no answer within {longest_s:.0f} s on this board; use a smaller bundle") from None
    if done.returncode == -signal.SIGKILL:
        raise InputError("the new bundle needs more memory than this board has left; use a smaller bundle")
    if done.returncode < 0 or len(done.stdout) > _MOST_ANSWER:
        raise InputError(f"the new bundle ended its interpreter (signal {-done.returncode}) on this board; convert it again")
    lines = done.stdout.splitlines()
    answer = parse_json(lines[-1] if lines else b"", where="the answer about the new bundle", kind=InputError)
    if (refused := answer.take("refused", None)) is not None:
        raise InputError(plain(str(refused)).replace(str(path), "the new bundle"))
    return _answered(answer.take("probed"))


def _may_become(user: str | None) -> bool:
    import pwd

    if user is None or os.geteuid() != 0:
        return False
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _answered(said: object) -> Probed:
    """The answer, checked: it comes from a process that looked at something from elsewhere."""
    kinds: dict[str, typing.Any] = {"str": str, "int": int, "float": (int, float), "tuple[str, ...]": list}
    names = {field.name: kinds.get(str(field.type), dict) for field in dataclasses.fields(Probed)}
    if not isinstance(said, dict) or set(said) != set(names) or not all(isinstance(said[name], kind) for name, kind in names.items()):
        raise InputError("the answer about the new bundle makes no sense; convert it again")
    if not re.fullmatch("[0-9a-f]{64}", said["sha256"]):
        raise InputError("the answer about the new bundle names no SHA-256; convert it again")
    texts = {key: plain(value) for key, value in said.items() if isinstance(value, str)}
    lists = {key: tuple(plain(str(item)) for item in value) for key, value in said.items() if isinstance(value, list)}
    return Probed(**{**said, **texts, **lists})


def plain(text: str) -> str:
    """One line without control characters."""
    return "".join(one if one.isprintable() else "?" for one in " ".join(text.split()))[:300]


# --- in the process of its own --------------------------------------------------------------------------------------------


def examine(path: pathlib.Path, config: pathlib.Path | None) -> Probed:
    """Everything that is asked of a bundle. Raises EdgeError."""
    from edge.bundle import load_bundle
    from edge.compose import measured_stages, rates
    from edge.config import Settings, load_settings
    from edge.doctor_checks import MOST_STEPS_OFF
    from edge.inference.ladder import steps
    from edge.inference.plan import plan
    from edge.inference.scheduler import Budget
    from edge.inspect import verify
    from edge.outputs.summary import peak_rss_mib
    from edge.types import MODALITIES
    from firmware_configs.stick.operators import refuse_custom

    bundle = load_bundle(path)
    manifest = bundle.manifest
    settings = load_settings(config) if config is not None and config.exists() else Settings()
    refuse_custom(bundle)
    golden = verify(bundle)
    off = {name: float(stage["largest_difference"]) for name, stage in golden["stages"].items()}
    worst = max(off, key=lambda name: off[name])
    if off[worst] > MOST_STEPS_OFF:
        raise InputError(
            f"the new bundle's stage {worst} is {off[worst]:g} steps off its golden vectors on this board, at most {MOST_STEPS_OFF:g} are "
            "allowed; convert it with the kit's interpreter"
        )
    decisions = _decide(bundle, settings)
    costs = measured_stages(bundle, settings).costs
    budget = Budget(settings.budget.cadence_ms or manifest.cadence_ms, settings.budget.budget_ms or manifest.budget_ms)
    modalities = [modality for modality in MODALITIES if modality in manifest.stages]
    variants = max(1 + sum(name.startswith(f"{modality}@") for name in manifest.stages) for modality in modalities)
    refuse = settings.budget.if_too_slow == "refuse"
    planned = plan(costs, steps(modalities, variants), modalities, rates(bundle, settings), budget, refuse=refuse)
    return Probed(
        name=manifest.name,
        version=manifest.version,
        sha256=bundle.sha256,
        runtime=golden["runtime"],
        steps_off=off,
        stages_ms={
            name: {"median": round(cost.median_ns / 1e6, 4), "p90": round(cost.p90_ns / 1e6, 4), "first": round(cost.first_ns / 1e6, 4)}
            for name, cost in costs.items()
        },
        utilisation=round(planned.utilisation, 4),
        longest_ms=round(planned.longest_ms, 3),
        budget_ms=budget.budget_ms,
        cadence_ms=budget.cadence_ms,
        why=planned.why,
        dropped=planned.dropped,
        decisions=decisions,
        peak_mib=round(peak_rss_mib() or 0.0, 1),
    )


def _decide(bundle: Bundle, settings: Settings) -> int:
    """Decisions from the first seconds of the embedded session, in virtual time."""
    import dataclasses as classes

    from edge import embedded
    from edge.config import Settings as Plain
    from edge.runtime import Runtime

    # The kit's sources stay out of this: they are somebody else's at this moment.
    own = classes.replace(Plain(), inference=settings.inference)
    runtime = Runtime(bundle, (f"replay:{embedded.SESSION}",), settings=own, fast=True, duration_s=SESSION_S)
    count = sum(decision.state != "no decision" for decision in runtime)
    if not count:
        raise InputError(f"the new bundle decides nothing in {SESSION_S:g} s of the embedded session; train or convert it again")
    return count


def _limit() -> None:
    """A bundle may not fill the memory of the board, nor write files."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_MIB << 20, MOST_MEMORY_MIB << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (int(LONGEST_S) * 4, int(LONGEST_S) * 4))
    # If memory runs out it is this process that ends, and not the kit.
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/oom_score_adj").write_text("1000")
    # In a service with a Nice= of its own that may be refused.
    with contextlib.suppress(OSError):
        os.nice(10)


def main(arguments: collections.abc.Sequence[str]) -> int:
    """Answer with one line of JSON on standard output."""
    _limit()
    path, config = pathlib.Path(arguments[0]), pathlib.Path(arguments[1]) if len(arguments) > 1 else None
    try:
        answer: dict[str, typing.Any] = {"probed": examine(path, config).as_record()}
    except EdgeError as error:
        answer = {"refused": " ".join(str(error).split())}
    except MemoryError:
        answer = {"refused": "the new bundle needs more memory than this board has; use a smaller bundle"}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
