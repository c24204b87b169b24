/* int8 softmax: exponentials from a table, one reciprocal by Newton's method. */
#include "nn.h"

/* round(a * b / 2^31), half up, of any two numbers but two of -2^31. */
static int32_t multiply(int32_t a, int32_t b) { return (int32_t)((((int64_t)a * b) + (1LL << 30)) >> 31); }

static uint32_t leading_zeros(uint32_t x)
{
    uint32_t count = 0;
    for (uint32_t bit = 1UL << 31; (bit != 0U) && ((x & bit) == 0U); bit >>= 1) {
        count++;
    }
    return count;
}

/* 1 / (1 + x), x and result Q31 in [0, 1]: three Newton steps from 48/17 - 32/17 (1 + x) / 2 in Q29. */
static int32_t one_over_one_plus(int32_t x)
{
    const int32_t half = (int32_t)(((int64_t)x + INT32_MAX + 1) / 2);
    int32_t y = 1515870810 + multiply(half, -1010580540);
    for (int i = 0; i < 3; i++) {
        y += multiply(y, (1 << 29) - multiply(half, y)) * 4;
    }
    return (y >= (1 << 30)) ? INT32_MAX : (y * 2);
}

/* x / 2^n, x >= 0, half up. */
static int32_t divide(int32_t x, int32_t n) { return (x >> n) + ((x >> (n - 1)) & 1); }

static int32_t exp_of(const int32_t *exps, uint32_t count, int32_t difference)
{
    return ((uint32_t)difference < count) ? exps[difference] : 0;
}

void nn_softmax_s8(uint32_t rows, uint32_t size, const int32_t *exps, uint32_t count, const int8_t *in, int8_t *out)
{
    for (uint32_t row = 0; row < rows; row++) {
        const int8_t *x = &in[row * size];
        int8_t *y = &out[row * size];
        int32_t most = -128;
        for (uint32_t i = 0; i < size; i++) {
            most = nn_max(most, x[i]);
        }
        int32_t sum = 0; /* Q12.19 */
        for (uint32_t i = 0; i < size; i++) {
            sum += divide(exp_of(exps, count, most - x[i]), 12);
        }
        const uint32_t headroom = leading_zeros((uint32_t)sum);
        const int32_t scale = one_over_one_plus((int32_t)(((uint32_t)sum << headroom) - (1UL << 31)));
        const int32_t right = 12 - (int32_t)headroom + 31 - 8;
        for (uint32_t i = 0; i < size; i++) {
            const int32_t p = divide(multiply(scale, exp_of(exps, count, most - x[i])), right);
            y[i] = (int8_t)nn_clamp(p - 128, -128, 127);
        }
    }
}
