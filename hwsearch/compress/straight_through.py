"""Zeros, shared values and quantized weights in training: the network is trained as it will be.

What is meant for single weights is a projection: codes to those of a codebook, weights to the grid
of their bits. In every step the forward and the backward pass meet the projected weights; the step
itself is taken by unprojected ones, kept beside them (Bengio et al. 2013, arXiv:1308.3432, the
straight-through estimator). Between steps the model holds projected weights, so whoever reads it
sees what will be deployed.

Zeros are for good: the smallest weights go, more and more (Zhu and Gupta 2017, arXiv:1710.01878).
Letting them come back by the straight-through slope (Lin et al. 2020, arXiv:2006.07253) was tried:
under Adam, whose steps are as long for the smallest slope, weights behind the mask run away.
LeNet-5 with 70 % zeros lost 4.7 points that way after six epochs of 20,000 images, 0.3 this way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hwsearch.compress.elementwise import CODES, Elementwise, codebook, kernels, mask, project
from hwsearch.compress.fake_quantize import FakeQuantize, folded
from hwsearch.compress.rounding import Rounded, rounded
from hwsearch.compress.schedule import SCHEDULES
from hwsearch.data import Samples
from hwsearch.graph import keras_channels
from hwsearch.train import FineTuned, estimate_statistics, fine_tune

REDRAWN = 20
"""How often masks and codebooks are drawn anew."""

RAMP, SETTLED = 0.5, 0.8
"""Shares of the training after which all zeros are there, and nothing is drawn anew."""


@dataclass(frozen=True)
class Plan:
    """What a training does to single weights, and when.

    Attributes:
        wanted: what is asked for.
        schedule: a key of ``SCHEDULES``: how the share of zeros rises.
        begin, end: shares of the whole training at which this part of it begins and ends; zeros
            rise over the whole.
        bits: by ``id`` of a kernel the bits of its weights; those that are not there have 8. Only
            QAT minds them.
    """

    wanted: Elementwise
    schedule: str = "one-shot"
    begin: float = 0.0
    end: float = 1.0
    bits: Mapping[int, int] | None = None

    def at(self, done: float) -> Elementwise:
        """What is asked for after a share of this part."""
        time = self.begin + done * (self.end - self.begin)
        share = SCHEDULES[self.schedule](min(1.0, time / RAMP)) if time < RAMP else 1.0
        return replace(self.wanted, sparsity=share * self.wanted.sparsity)

    def settled(self, done: float) -> bool:
        """Whether masks and codebooks stay as they are after a share of this part."""
        return self.begin + done * (self.end - self.begin) >= SETTLED


def train(model: Any, data: Samples, loss: Any, plan: Plan, **settings: Any) -> FineTuned:
    """Trains a model in place; afterwards it has the zeros and shared codes that are asked for.

    Args:
        model: a Keras model.
        data, loss, settings: as :func:`hwsearch.train.fine_tune`; ``patience`` is 0, as the
            network of an early epoch is not yet the one that is asked for.
        plan: what to do, and when.
    """
    count = min(settings["samples"] or len(data), len(data))
    steps = max(1, math.ceil(count / settings["batch_size"])) * settings["epochs"]
    settings = settings | {"patience": 0}
    tuned = fine_tune(
        model, data, loss, step=lambda fitted: _StraightThrough(fitted, model, plan, steps),
        **settings,
    )  # fmt: skip
    if project(model, plan.at(1.0)) and len(data):
        estimate_statistics(model, data, settings["seed"])
    return tuned


class _Kernel:
    """A kernel, what it is projected by, and the unprojected weights that steps are taken by.

    Args:
        kernel: the kernel.
        plan: what to do.
        treated: whether it gets zeros and shared values; else it is rounded alone.
        norm: the BatchNormalization that is folded into it, or None.
    """

    def __init__(self, kernel: Rounded, plan: Plan, treated: bool, norm: Any) -> None:
        variable, wanted = kernel.variable, plan.wanted
        self.path, self.variable = kernel.path, variable
        self.wanted = wanted if treated else Elementwise(qat=wanted.qat)
        self.bits = (plan.bits or {}).get(id(variable), 8) if wanted.qat else 0
        # A runtime has one scale for the whole of a 4-bit dense layer, else one a channel.
        self.whole = self.bits == 4 and len(variable.shape) == 2
        self.within = (0, 1) if self.whole else kernel.within
        self.norm = norm if self.whole else None  # a scale a channel: whatever its factor
        self.free = tf.Variable(variable.value, trainable=False)
        self.mask = tf.Variable(tf.ones(variable.shape), trainable=False)
        self.codes = tf.Variable(tf.range(CODES + 1, dtype=tf.float32), trainable=False)

    def draw(self, wanted: Elementwise) -> None:
        """A new mask and codebook."""
        if not (self.wanted.sparsity or self.wanted.clusters):
            return
        weights, wanted = self.free.numpy(), wanted.of(self.path)
        kept = mask(weights, wanted.sparsity, wanted.pattern)
        self.mask.assign(kept.astype(np.float32))
        self.free.assign(weights * kept)
        if wanted.clusters:
            self.codes.assign(codebook(weights * kept, wanted.clusters).astype(np.float32))

    def projected(self) -> Any:
        """The weights to train with."""
        weights = self.free
        if not (self.wanted.clusters or self.bits):
            return weights
        if self.norm is None:
            return self._on_grid(weights)
        factor = tf.math.rsqrt(self.norm.moving_variance.value + self.norm.epsilon)
        if self.norm.gamma is not None:
            factor *= self.norm.gamma.value
        lives = factor != 0
        made = self._on_grid(weights * factor) / tf.where(lives, factor, tf.ones_like(factor))
        return tf.where(lives, made, weights)

    def _on_grid(self, weights: Any) -> Any:
        most = tf.reduce_max(tf.abs(weights), axis=self.within, keepdims=True)
        most = tf.where(most > 0, most, tf.ones_like(most))
        if self.bits == 4:
            return tf.round(weights / most * 7) * most / 7
        codes = tf.round(tf.abs(weights) / most * CODES)
        if self.wanted.clusters:
            codes = tf.gather(self.codes, tf.cast(codes, tf.int32))
        return tf.sign(weights) * codes * most / CODES


class _StraightThrough(keras.Model):  # type: ignore[misc]
    """A model whose ``fit`` meets projected weights."""

    def __init__(self, core: Any, model: Any, plan: Plan, steps: int) -> None:
        super().__init__()
        self.core, self.plan, self.steps, self.done = core, plan, steps, 0
        self.every = max(1, steps // REDRAWN)
        treated = {id(variable) for _, variable in kernels(model)}
        norms = {
            id(layer.kernel): folded(layer)
            for _, layer in keras_channels.layers(model)
            if type(layer).__name__ == "Dense"
        }
        self.found = tuple(
            _Kernel(kernel, plan, id(kernel.variable) in treated, norms.get(id(kernel.variable)))
            for kernel in rounded(model)
            if plan.wanted.qat or id(kernel.variable) in treated
        )
        self.rounded = FakeQuantize(core) if plan.wanted.qat else None
        self._draw()

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.core(inputs, training=training)

    def train_step(self, data: Any) -> Any:
        x, y = data
        with tf.GradientTape() as tape:
            made = self.core(x, training=True) if self.rounded is None else self.rounded(x)
            loss = self.compute_loss(x=x, y=y, y_pred=made)
        trained = self.core.trainable_variables
        slopes = tape.gradient(loss, [v.value for v in trained])
        for kernel in self.found:
            kernel.variable.assign(kernel.free)
        self.optimizer.apply(slopes, trained)
        for kernel in self.found:
            kernel.free.assign(kernel.variable.value * kernel.mask)
            kernel.variable.assign(kernel.projected())
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
        return {metric.name: metric.result() for metric in self.metrics}

    def fit(self, x: Any, y: Any, **options: Any) -> Any:
        """As Keras', with masks, codebooks and ranges drawn anew on the way."""
        if self.rounded is not None:
            self.rounded.calibrate(x)
        watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: self._tick())
        return super().fit(x, y, callbacks=[watch], **options)

    def _tick(self) -> None:
        self.done += 1
        if self.done % self.every == 0 and not self.plan.settled(self.done / self.steps):
            self._draw()

    def _draw(self) -> None:
        wanted = self.plan.at(self.done / self.steps)
        for kernel in self.found:
            kernel.draw(wanted)
            kernel.variable.assign(kernel.projected())
