"""Differentiable pruning: gates trained with the weights until the network is inside its budget.

The user gives limits and nothing else. Every channel has a gate (``gates.py``), which is open or
shut in the forward pass, so that training sees the network that will be deployed; what moves is a
logit behind it. In every step it goes the same way along, against the sign of the slope of

    task loss + sum over limits k of lambda_k * relu(cost_k / limit_k - 1)

taken straight through the gate: which channel is worth its price decides, not by how much.

* The slope of the task along a gate is taken to second order: what shutting a channel would add
  to the loss is half the Fisher information of its gate (Theis et al. 2018, arXiv:1801.05787,
  equation 6), the running mean of the squared slope times the batch. The first order alone is
  noise around 0 in a trained network.
* The slope of the costs is that of ``soft_cost.py``; the costs themselves are exact.
* lambda_k grows geometrically while limit k is exceeded: channels shut in the order of what they
  cost the loss for what they bring, whatever the scale of either.

Then the widths are projected on the budget (``projection.py``), the shut channels are removed, and
the small network is fine-tuned for the rest of the epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from hwsearch.candidate import Epoch
from hwsearch.compress import structured
from hwsearch.compress.gates import Gates, gates
from hwsearch.compress.goal import Goal
from hwsearch.compress.projection import project
from hwsearch.compress.soft_cost import SoftCost, soft_cost
from hwsearch.data import Samples
from hwsearch.distillation import Distillation
from hwsearch.errors import InputError
from hwsearch.graph.groups import ChannelGroups
from hwsearch.train import FineTuned, estimate_statistics, fine_tune

GATED_SHARE, GATED_STEPS = 0.5, 1500
"""Of the epochs, spent at full size with gates, and the steps that are enough: epochs beyond those
are better spent on the small network. LeNet-5 on Fashion-MNIST, 12 epochs of 430 steps: at 5 % of
its parameters it loses 3.4 points with six gated epochs (one seed) and 2.6 with four (three); at
17 % 0.9 with either; at 26 % 0.5 (one seed) and 0.7. A small network of digits, 8 epochs of 42
steps: 0.89 with four gated epochs, 0.85 with three."""

EVERY = 4
"""Steps from one pricing of the network to the next."""

WARM, RAMP = 0.05, 0.75
"""Shares of the gated steps: before lambda rises (Fisher information is learned), and until it is
at its highest."""

LAMBDA = (1e-7, 1e2)
"""Lambda at first and at most: from far below what the most useless channel is worth, to more than
any. Nats for a limit exceeded by its whole."""

CROSSING = 0.04
"""Share of the gated steps in which a gate's logit goes from open to the threshold."""

FISHER_DECAY = 0.95
"""Of the running mean of squared slopes."""


@dataclass(frozen=True)
class Shrunk:
    """A network inside its budget, trained.

    Attributes:
        model: the pruned Keras model.
        widths: int per group.
        uses: per limit cost / limit; all at most 1 unless no widths fit.
        curve: the epochs' losses, those with gates first.
        notes: what the trial should say.
        diverged: whether the loss became NaN or infinite.
    """

    model: Any
    widths: tuple[int, ...]
    uses: dict[str, float]
    curve: tuple[Epoch, ...]
    notes: tuple[str, ...]
    diverged: bool = False


