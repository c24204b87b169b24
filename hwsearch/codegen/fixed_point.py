"""TFLite Micro's fixed-point arithmetic on Python integers.

Sources: the quantization scheme of Jacob et al. 2018, section 2.2 (multiplier = Q31 mantissa and
power of two); gemmlowp's public description of its fixed-point functions (exp as a product of
table values and a fourth-order polynomial around -1/8, 1 / (1 + x) by three Newton steps from
48/17 - 32/17 x).
"""

from __future__ import annotations

import math

INT32_MAX = 2**31 - 1


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(Q31 mantissa in [2^30, 2^31), power of two) of a real number > 0; (0, 0) if too small."""
    if real == 0:
        return 0, 0
    mantissa, exponent = math.frexp(real)
    fixed = math.floor(mantissa * 2**31 + 0.5)
    if fixed == 2**31:
        fixed, exponent = fixed // 2, exponent + 1
    return (0, 0) if exponent < -31 else (fixed, exponent)


def wrap32(x: int) -> int:
    """The low 32 bits as a signed number."""
    return (x + 2**31) % 2**32 - 2**31


def multiply_high(a: int, b: int) -> int:
    """round(a * b / 2^31), half up; the one product that overflows saturates."""
    return min((a * b + 2**30) >> 31, INT32_MAX)


def shift_right(x: int, n: int) -> int:
    """x / 2^n, half away from zero."""
    if n == 0:
        return x
    return (x + 2 ** (n - 1) - (1 if x < 0 else 0)) >> n


def requantize(x: int, multiplier: int, shift: int) -> int:
    """x * multiplier / 2^31 * 2^shift with both roundings."""
    high = multiply_high(wrap32(x << max(shift, 0)), multiplier)
    return shift_right(high, max(-shift, 0))


def requantize64(x: int, multiplier: int, shift: int) -> int:
    """The int16 kernels' way with a 64-bit sum: one rounding, half up, 16 bits of multiplier."""
    reduced = (multiplier + 2**15) >> 16 if multiplier < 0x7FFF0000 else 0x7FFF
    return (x * reduced + 2 ** (14 - shift)) >> (15 - shift)


def round_half_away(x: float) -> int:
    """C's round()."""
    return int(math.copysign(math.floor(abs(x) + 0.5), x))


def _saturating_shift(x: int, n: int) -> int:
    """x * 2^n, saturated to 32 bits, or x / 2^-n rounded."""
    return max(-(2**31), min(INT32_MAX, x << n)) if n >= 0 else shift_right(x, -n)


def _exp_quarter(a: int) -> int:
    """exp(a) for a in [-1/4, 0) as Q0.31."""
    x = a + (1 << 28)
    x2 = multiply_high(x, x)
    x3 = multiply_high(x2, x)
    x4 = multiply_high(x2, x2)
    third = multiply_high(shift_right(x4, 2) + x3, 715827883)
    polynomial = shift_right(third + x2, 1)
    return wrap32(1895147668 + multiply_high(1895147668, x + polynomial))


_EXP_TABLE = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
"""exp(-1/4), exp(-1/2), exp(-1) … exp(-16) as Q0.31."""


def exp_negative(a: int, integer_bits: int) -> int:
    """exp of a negative number with ``integer_bits`` integer bits, as Q0.31."""
    fractional = 31 - integer_bits
    quarter = 1 << (fractional - 2)
    below = (a & (quarter - 1)) - quarter
    result = _exp_quarter(_saturating_shift(below, integer_bits))
    rest = below - a
    for exponent, factor in zip(range(-2, 5), _EXP_TABLE, strict=True):
        if integer_bits > exponent and rest & (1 << (fractional + exponent)):
            result = multiply_high(result, factor)
    if integer_bits > 5 and a < -(1 << (fractional + 5)):
        result = 0
    return INT32_MAX if a == 0 else result


def _half_sum(a: int, b: int) -> int:
    total = a + b
    return int((total + (1 if total >= 0 else -1)) / 2)


def one_over_one_plus(a: int) -> int:
    """1 / (1 + a) for a in [0, 1], Q0.31 in and out."""
    half = _half_sum(a, INT32_MAX)
    x = 1515870810 + multiply_high(half, -1010580540)
    for _ in range(3):
        correction = (1 << 29) - multiply_high(half, x)
        x = wrap32(x + _saturating_shift(multiply_high(x, correction), 2))
    return _saturating_shift(x, 1)


def logistic(a: int, integer_bits: int) -> int:
    """1 / (1 + exp(-a)), Q0.31."""
    if a == 0:
        return INT32_MAX // 2 + 1
    positive = one_over_one_plus(exp_negative(-abs(a), integer_bits))
    return positive if a > 0 else wrap32(INT32_MAX - positive)


def tanh(a: int, integer_bits: int) -> int:
    """tanh(a), Q0.31."""
    if a == 0:
        return 0
    # (1 - e) / (1 + e) with e = exp(-2 |a|); doubling is one integer bit more.
    e = exp_negative(-abs(a), integer_bits + 1)
    half = _half_sum(e, INT32_MAX)
    x = 1515870810 + multiply_high(half, -1010580540)
    for _ in range(3):
        correction = (1 << 29) - multiply_high(half, x)
        x = wrap32(x + _saturating_shift(multiply_high(x, correction), 2))
    value = _saturating_shift(x - (1 << 29), 2)
    return value if a > 0 else -value
