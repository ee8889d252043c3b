"""One training loop for every recipe: seeded, resumable at each epoch, with progress."""

from __future__ import annotations

import collections.abc
import dataclasses
import hashlib
import math
import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf
from keras import layers

Batch = tuple[object, object]


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn: AdamW (Loshchilov & Hutter, 2019), warm-up then cosine decay to zero."""

    epochs: int
    batch: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    warmup_epochs: int = 1
    ema_momentum: float | None = 0.998
    """Momentum of the running average of the weights that training ends with; None keeps the last weights."""


class SeededBatches(keras.utils.PyDataset):
    """Batches whose shuffle and augmentation depend on (seed, epoch, batch) alone, so a resumed run sees the same.

    ``make`` gets row numbers (batch,) and a generator, and returns ``(inputs, targets)``.
    """

    def __init__(
        self,
        rows: int,
        batch: int,
        seed: int,
        make: collections.abc.Callable[[np.ndarray, np.random.Generator], Batch],
        *,
        first_epoch: int = 0,
    ):
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self.rows, self.batch, self.seed, self.make = rows, batch, seed, make
        self.start(first_epoch)

    def start(self, epoch: int) -> None:
        """Make the batches those of ``epoch``: set from outside, for Keras calls ``on_epoch_end`` at other times too."""
        self.epoch = epoch
        self.order = np.random.default_rng((self.seed, epoch)).permutation(self.rows)

    def __len__(self) -> int:
        return max(1, self.rows // self.batch)

    def __getitem__(self, index: int) -> Batch:
        chosen = self.order[index * self.batch : (index + 1) * self.batch]
        return self.make(chosen, np.random.default_rng((self.seed, self.epoch, index)))


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to ``peak``, then half a cosine to zero (Loshchilov & Hutter, 2017, equation 5)."""

    def __init__(self, peak: float, warmup_steps: int, total_steps: int):
        self.peak, self.warmup_steps, self.total_steps = peak, warmup_steps, total_steps

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        warm = step / max(1, self.warmup_steps)
        progress = keras.ops.clip((step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps), 0.0, 1.0)
        cosine = 0.5 * (1.0 + keras.ops.cos(math.pi * progress))
        return self.peak * keras.ops.where(step < self.warmup_steps, warm, cosine)

    def get_config(self) -> dict:
        return {"peak": self.peak, "warmup_steps": self.warmup_steps, "total_steps": self.total_steps}


class _Checkpoint(keras.callbacks.Callback):
    """The whole state after each epoch, written beside and renamed: a cut leaves the epoch before."""

    def __init__(self, path: pathlib.Path):
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        state = {f"weight{i}": value for i, value in enumerate(self.model.get_weights())}
        state |= {f"optimizer{i}": np.asarray(variable) for i, variable in enumerate(self.model.optimizer.variables)}
        beside = self.path.with_name(f"{self.path.stem}.writing.npz")
        np.savez(beside, epoch=epoch + 1, **state)
        beside.replace(self.path)

    def restore(self, model: keras.Model) -> int:
        """Put the saved state into a compiled ``model``; returns how many epochs are behind it, 0 without a checkpoint."""
        if not self.path.exists():
            return 0
        model.optimizer.build(model.trainable_variables)
        with np.load(self.path) as state:
            model.set_weights([state[f"weight{i}"] for i in range(len(model.weights))])
            for i, variable in enumerate(model.optimizer.variables):
                variable.assign(state[f"optimizer{i}"])
            return int(state["epoch"])


