"""The speech recipe on people left out in turn and across corpora, in float and int8: ``python -m convert.training.speech_folds``."""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import hashlib
import json
import pathlib
import sys
import typing

import numpy as np

from convert.evaluation import metrics
from convert.pipeline import convert_model
from convert.training import speech
from convert.training.datasets.speech import LABELS, Clips
from convert.training.fit import Schedule
from convert.training.speech_forms import kept_last_windows
from convert.worker import Worker
from convert.zoo.speech import VOICES
from edge.inference.model import Model
from edge.preprocess.speech import SpeechParameters

FOLDS = 5
Progress = collections.abc.Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Score:
    """One task on the people whom one network did not learn from; shares from 0 to 1."""

    task: str
    """"ravdess" (eight emotions), "emodb" (seven), or "ravdess quadrants", "emodb quadrants" (four)."""
    clips: int
    uar: float
    accuracy: float
    float_uar: float
    float_accuracy: float
    agreement: float
    """Share of clips of which float and int8 say the same."""
    linear_uar: float
    """Logistic regression on band statistics of the same windows, of the same people."""
    majority: float
    """Accuracy of always saying the commonest class; its UAR is one over the number of classes."""
    confusion: list[list[int]]
    """int8; row: true class; column: answer."""
    accuracy_by_person: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Fold:
    """One network: whom it did not learn from, its size, and what it was right about."""

    seed: int
    fold: int
    left_out: tuple[str, ...]
    bytes: int
    """Of the int8 network with all three heads."""
    weights: int
    macs: int
    scores: tuple[Score, ...]


def fold_of(fields: collections.abc.Mapping[str, typing.Any]) -> Fold:
    """A fold from ``dataclasses.asdict`` of one, as JSON gives it back."""
    scores = tuple(Score(**score) for score in fields["scores"])
    return Fold(**{**fields, "left_out": tuple(fields["left_out"]), "scores": scores})


def groups(people: collections.abc.Iterable[str], *, folds: int, seed: int) -> list[tuple[str, ...]]:
    """Who is left out together, by ``seed`` and the names alone: RAVDESS's actors in ``folds`` groups, its women and men apart, beside
    EmoDB's speakers one by one, as is usual for so few.

    In RAVDESS odd actors are men, so four left out are two of each. With more speakers in EmoDB than folds, the last groups have no
    actor.
    """
    rng = np.random.default_rng(seed)
    names = sorted(set(map(str, people)))
    own = {corpus: [name for name in names if name.startswith(f"{corpus}-")] for corpus in ("emodb", "ravdess")}
    alone = [own["emodb"][i] for i in rng.permutation(len(own["emodb"]))]
    actors = [sex[i] for sex in (own["ravdess"][0::2], own["ravdess"][1::2]) for i in rng.permutation(len(sex))]
    made: list[list[str]] = [alone[place : place + 1] for place in range(max(folds, len(alone)))]
    for place, name in enumerate(actors):
        made[place % folds].append(name)
    return [tuple(sorted(group)) for group in made]


