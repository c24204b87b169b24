/* int8 addition, subtraction, multiplication and lookup. */
#include "nn.h"

/* One row. a is the operand of the larger scale: its multiplier is 1/2, so it takes a shift and no rounding. */
static void add_row(const nn_binary_t *q, uint32_t size, const int8_t *a, uint32_t a_step, const int8_t *b,
                    uint32_t b_step, int8_t *out)
{
    const int32_t b_multiplier = q->b_multiplier, b_right = q->b_right, multiplier = q->multiplier, right = -q->shift;
    const int32_t b_half = (int32_t)(1UL << (uint32_t)(b_right - 1));
    const int32_t round = (int32_t)((uint32_t)((2 * q->zero_point) + 1) << (uint32_t)(right - 1));
    const int32_t a_zero = q->a_zero * (1 << 19), b_zero = q->b_zero * q->b_unit, b_unit = q->b_unit;
    const int32_t min = q->min, max = q->max;
    const int8_t *x = a, *y = b;
    int8_t *to = out;
    for (const int8_t *end = &out[size]; to != end; to++) {
        int32_t z = nn_multiply_high((*y * b_unit) - b_zero, b_multiplier);
        z = (z + (z >> 31) + b_half) >> b_right;
        z += (*x * (1 << 19)) - a_zero;
        z = nn_multiply_high(z, multiplier);
        z = nn_saturate8((z + (z >> 31) + round) >> right);
        *to = (int8_t)nn_clamp(z, min, max);
        x = &x[a_step];
        y = &y[b_step];
    }
}

/* The same for int8's whole range, which needs no clamp. */
static void add_row_full(const nn_binary_t *q, uint32_t size, const int8_t *a, const int8_t *b, int8_t *out)
{
    const int32_t b_multiplier = q->b_multiplier, b_right = q->b_right, multiplier = q->multiplier, right = -q->shift;
    const int32_t b_half = (int32_t)(1UL << (uint32_t)(b_right - 1));
    const int32_t round = (int32_t)((uint32_t)((2 * q->zero_point) + 1) << (uint32_t)(right - 1));
    const int32_t a_zero = q->a_zero * (1 << 19), b_unit = q->b_unit, b_zero = q->b_zero * b_unit;
    const int8_t *x = a, *y = b;
    int8_t *to = out;
    for (const int8_t *end = &out[size]; to != end; to++) {
        int32_t z = nn_multiply_high((*y * b_unit) - b_zero, b_multiplier);
        z = (z + (z >> 31) + b_half) >> b_right;
        z += (*x * (1 << 19)) - a_zero;
        z = nn_multiply_high(z, multiplier);
        *to = (int8_t)nn_saturate8((z + (z >> 31) + round) >> right);
        x++;
        y++;
    }
}

/* Any scales and signs. */
static void add_row_any(const nn_binary_t *q, uint32_t size, const int8_t *a, uint32_t a_step, const int8_t *b,
                        uint32_t b_step, int8_t *out)
{
    const int8_t *x = a, *y = b;
    for (uint32_t i = 0; i < size; i++) {
        const int32_t xs = nn_requantize((*x - q->a_zero) * (1 << 20), q->a_multiplier, -q->a_right);
        const int32_t ys = nn_requantize((*y - q->b_zero) * (1 << 20), q->b_multiplier, -q->b_right);
        const int32_t z = nn_requantize(xs + (q->sign * ys), q->multiplier, q->shift) + q->zero_point;
        out[i] = (int8_t)nn_clamp(z, q->min, q->max);
        x = &x[a_step];
        y = &y[b_step];
    }
}

void nn_add_s8(const nn_binary_t *q, const int8_t *a, const int8_t *b, int8_t *out)
{
    const uint32_t size = q->n[3];
    int8_t *to = out;
    for (uint32_t i = 0; i < q->n[0]; i++) {
        for (uint32_t j = 0; j < q->n[1]; j++) {
            for (uint32_t k = 0; k < q->n[2]; k++) {
                const int8_t *x = &a[(i * q->a_step[0]) + (j * q->a_step[1]) + (k * q->a_step[2])];
                const int8_t *y = &b[(i * q->b_step[0]) + (j * q->b_step[1]) + (k * q->b_step[2])];
                if (q->b_unit == 0) {
                    add_row_any(q, size, x, q->a_step[3], y, q->b_step[3], to);
                } else if ((q->a_step[3] == 1U) && (q->b_step[3] == 1U) && (q->min == -128) && (q->max == 127)) {
                    add_row_full(q, size, x, y, to);
                } else {
                    add_row(q, size, x, q->a_step[3], y, q->b_step[3], to);
                }
                to += size;
            }
        }
    }
}

void nn_mul_s8(const nn_binary_t *q, const int8_t *a, const int8_t *b, int8_t *out)
{
    int8_t *to = out;
    for (uint32_t i = 0; i < q->n[0]; i++) {
        for (uint32_t j = 0; j < q->n[1]; j++) {
            for (uint32_t k = 0; k < q->n[2]; k++) {
                const int8_t *x = &a[(i * q->a_step[0]) + (j * q->a_step[1]) + (k * q->a_step[2])];
                const int8_t *y = &b[(i * q->b_step[0]) + (j * q->b_step[1]) + (k * q->b_step[2])];
                for (uint32_t left = q->n[3]; left != 0U; left--) {
                    const int32_t product = (*x - q->a_zero) * (*y - q->b_zero);
                    const int32_t z = nn_requantize(product, q->multiplier, q->shift) + q->zero_point;
                    *to = (int8_t)nn_clamp(z, q->min, q->max);
                    x += q->a_step[3];
                    y += q->b_step[3];
                    to++;
                }
            }
        }
    }
}

void nn_lookup_s8(uint32_t size, const int8_t table[256], const int8_t *in, int8_t *out)
{
    for (uint32_t i = 0; i < size; i++) {
        out[i] = table[in[i] + 128];
    }
}