def shrink(
    model: Any,
    groups: ChannelGroups,
    data: Samples,
    loss: Any,
    goal: Goal,
    *,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    samples: int,
    seed: int,
    distillation: Distillation | None = None,
) -> Shrunk:
    """The network cut to fit its goal by gates trained with the weights, and fine-tuned.

    Args:
        model: a Keras model; its weights change.
        groups: its channel groups, in the order of the goal's widths.
        data: with targets.
        loss: as ``model.compile`` takes it.
        goal: what it is to fit.
        epochs: in all, at least 1; of them at full size :data:`GATED_SHARE`, or fewer where
            those have :data:`GATED_STEPS` steps.
        learning_rate, batch_size, samples, seed, distillation: as :func:`train.fine_tune`.

    Raises:
        InputError: no epochs, no targets, or no channel that can be cut.
    """
    if epochs < 1 or not data.targets or not groups.groups:
        raise InputError(
            f"differentiable pruning trains gates: it needs targets (found {len(data.targets)}), "
            f"epochs (found {epochs}) and channels that can be cut ({len(groups.groups)} groups). "
            "Use another method for this model."
        )
    cost = soft_cost(goal.scheme, goal.limits, goal.allowed.uses, seed)
    count = min(samples, len(data)) if samples else len(data)
    steps_per_epoch = -(-count // batch_size)
    enough = -(-GATED_STEPS // steps_per_epoch)
    gated_epochs = max(1, min(round(GATED_SHARE * epochs), enough))
    steps = steps_per_epoch * gated_epochs
    trainers: list[Gated] = []

    def step(fitted: Any) -> Any:
        trainers.append(Gated(fitted, gates(model, groups, fitted), groups, goal, cost, steps))
        return trainers[0]

    def tune(network: Any, count: int, **more: Any) -> Any:
        return fine_tune(
            network, data, loss, epochs=count, learning_rate=learning_rate, samples=samples,
            batch_size=batch_size, seed=seed, distillation=distillation, **more,
        )  # fmt: skip

    first = tune(model, gated_epochs, step=step)
    worth, wanted = trainers[0].outcome()
    costs = ", ".join(name.rpartition("_")[0] for name in goal.limits)
    aimed = f"gates aimed at {goal.share:.0%} of the limits of {costs}"
    ordered = {g: np.sort(values)[::-1] for g, values in enumerate(worth)}
    widths = project(wanted, ordered, goal.allowed)
    if np.array_equal(wanted, groups.widths) and not np.array_equal(widths, wanted):
        aimed = (
            f"no gate shut within {steps} steps: the widths for {goal.share:.0%} of the limits of "
            f"{costs} come from the projection alone. Raise Space.epochs or samples"
        )
    keep = {
        group.name: np.sort(np.argsort(-values, kind="stable")[:width])
        for group, values, width in zip(groups.groups, worth, widths, strict=True)
    }
    small = structured.prune(model, groups, keep)
    rest = epochs - gated_epochs
    second = FineTuned() if first.diverged else tune(small, rest, drawn=gated_epochs)
    if first.diverged or not rest:
        estimate_statistics(small, data, seed)
    uses = goal.allowed.uses(widths[None])[0]
    notes = [aimed, *first.notes, *second.notes]
    for name, use in zip(goal.limits, uses, strict=True):
        if use > 1:
            notes.append(f"the narrowest network still takes {use:.2f} of the limit of {name}")
    return Shrunk(
        small,
        tuple(map(int, widths)),
        dict(zip(goal.limits, map(float, uses), strict=True)),
        (*first.curve, *second.curve),
        tuple(notes),
        first.diverged or second.diverged,
    )


class Gated(keras.Model):  # type: ignore[misc]
    """A model whose ``fit`` trains gates beside its weights.

    Args:
        core: the model.
        found: its gates.
        groups: its channel groups, in the order of the goal's widths.
        goal: what it is to fit.
        cost: the soft shares of the goal's limits.
        steps: of the whole training.
    """

    def __init__(
        self,
        core: Any,
        found: Gates,
        groups: ChannelGroups,
        goal: Goal,
        cost: SoftCost,
        steps: int,
    ) -> None:
        super().__init__()
        self.core, self.found, self.goal, self.cost = core, found, goal, cost
        self.steps, self.done = steps, 0
        self.sizes = groups.widths.tolist()
        self.owner = np.repeat(np.arange(len(self.sizes)), self.sizes)
        self.first = np.cumsum([0, *self.sizes[:-1]])
        self.logit = tf.Variable(tf.ones(found.classes), trainable=False)
        self.fisher = tf.Variable(tf.zeros(found.classes), trainable=False)
        self.price = tf.Variable(tf.zeros(len(self.sizes)), trainable=False)
        self.lambdas = np.full(len(goal.limits), LAMBDA[0])
        self.growth = (LAMBDA[1] / LAMBDA[0]) ** (EVERY / max(1.0, (RAMP - WARM) * steps))
        self.priced: dict[bytes, tuple[Any, Any]] = {}
        touched = {-1 - index for index, _, _ in found.reads if index < 0}
        self.moving = [i for i in range(len(core.non_trainable_variables)) if i not in touched]
        self.slope = tf.function(self._slope, autograph=False)

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.core(inputs, training=training)

    def gate(self) -> Any:
        """float32 [classes]: 1 open, 0 shut; the best of each group never shuts, of those whose
        logits are equal the one with most Fisher information."""
        first = self.logit >= tf.gather(tf.math.segment_max(self.logit, self.owner), self.owner)
        fisher = tf.where(first, self.fisher, -1.0)
        best = fisher >= tf.gather(tf.math.segment_max(fisher, self.owner), self.owner)
        return tf.cast((self.logit > 0) | (first & best), tf.float32)

    def train_step(self, data: Any) -> Any:
        x, y = data
        fixed = self.core.non_trainable_variables
        gate = self.gate()
        with tf.GradientTape() as tape:
            tape.watch(gate)
            trained, kept = self.found.apply(self.core, gate)
            made, moved = self.core.stateless_call(trained, kept, x, training=True)
            loss = self.compute_loss(x, y, made)
        variables = [v.value for v in self.core.trainable_variables]
        slope, *slopes = tape.gradient(loss, [gate, *variables])
        self.optimizer.apply(slopes, self.core.trainable_variables)
        for i in self.moving:
            fixed[i].assign(moved[i])
        batch = tf.cast(tf.shape(tf.nest.flatten(x)[0])[0], tf.float32)
        slope = tf.where(tf.math.is_finite(slope), slope, 0)  # of a loss that diverges
        self.fisher.assign(
            FISHER_DECAY * self.fisher + (1 - FISHER_DECAY) * batch * tf.square(slope)
        )
        push = tf.gather(self.price, self.owner) - self.fisher / 2
        rate = 1 / max(CROSSING * self.steps, 2.0)
        self.logit.assign(tf.clip_by_value(self.logit - rate * tf.sign(push), -1, 1))
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
        return {metric.name: metric.result() for metric in self.metrics}

    def fit(self, *args: Any, **options: Any) -> Any:
        """As Keras', with the network priced every :data:`EVERY` steps."""
        watch = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: self._tick())
        return super().fit(*args, callbacks=[watch], **options)

    def _tick(self) -> None:
        """Lambdas and the price of a channel of each group, from the network as it is now."""
        self.done += 1
        if self.done % EVERY or self.done < WARM * self.steps:
            return
        over, slopes = self._priced(self._counts())
        raised = np.minimum(self.lambdas * self.growth, LAMBDA[1])
        self.lambdas = np.where(over, raised, self.lambdas)
        self.price.assign(((self.lambdas * over) @ slopes).astype(np.float32))

    def _priced(self, counts: Any) -> tuple[Any, Any]:
        """(bool [limits], which are exceeded; float32 [limits, groups], the costs' slopes).

        Around a limit the same widths come back time and again: each is priced once.
        """
        key = counts.tobytes()
        if key not in self.priced:
            over = self.goal.allowed.uses(counts[None])[0] > 1
            self.priced[key] = over, self.slope(tf.constant(counts, tf.float32)).numpy()
        return self.priced[key]

    def _slope(self, widths: Any) -> Any:
        """float32 [limits, groups]: of the soft shares along the widths [groups]."""
        rows = tf.tile(widths[None], [len(self.lambdas), 1])  # a row a limit: one pass for all
        with tf.GradientTape() as tape:
            tape.watch(rows)
            shares = tf.linalg.trace(self.cost(rows))
        return tape.gradient(shares, rows)

    def _open(self) -> Any:
        """bool [classes]: :meth:`gate` at once."""
        logit, fisher = self.logit.numpy(), self.fisher.numpy()
        first = logit >= np.maximum.reduceat(logit, self.first)[self.owner]
        fisher = np.where(first, fisher, -1)
        best = fisher >= np.maximum.reduceat(fisher, self.first)[self.owner]
        return (logit > 0) | (first & best)

    def _counts(self) -> Any:
        open_ = np.add.reduceat(self._open().astype(np.int64), self.first)
        return np.maximum(open_, self.goal.allowed.least)

    def outcome(self) -> tuple[Sequence[Any], Any]:
        """(what each channel is worth, float64 [width] a group; int64 [groups], those open).

        Worth is the Fisher information; open channels come before shut ones.
        """
        gate, fisher = self._open(), self.fisher.numpy().astype(np.float64)
        worth = fisher + gate * (fisher.max(initial=0) + 1e-12)
        return np.split(worth, self.first[1:]), self._counts()
