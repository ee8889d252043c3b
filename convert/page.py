"""The report of a conversion as one HTML page, which opens offline: no script, and nothing is loaded."""

from __future__ import annotations

import collections.abc
import pathlib
import shlex
import typing

from convert.pages import cost, formats, layers, quality
from convert.pages.markup import Html, Number, Section, code, document, join, paragraph, table, tag

Report = collections.abc.Mapping[str, typing.Any]

_KINDS = {"keras": "Keras", "h5": "Keras", "hdf5": "Keras", "onnx": "ONNX", "tflite": "TFLite"}
_QUALITY_GATES = ("min-agreement", "max-drop")


def render(report: Report) -> str:
    """The page: the same report gives the same bytes.

    Args:
        report: ``Report.as_dict()``, or the same read from ``report.json``. What is missing in it is named as not measured.
    """
    parts = [
        cost.gates(report), cost.costs(report), cost.candidates(report), quality.agreement(report), quality.task(report),
        layers.errors(report), layers.ranges(report), cost.operators(report), cost.runtimes(report), _tensors(report), _source(report),
        _reproduce(report),
    ]  # fmt: skip
    shown = [part for part in parts if part.body is not None]
    absent = [part for part in parts if part.body is None]
    if absent:
        shown.append(_absent(absent))
    name = str(report.get("name", "model"))
    head = tag("header", paragraph("Conversion report", class_="kicker"), tag("h1", name))
    links = tag("nav", tag("ul", *(tag("li", tag("a", part.title, href=f"#{part.identifier}")) for part in shown)), aria_label="Sections")
    sections = [
        tag("section", tag("h2", part.title, id=f"{part.identifier}-title"), part.body, id=part.identifier,
            aria_labelledby=f"{part.identifier}-title")
        for part in shown
    ]  # fmt: skip
    foot = tag(
        "footer", paragraph("All numbers were measured during this conversion; report.json, written beside this page, holds them in full.")
    )
    body = join(head, tag("main", _verdict(report, absent), links, *sections), foot, between="\n")
    return document(f"{name}: conversion report", body, description=f"What converting {name} to {report.get('recipe', '')} cost and kept")


def _verdict(report: Report, absent: collections.abc.Sequence[Section]) -> Html:
    gates = list(report.get("gates") or ())
    failed = [gate for gate in gates if not gate.get("passed")]
    state = "bad" if failed else "good" if gates else ""
    words = [
        paragraph(tag("span", _gate_words(len(gates), failed), class_="badge"), ". ", _what(report)),
        paragraph(_blame(report, failed)) if report.get("layers") else None,
        _runtime_words(report),
    ]
    if absent:
        titles = "; ".join(f"{part.title[0].lower()}{part.title[1:]}" for part in absent)
        words.append(paragraph("Not measured: ", tag("a", titles, href="#absent"), ".", class_="soft"))
    return tag("div", *words, _tiles(report), class_=f"verdict {state}".strip())


def _gate_words(count: int, failed: collections.abc.Sequence[Report]) -> Html:
    if not count:
        return join("No gates were set")
    if not failed:
        return join("The gate passed" if count == 1 else f"All {count} gates passed")
    missed = "The gate" if count == 1 else f"{len(failed)} of {count} gates"
    return join(f"{missed} failed: {', '.join(str(gate.get('name', '')) for gate in failed)}")


def _what(report: Report) -> Html:
    source = report.get("source") or {}
    kind = _KINDS.get(str(source.get("kind", "")).lower(), source.get("kind"))
    came = join(f"{kind} model " if kind else "The model ", code(source["file"])) if source.get("file") else join("The model")
    form = f" ({report['lstm_form']})" if report.get("lstm_form") else ""
    ratio = formats.quotient(report.get("bytes"), report.get("float_bytes"))
    said = [
        came, " became ", code(report.get("recipe", "")), form, f": {formats.size(report.get('bytes'))}, ",
        "no smaller than in float. " if ratio is not None and ratio > 0.995
        else f"{formats.plain(ratio, '.2f')} of the {formats.size(report.get('float_bytes'))} that it takes in float. ",
    ]  # fmt: skip
    samples = formats.count(quality.verification_of(report).get("samples"))
    agreed, task = quality.agreement_of(report), quality.task_of(report)
    if agreed is not None:
        said.append(f"It answers as float does on {formats.share(agreed)} of {samples} samples")
        if task:
            before, after = (formats.share(task.get(name)) for name in ("float_accuracy", "accuracy"))
            said.append(f", and is right on {after}, where float is on {before}")
        said.append(". ")
    elif quality.verification_of(report):
        outputs = quality.verification_of(report).get("outputs") or {}
        errors = [error for one in outputs.values() if (error := formats.finite(one.get("mean_error"))) is not None]
        said.append(f"On {samples} samples it is {formats.share(max(errors, default=None), 2)} of the span off float in the mean. ")
    return join(*said, _faster(report))


def _faster(report: Report) -> str | None:
    before, after = ((report.get(name) or {}).get("median_ms") for name in ("float_latency", "latency"))
    gain = formats.quotient(before, after)
    if gain is None:
        return None
    times = f"{formats.milliseconds(after)}, in float {formats.milliseconds(before)}"
    if 0.95 <= gain <= 1.05:
        return f"It is as fast as float ({times})."
    return f"It is {formats.plain(gain if gain > 1 else 1 / gain, '.1f')} times {'faster' if gain > 1 else 'slower'} ({times})."


