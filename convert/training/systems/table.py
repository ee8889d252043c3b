"""``python -m convert.training.systems.table BUNDLE... -o NAME``: the published systems side by side, as NAME.md and NAME.json.

Quality is what each bundle says of itself (``quality.json``, written when it was made); size is that of the file; latency is measured now,
on this machine, on the bundle's own golden inputs.
"""

from __future__ import annotations

import argparse
import collections.abc
import json
import os
import pathlib
import platform
import sys
import typing

import numpy as np

from convert.latency import measure
from convert.training.systems.card import head, percent, row
from edge.bundle import Bundle, load_bundle
from edge.errors import BundleError, EdgeError, InputError
from edge.inference.model import Model, probe

BUSY = 1.0
"""Load over the number of cores from which on the table says that the machine was busy."""


def stage_latency_ms(bundle: Bundle) -> dict[str, float]:
    """Median of one run of each stage here, one thread, in ms, quantizing and dequantizing included."""
    medians = {}
    for name, spec in bundle.manifest.stages.items():
        model = Model(bundle.stage(name), name=name, inputs=spec.inputs, outputs=spec.outputs)
        stored = {key.removeprefix("input_"): values for key, values in bundle.golden(name).items() if key.startswith("input_")}
        details = model.details().inputs
        samples = {key: _real(values, details[key].scale, details[key].zero_point) for key, values in stored.items()}
        medians[name] = measure({name: model}, samples)[name].median_ms
    return medians


