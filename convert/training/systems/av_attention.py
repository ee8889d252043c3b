"""Recipe of ``av_attention``: face and voice for videos of low quality, the seven basic emotions.

The frame encoder learns from FER2013 stills made worse (covered, small, blurred, compressed, dim), the BiLSTM from RAVDESS and
EmoDB by speaker; both with a head that is thrown away. Sequence head and attention fusion then learn together on embeddings of
faces and speakers that the encoders never saw, as constructed companions with modalities missing.

*Interpretation*: the paper trains on DAiSEE and RAVDESS; DAiSEE is not at hand, so the label space is the seven basic emotions
(RAVDESS's calm counts as neutral, EmoDB's boredom is left out), and a clip of ten frames is made of one still, moved a little.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import pathlib

import keras
import numpy as np

from convert.training import face, speech, speech_forms
from convert.training.datasets.fer2013 import FER_CLASSES, Faces
from convert.training.datasets.speech import EMOTIONS, Clips
from convert.training.datasets.speech import LABELS as QUADRANTS
from convert.training.fit import Batch, Schedule, fit, weights_digest
from convert.training.systems import fused
from convert.training.systems.companions import Companions, Takes, draw, require_apart
from convert.training.systems.system import Judged, Paper, Runners, Say, Score, Trained, renamed, scaled, terms
from convert.zoo import av_attention as zoo
from edge.preprocess.face import FaceParameters
from edge.preprocess.speech import SpeechParameters

NAME = "av_attention"
LABELS = FER_CLASSES
STEPS, STEP_MS = 10, 250
FER_OF = {"happy": "happy", "surprised": "surprise", "neutral": "neutral", "calm": "neutral", "sad": "sad", "angry": "angry",
          "fearful": "fear", "disgust": "disgust"}  # fmt: skip
"""Emotion of the speech sets -> FER2013's word; boredom has none."""
FRAMES = Schedule(epochs=20, batch=128, learning_rate=4e-3, weight_decay=1e-3)
VOICE = Schedule(epochs=60, batch=64, learning_rate=4e-3, weight_decay=2e-2, warmup_epochs=1)
FUSION = Schedule(epochs=8, batch=128, learning_rate=3e-3, weight_decay=2e-2)
VOICE_DRAWS_PER_CLIP, FUSION_DRAWS = 1.5, 8192
VERSIONS = 3
SEEDS = 3
PAPER = Paper(
    "Student emotion recognition from low-quality videos using multimodal deep learning, Jurnal Infotel",
    "not known here (the abstract gives none)",
    "DAiSEE and RAVDESS with occlusion and degradation added; how they were split is not known here",
)


def labels_of(clips: Clips) -> np.ndarray:
    """int (clips,) into ``LABELS``, -1 for an emotion that is not among them."""
    return np.array([LABELS.index(FER_OF[str(word)]) if str(word) in FER_OF else -1 for word in clips.emotions], int)


def fusion_stage(*, steps: int = STEPS, classes: int = len(LABELS)) -> keras.Model:
    """``face`` (steps, 64), ``speech`` (64,), ``mask`` (2,) -> ``logits`` (classes,), ``weights`` (2,): sequence head and attention."""
    head, fusion = zoo.sequence_head(steps=steps), zoo.fusion(classes=classes)
    faces = keras.Input((steps, 64), name="face")
    voice, mask = keras.Input((64,), name="speech"), keras.Input((2,), name="mask")
    answer = fusion([head(faces), voice, mask])
    return keras.Model([faces, voice, mask], {name: answer[name] for name in ("logits", "weights")}, name="fusion")


def fusion_inputs(drawn: Companions) -> dict[str, np.ndarray]:
    """All frames, the newest window of speech, and what of the two is there now; as on the device, a face that is gone takes its
    past with it."""
    mask = drawn.mask[:, -1]
    return {"face": drawn.inputs["face"] * mask[:, :1, None], "speech": drawn.inputs["speech"][:, -1], "mask": mask}


def answer(runners: Runners) -> fused.Answer:
    """Logits at the last step of each sequence."""
    return lambda drawn: Judged(drawn.labels[:, -1], runners["fusion"](fusion_inputs(drawn))["logits"])


def train_frames(learn: Faces, check: Faces, work: pathlib.Path, *, seed: int, scale: float) -> keras.Model:
    """The frame encoder, taught on stills of which half are made worse."""
    keras.utils.set_random_seed(seed)
    encoder = zoo.frame_encoder()
    targets = np.eye(len(LABELS), dtype=np.float32)[learn.labels]
    schedule = dataclasses.replace(FRAMES, epochs=scaled(FRAMES.epochs, scale))
    fit(
        keras.Model(encoder.input, keras.layers.Dense(len(LABELS), activation="softmax", name="head")(encoder.output)),
        lambda rows, rng: (face.augment(learn.images[rows], rng, spoilt=0.5), targets[rows]),
        rows=len(learn.labels),
        schedule=schedule,
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.05),
        metrics=["accuracy"],
        validation=(face.normalize(check.images), np.eye(len(LABELS))[check.labels]),
        name=f"{NAME}-face-seed{seed}-epochs{schedule.epochs}",
        work=work,
        seed=seed,
    )
    return encoder


