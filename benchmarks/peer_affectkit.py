"""Child of ``benchmarks.peers``: affectkit's own conversions, and what the network itself computes.

python -m benchmarks.peer_affectkit reference JOB.json     {"model", "calibration", "verification", "folder"}
python -m benchmarks.peer_affectkit convert JOB.json       {"model", "calibration", "recipe", "out", "float_out"}
"""

from __future__ import annotations

import json
import pathlib
import sys
import typing

import numpy as np


def _named(path: str, names: list[str]) -> dict[str, np.ndarray]:
    """Arrays by input name; a single one is the single input, whatever it is called."""
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return dict(zip(names, arrays.values(), strict=True)) if len(names) == 1 else {name: arrays[name] for name in names}


def reference(job: dict[str, typing.Any]) -> dict[str, typing.Any]:
    """What the framework that wrote the network computes: writes calibration, verification and reference by public names."""
    from convert.readers import read

    source = read(pathlib.Path(job["model"]))
    folder = pathlib.Path(job["folder"])
    samples = {part: _named(job[part], list(source.inputs)) for part in ("calibration", "verification")}
    for part, arrays in {**samples, "reference": source.predict(samples["verification"])}.items():
        np.savez(folder / f"{part}.npz", **arrays)  # type: ignore[arg-type]
    return {"shapes": {name: list(shape) for name, shape in source.inputs.items()}, "weights": source.weights, "notes": list(source.notes)}


def convert(job: dict[str, typing.Any]) -> dict[str, typing.Any]:
    """One conversion. ``auto`` chooses on the samples of the calibration: those of the verification are for the comparison alone."""
    from convert.choose import convert_best
    from convert.pipeline import convert_model
    from convert.readers import read
    from convert.recipe import AUTO
    from convert.worker import Worker

    with Worker() as worker:
        source = read(pathlib.Path(job["model"]))
        samples = _named(job["calibration"], list(source.inputs))
        if job["recipe"] == AUTO:
            made = convert_best(source, samples, verification=samples, worker=worker)
        else:
            made = convert_model(source, samples, recipe=job["recipe"], worker=worker)
    pathlib.Path(job["out"]).write_bytes(made.content)
    if "float_out" in job:
        pathlib.Path(job["float_out"]).write_bytes(made.float_content)
    form = f" {made.report.lstm_form}" if made.report.lstm_form else ""
    return {"tool": "affectkit", "route": f"{made.report.recipe}{form}", "why": made.report.why}


if __name__ == "__main__":
    print(json.dumps({"reference": reference, "convert": convert}[sys.argv[1]](json.loads(pathlib.Path(sys.argv[2]).read_text()))))
