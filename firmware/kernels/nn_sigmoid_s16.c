/* int16 logistic and tanh: 2 logistic(2 x) - 1, both interpolated in one table for x >= 0. */
#include "nn.h"

static int32_t scaled(int16_t x, int32_t multiplier, int32_t right)
{
    const uint32_t round = (right > 0) ? ((uint32_t)1 << (uint32_t)(right - 1)) : 0U;
    return (int32_t)(((uint32_t)(int32_t)x * (uint32_t)multiplier) + round) >> right; /* wraps as TFLite's does */
}

void nn_logistic_s16(uint32_t size, const uint16_t sigmoid[256], int32_t multiplier, int32_t right, const int16_t *in,
                     int16_t *out)
{
    for (uint32_t i = 0; i < size; i++) {
        const int32_t x = scaled(in[i], multiplier, right);
        const uint32_t above = (x < 0) ? (0U - (uint32_t)x) : (uint32_t)x;
        const uint32_t at = above >> 9;
        uint32_t y = 0x7FFFUL << 10;
        if (at < 255U) {
            const uint32_t low = sigmoid[at], high = sigmoid[at + 1U];
            y = (low << 9) + ((above & 0x1FFU) * (high - low));
        }
        y = (x >= 0) ? (y + (1UL << 9)) : ((1UL << 25) - y + (1UL << 9) - 1UL);
        out[i] = (int16_t)(y >> 10);
    }
}

void nn_tanh_s16(uint32_t size, const uint16_t sigmoid[256], int32_t multiplier, int32_t right, const int16_t *in,
                 int16_t *out)
{
    for (uint32_t i = 0; i < size; i++) {
        const int32_t x = scaled(in[i], multiplier, right);
        const uint32_t above = (x < 0) ? (0U - (uint32_t)x) : (uint32_t)x;
        const uint32_t at = above >> 8;
        int32_t y = 0xFFFF << 8;
        if (at < 255U) {
            const int32_t low = sigmoid[at], high = sigmoid[at + 1U];
            y = (low * 256) + ((int32_t)(above & 0xFFU) * (high - low));
        }
        y = (x >= 0) ? (y - (1 << 23) + (1 << 7)) : (-y + (1 << 23) + (1 << 7) - 1);
        out[i] = (int16_t)(y >> 8);
    }
}