def train_voice(data: pathlib.Path, people: collections.abc.Collection[str], work: pathlib.Path, *, seed: int, scale: float) -> keras.Model:
    """The BiLSTM encoder, taught as the classroom's (``convert.training.speech``): emotions of both corpora, and quadrants."""
    keras.utils.set_random_seed(seed)
    p = SpeechParameters()
    encoder = zoo.speech_encoder(frames=p.frames, mels=p.mels)
    schedule = dataclasses.replace(VOICE, epochs=scaled(VOICE.epochs, scale))
    name = f"{NAME}-speech-seed{seed}-epochs{schedule.epochs}"
    make, rows = None, 0
    if not (work / f"{name}.done.weights.h5").exists():
        clips = fused.corpora_of(data)
        chosen = np.flatnonzero(np.isin(clips.people, sorted(people)))
        forms = speech_forms.kept_forms(clips, p, work)
        make, rows = speech.batches(clips.rows(chosen), [forms[i] for i in chosen], p), round(VOICE_DRAWS_PER_CLIP * len(chosen))
    fit(
        keras.Model(encoder.input, keras.layers.Dense(len(EMOTIONS) + len(QUADRANTS), name="head")(encoder.output)),
        make or (lambda rows, rng: ((), ())),
        rows=rows,
        schedule=schedule,
        loss=speech.loss,
        name=name,
        work=work,
        seed=seed,
    )
    return encoder


def train_fusion(takes: collections.abc.Mapping[str, Takes], work: pathlib.Path, *, seed: int, scale: float, name: str = "") -> keras.Model:
    """Sequence head and attention, taught on companions with frames, faces and voices missing, late, or just begun."""
    keras.utils.set_random_seed(seed)
    stage = fusion_stage()
    schedule = dataclasses.replace(FUSION, epochs=scaled(FUSION.epochs, scale))

    def make(rows: np.ndarray, rng: np.random.Generator) -> Batch:
        drawn = draw(
            takes, len(rows), STEPS, rng, classes=len(LABELS), rate=None, pattern=None, stale_rate=0.2, switch_rate=0.1, young_rate=0.2,
            history=STEPS - 1,
        )  # fmt: skip
        inputs = fusion_inputs(drawn)
        for modality in takes:
            inputs[modality] = (inputs[modality] * rng.normal(1.0, 0.1, inputs[modality].shape)).astype(np.float32)
        return inputs, np.eye(len(LABELS), dtype=np.float32)[drawn.labels[:, -1]]

    fit(
        keras.Model(stage.input, keras.layers.Softmax()(stage.output["logits"])),
        make,
        rows=FUSION_DRAWS,
        schedule=schedule,
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.05),
        metrics=["accuracy"],
        name=f"{NAME}-fusion{name}-seed{seed}-epochs{schedule.epochs}",
        work=work,
        seed=seed,
    )
    return stage


def judged_takes(data: pathlib.Path, *, learnt: collections.abc.Mapping[str, collections.abc.Sequence[str]], seed: int) -> dict[str, Takes]:
    """Encoder inputs of everybody who was left out."""
    faces, split = fused.scored_faces(data, seed)
    clips = fused.corpora_of(data)
    own = clips.of(fused.unknown(clips.people, learnt["speech"], data, "speech"))
    return {
        "face": fused.face_takes(faces, split, versions=VERSIONS, seed=seed),
        "speech": fused.speech_takes(own, labels_of(own), SpeechParameters()),
    }


def judge(data: pathlib.Path, *, learnt: collections.abc.Mapping[str, collections.abc.Sequence[str]], seed: int) -> Score:
    """Read what was left out once; the score can then be asked of any runners."""
    takes = judged_takes(data, learnt=learnt, seed=seed)
    faces, split = fused.scored_faces(data, seed)
    worse = fused.spoilt_faces(faces, split, seed=seed)

    def score(runners: Runners) -> dict[str, Judged]:
        seen = fused.embedded(takes, runners)
        judged = fused.tasks(seen, answer(runners), classes=len(LABELS), steps=STEPS, seed=seed)
        for words, one in worse.items():
            bad = fused.embedded({"face": one}, runners)
            for what, there in (("with speech", ("face", "speech")), ("face alone", ("face",))):
                drawn = draw(seen | bad, fused.COMPANIONS, STEPS, np.random.default_rng((seed, 99)), classes=len(LABELS), only=there)
                judged[f"{words}, {what}"] = answer(runners)(drawn)
        return judged

    return score


