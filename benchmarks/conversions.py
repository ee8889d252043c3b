"""``python -m benchmarks.conversions --data DIR``: what conversion makes of every kind of network, as one table.

The five published systems of the zoo and the kit's own networks, taught made-up classes (a smooth prototype for each plus noise) so
that their answers are no ties, and the third-party models in ``DIR``/models on real inputs. Each is converted with the default
recipe and, where it has recurrent layers or attention, with ``auto``; all forms of a network are timed in turn in one process.
"""

from __future__ import annotations

import argparse
import collections.abc
import dataclasses
import json
import pathlib
import platform
import sys
import time
import typing
import warnings

import numpy as np

from edge.errors import EdgeError, InputError

ZOO = (
    "cnn_lstm/whole",
    "av_attention/whole",
    "four_stream/whole_compact",
    "cnn_rnn/whole",
    "edu_emotionnet/whole",
    "classroom/face",
    "classroom/speech",
    "classroom/physiology",
    "classroom/fusion",
)
BY_MEASUREMENT = ("LSTM", "BATCH_MATMUL", "SPLIT")
"""Operators of sequence and attention stages, for which no one form is fastest everywhere."""
LEARNING, EPOCHS, CALIBRATION, VERIFICATION = 500, 5, 150, 250
STATE_INPUTS = ("mask", "previous")


@dataclasses.dataclass
class Row:
    """One network in the table."""

    name: str
    weights: int = 0
    macs: int = 0
    float_bytes: int = 0
    bytes: int = 0
    operators: int = 0
    float_ms: float = 0.0
    ms: float = 0.0
    agreement: float | None = None
    mean_error: float | None = None
    float_accuracy: float | None = None
    accuracy: float | None = None
    chosen: str = ""
    """Recipe and form that ``auto`` takes; empty where it was not asked."""
    chosen_ms: float | None = None
    chosen_bytes: int | None = None
    chosen_agreement: float | None = None
    fastest_float_ms: float | None = None
    smallest_float_bytes: int | None = None
    reference_agreement: float | None = None
    """With the int8 file of the model's own makers, on the same inputs."""
    runtimes: str = ""
    failed: str = ""


def main(arguments: collections.abc.Sequence[str] | None = None) -> int:
    """Convert, measure and write the table; 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conversions", description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, help="folder of the public sets and models; without it only the zoo is measured")
    parser.add_argument("-o", "--output", type=pathlib.Path, help="folder for conversions.json and conversions.md")
    parser.add_argument("--only", default="", metavar="TEXT", help="networks whose name holds it; others keep the rows they have")
    args = parser.parse_args(arguments)
    from convert.quiet import load_tensorflow

    load_tensorflow()
    from convert.worker import Worker

    rows = _before(args.output) if args.only else {}
    with Worker() as worker:
        for name, make in _networks(args.data):
            if args.only in name:
                began_s = time.monotonic()
                rows[name] = _measured(name, make, worker)
                print(f"{name}: {time.monotonic() - began_s:.0f} s {rows[name].failed}", file=sys.stderr, flush=True)
                _write(args.output, list(rows.values()))
    print(as_markdown(list(rows.values())))
    return 0


def _before(folder: pathlib.Path | None) -> dict[str, Row]:
    """Rows of an earlier run."""
    file = folder / "conversions.json" if folder is not None else None
    if file is None or not file.exists():
        return {}
    return {row["name"]: Row(**row) for row in json.loads(file.read_text())}


def _write(folder: pathlib.Path | None, rows: list[Row]) -> None:
    """What there is so far: the whole takes a quarter of an hour, and may be cut."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "conversions.json").write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")
    (folder / "conversions.md").write_text(as_markdown(rows))


@dataclasses.dataclass(frozen=True)
class _Given:
    source: typing.Any
    calibration: dict[str, np.ndarray]
    verification: dict[str, np.ndarray]
    labels: np.ndarray | None
    reference: pathlib.Path | None = None


