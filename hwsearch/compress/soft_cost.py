"""Soft cost: what a network takes of its budget, as a smooth function of the widths of its groups.

Every dimension of every tensor is linear in the widths (``graph/binding.py``), so the elements of
a tensor, the multiply-accumulates of an operator and the bytes alive while it runs are polynomials
in them, defined for widths that are no whole numbers too. Of these

* flash, latency and energy are sums with coefficients that are not negative,
* RAM is the smooth maximum (log-sum-exp) over the operators of the bytes alive, with coefficients
  for what the runtime adds to it.

The coefficients are fitted (non-negative least squares) to the product's own costs of widths
drawn at random, which take microseconds each: so they hold for any backend, and say how far off
they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from hwsearch.cost.columns import Ints
from hwsearch.cost.cost import Floats
from hwsearch.graph import BITS, WEIGHT_OPS, Graph
from hwsearch.pricing import Scheme

DRAWN, CHECKED = 512, 128
"""Widths drawn to fit the coefficients, and further ones to say how far off they are."""

SHARPNESS = 20.0
"""Of the smooth maximum: its excess over the true one is at most log(operators) / 20 of it."""

SUMMED = ("flash_bytes", "latency_s", "energy_j")
"""Costs that are sums over operators; the other one, RAM, is a maximum."""

Uses = Callable[[Ints], Floats]
"""(widths int64 [n, groups]) -> float64 [n, limits]: cost / limit."""


@dataclass(frozen=True)
class _Places:
    """Where the polynomials read the elements of tensors; int64 [...] indexes of tensors."""

    constants: Ints
    made: Ints
    read: Ints
    weighted: Ints  # (work, weights, channel dimension) [ops with weights, 3]
    alive: Floats  # bytes per element of each tensor while each operator runs [tensors, ops]


@dataclass(frozen=True)
class SoftCost:
    """Smooth shares of the limits.

    Attributes:
        scheme: the network and its binding.
        limits: names of the limited costs.
        coefficients: per limit float64 [features].
        errors: per limit the mean relative error on widths that the fit did not see.
    """

    scheme: Scheme
    limits: tuple[str, ...]
    coefficients: tuple[Floats, ...]
    errors: tuple[float, ...]

    def __call__(self, widths: Any) -> Any:
        """float32 [n, limits], differentiable: cost / limit at widths float32 [n, groups]."""
        import tensorflow as tf

        sums, peak = _features(self.scheme, widths)
        columns = [
            tf.linalg.matvec(sums if name in SUMMED else peak, np.float32(chosen))
            for name, chosen in zip(self.limits, self.coefficients, strict=True)
        ]
        return tf.stack(columns, axis=1)


def soft_cost(scheme: Scheme, limits: Sequence[str], uses: Uses, seed: int = 0) -> SoftCost:
    """The soft cost of a network under some limits.

    Args:
        scheme: the quantized network and its binding.
        limits: names of the limited costs, the columns of ``uses``.
        uses: the exact costs.
        seed: of the widths drawn.
    """
    binding = scheme.binding
    rng = np.random.default_rng(seed)
    level = rng.uniform(0, 1, (DRAWN + CHECKED, 1)) ** 2  # small networks are where it ends
    share = np.clip(level + rng.normal(0, 0.15, (len(level), len(binding.groups))), 0, 1)
    widths = np.rint(binding.least + share * (binding.widths - binding.least)).astype(np.int64)
    truth = uses(widths)
    sums, peak = (f.numpy().astype(np.float64) for f in _features(scheme, np.float32(widths)))
    coefficients, errors = [], []
    for column, name in enumerate(limits):
        features = sums if name in SUMMED else peak
        goal = truth[:, column]
        # Relative errors count, at small widths most of all: each row is divided by its truth.
        weight = 1 / np.maximum(goal[:DRAWN], 1e-9)
        scale = np.maximum(features[:DRAWN].max(axis=0), 1e-9)
        found, _ = nnls(features[:DRAWN] / scale * weight[:, None], goal[:DRAWN] * weight)
        coefficients.append(found / scale)
        made, asked = features[DRAWN:] @ coefficients[-1], goal[DRAWN:]
        errors.append(float(np.mean(np.abs(made / np.maximum(asked, 1e-9) - 1))))
    return SoftCost(scheme, tuple(limits), tuple(coefficients), tuple(errors))


def _features(scheme: Scheme, widths: Any) -> tuple[Any, Any]:
    """(features of the summed costs [n, features], of RAM [n, features]), float32 tensors."""
    import tensorflow as tf

    binding, places = scheme.binding, _places(scheme.graph)
    widths = tf.convert_to_tensor(widths, tf.float32)
    numbers = widths @ np.float32(binding.sizes[:, 1:].T) + np.float32(binding.sizes[:, 0])
    moving = tf.gather(numbers, binding.rows, axis=1) * np.float32(binding.factors)
    base = binding.base.reshape(-1).astype(np.float32)
    order = np.arange(len(base))
    order[binding.places] = len(base) + np.arange(len(binding.places))
    fixed = tf.tile(base[None], [tf.shape(widths)[0], 1])
    shapes = tf.gather(tf.concat([fixed, moving], axis=1), order, axis=1)
    shapes = tf.reshape(shapes, [-1, *binding.base.shape])
    elements = tf.reduce_prod(shapes, axis=2)
    one = tf.ones_like(widths[:, :1])

    def at(tensors: Ints) -> Any:
        return tf.gather(elements, tensors, axis=1)

    work, weights, axis = places.weighted.T
    channels = tf.gather(
        tf.reshape(shapes, [-1, binding.base.size]), weights * base_rank(binding) + axis, axis=1
    )
    macs = at(work) * at(weights) / channels
    columns = macs / channels  # what im2col copies: not done again for each output channel
    sums = [one, at(places.constants), at(places.made), at(places.read), macs, columns]
    live = elements @ np.float32(places.alive)
    top = tf.stop_gradient(tf.reduce_max(live, axis=1, keepdims=True))
    peak = top * (1 + tf.reduce_logsumexp(SHARPNESS * (live / top - 1), 1, True) / SHARPNESS)
    constants = tf.reduce_sum(at(places.constants), axis=1, keepdims=True)
    shown = tf.reduce_sum(channels, axis=1, keepdims=True)
    return tf.concat(sums, axis=1), tf.concat([one, peak, shown, constants], axis=1)


def base_rank(binding: Any) -> int:
    """Dimensions of every shape in a binding."""
    return int(binding.base.shape[1])


def _places(graph: Graph) -> _Places:
    tensors, rank = graph.tensors, max([4, *(len(t.shape) for t in graph.tensors)])
    weighted = []
    for op in graph.ops:
        if op.kind not in WEIGHT_OPS:
            continue
        # MACs: elements of the work tensor × elements of the weights / this dimension of them.
        if op.kind == "depthwise_conv_2d":
            weighted.append((op.outputs[0], op.inputs[1], rank - 1))
        elif op.kind == "transpose_conv":
            weighted.append((op.inputs[2], op.inputs[1], rank - 1))
        else:
            axis = rank - len(tensors[op.inputs[1]].shape)
            weighted.append((op.outputs[0], op.inputs[1], axis))
    steps = np.arange(len(graph.ops))
    first = np.array([f for f, _ in graph.lifetimes])
    last = np.array([e for _, e in graph.lifetimes])
    alive = (first[:, None] <= steps) & (steps <= last[:, None]) & (first[:, None] >= 0)
    size = np.array([BITS[t.dtype] / 8 for t in tensors])
    reads = [op.inputs[2] if op.kind == "transpose_conv" else op.inputs[0] for op in graph.ops]
    return _Places(
        np.array([i for i, t in enumerate(tensors) if t.is_constant], np.int64),
        np.array([op.outputs[0] for op in graph.ops if op.outputs], np.int64),
        np.array([i for i in reads if i >= 0], np.int64),
        np.array(weighted, np.int64).reshape(-1, 3),
        alive * size[:, None],
    )
