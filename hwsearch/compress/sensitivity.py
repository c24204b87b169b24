"""What 4-bit weights of each operator alone do to a network's outputs: measured, not guessed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsearch.compress.quantize import Calibration, quantize
from hwsearch.data import Array, spaced
from hwsearch.errors import ConversionError
from hwsearch.evaluate import fast

SAMPLES = 64
"""Inputs on which outputs are compared: an operator's place among the others settles early."""


def sensitivity(
    calibration: Calibration, inputs: Sequence[Array], ops: Sequence[int]
) -> tuple[float, ...]:
    """Per operator the error that its 4-bit weights add to the outputs, all else at 8 bits.

    The error is the mean squared difference to the network at 8 bits, over the variance of its
    outputs. Costs one quantization and :data:`SAMPLES` inferences an operator.

    Args:
        calibration: of the float model.
        inputs: per network input real values [samples, …].
        ops: indexes of operators in the float network.

    Returns:
        A number from 0 for each; infinite where the quantizer cannot do it.
    """
    some = [spaced(x, SAMPLES) for x in inputs]
    whole = fast(quantize(calibration, 8, {}), some)
    variances = [max(float(np.var(y)), 1e-12) for y in whole]
    found = []
    for op in ops:
        try:
            made = fast(quantize(calibration, 8, {op: 4}), some)
        except ConversionError:
            found.append(float("inf"))
            continue
        pairs = zip(made, whole, variances, strict=True)
        found.append(float(np.mean([np.mean((a - b) ** 2) / v for a, b, v in pairs])))
    return tuple(found)