def fit(
    model: keras.Model,
    make: collections.abc.Callable[[np.ndarray, np.random.Generator], Batch],
    *,
    rows: int,
    schedule: Schedule,
    loss,
    metrics=None,
    validation=None,
    name: str,
    work: pathlib.Path,
    seed: int,
) -> keras.Model:
    """Train ``model`` and return it; state lies in ``work`` so that a second call goes on where the first was cut.

    Args:
        model: the network, built with the weights it starts from.
        make: row numbers and generator -> (inputs, targets), augmentation included.
        rows: how many training rows there are.
        schedule: length and speed.
        loss, metrics: as ``keras.Model.compile`` takes them.
        validation: (inputs, targets) scored after each epoch, or None.
        name: names the checkpoint; includes all that tells this run from another.
        work: folder for checkpoints.
        seed: of shuffling and augmentation.
    """
    work.mkdir(parents=True, exist_ok=True)
    done = work / f"{name}.done.weights.h5"
    if done.exists():
        model.load_weights(done)
        return model
    steps = max(1, rows // schedule.batch)
    optimizer = keras.optimizers.AdamW(
        WarmupCosine(schedule.learning_rate, steps * schedule.warmup_epochs, steps * schedule.epochs),
        weight_decay=schedule.weight_decay,
        use_ema=schedule.ema_momentum is not None,
        # A short run must not end with the average of weights from its first steps.
        ema_momentum=min(schedule.ema_momentum or 0.0, max(0.0, 1.0 - 20.0 / (steps * schedule.epochs))),
        clipnorm=1.0,
    )
    # XLA, which Keras would choose, compiles for longer and computes convolutions more slowly on a CPU.
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics, jit_compile=False)
    checkpoint = _Checkpoint(work / f"{name}.npz")
    first_epoch = checkpoint.restore(model)
    if first_epoch:
        print(f"{name}: going on at epoch {first_epoch + 1} of {schedule.epochs}", file=sys.stderr)
    batches = SeededBatches(rows, schedule.batch, seed, make, first_epoch=first_epoch)
    model.fit(
        batches,
        epochs=schedule.epochs,
        initial_epoch=first_epoch,
        validation_data=validation,
        shuffle=False,  # Keras would draw the order from a global generator
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: batches.start(epoch)), checkpoint],
        verbose=1 if sys.stderr.isatty() else 2,
    )
    beside = done.with_name(f"{name}.writing.weights.h5")
    model.save_weights(beside)
    beside.replace(done)
    checkpoint.path.unlink(missing_ok=True)
    return model


def weights_digest(*networks: keras.Model) -> str:
    """Eight hex digits of all their weights: belongs in the name of a run that learns from what these networks give.

    Else the finished run of other encoders would be taken for this one.
    """
    told = hashlib.blake2b(digest_size=4)
    for network in networks:
        for weight in network.get_weights():
            told.update(np.ascontiguousarray(weight).tobytes())
    return told.hexdigest()


class BatchNormalization(layers.BatchNormalization):
    """Keras's in one operation while learning: a step is a third faster on CPUs than with mean, variance and scaling one by one.

    For images alone (n, height, width, channels); the running variance is of n - 1, as the operation gives it. It has the name of
    Keras's own, for weight files name layers by their class.
    """

    def call(self, inputs, training=None, mask=None):
        if not training:
            return super().call(inputs, training=False)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma.value, self.beta.value, epsilon=self.epsilon, is_training=True, data_format="NHWC"
        )
        self.moving_mean.assign(self.moving_mean * self.momentum + mean * (1.0 - self.momentum))
        self.moving_variance.assign(self.moving_variance * self.momentum + variance * (1.0 - self.momentum))
        return outputs


def _fused(layer: layers.Layer) -> layers.Layer:
    if type(layer) is layers.BatchNormalization and len(layer.input.shape) == 4:
        return BatchNormalization.from_config(layer.get_config())
    return layer.__class__.from_config(layer.get_config())


def fit_in_bfloat16(build: collections.abc.Callable[[], keras.Model], make, *, seed: int, **options) -> keras.Model:
    """``fit`` in mixed precision (Micikevicius et al., 2018): products in bfloat16, weights and sums in float32; returns float32.

    Twice as fast on processors with AVX512-BF16, slower on those without.

    Args:
        build: makes the network; it has an output ``probabilities``, which is what learns.
        make, seed, options: as ``fit`` takes them.
    """
    before = keras.mixed_precision.dtype_policy()
    try:
        keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
        keras.utils.set_random_seed(seed)
        built = build()
        fast = keras.models.clone_model(built, clone_function=_fused)
        fast.set_weights(built.get_weights())
        answer = layers.Activation("linear", dtype="float32")(fast.output["probabilities"])
        fit(keras.Model(fast.input, answer), make, seed=seed, **options)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    model = build()
    model.set_weights(fast.get_weights())
    return model
