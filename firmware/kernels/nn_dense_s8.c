/* int8 dense layer on one vector: the input becomes a patch of one pixel, so out may lie anywhere over in. */
#include "nn.h"

void nn_dense_s8(uint32_t in_c, uint32_t out_c, const nn_requant_t *q, const nn_storage_t *storage,
                 const int8_t *weights, const int8_t *in, int8_t *out, int16_t *patch)
{
    const uint32_t whole = storage->whole;
    const uint32_t groups = ((in_c + whole - 1U) & ~(whole - 1U)) / 2U;
    const uint32_t row = groups * storage->group_bytes;
    const int8_t *filter = weights;
    int32_t acc[2];
    /* As in a convolution, four values lie as (k0, k2), (k1, k3) where the whole vector is made of fours. */
    if ((in_c & 3U) == 0U) {
        for (uint32_t k = 0; k < in_c; k += 4U) {
            const int8_t *x = &in[k];
            patch[k] = x[0];
            patch[k + 1U] = x[2];
            patch[k + 2U] = x[1];
            patch[k + 3U] = x[3];
        }
    } else {
        for (uint32_t k = 0; k < (2U * groups); k++) {
            patch[k] = (k < in_c) ? in[k] : 0;
        }
    }
    for (uint32_t c = 0; c < out_c; c += 2U) {
        storage->dot(patch, filter, groups, &q->bias[c], acc);
        const uint32_t pair = ((c + 1U) < out_c) ? 2U : 1U;
        for (uint32_t n = 0; n < pair; n++) {
            const int32_t multiplier = q->multiplier[c + n], shift = q->shift[c + n];
            int32_t x;
            if (q->narrow != 0) {
                x = nn_shift_right(nn_multiply_high(acc[n], multiplier), -shift) + q->zero_point;
            } else {
                x = nn_requantize(acc[n], multiplier, shift) + q->zero_point;
            }
            out[c + n] = (int8_t)nn_clamp(x, q->min, q->max);
        }
        filter += row;
    }
}