def _networks(data: pathlib.Path | None) -> collections.abc.Iterator[tuple[str, collections.abc.Callable[[], _Given]]]:
    for name in ZOO:
        yield name, lambda name=name: _taught(name)  # type: ignore[misc]
    if data is None:
        return
    from benchmarks.material import third_party

    for case in third_party(data):
        yield case.name, lambda case=case: _read(case)  # type: ignore[misc]


def _read(case: typing.Any) -> _Given:
    from convert.readers import read

    source = read(case.model)
    name = next(iter(source.inputs))
    return _Given(source, {name: case.calibration}, {name: case.verification}, case.labels, case.reference)


def _taught(name: str) -> _Given:
    """A network of the zoo that has learnt to tell made-up classes."""
    import keras

    from convert.readers.keras import KerasSource
    from convert.zoo.registry import NETWORKS

    keras.utils.set_random_seed(0)
    model = NETWORKS[name].build()
    answers = "logits" if "logits" in model.output_names or "logits" in _outputs(model) else "probabilities"
    classes = _outputs(model)[answers]
    inputs, labels = _draw(NETWORKS[name].samples, classes, LEARNING + CALIBRATION + VERIFICATION)
    learn = {key: values[:LEARNING] for key, values in inputs.items()}
    model.compile(
        optimizer=keras.optimizers.Adam(2e-3),
        loss={answers: keras.losses.SparseCategoricalCrossentropy(from_logits=answers == "logits")},
    )
    # One array for one input is taken by its name; Keras says that it expected no dict.
    warnings.filterwarnings("ignore", "The structure of `inputs` doesn't match", UserWarning)
    model.fit(learn, {answers: labels[:LEARNING]}, epochs=EPOCHS, batch_size=32, verbose=0)
    middle = LEARNING + CALIBRATION
    calibration = {key: values[LEARNING:middle] for key, values in inputs.items()}
    return _Given(KerasSource(model, name=name), calibration, {key: values[middle:] for key, values in inputs.items()}, labels[middle:])


def _outputs(model: typing.Any) -> dict[str, int]:
    from convert import lowering

    return {key: int(x.shape[-1]) for key, x in zip(lowering.output_names(model), model.outputs, strict=True)}


