"""The one step that others do as well: a frame in, faces out. On the same frames, one thread each.

    python -m benchmarks.cycle_detectors NAME WORK FRAMES.npy    reads "run" or "answers FILE"; as ``benchmarks.cycle_child``

MediaPipe runs in an environment of its own (it asks for numpy 1), so this file imports nothing of affectkit on its way.
"""

from __future__ import annotations

import gc
import json
import os
import pathlib
import sys
import time

import numpy as np

NOTHING = (np.nan,) * 4
NAMES = ("detector, LiteRT", "detector, ONNX Runtime float", "detector, OpenCV DNN float", "OpenCV cascade", "MediaPipe BlazeFace")


def make(name, work):
    """A function: uint8 frame (h, w) -> x0, y0, x1, y1 of the largest face in pixels, or None."""
    if name == "MediaPipe BlazeFace":
        return mediapipe()
    if name == "OpenCV cascade":
        from edge.inference.cascade import Cascade

        return largest(Cascade())
    from edge import load_bundle
    from edge.embedded import BUNDLE
    from edge.preprocess.detection import Detector, DetectorParameters

    bundle = load_bundle(BUNDLE)
    if name == "detector, LiteRT":
        from edge.compose import _detector  # as the runtime has it
        from edge.inference.model import Model

        spec = bundle.manifest.stages["detector"]
        model = Model(bundle.stage("detector"), name="detector", inputs=spec.inputs, outputs=spec.outputs)
        return largest(_detector(bundle, {"detector": model}))
    if name == "detector, ONNX Runtime float":
        from benchmarks.cycle_onnx import OrtStage

        run = one_input(OrtStage(work / "detector.float.onnx"))
    else:
        run = opencv(work / "detector.float.onnx")
    return largest(Detector(DetectorParameters(**bundle.manifest.preprocess["detector"]), run))


def one_input(stage):
    """A stage as a function of the picture."""
    return lambda image: stage.run(image=image)


def largest(detect):
    """Of what a detector of ours finds."""

    def found(frame):
        boxes = detect(frame)
        return boxes[int(np.argmax(boxes[:, 2] - boxes[:, 0])), :4] if len(boxes) else None

    return found


def opencv(path):
    """The bundle's detector in OpenCV's own DNN module."""
    import cv2

    cv2.setNumThreads(1)
    net = cv2.dnn.readNetFromONNX(str(path))
    names = [f"{kind}_{stride}" for stride in (8, 16) for kind in ("scores", "boxes")]

    def run(image):
        net.setInput(image[None])
        return {name: output[0] for name, output in zip(names, net.forward(names), strict=True)}

    return run


def mediapipe():
    """The short-range BlazeFace that comes with MediaPipe 0.10.21."""
    import mediapipe as mp

    detector = mp.solutions.face_detection.FaceDetection(model_selection=0, min_detection_confidence=0.5)

    def found(frame):
        faces = detector.process(np.ascontiguousarray(np.repeat(frame[..., None], 3, axis=2))).detections
        if not faces:
            return None
        box = max((face.location_data.relative_bounding_box for face in faces), key=lambda one: one.width)
        height, width = frame.shape
        return box.xmin * width, box.ymin * height, (box.xmin + box.width) * width, (box.ymin + box.height) * height

    return found


def main(arguments):
    name, work, path = arguments
    frames = np.load(path)
    detect = make(name, pathlib.Path(work))
    answers = sys.stdout  # libraries that print must not disturb it
    sys.stdout = sys.stderr
    print(json.dumps({"ready": name}), file=answers, flush=True)
    for line in sys.stdin:
        told, _, target = line.strip().partition(" ")
        if told == "answers":
            boxes = [detect(frame) for frame in frames]
            np.save(target, np.array([NOTHING if box is None else tuple(box) for box in boxes], np.float32))
            print(json.dumps({"answers": target}), file=answers, flush=True)
            continue
        gc.collect()
        began_s = time.process_time()
        for frame in frames:
            detect(frame)
        print(json.dumps({"cpu_s": time.process_time() - began_s}), file=answers, flush=True)
    answers.flush()
    os._exit(0)  # MediaPipe's threads may not end


if __name__ == "__main__":
    main(sys.argv[1:])