def _blame(report: Report, failed: collections.abc.Sequence[Report]) -> Html:
    worst = layers.worst_first(layers.layers_of(report))
    if not worst:
        return join("No layer differs from float.")
    db = layers.own_db(worst[0]) or 0.0
    least = join(layers.named(worst[0]), f" ({worst[0].get('operator', '')}): {layers.error_words(worst[0])}")
    if any(gate.get("name") in _QUALITY_GATES for gate in failed):
        return join("The layer to blame first is ", least, ".")
    if db < layers.LOUD_DB:
        return join("One layer stands out, ", least, ".")
    return join("No layer stands out; the least exact is ", least, ".")


def _runtime_words(report: Report) -> Html | None:
    bad = [one for one in report.get("runtimes") or () if one.get("status") in ("fails", "differs")]
    if not bad:
        return None
    return paragraph(
        tag("strong", "Not for every interpreter: "), "; ".join(f"{one.get('runtime', '')} {one.get('status')}" for one in bad), "."
    )


def _tiles(report: Report) -> Html:
    checked, outputs = quality.verification_of(report), len(report.get("outputs") or ())
    ratio = formats.ratio(report.get("bytes"), report.get("float_bytes"))
    before, after = report.get("float_latency") or {}, report.get("latency") or {}
    agreed = quality.agreement_of(report)
    samples = f"of {formats.count(checked.get('samples'))} samples{', the worst output' if outputs > 1 else ''}"
    tiles = (
        ("Size", formats.size(report.get("bytes")), f"{ratio} of float"),
        ("Same answer as float", formats.share(agreed), "not measured" if agreed is None else samples),
        ("One inference", formats.milliseconds(after.get("median_ms")),
         f"float {formats.milliseconds(before.get('median_ms'))}" if after else "not measured"),
        ("Multiply-accumulates", formats.many(report.get("macs")), f"{formats.many(report.get('weights'))} weights"),
    )  # fmt: skip
    return tag("dl", *(tag("div", tag("dt", a), tag("dd", b, class_="large"), tag("dd", c)) for a, b, c in tiles), class_="tiles")


def _tensors(report: Report) -> Section:
    rows = []
    for way, name in (("in", "inputs"), ("out", "outputs")):
        for public, tensor in (report.get(name) or {}).items():
            stored = tensor.get("scale") or None
            shape = " \u00d7 ".join(formats.count(size) for size in tensor.get("shape") or ()) or "one number"
            zero = formats.count(tensor.get("zero_point")) if stored is not None else formats.DASH
            rows.append((code(public), way, shape, tensor.get("dtype", ""), formats.plain(stored, ".6g"), zero))
    if not rows:
        return Section("tensors", "Inputs and outputs", None, "the report describes none")
    columns = ("name", "", Number("shape, without batch"), "type", Number("scale"), Number("zero point"))
    return Section("tensors", "Inputs and outputs", table("Real value = scale \u00d7 (stored value \u2212 zero point)", columns, rows))


def _source(report: Report) -> Section:
    source = report.get("source") or {}
    named = [("File", code(source["file"])) if source.get("file") else ("File", "none: the model was given from Python")]
    named += [(title, code(source[key])) for title, key in (("Kind", "kind"), ("SHA-256", "sha256")) if source.get(key)]
    notes = list(source.get("notes") or ())
    told = tag("ul", *(tag("li", note) for note in notes), class_="plain") if notes else join("the reader had nothing to remark")
    return Section("source", "Source and notes of the reader", _lines([*named, ("Notes", told)]))


def _lines(pairs: collections.abc.Iterable[tuple[object, object]]) -> Html:
    return tag("dl", *(tag("div", tag("dt", title), tag("dd", words)) for title, words in pairs), class_="lines")


def _reproduce(report: Report) -> Section:
    source, recipe = report.get("source") or {}, str(report.get("recipe", ""))
    runtime = quality.verification_of(report).get("runtime")
    compared = f" Compared in {runtime}." if runtime else ""
    if not source.get("file"):
        how = f"Converted from Python, by convert.pipeline.convert_model(model, calibration, recipe={recipe!r}).{compared}"
        return Section("reproduce", "How to reproduce", paragraph(how))
    name, auto = str(report.get("name", "model")), bool(report.get("candidates"))
    words = ["affectkit", "convert", str(source["file"])]
    words += ["--calibration", "DATA"] if quality.verification_of(report) or recipe != "float32" else []
    words += ["--recipe", "auto" if auto else recipe]
    words += ["--lstm-form", str(report["lstm_form"])] if report.get("lstm_form") and not auto else []
    for gate in report.get("gates") or ():
        limit = formats.finite(gate.get("limit"))
        if gate.get("name") in cost.GATES and limit is not None:
            words += [f"--{gate['name']}", format(limit, ".15g")]
    words += ["--name", name] if name != pathlib.PurePath(str(source["file"])).stem else []
    bundle = f"{name}.affectkit"
    command = shlex.join([*words, "-o", bundle])
    lead = paragraph(
        "DATA stands for the samples, which this report does not name, nor does it --pin, --image-range and --allow-code where they were "
        "given. The same model and samples give the same bytes; latencies vary.", compared,
    )  # fmt: skip
    later = f"affectkit verify {shlex.quote(bundle)}"
    then = paragraph("Whether the bundle computes the same on another machine:")
    return Section("reproduce", "How to reproduce", join(lead, _shell(command), then, _shell(later)))


def _shell(command: str) -> Html:
    return tag("pre", tag("code", command), tabindex=0)


def _absent(parts: collections.abc.Iterable[Section]) -> Section:
    return Section("absent", "Not measured", _lines((part.title, f"not measured: {part.missing}") for part in parts))
