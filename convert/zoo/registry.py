"""Every network of the zoo by name: the five published systems, whole and in stages, in all variants, and the classroom's own."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import itertools
import typing

import keras

from convert.zoo import av_attention, cnn_lstm, cnn_rnn, detector, edu_emotionnet, face, four_stream, fusion, inputs, physiology, speech

Kind = typing.Literal["whole", "encoder", "sequence", "fusion"]
"""whole: from signals to an answer; encoder: one modality, or one frame of it, to an embedding; sequence: embeddings over time to
one; fusion: embeddings of several modalities to an answer."""


@dataclasses.dataclass(frozen=True)
class Network:
    """One network that can be built, fed and converted."""

    name: str
    """System and stage or variant: "cnn_lstm/whole", "cnn_lstm/frame_encoder"."""
    paper: str
    """Where it is published."""
    build: collections.abc.Callable[..., keras.Model]
    """At the published or default size; keyword arguments set others."""
    samples: inputs.Draw
    """(generator, count) -> made-up inputs of the default size, in range: {input name: float32 (count, *shape)}."""
    kind: Kind


PAPERS = {
    "cnn_lstm": "CNN-LSTM facial emotion recognition for online learning, 2025",
    "av_attention": "Student emotion recognition from low-quality videos using multimodal deep learning, Jurnal Infotel",
    "four_stream": "Zhang & Leong, Intelligent emotional computing with deep convolutional neural networks, EJMSTE 21 (8), em2680, 2025",
    "cnn_rnn": "Basavaprasad & Chandrashekhar, Emotion recognition in online learning using CNNs and RNNs, IJECS 7 (2), 82-91, 2025",
    "edu_emotionnet": "Rafiuddin, Edu-EmotionNet: cross-modality attention alignment with temporal feedback loops, arXiv 2510.08802, 2025",
    "classroom": "affectkit; sources in convert/zoo/face.py, speech.py, physiology.py, detector.py and fusion.py",
}

STEPS, FACE = 10, (48, 48, 1)
LOG_MEL = inputs.log_mel(300, 40)


def _network(name: str, kind: Kind, build: collections.abc.Callable[..., keras.Model], **makers: inputs.Maker) -> Network:
    return Network(name, PAPERS[name.split("/")[0]], build, inputs.draw(**makers), kind)


def _classroom() -> collections.abc.Iterator[Network]:
    widths = edu_emotionnet.WIDTHS
    build = functools.partial(fusion.fusion, widths=widths, labels=speech.SPEECH_CLASSES)
    embeddings = {name: inputs.embeddings(size) for name, size in widths.items()}
    frame = inputs.images(detector.DETECTOR_HEIGHT_PX, detector.DETECTOR_WIDTH_PX, 1)
    yield _network("classroom/detector", "encoder", detector.face_detector, image=frame)
    yield _network("classroom/face", "encoder", face.face_encoder, face=inputs.images(*FACE))
    yield _network("classroom/speech", "encoder", speech.speech_encoder, log_mel=LOG_MEL)
    yield _network("classroom/physiology", "encoder", physiology.physiology_encoder, physiology=inputs.signals(60, 7))
    yield _network(
        "classroom/fusion",
        "fusion",
        build,
        **embeddings,
        mask=inputs.masks(len(widths)),
        previous=inputs.predictions(speech.SPEECH_CLASSES),
    )


def _cnn_lstm() -> collections.abc.Iterator[Network]:
    yield _network("cnn_lstm/whole", "whole", cnn_lstm.cnn_lstm, frames=inputs.clips(STEPS, *FACE))
    yield _network("cnn_lstm/frame_encoder", "encoder", cnn_lstm.frame_encoder, face=inputs.images(*FACE))
    yield _network("cnn_lstm/sequence_head", "sequence", cnn_lstm.sequence_head, embeddings=inputs.embedding_windows(STEPS, 2048))


def _av_attention() -> collections.abc.Iterator[Network]:
    whole = {"faces": inputs.clips(STEPS, *FACE), "log_mel": LOG_MEL, "mask": inputs.masks(2)}
    yield _network("av_attention/whole", "whole", av_attention.av_attention, **whole)
    yield _network("av_attention/frame_encoder", "encoder", av_attention.frame_encoder, face=inputs.images(*FACE))
    yield _network("av_attention/sequence_head", "sequence", av_attention.sequence_head, embeddings=inputs.embedding_windows(STEPS, 64))
    yield _network("av_attention/speech_encoder", "encoder", av_attention.speech_encoder, log_mel=LOG_MEL)
    stage = {"face": inputs.embeddings(64), "speech": inputs.embeddings(64), "mask": inputs.masks(2)}
    yield _network("av_attention/fusion", "fusion", av_attention.fusion, **stage)


def _four_stream() -> collections.abc.Iterator[Network]:
    streams = {
        "face": inputs.images(256, 256, 1),
        "physiology": inputs.signals(60, 2),
        "behaviour": inputs.counts(100),
        "interface": inputs.images(64, 64, 3),
    }
    for ending, compact in (("", False), ("_compact", True)):
        build = functools.partial(four_stream.four_stream, compact=compact)
        yield _network(f"four_stream/whole{ending}", "whole", build, **streams, mask=inputs.masks(4))
        build = functools.partial(four_stream.face_encoder, compact=compact)
        yield _network(f"four_stream/face_encoder{ending}", "encoder", build, face=streams["face"])
    yield _network("four_stream/physiology_encoder", "encoder", four_stream.physiology_encoder, physiology=streams["physiology"])
    yield _network("four_stream/behaviour_encoder", "encoder", four_stream.behaviour_encoder, behaviour=streams["behaviour"])
    yield _network("four_stream/interface_encoder", "encoder", four_stream.interface_encoder, interface=streams["interface"])
    embeddings = {name: inputs.embeddings(256 if name == "face" else 128) for name in four_stream.STREAMS}
    yield _network("four_stream/fusion", "fusion", four_stream.fusion, **embeddings, mask=inputs.masks(4))


def _cnn_rnn() -> collections.abc.Iterator[Network]:
    frames, embeddings = inputs.clips(STEPS, *FACE), inputs.embedding_windows(STEPS, 128)
    pixels = inputs.clips(STEPS, cnn_rnn.PIXELS, cnn_rnn.PIXELS, 1)

    def head(recurrent: str, attention: bool) -> tuple[str, dict[str, typing.Any]]:
        name = "cnn_only" if recurrent == "none" else f"{recurrent}_attention" if attention else recurrent
        return name, {"recurrent": recurrent, "attention": attention}

    heads = [head(*pair) for pair in (*itertools.product(("gru", "lstm", "bilstm"), (True, False)), ("none", False))]
    alone = [pair for pair in heads if not pair[1]["attention"] and pair[1]["recurrent"] != "none"]
    for backbone in cnn_rnn.TABLES:
        for name, options in heads:
            # The first is what the others are variants of.
            ending = "" if (backbone, name) == ("mobilenet_v2", "gru_attention") else f"_{backbone}_{name}"
            build = functools.partial(cnn_rnn.cnn_rnn, backbone=backbone, **options)
            yield _network(f"cnn_rnn/whole{ending}", "whole", build, frames=frames)
            build = functools.partial(cnn_rnn.cnn_rnn_speech, backbone=backbone, **options)
            yield _network(f"cnn_rnn/whole_speech_{backbone}_{name}", "whole", build, log_mel=LOG_MEL)
        build = functools.partial(cnn_rnn.frame_encoder, backbone=backbone)
        yield _network(f"cnn_rnn/frame_encoder_{backbone}", "encoder", build, face=inputs.images(*FACE))
        build = functools.partial(cnn_rnn.speech_encoder, backbone=backbone)
        yield _network(f"cnn_rnn/speech_encoder_{backbone}", "encoder", build, log_mel=LOG_MEL)
    build = functools.partial(cnn_rnn.frame_encoder, backbone="pixels")
    yield _network("cnn_rnn/frame_encoder_pixels", "encoder", build, face=inputs.images(*FACE))
    for name, options in heads:
        build = functools.partial(cnn_rnn.sequence_head, **options)
        yield _network(f"cnn_rnn/sequence_head_{name}", "sequence", build, embeddings=embeddings)
    for name, options in alone:
        build = functools.partial(cnn_rnn.cnn_rnn, backbone="pixels", **options)
        yield _network(f"cnn_rnn/whole_rnn_only_{name}", "whole", build, frames=frames)
        build = functools.partial(cnn_rnn.sequence_head, features=cnn_rnn.PIXELS**2, **options)
        yield _network(f"cnn_rnn/sequence_head_rnn_only_{name}", "sequence", build, embeddings=inputs.flattened(pixels))


def _edu_emotionnet() -> collections.abc.Iterator[Network]:
    widths = {**edu_emotionnet.WIDTHS, "behaviour": 128}
    steps, classes = 8, len(edu_emotionnet.EDU_EMOTIONNET_CLASSES)
    for count in (2, 3, 4):
        names = tuple(widths)[:count]
        ending = "" if names == tuple(edu_emotionnet.WIDTHS) else f"_{count}"
        state = {"mask": inputs.mask_windows(steps, count), "previous": inputs.predictions(classes)}
        build = functools.partial(edu_emotionnet.edu_emotionnet, widths={name: widths[name] for name in names})
        windows = {name: inputs.embedding_windows(steps, widths[name]) for name in names}
        yield _network(f"edu_emotionnet/whole{ending}", "whole", build, **windows, **state)
        build = functools.partial(edu_emotionnet.fusion, names=names)
        windows = {name: inputs.embedding_windows(steps, 32) for name in names}
        yield _network(f"edu_emotionnet/fusion{ending}", "fusion", build, **windows, **state)
    for name, size in widths.items():
        build = functools.partial(edu_emotionnet.encoder, name, features=size)
        yield _network(f"edu_emotionnet/{name}_encoder", "encoder", build, **{name: inputs.embeddings(size)})


NETWORKS: dict[str, Network] = {
    network.name: network
    for networks in (_classroom(), _cnn_lstm(), _av_attention(), _four_stream(), _cnn_rnn(), _edu_emotionnet())
    for network in networks
}
"""All of them, the classroom's first."""
