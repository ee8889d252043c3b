"""Recipe of the face detector: composed scenes, focal loss on scores, smooth L1 and overlap loss on squares."""

from __future__ import annotations

import math
import pathlib

import keras
import numpy as np
import tensorflow as tf

from convert.training.datasets import require
from convert.training.datasets.fer2013 import FER_SIZE_PX, fer2013
from convert.training.fit import Schedule, fit
from convert.training.scenes import Scenes, Tiles, compose_many
from convert.zoo.detector import face_detector
from edge.preprocess.detection import DetectorParameters, decode, overlap, suppress

SCHEDULE = Schedule(epochs=30, batch=32, learning_rate=4e-3, weight_decay=1e-3)
SCENES = 16_000
PARAMETERS = DetectorParameters()
TEACHER_SIDE = 1.17
"""Side of a FER2013 tile over the root of a teacher box's area: the median over FER2013 Training on grey ground."""

_FINE_BELOW_PX, _COARSE_ABOVE_PX = 44.0, 32.0
_FOCAL_ALPHA, _FOCAL_GAMMA = 0.3, 2.0


def vetted_tiles(data: pathlib.Path, split: str, work: pathlib.Path) -> Tiles:
    """FER2013 tiles in which a published detector sees one face too, and the square that it sees.

    FER2013 holds drawings, blanks and heads turned away, and its squares vary: the teacher (Ultra-Light-Fast RFB-320, MIT,
    local use only) drops the first and refines the second. Nothing of it is kept but which tiles, and where.
    Kept in ``work``; about a minute for Training.
    """
    kept = work / f"detector-tiles-{split}.npz"
    images = fer2013(data, split).images
    if not kept.exists():
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, 1
        path = require(data / "models" / "face_detector" / "version-RFB-320.onnx", "the teacher detector")
        teacher = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        squares = np.zeros((len(images), 3), np.float32)
        for first in range(0, len(images), 12):
            squares[first : first + 12] = _teach(teacher, images[first : first + 12])
        work.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(kept, squares=squares)
    with np.load(kept) as table:
        squares = table["squares"]
    good = squares[:, 2] > 0
    return Tiles(images[good], squares[good])


