/* int16 addition, subtraction, multiplication and rescaling. */
#include "nn.h"

static inline int16_t sum_of(const nn_binary_t *q, int32_t x, int32_t y)
{
    const int32_t xs = nn_requantize(x * (1 << 15), q->a_multiplier, -q->a_right);
    const int32_t ys = nn_requantize(y * (1 << 15), q->b_multiplier, -q->b_right);
    return (int16_t)nn_clamp(nn_requantize(xs + (q->sign * ys), q->multiplier, q->shift), q->min, q->max);
}

static inline int16_t product_of(const nn_binary_t *q, int32_t x, int32_t y)
{
    return (int16_t)nn_clamp(nn_requantize(x * y, q->multiplier, q->shift), q->min, q->max);
}

void nn_add_s16(const nn_binary_t *q, const int16_t *a, const int16_t *b, int16_t *out)
{
    int16_t *to = out;
    for (uint32_t i = 0; i < q->n[0]; i++) {
        for (uint32_t j = 0; j < q->n[1]; j++) {
            for (uint32_t k = 0; k < q->n[2]; k++) {
                const int16_t *x = &a[(i * q->a_step[0]) + (j * q->a_step[1]) + (k * q->a_step[2])];
                const int16_t *y = &b[(i * q->b_step[0]) + (j * q->b_step[1]) + (k * q->b_step[2])];
                for (uint32_t left = q->n[3]; left != 0U; left--) {
                    *to = sum_of(q, *x, *y);
                    x += q->a_step[3];
                    y += q->b_step[3];
                    to++;
                }
            }
        }
    }
}

void nn_mul_s16(const nn_binary_t *q, const int16_t *a, const int16_t *b, int16_t *out)
{
    int16_t *to = out;
    for (uint32_t i = 0; i < q->n[0]; i++) {
        for (uint32_t j = 0; j < q->n[1]; j++) {
            for (uint32_t k = 0; k < q->n[2]; k++) {
                const int16_t *x = &a[(i * q->a_step[0]) + (j * q->a_step[1]) + (k * q->a_step[2])];
                const int16_t *y = &b[(i * q->b_step[0]) + (j * q->b_step[1]) + (k * q->b_step[2])];
                for (uint32_t left = q->n[3]; left != 0U; left--) {
                    *to = product_of(q, *x, *y);
                    x += q->a_step[3];
                    y += q->b_step[3];
                    to++;
                }
            }
        }
    }
}

static inline int32_t rescale(const nn_rescale_t *q, int32_t value)
{
    const int32_t x = value - q->in_zero;
    const int32_t y = (x < 0) ? nn_requantize(x, q->negative_multiplier, q->negative_shift)
                              : nn_requantize(x, q->multiplier, q->shift);
    return nn_clamp(y + q->zero_point, q->min, q->max);
}

void nn_rescale_s16(uint32_t size, const nn_rescale_t *q, const int16_t *in, int16_t *out)
{
    for (uint32_t i = 0; i < size; i++) {
        out[i] = (int16_t)rescale(q, in[i]);
    }
}

void nn_rescale_s8_s16(uint32_t size, const nn_rescale_t *q, const int8_t *in, int16_t *out)
{
    for (uint32_t i = 0; i < size; i++) {
        out[i] = (int16_t)rescale(q, in[i]);
    }
}

void nn_rescale_s16_s8(uint32_t size, const nn_rescale_t *q, const int16_t *in, int8_t *out)
{
    for (uint32_t i = 0; i < size; i++) {
        out[i] = (int8_t)rescale(q, in[i]);
    }
}