def _real(stored: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    return (stored.astype(np.float32) - zero_point) * scale if scale else stored.astype(np.float32)


def examined(path: pathlib.Path) -> dict[str, typing.Any]:
    """One row of the table, JSON-able.

    Raises:
        BundleError: it is no bundle of a published system.
    """
    bundle = load_bundle(path)
    said = bundle.quality
    if said is None or "system" not in said or "main" not in said:
        raise BundleError(f"{path}: says nothing of a published system; make it with affectkit train NAME")
    task = said["main"]
    result = said["results"][task]
    linear = next((one for one in said["baselines"] if one["what"].startswith("linear")), None)
    latency = stage_latency_ms(bundle)
    return {
        "system": said["system"],
        "version": bundle.manifest.version,
        "sha256": bundle.sha256,
        "paper": said["paper"],
        "task": task,
        "people": result["people"],
        "samples": result["int8"]["samples"],
        "int8": {key: result["int8"][key] for key in ("accuracy", "uar", "macro_f1", "ece")},
        "float": {key: result["float"][key] for key in ("accuracy", "uar", "macro_f1", "ece")},
        "agreement": result["agreement"],
        "majority": result["majority"],
        "linear": linear,
        "other_splits": said["other_splits"],
        "baselines": said["baselines"],
        "spread": said["spread"],
        "epochs_scale": said["epochs_scale"],
        "bundle_bytes": path.stat().st_size,
        "stage_bytes": {name: one["bytes"] for name, one in said["stages"].items()},
        "stage_median_ms": latency,
        "median_ms": sum(latency.values()),
    }


def rendered(
    rows: collections.abc.Sequence[collections.abc.Mapping[str, typing.Any]], machine: collections.abc.Mapping[str, typing.Any]
) -> str:
    """The table as Markdown."""
    lines = [
        "# The published systems, trained here",
        "",
        "Written by `python -m convert.training.systems.table`; do not edit. Quality is that of the int8 bundle in the device's",
        "interpreter on people (for FER2013, which names none: pictures) that it has not learnt from; protocols differ, so the papers'",
        "figures cannot be compared with ours line by line. Accuracy / UAR throughout. Latency is the sum of the medians of one run of",
        "each stage, one thread,",
        f"{machine['runtime']} on {machine['processor']}, load {machine['load']:.1f} on {machine['cores']} cores"
        + (", **so the machine was busy, and the times are too long**" if machine["load"] > BUSY * machine["cores"] else "")
        + ". On a Raspberry Pi: not measured.",
        "",
        *head(
            "system",
            "paper's figure",
            "its protocol",
            "ours: task",
            "people",
            "int8",
            "float",
            "agree",
            "majority",
            "linear",
            "size",
            "latency",
            "Pi",
        ),
    ]
    for one in rows:
        lines.append(
            row(
                one["system"] + (f" (trial, {one['epochs_scale']:g} of the epochs)" if one["epochs_scale"] != 1.0 else ""),
                one["paper"]["figure"],
                one["paper"]["protocol"],
                f"{one['task']}, {one['samples']} samples",
                one["people"],
                _both(one["int8"]),
                _both(one["float"]),
                percent(one["agreement"]),
                _both(one["majority"]),
                _both(one["linear"]),
                f"{sum(one['stage_bytes'].values()) / 1e3:.0f} kB (file {one['bundle_bytes'] / 1e3:.0f} kB)",
                f"{one['median_ms']:.1f} ms",
                "not measured",
            )
        )
    lines += ["", "## Another split, other rows, other seeds", "", *head("system", "what", "samples", "runs", "accuracy", "UAR")]
    for one in rows:
        lines.append(row(one["system"], f"**the bundle, int8: {one['task']}**", one["samples"], 1, *_pair(one["int8"])))
        for kind in ("other_splits", "baselines", "spread"):
            for got in one[kind]:
                accuracy, uar = _pair(got)
                spread = f" ± {percent(got['uar_std'])}" if got["uar_std"] is not None else ""
                lines.append(row(one["system"], got["what"], got["samples"], got["runs"], accuracy, uar + spread))
    lines += ["", "## Stages", "", *head("system", "stage", "int8", "median here")]
    for one in rows:
        for name, ms in one["stage_median_ms"].items():
            lines.append(row(one["system"], name, f"{one['stage_bytes'][name] / 1e3:.0f} kB", f"{ms:.2f} ms"))
    lines += ["", "Papers:", "", *(f"- {one['system']}: {one['paper']['citation']}" for one in rows), ""]
    return "\n".join(lines)


def _pair(got: collections.abc.Mapping[str, typing.Any]) -> tuple[str, str]:
    return percent(got["accuracy"]), percent(got["uar"])


def _both(got: collections.abc.Mapping[str, typing.Any] | None) -> str:
    return "not measured" if got is None else " / ".join(_pair(got))


def machine() -> dict[str, typing.Any]:
    """What the latencies were measured on."""
    cpu = pathlib.Path("/proc/cpuinfo")
    named = (
        [line.split(":", 1)[1].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")] if cpu.exists() else []
    )
    return {
        "runtime": str(probe()),
        "processor": f"{platform.machine()} ({named[0] if named else platform.processor() or 'unnamed'})",
        "cores": os.cpu_count() or 1,
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
    }


def write(bundles: collections.abc.Sequence[pathlib.Path], out: pathlib.Path, *, overwrite: bool = False) -> pathlib.Path:
    """Examine the bundles and write ``out``.md and ``out``.json; returns the first.

    Raises:
        InputError: a file is there and may not be replaced.
    """
    files = {ending: out.with_name(out.name + ending) for ending in (".md", ".json")}
    for file in files.values():
        if file.exists() and not overwrite:
            raise InputError(f"{file}: exists; name another file or say --overwrite")
    where = machine()
    rows = [examined(path) for path in bundles]
    told = {".md": rendered(rows, where), ".json": json.dumps({"machine": where, "systems": rows}, indent=1, sort_keys=True) + "\n"}
    for ending, file in files.items():
        beside = file.with_name(f".{file.name}.writing")
        beside.write_text(told[ending], encoding="utf-8")
        beside.replace(file)
    return files[".md"]


def main(argv: collections.abc.Sequence[str] | None = None) -> int:
    """The command line; 0, or another status with one line of what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m convert.training.systems.table", description="The published systems side by side.")
    parser.add_argument("bundles", nargs="+", type=pathlib.Path, metavar="BUNDLE")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True, metavar="NAME", help="NAME.md and NAME.json are written")
    parser.add_argument("--overwrite", action="store_true", help="replace them if they exist")
    args = parser.parse_args(argv)
    try:
        print(write(args.bundles, args.output, overwrite=args.overwrite))
    except EdgeError as error:
        print(f"table: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
