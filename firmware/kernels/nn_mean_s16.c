/* int16 mean over one range of neighbouring dimensions. */
#include "nn.h"

void nn_mean_s16(const nn_mean_t *q, const int16_t *in, int16_t *out)
{
    for (uint32_t o = 0; o < q->outer; o++) {
        for (uint32_t i = 0; i < q->inner; i++) {
            const int16_t *x = &in[(o * q->n * q->inner) + i];
            int32_t sum = 0;
            for (uint32_t n = 0; n < q->n; n++) {
                sum += *x;
                x += q->inner;
            }
            if (q->plain != 0) {
                sum /= (int32_t)q->n;
            } else {
                sum = nn_requantize(sum - ((int32_t)q->n * q->in_zero), q->multiplier, q->shift) + q->zero_point;
            }
            out[(o * q->inner) + i] = (int16_t)nn_clamp(sum, -32768, 32767);
        }
    }
}