def labels_of(clips: Clips, task: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """The clips' labels in a task, int (n,), and its classes."""
    if task.endswith("quadrants"):
        return clips.labels, LABELS
    classes = speech.SHOWN[task]
    return np.array([classes.index(str(name)) for name in clips.emotions]), classes


@dataclasses.dataclass(frozen=True)
class Bench:
    """What every fold shares: clips, their last windows, the folders, the converter."""

    clips: Clips
    windows: np.ndarray
    data: pathlib.Path
    work: pathlib.Path
    worker: Worker
    schedule: Schedule
    say: Progress

    def measure(self, *, seed: int, fold: int, left_out: collections.abc.Collection[str], tasks: collections.abc.Sequence[str]) -> Fold:
        """Train on all who are not left out, convert, and score those who are; done once, then read from ``work``."""
        told = hashlib.sha256(repr((sorted(left_out), list(tasks))).encode()).hexdigest()[:8]
        kept = self.work / f"{speech.NAME}-{VOICES}voices-fold-seed{seed}-epochs{self.schedule.epochs}-{told}.json"
        if kept.exists():
            return fold_of(json.loads(kept.read_text(encoding="utf-8")))
        out = np.isin(self.clips.people, sorted(left_out))
        learn = sorted(set(map(str, self.clips.people[~out])))
        self.say(f"seed {seed}, {len(learn)} people learnt from, left out: {', '.join(sorted(left_out))}")
        learnt = speech.learn(self.data, self.work, seed=seed, people=learn, schedule=self.schedule)
        whole = learnt.whole()
        made = convert_model(
            whole, {"log_mel": self.windows[~out]}, name="speech", verification={"log_mel": self.windows[out][:50]}, worker=self.worker
        )
        answers = answers_of(made.float_model(), self.windows[out]), answers_of(made.model(), self.windows[out])
        scores = []
        for task in tasks:
            scores.append(self._score(task, out, answers[0], answers[1]))
            last = scores[-1]
            self.say(f"  {task}: UAR {last.uar:.1%} (float {last.float_uar:.1%}, linear {last.linear_uar:.1%}), agree {last.agreement:.1%}")
        done = Fold(seed, fold, tuple(sorted(left_out)), len(made.content), made.weights, made.macs, tuple(scores))
        beside = kept.with_name(f"{kept.stem}.writing.json")
        beside.write_text(json.dumps(dataclasses.asdict(done)), encoding="utf-8")
        beside.replace(kept)
        return done

    def _score(
        self, task: str, out: np.ndarray, before: collections.abc.Mapping[str, np.ndarray], after: collections.abc.Mapping[str, np.ndarray]
    ) -> Score:
        corpus = task.split()[0]
        own = speech.corpus_of(self.clips.people) == corpus
        judged = self.clips.rows(np.flatnonzero(out & own))
        labels, classes = labels_of(judged, task)
        head = "quadrants" if task.endswith("quadrants") else corpus
        exact, quick = (answers[head][own[out]] for answers in (before, after))
        # A corpus that is left out whole is judged by a line through the other one.
        rows = np.flatnonzero(~out & own) if np.any(~out & own) else np.flatnonzero(~out)
        line = speech.fit_linear(self.windows[rows], labels_of(self.clips.rows(rows), task)[0])
        guesses = line(self.windows[out & own]).argmax(axis=1)
        tables = [metrics.confusion(labels, found, len(classes)) for found in (quick.argmax(axis=1), exact.argmax(axis=1), guesses)]
        return Score(
            task=task,
            clips=len(labels),
            uar=metrics.uar(tables[0]),
            accuracy=_accuracy(tables[0]),
            float_uar=metrics.uar(tables[1]),
            float_accuracy=_accuracy(tables[1]),
            agreement=float(np.mean(quick.argmax(axis=1) == exact.argmax(axis=1))),
            linear_uar=metrics.uar(tables[2]),
            majority=float(np.bincount(labels).max() / len(labels)),
            confusion=tables[0].tolist(),
            accuracy_by_person=metrics.by_person(labels, quick, judged.people),
        )


def _accuracy(table: np.ndarray) -> float:
    return float(np.trace(table) / table.sum())


def answers_of(model: Model, windows: np.ndarray) -> dict[str, np.ndarray]:
    """Every output of ``model`` for windows (n, frames, mels), one by one, as the device does."""
    rows = [model.run(log_mel=window) for window in windows]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def measure(
    data: pathlib.Path,
    work: pathlib.Path,
    *,
    seeds: collections.abc.Sequence[int],
    folds: int = FOLDS,
    only: collections.abc.Collection[int] | None = None,
    across: bool = True,
    schedule: Schedule = speech.SCHEDULE,
    say: Progress = lambda line: None,
) -> dict[str, typing.Any]:
    """Folds by speaker, each leaving out a group of both corpora, and networks that learnt from one corpus, tried on the other.

    Args:
        data: folder with ``emodb/`` and ``ravdess/``.
        work: folder for checkpoints and finished folds; a second call goes on where the first was cut.
        seeds: of the groups, the first weights and the augmentation.
        folds: groups of RAVDESS's actors, each left out once a seed.
        only: these folds alone, from 0; all if None.
        across: whether to try the corpora on each other.
        schedule: length and speed of each training.
        say: progress, a line at a time.
    """
    parameters = SpeechParameters()
    clips = speech.corpora(data)
    windows = kept_last_windows(clips, parameters, work)
    found: list[Fold] = []
    crossed: list[Fold] = []
    with contextlib.closing(Worker()) as worker:  # which starts at the first conversion, not beside the training
        bench = Bench(clips, windows, data, work, worker, schedule, say)
        for seed in seeds:
            for fold, left_out in enumerate(groups(clips.people, folds=folds, seed=seed)):
                if only is None or fold in only:
                    own = [corpus for corpus in speech.SHOWN if any(name.startswith(f"{corpus}-") for name in left_out)]
                    tasks = [*own, *(f"{corpus} quadrants" for corpus in own)]
                    found.append(bench.measure(seed=seed, fold=fold, left_out=left_out, tasks=tasks))
            for fold, corpus in enumerate(("emodb", "ravdess") if across else ()):
                left_out = tuple(np.unique(clips.people[speech.corpus_of(clips.people) == corpus]))
                crossed.append(bench.measure(seed=seed, fold=fold, left_out=left_out, tasks=(f"{corpus} quadrants",)))
    return {
        "seeds": list(seeds),
        "summary": summarize(found),
        "cross_corpus": summarize(crossed),
        "folds": [dataclasses.asdict(fold) for fold in found],
        "cross_corpus_runs": [dataclasses.asdict(fold) for fold in crossed],
    }


def summarize(folds: collections.abc.Sequence[Fold]) -> dict[str, dict[str, float]]:
    """Of each task: UAR of all clips of a seed taken together, mean and standard deviation over seeds; the same of all else."""
    made: dict[str, dict[str, float]] = {}
    for task in dict.fromkeys(score.task for fold in folds for score in fold.scores):
        own = [(fold.seed, score) for fold in folds for score in fold.scores if score.task == task]
        pooled = [
            metrics.uar(np.sum([np.array(score.confusion) for seed, score in own if seed == wanted], axis=0))
            for wanted in dict.fromkeys(seed for seed, _ in own)
        ]
        clips = np.array([score.clips for _, score in own])
        made[task] = {
            "uar": float(np.mean(pooled)),
            "uar_std_over_seeds": float(np.std(pooled)),
            "worst_fold_uar": min(score.uar for _, score in own),
            **{
                f"{name}_mean": float(np.average([getattr(score, name) for _, score in own], weights=clips))
                for name in ("uar", "float_uar", "accuracy", "float_accuracy", "agreement", "linear_uar", "majority")
            },
        }
    return made


def table(result: collections.abc.Mapping[str, typing.Any]) -> str:
    """``measure``'s result in Markdown."""
    lines = [
        "# Speech, by speaker",
        "",
        f"RAVDESS's actors left out in {FOLDS} groups, EmoDB's speakers one at a time; seeds {', '.join(map(str, result['seeds']))}; one",
        "network for both corpora; a clip is judged by the last window that the front gives. int8 in the device's interpreter. UAR: of all",
        "clips of a seed together, mean over seeds. The recipe was chosen by looking at twelve of the actors and six of EmoDB's speakers,",
        "left out in groups, so their figures flatter it a little.",
        "",
        "| task | UAR int8 | +- seeds | worst fold | mean of folds: int8 | float | agree | linear | accuracy | majority |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for title, part in (("", result["summary"]), ("from the other corpus: ", result["cross_corpus"])):
        for task, row in part.items():
            names = ("uar", "uar_std_over_seeds", "worst_fold_uar", "uar_mean", "float_uar_mean", "agreement_mean", "linear_uar_mean")
            cells = [f"{100 * row[name]:.1f} %" for name in (*names, "accuracy_mean", "majority_mean")]
            if len(result["seeds"]) < 2:
                cells[1] = "-"  # one seed has no spread
            lines.append(f"| {title}{task} | {' | '.join(cells)} |")
    lines += ["", "| seed | left out | kB | task | UAR int8 | float | agree | linear |", "|---|---|---|---|---|---|---|---|"]
    for fold in (*result["folds"], *result["cross_corpus_runs"]):
        whom = ", ".join(fold["left_out"]) if len(fold["left_out"]) <= 6 else f"all of {fold['left_out'][0].split('-')[0]}"
        for score in fold["scores"]:
            cells = [f"{100 * score[name]:.1f} %" for name in ("uar", "float_uar", "agreement", "linear_uar")]
            lines.append(f"| {fold['seed']} | {whom} | {fold['bytes'] / 1e3:.0f} | {score['task']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: collections.abc.Sequence[str] | None = None) -> int:
    """Measure and write OUT.json and, beside it, OUT.md; 0."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m convert.training.speech_folds", description=__doc__)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="folder with emodb and ravdess")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("work"), help="checkpoints; a second call goes on from there")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", type=int, nargs="+", help="these folds alone, from 0, and nothing across corpora")
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True, metavar="OUT.json")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT.json if it exists")
    args = parser.parse_args(arguments)
    if args.output.exists() and not args.overwrite:
        print(f"{args.output}: exists; name another file or say --overwrite", file=sys.stderr)
        return 2
    result = measure(
        args.data,
        args.work,
        seeds=args.seeds,
        only=args.only,
        across=args.only is None,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    args.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    args.output.with_suffix(".md").write_text(table(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