def recipe(data: pathlib.Path, work: pathlib.Path, *, seed: int, say: Say, epochs_scale: float = 1.0) -> Trained:
    """Train encoders and fusion; about twelve minutes of one core.

    Raises:
        InputError: a set is missing.
    """
    p = SpeechParameters()
    clips = fused.corpora_of(data)
    split = speech.split_people(clips.people, seed)
    people = fused.lend(split.learn, split.fusion, lender="learn")
    learn_faces, held = face.split_training(data, seed)
    cut = len(held.labels) - min(fused.TEMPER_FACES, len(held.labels) // 2)
    parts = {"fusion": slice(0, cut), "temper": slice(cut, None)}
    say("frame encoder")
    check = Faces(held.images[parts["temper"]], held.labels[parts["temper"]])
    frames = train_frames(learn_faces, check, work, seed=seed, scale=epochs_scale)
    say("speech encoder")
    voice = train_voice(data, people.learn, work, seed=seed, scale=epochs_scale)
    networks = {"face": renamed(frames, outputs=["embedding"], name="face"), "speech": renamed(voice, outputs=["embedding"], name="speech")}
    say("material for the fusion")
    raw: dict[str, dict[str, Takes]] = {}
    for group, speakers in (("fusion", people.fusion), ("temper", people.temper)):
        own = clips.of(speakers)
        faces = Faces(held.images[parts[group]], held.labels[parts[group]])
        raw[group] = {
            "face": fused.face_takes(faces, f"held-{group}", versions=VERSIONS, seed=seed),
            "speech": fused.speech_takes(own, labels_of(own), p),
        }
    learnt = {"speech": people.all}
    floats = fused.float_runners(networks)
    pools = fused.embedded(raw["fusion"], floats)
    judges = fused.embedded(judged_takes(data, learnt=learnt, seed=seed), floats)
    require_apart(pools, judges)
    say("fusion")
    told = f"-{weights_digest(*networks.values())}"
    every = [train_fusion(pools, work, seed=seed + i, scale=epochs_scale, name=told) for i in range(SEEDS)]
    networks["fusion"] = every[0]
    asked = draw(judges, fused.COMPANIONS, STEPS, np.random.default_rng((seed, 0)), classes=len(LABELS))
    runs = [answer(fused.float_runners({"fusion": one}))(asked) for one in every]
    say("fusion split at random, for comparison")
    known, rest = fused.halves(judges, seed)
    leaky = train_fusion(known, work, seed=seed, scale=epochs_scale, name=f"{told}-random")
    drawn = draw(rest, fused.COMPANIONS, STEPS, np.random.default_rng((seed, 0)), classes=len(LABELS))
    random = answer(fused.float_runners({"fusion": leaky}))(drawn)
    given = {name: fused.rows_of(one, 600, name) for name, one in raw["fusion"].items()}
    verify = {name: fused.rows_of(one, 600, name) for name, one in raw["temper"].items()}

    def companions_of(group: str, count: int, runners: Runners) -> Companions:
        rng = np.random.default_rng((seed, len(group), count))
        own = fused.embedded(raw[group], runners)
        return draw(own, count, STEPS, rng, classes=len(LABELS), rate=None, pattern=None, stale_rate=0.2)

    def inputs_of(group: str, count: int) -> collections.abc.Callable[[Runners], dict[str, np.ndarray]]:
        return lambda runners: fusion_inputs(companions_of(group, count, runners))

    def temper(runners: Runners) -> Judged:
        return answer(runners)(companions_of("temper", 1500, runners))

    return Trained(
        name=NAME,
        labels=LABELS,
        summary="Seven basic emotions from a face over 2.5 seconds and from speech, either of which may be missing.",
        networks=networks,
        calibration={**given, "fusion": inputs_of("fusion", 1000)},
        verification={**verify, "fusion": inputs_of("temper", 1500)},
        preprocess={
            "face": dataclasses.asdict(FaceParameters()),
            "speech": dataclasses.asdict(p),
            "fusion": {"step_ms": STEP_MS, "steps": STEPS},
        },
        learnt_people=learnt,
        terms=terms("FER2013", "RAVDESS", "EmoDB"),
        people=_who(people),
        paper=PAPER,
        score=judge(data, learnt=learnt, seed=seed),
        temper=temper,
        seed=seed,
        baselines=fused.linear_rows(pools, judges, classes=len(LABELS), steps=STEPS, seed=seed),
        other_splits=(fused.figures("fusion learnt and scored on other pictures and clips of the same people, split at random", random),),
        spread=(fused.spread("the fusion over seeds, encoders shared, float, everything present", runs),),
        notes=(
            "Constructed companions: a picture of FER2013, moved a little from step to step, and a clip of RAVDESS or EmoDB with the "
            "same label, of different people.",
            "The paper's classes are those of DAiSEE, which is not at hand; ours are the seven basic emotions, so that its figures and "
            "ours are not of the same task.",
        ),
        epochs_scale=epochs_scale,
        lstm_form="fused",
    )


def _who(people: fused.Groups) -> tuple[str, ...]:
    return (
        "FER2013 (names no people): Training without duplicates for the encoder, 2 500 of it held back for fusion and temperature; "
        f"scored on {fused.SCORED_FACES} pictures of PublicTest",
        f"RAVDESS and EmoDB by speaker: {len(people.learn)} for the encoder, {len(people.fusion)} for the fusion, {len(people.temper)} for "
        "the temperature; scored on the others",
    )
