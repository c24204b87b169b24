/* int8 addition, subtraction, multiplication and lookup. */
#include "nn.h"

/* x / 2^n, half away from zero, n >= 0; half is 2^(n-1) or 0, any is -1 where n > 0. */
static inline int32_t round_shift(int32_t x, int32_t n, int32_t half, int32_t any)
{
    return (x + ((x >> 31) & any) + half) >> n;
}

void nn_add_s8(const nn_binary_t *q, const int8_t *a, const int8_t *b, int8_t *out)
{
    const int32_t right = -q->shift;
    const int32_t a_half = (int32_t)((1UL << (uint32_t)q->a_right) >> 1U), a_any = (q->a_right > 0) ? -1 : 0;
    const int32_t b_half = (int32_t)((1UL << (uint32_t)q->b_right) >> 1U), b_any = (q->b_right > 0) ? -1 : 0;
    const int32_t half = (int32_t)((1UL << (uint32_t)right) >> 1U), any = (right > 0) ? -1 : 0;
    const int32_t full = ((q->min == -128) && (q->max == 127)) ? 1 : 0;
    int8_t *to = out;
    for (uint32_t i = 0; i < q->n[0]; i++) {
        for (uint32_t j = 0; j < q->n[1]; j++) {
            for (uint32_t k = 0; k < q->n[2]; k++) {
                const int8_t *x = &a[(i * q->a_step[0]) + (j * q->a_step[1]) + (k * q->a_step[2])];
                const int8_t *y = &b[(i * q->b_step[0]) + (j * q->b_step[1]) + (k * q->b_step[2])];
                for (uint32_t left = q->n[3]; left != 0U; left--) {
                    const int32_t xs = nn_multiply_high((*x - q->a_zero) * (1 << 20), q->a_multiplier);
                    const int32_t ys = nn_multiply_high((*y - q->b_zero) * (1 << 20), q->b_multiplier);
                    const int32_t sum = round_shift(xs, q->a_right, a_half, a_any) +
                                        (q->sign * round_shift(ys, q->b_right, b_half, b_any));
                    const int32_t z =
                        round_shift(nn_multiply_high(sum, q->multiplier), right, half, any) + q->zero_point;
                    *to = (int8_t)((full != 0) ? nn_saturate8(z) : nn_clamp(z, q->min, q->max));
                    x += q->a_step[3];
                    y += q->b_step[3];
                    to++;
                }
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