def _teach(teacher, images: np.ndarray) -> np.ndarray:
    """Up to 12 tiles in one 240x320 picture -> squares (n, 3) in tile pixels, side 0 where the teacher is not convinced."""
    border = 16
    cell = FER_SIZE_PX + 2 * border
    sheet = np.full((3 * cell, 4 * cell), 127, np.float32)
    for i, image in enumerate(images):
        top, left = (i // 4) * cell + border, (i % 4) * cell + border
        sheet[top : top + FER_SIZE_PX, left : left + FER_SIZE_PX] = image
    planes = np.repeat(((sheet - 127.0) / 128.0)[None, None], 3, axis=1)
    scores, boxes = teacher.run(["scores", "boxes"], {"input": planes})
    scores, boxes = scores[0, :, 1], boxes[0] * np.array([4 * cell, 3 * cell] * 2, np.float32)
    squares = np.zeros((len(images), 3), np.float32)
    for i in range(len(images)):
        origin = np.array([(i % 4) * cell + border, (i // 4) * cell + border], np.float32)
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2 - origin
        inside = np.where(np.all((centres > 0) & (centres < FER_SIZE_PX), axis=1), scores, 0.0)
        best = int(np.argmax(inside))
        side = TEACHER_SIDE * float(np.sqrt(np.prod(boxes[best, 2:] - boxes[best, :2])))
        if inside[best] > 0.8 and 32.0 < side < 62.0 and np.abs(centres[best] - FER_SIZE_PX / 2).max() < 8.0:
            squares[i] = *centres[best], side
    return squares


def composed(data: pathlib.Path, work: pathlib.Path, *, split: str, count: int, seed: int) -> Scenes:
    """Scenes of one FER2013 split, composed once and kept in ``work`` (19 kB a scene)."""
    kept = work / f"detector-scenes-{split}-{count}-seed{seed}.npz"
    if not kept.exists():
        scenes = compose_many(vetted_tiles(data, split, work), count, seed=seed)
        beside = kept.with_name(f"writing-{kept.name}")
        np.savez(beside, images=scenes.images, squares=scenes.squares)
        beside.replace(kept)
    with np.load(kept) as table:
        return Scenes(table["images"], table["squares"])


def cells(parameters: DetectorParameters = PARAMETERS) -> np.ndarray:
    """float32 (cells, 4): middle x and y, stride, side at 0, of every cell in the order of the training head."""
    rows = []
    for stride, side in zip(parameters.strides_px, parameters.sides_px, strict=True):
        height, width = parameters.cells(stride)
        y, x = np.mgrid[:height, :width]
        middles = ((x.ravel() + 0.5) * stride, (y.ravel() + 0.5) * stride)
        rows.append(np.stack([*middles, np.full(x.size, stride), np.full(x.size, side)], axis=1))
    return np.concatenate(rows).astype(np.float32)


def targets(squares: np.ndarray, parameters: DetectorParameters = PARAMETERS) -> np.ndarray:
    """What each cell should say.

    A cell is a face's if its middle lies within 0.55 of its stride, or 0.18 of the face's side, of the face's middle, and its
    grid is for that size (fine below 44 px, coarse above 32); around that, and for sizes between, cells count for nothing.

    Args:
        squares: (n, faces, 3) centre x, y, side; side 0 = none.
        parameters: of the detector.

    Returns:
        float32 (n, cells, 4): 1 face, 0 none, -1 either; offset x, y from the cell's middle in px; side in px.
    """
    grid = cells(parameters)
    x, y, side = (squares[..., k][:, :, None] for k in range(3))  # (n, faces, 1)
    stride = grid[None, None, :, 2]
    away = np.maximum(np.abs(grid[None, None, :, 0] - x), np.abs(grid[None, None, :, 1] - y))
    fine = stride == parameters.strides_px[0]
    there = side > 0
    sized = np.where(fine, side < _FINE_BELOW_PX, side > _COARSE_ABOVE_PX) & (side >= 9.0)
    nearly = np.where(fine, side < 1.5 * _FINE_BELOW_PX, side > _COARSE_ABOVE_PX / 1.5)
    seen_x = np.minimum(x + side / 2, parameters.width_px) - np.maximum(x - side / 2, 0)
    seen_y = np.minimum(y + side / 2, parameters.height_px) - np.maximum(y - side / 2, 0)
    whole = seen_x * seen_y > 0.6 * side**2
    core = there & sized & whole & (away <= np.minimum(np.maximum(0.55 * stride, 0.18 * side), 1.3 * stride))
    either = there & nearly & (away <= np.maximum(0.4 * side, 0.9 * stride))
    result = np.zeros((len(squares), len(grid), 4), np.float32)
    result[..., 0] = np.where(core.any(axis=1), 1.0, np.where(either.any(axis=1), -1.0, 0.0))
    nearest = np.where(core, away / np.maximum(side, 1.0), np.inf).argmin(axis=1)
    chosen = np.take_along_axis(squares, nearest[..., None], axis=1)
    result[..., 1] = chosen[..., 0] - grid[None, :, 0]
    result[..., 2] = chosen[..., 1] - grid[None, :, 1]
    result[..., 3] = np.maximum(chosen[..., 2], 1.0)
    return result


@keras.saving.register_keras_serializable(package="affectkit")
def detection_loss(y_true, y_pred):
    """Focal loss (Lin et al., 2017, equation 5) on scores plus, on faces, smooth L1 of the square in units of its side and 1 - IoU.

    Args:
        y_true: (n, cells, 4) as ``targets`` gives.
        y_pred: (n, cells, 4) score logit, then the three box outputs in [-1, 1].
    """
    label, dx, dy, side = (y_true[..., k] for k in range(4))
    grid = cells()
    logit = y_pred[..., 0]
    face = tf.cast(label > 0.5, tf.float32)
    counts = tf.cast(label > -0.5, tf.float32)
    probability = tf.sigmoid(logit)
    cross = tf.nn.sigmoid_cross_entropy_with_logits(labels=face, logits=logit)
    miss = face * (1 - probability) + (1 - face) * probability
    weight = face * _FOCAL_ALPHA + (1 - face) * (1 - _FOCAL_ALPHA)
    focal = tf.reduce_sum(counts * weight * miss**_FOCAL_GAMMA * cross)
    ours_x = y_pred[..., 1] * PARAMETERS.reach_cells * grid[:, 2]
    ours_y = y_pred[..., 2] * PARAMETERS.reach_cells * grid[:, 2]
    ours = grid[:, 3] * tf.exp(y_pred[..., 3] * (PARAMETERS.reach_octaves * math.log(2.0)))
    apart = tf.stack([(ours_x - dx) / side, (ours_y - dy) / side, tf.math.log(ours / side)], axis=-1)
    size = tf.abs(apart)
    smooth = tf.reduce_sum(tf.where(size < 0.1, 5.0 * size**2, size - 0.05), axis=-1)
    shared_x = tf.nn.relu(tf.minimum(ours_x + ours / 2, dx + side / 2) - tf.maximum(ours_x - ours / 2, dx - side / 2))
    shared_y = tf.nn.relu(tf.minimum(ours_y + ours / 2, dy + side / 2) - tf.maximum(ours_y - ours / 2, dy - side / 2))
    shared = shared_x * shared_y
    iou = shared / (ours**2 + side**2 - shared)
    boxes = tf.reduce_sum(face * (smooth + 0.5 * (1.0 - iou)))
    total = (2.0 * focal + boxes) / tf.maximum(tf.reduce_sum(face), 1.0)
    return tf.fill(tf.shape(label)[:1], total)


def augment(images: np.ndarray, squares: np.ndarray, rng: np.random.Generator) -> tuple[tf.Tensor, np.ndarray]:
    """Scenes moved, zoomed, mirrored, dimmed, made noisy.

    Args:
        images: uint8 (n, 120, 160).
        squares: float32 (n, faces, 3).
        rng: source of every random choice.

    Returns:
        float32 (n, 120, 160, 1) in [-1, 1] and the squares moved with them.
    """
    n, height, width = images.shape
    x = tf.constant(images[..., None].astype(np.float32) / 127.5 - 1.0)
    zoom = np.exp(rng.uniform(np.log(0.75), np.log(1.35), n)).astype(np.float32)
    mirror = rng.choice(np.array([-1.0, 1.0], np.float32), n)
    # middle of the part shown: anywhere while zoomed in, near the middle while zoomed out
    slack = np.maximum(1 - 1 / zoom, 0.08)
    cx = width / 2 * (1 + slack * np.asarray(rng.uniform(-1, 1, n), np.float32))
    cy = height / 2 * (1 + slack * np.asarray(rng.uniform(-1, 1, n), np.float32))
    rows = np.zeros((n, 8), np.float32)
    rows[:, 0], rows[:, 4] = mirror / zoom, 1 / zoom
    # Pixel i has its middle at i + 1/2: input = centre + (output - middle) / zoom
    rows[:, 2] = cx - 0.5 - (width / 2 - 0.5) * rows[:, 0]
    rows[:, 5] = cy - 0.5 - (height / 2 - 0.5) * rows[:, 4]
    x = tf.raw_ops.ImageProjectiveTransformV3(
        images=x, transforms=rows, output_shape=[height, width], interpolation="BILINEAR", fill_mode="CONSTANT", fill_value=0.0
    )
    moved = squares.copy()
    moved[..., 0] = (squares[..., 0] - cx[:, None]) * (zoom * mirror)[:, None] + width / 2
    moved[..., 1] = (squares[..., 1] - cy[:, None]) * zoom[:, None] + height / 2
    moved[..., 2] = squares[..., 2] * zoom[:, None]
    gain = np.exp(rng.normal(0.0, 0.2, (n, 1, 1, 1))).astype(np.float32)
    offset = rng.normal(0.0, 0.12, (n, 1, 1, 1)).astype(np.float32)
    x = x * gain + offset
    if rng.random() < 0.5:
        x = x + rng.uniform(0, 0.06) * rng.standard_normal(x.shape, np.float32)
    return tf.clip_by_value(x, -1.0, 1.0), moved


def training_head(model: keras.Model) -> keras.Model:
    """The detector with one output (cells, 4): score logit, then the box outputs, for the loss."""
    grids = []
    for stride in PARAMETERS.strides_px:
        logit, boxes = model.get_layer(f"logits_{stride}").output, model.output[f"boxes_{stride}"]
        grids.append(keras.layers.Reshape((-1, 4))(keras.layers.Concatenate()([logit, boxes])))
    return keras.Model(model.input, keras.layers.Concatenate(axis=1)(grids))


def recall_and_false_alarms(
    outputs: dict[str, np.ndarray], squares: np.ndarray, parameters: DetectorParameters, *, overlap_at_least: float = 0.5
) -> tuple[float, float, float]:
    """Recall, precision, and false alarms per scene, of grids (n, ...) against squares (n, faces, 3), one to one, strongest first.

    Faces under 12 px or less than 60 % in view are neither hits nor misses.
    """
    hits = alarms = faces = 0
    for i, truth in enumerate(squares):
        found = decode(parameters, {name: grid[i] for name, grid in outputs.items()})
        found = suppress(found, overlap_at_most=parameters.overlap_at_most, most=parameters.most_faces)
        truth = truth[truth[:, 2] > 0]
        boxes = np.concatenate([truth[:, :2] - truth[:, 2:] / 2, truth[:, :2] + truth[:, 2:] / 2], axis=1)
        limit = np.array([parameters.width_px, parameters.height_px] * 2, np.float32)
        seen = np.prod((np.minimum(boxes, limit)[:, 2:] - np.maximum(boxes, 0)[:, :2]).clip(0), axis=1) / truth[:, 2] ** 2
        asked = (seen > 0.6) & (truth[:, 2] >= 12.0)
        match = overlap(found, boxes)
        free = np.ones(len(boxes), bool)
        for k in range(len(found)):
            row = np.where(free, match[k], 0.0) if len(boxes) else np.zeros(1)
            if np.max(row) >= overlap_at_least:
                free[np.argmax(row)] = False
                hits += int(asked[np.argmax(row)])
            else:
                alarms += 1
        faces += int(asked.sum())
    return hits / max(1, faces), hits / max(1, hits + alarms), alarms / max(1, len(squares))


def train(data: pathlib.Path, work: pathlib.Path, *, seed: int, schedule: Schedule = SCHEDULE, scenes: int = SCENES) -> keras.Model:
    """The trained face detector; on two CPU cores about 45 s an epoch."""
    keras.utils.set_random_seed(seed)
    learn = composed(data, work, split="Training", count=scenes, seed=seed)
    check = composed(data, work, split="PublicTest", count=1000, seed=seed)
    model = face_detector()

    def make(rows: np.ndarray, rng: np.random.Generator) -> tuple[object, object]:
        images, squares = augment(learn.images[rows], learn.squares[rows], rng)
        return images, targets(squares)

    fit(
        training_head(model),
        make,
        rows=len(learn.images),
        schedule=schedule,
        loss=detection_loss,
        validation=(check.images[..., None].astype(np.float32) / 127.5 - 1.0, targets(check.squares)),
        name=f"detector-seed{seed}-epochs{schedule.epochs}-scenes{scenes}",
        work=work,
        seed=seed,
    )
    return model
