"""Tables of unary int8 operators, computed with TFLite Micro's arithmetic.

Every formula follows the reference kernel of the operator
(tensorflow/lite/kernels/internal/reference, with the ``Prepare`` step of
tensorflow/lite/micro/kernels); the tests compare with TFLite Micro itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hwsearch.codegen import fixed_point as fp

Params = tuple[np.float32, int]
"""(scale, zero point) of a tensor."""

F = float
"""float32 scales enter double arithmetic unrounded."""


def limits(bits: int) -> tuple[int, int]:
    """Smallest and largest value of a signed integer."""
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def lookup_s8(kind: str, read: Params, made: Params, alpha: float) -> NDArray[np.int8]:
    """int8 [256]: the output of a unary operator for inputs -128 … 127."""
    function = _FUNCTIONS[kind](read, made, alpha)
    return np.array([max(-128, min(127, function(q))) for q in range(-128, 128)], np.int8)


def exps(scale: np.float32, beta: float) -> NDArray[np.int32]:
    """int32 [<= 256]: softmax's exp of 0, -1, -2 … steps, Q31, up to the last that is not 0."""
    real = min(beta * F(scale) * 2**26, 2**31 - 1.0)
    multiplier, shift = fp.quantize_multiplier(real)
    lowest = math.floor(31 * 2.0**26 / 2**shift)
    values = [
        fp.exp_negative(fp.multiply_high(-d << shift, multiplier), 5)
        for d in range(256)
        if d <= lowest
    ]
    while values and values[-1] == 0:
        values.pop()
    return np.array(values, np.int32)


def _requantize(read: Params, made: Params, alpha: float) -> Callable[[int], int]:
    multiplier, shift = fp.quantize_multiplier(F(read[0]) / F(made[0]))
    return lambda q: fp.requantize(q - read[1], multiplier, shift) + made[1]


def _relu(low: float, high: float) -> Callable[[Params, Params, float], Callable[[int], int]]:
    def build(read: Params, made: Params, alpha: float) -> Callable[[int], int]:
        rescale = _requantize(read, made, alpha)
        bottom = made[1] + fp.round_half_away(low / F(made[0]))
        return lambda q: max(bottom, rescale(q))

    def build_clamp(read: Params, made: Params, alpha: float) -> Callable[[int], int]:
        # TFLite Micro's RELU6 clamps to the input's own quantization and copies.
        zero, six = read[1], read[1] + fp.round_half_away(F(np.float32(high) / read[0]))
        return lambda q: max(zero, min(six, q))

    return build if math.isinf(high) else build_clamp


def _leaky_relu(read: Params, made: Params, alpha: float) -> Callable[[int], int]:
    slope = fp.quantize_multiplier(F(read[0]) * F(np.float32(alpha)) / F(made[0]))
    identity = fp.quantize_multiplier(F(read[0]) / F(made[0]))
    return lambda q: fp.requantize(q - read[1], *(identity if q >= read[1] else slope)) + made[1]


def _sigmoidal(
    function: Callable[[int, int], int], shift_out: int, zero: int
) -> Callable[[Params, Params, float], Callable[[int], int]]:
    def build(read: Params, made: Params, alpha: float) -> Callable[[int], int]:
        mantissa, shift = math.frexp(F(read[0]) * 2**27)
        multiplier = math.floor(mantissa * 2**31 + 0.5)
        radius = math.floor(15 * 2.0**27 / 2.0**shift)

        def at(q: int) -> int:
            x = q - read[1]
            if abs(x) >= radius:
                return 127 if x > 0 else -128
            return (
                fp.shift_right(function(fp.requantize(x, multiplier, shift), 4), shift_out) + zero
            )

        return at

    return build


def _hard_swish(read: Params, made: Params, alpha: float) -> Callable[[int], int]:
    hires = np.float32(1 / 128) * read[0]
    out_multiplier, out_shift = fp.quantize_multiplier(F(hires / made[0]))
    relu_multiplier, relu_shift = fp.quantize_multiplier(F(hires / np.float32(3 / 32768)))
    out16, relu16 = (min((m + 2**15) >> 16, 32767) for m in (out_multiplier, relu_multiplier))

    def high16(a: int, b: int) -> int:
        return min((a * b + 2**14) >> 15, 32767)

    def clamp16(x: int) -> int:
        return max(-32768, min(32767, x))

    def at(q: int) -> int:
        x = (q - read[1]) * 128
        scaled = high16(x, out16)
        gate = clamp16(x << (relu_shift - 1)) if relu_shift > 0 else x
        gate = high16(gate, relu16)
        if relu_shift > 0:
            gate = clamp16(gate * 2)
        elif relu_shift < 0:
            gate = fp.shift_right(gate, -relu_shift)
        gate = (gate + 2**15) >> 1
        product = int(gate * scaled / 2**15)  # towards zero
        return fp.shift_right(product, -out_shift) + made[1]

    return at


_FUNCTIONS: dict[str, Callable[[Params, Params, float], Callable[[int], int]]] = {
    "quantize": _requantize,
    "relu": _relu(0.0, math.inf),
    "relu6": _relu(0.0, 6.0),
    "leaky_relu": _leaky_relu,
    "logistic": _sigmoidal(fp.logistic, 31 - 8, -128),
    "tanh": _sigmoidal(fp.tanh, 31 - 7, 0),
    "hard_swish": _hard_swish,
}
