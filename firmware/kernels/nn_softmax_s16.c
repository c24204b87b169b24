/* int16 softmax: exponentials and the reciprocal of their sum interpolated in tables. */
#include "nn.h"

static int32_t interpolate(int32_t value, const int16_t table[513])
{
    const int16_t *at = &table[256 + (value >> 7)];
    return at[0] + ((((at[1] - at[0]) * (value & 0x7F)) + 64) >> 7);
}

static uint32_t leading_zeros(uint32_t x)
{
    uint32_t count = 0;
    for (uint32_t bit = 1UL << 31; (bit != 0U) && ((x & bit) == 0U); bit >>= 1) {
        count++;
    }
    return count;
}

void nn_softmax_s16(uint32_t rows, uint32_t size, const int16_t exps[513], const int16_t inverses[513],
                    int32_t multiplier, int32_t shift, const int16_t *in, int16_t *out)
{
    for (uint32_t row = 0; row < rows; row++) {
        const int16_t *x = &in[row * size];
        int16_t *y = &out[row * size];
        int32_t most = -32768;
        int32_t sum = 0; /* Q16.15 */
        for (uint32_t i = 0; i < size; i++) {
            most = nn_max(most, x[i]);
        }
        for (uint32_t i = 0; i < size; i++) {
            const int32_t difference = nn_requantize(x[i] - most, multiplier, shift) + 32767;
            y[i] = (int16_t)interpolate(nn_clamp(difference, -32768, 32767), exps);
            sum += y[i];
        }
        const uint32_t headroom = leading_zeros((uint32_t)sum);
        const int64_t raised = (int64_t)((uint64_t)(uint32_t)sum << (headroom - 1U));
        const int32_t over = (int32_t)((raised + (1 << 13)) >> 14) - ((1 << 15) + (1 << 16));
        const int32_t inverse = interpolate(nn_clamp(over, -32768, 32767), inverses);
        const uint32_t right = 31U - headroom;
        for (uint32_t i = 0; i < size; i++) {
            const int32_t p = (int32_t)((((int64_t)y[i] * inverse) + (int64_t)(1ULL << (right - 1U))) >> right);
            y[i] = (int16_t)nn_clamp(p, 0, 32767);
        }
    }
}