def _draw(samples: typing.Any, classes: int, count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Inputs as the zoo makes them up, with a prototype of the class added to all but masks and states."""
    random, fixed = np.random.default_rng(1), np.random.default_rng(2)
    inputs = samples(random, count)
    labels = random.integers(0, classes, count)
    for key, values in inputs.items():
        if key in STATE_INPUTS:
            continue
        coarse = fixed.normal(size=(classes, *(max(1, n // 8) if n > 8 else n for n in values.shape[1:])))
        for axis, size in enumerate(values.shape[1:], start=1):
            coarse = np.repeat(coarse, -(-size // coarse.shape[axis]), axis=axis).take(range(size), axis=axis)
        # What is absent stays 0.
        inputs[key] = (values + 0.5 * np.std(values) * coarse[labels] * (values != 0)).astype(np.float32)
    return inputs, labels


def _measured(name: str, make: collections.abc.Callable[[], _Given], worker: typing.Any) -> Row:
    from convert.choose import convert_best
    from convert.examine import examine
    from convert.gates import Gates
    from convert.pipeline import convert_model

    row = Row(name)
    try:
        given = make()
        options: dict[str, typing.Any] = {"verification": given.verification, "labels": given.labels, "worker": worker}
        stage = convert_model(given.source, given.calibration, **options)
        report = examine(stage, given.verification, gates=Gates(), source={}).stage.report
        _fill(row, report)
        if given.reference is not None:
            row.reference_agreement = _reference_agreement(stage, given)
        if any(part in operator for operator in report.operators for part in BY_MEASUREMENT) and len(given.source.inputs):
            _fill_chosen(row, convert_best(given.source, given.calibration, **options).report)
    except EdgeError as error:
        row.failed = str(error)
    return row


def _fill(row: Row, report: typing.Any) -> None:
    checked = report.verification
    row.weights, row.macs, row.float_bytes, row.bytes = report.weights, report.macs, report.float_bytes, report.bytes
    row.operators = sum(report.operators.values())
    row.float_ms, row.ms = report.float_latency.median_ms, report.latency.median_ms
    row.agreement, row.mean_error = checked.agreement, max(output.mean_error for output in checked.outputs.values())
    if checked.task is not None:
        row.float_accuracy, row.accuracy = checked.task.float_accuracy, checked.task.accuracy
    row.runtimes = ", ".join(f"{check.runtime} {check.status}" for check in report.runtimes)


def _fill_chosen(row: Row, report: typing.Any) -> None:
    row.chosen = " ".join(filter(None, (report.recipe, report.lstm_form)))
    row.chosen_bytes, row.chosen_agreement = report.bytes, report.verification.agreement
    row.chosen_ms = next(candidate.latency.median_ms for candidate in report.candidates if candidate.chosen)
    floats = [candidate for candidate in report.candidates if candidate.recipe == "float32" and candidate.latency is not None]
    row.fastest_float_ms = min(candidate.latency.median_ms for candidate in floats)
    row.smallest_float_bytes = min(candidate.bytes for candidate in floats)


def _reference_agreement(stage: typing.Any, given: _Given) -> float:
    from benchmarks.material import agreement
    from convert.verify import outputs_of
    from edge.inference.model import Model, probe

    assert given.reference is not None
    content = given.reference.read_bytes()
    plain = probe().interpreter(model_content=content)
    names = [entry[0]["name"] for entry in (plain.get_input_details(), plain.get_output_details())]
    reference = Model(content, name="reference", inputs={"x": names[0]}, outputs={"y": names[1]})
    shape = reference.details().inputs["x"].shape
    values = next(iter(given.verification.values()))
    expected = outputs_of(reference, {"x": values.reshape(len(values), *shape)})["y"]
    return agreement(expected, next(iter(outputs_of(stage.model(), given.verification).values())))


def as_markdown(rows: collections.abc.Sequence[Row]) -> str:
    """The table, with the machine it was measured on."""
    from edge.inference.model import probe

    lines = [
        f"Measured with {probe()}, one thread, on {_processor()}; other computers differ. Agreement and error are of the default recipe,",
        "`static_wi8_ai8`, against float, on samples held back from calibration.",
        "",
        "| network | weights | MACs | float kB | int8 kB | ratio | ops | float ms | int8 ms | agree | error | accuracy | `auto` takes |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row.failed:
            lines.append(f"| {row.name} | {row.failed} |" + " |" * 11)
            continue
        accuracy = "-" if row.accuracy is None or row.float_accuracy is None else f"{row.float_accuracy:.1%} to {row.accuracy:.1%}"
        if row.reference_agreement is not None:
            accuracy = f"{row.reference_agreement:.1%} as its makers' int8"
        agreed = "-" if row.agreement is None else f"{row.agreement:.1%}"
        chosen = "-"
        if row.chosen and row.chosen_bytes and row.smallest_float_bytes:
            share = row.chosen_bytes / row.smallest_float_bytes
            chosen = f"{row.chosen}: {row.chosen_ms:.3f} ms (fastest float {row.fastest_float_ms:.3f}), {share:.2f} of float"
        lines.append(
            f"| {row.name} | {row.weights:,} | {row.macs / 1e6:.1f} M | {row.float_bytes / 1e3:.0f} | {row.bytes / 1e3:.0f} | "
            f"{row.bytes / row.float_bytes:.2f} | {row.operators} | {row.float_ms:.3f} | {row.ms:.3f} | {agreed} | {row.mean_error:.4f} | "
            f"{accuracy} | {chosen} |"
        )
    runtimes = sorted({row.runtimes for row in rows if row.runtimes})
    lines += ["", "Tried in: " + "; ".join(f"{told} ({sum(row.runtimes == told for row in rows)} networks)" for told in runtimes) + "."]
    return "\n".join(lines) + "\n"


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(f"conversions: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
