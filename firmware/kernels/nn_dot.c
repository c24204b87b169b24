/* Sums of products over a patch: the inner loops of convolutions and dense layers; how weights are stored for them.
 * nn_dot_dsp.c has those of cores with the DSP extension. */
#include "nn.h"

#if !NN_DSP

/* Weight n (0: the lower nibble) of a byte. */
static inline int32_t nibble(int8_t byte, uint32_t n)
{
    return (n == 0U) ? ((int32_t)((uint32_t)(uint8_t)byte << 28U) >> 28) : ((int32_t)byte >> 4);
}

#if defined(NN_SHORT_MULTIPLY)
/* Two pixels by two channels at a time: four sums, as many as Armv6-M holds in registers. */
void nn_dot_4x2(const int16_t *patch, const int8_t *weights, uint32_t groups, const int32_t *bias, int32_t *acc)
{
    for (uint32_t pixel = 0; pixel < NN_PIXELS; pixel += 2U) {
        const int16_t *x = &patch[2U * pixel];
        const int8_t *w = weights;
        int32_t a00 = bias[0], a01 = bias[1], a10 = bias[0], a11 = bias[1];
        for (uint32_t group = groups; group != 0U; group--) {
            a00 += (x[0] * w[0]) + (x[1] * w[2]);
            a01 += (x[0] * w[1]) + (x[1] * w[3]);
            a10 += (x[2] * w[0]) + (x[3] * w[2]);
            a11 += (x[2] * w[1]) + (x[3] * w[3]);
            x += 2 * NN_PIXELS;
            w += 4;
        }
        acc[2U * pixel] = a00;
        acc[(2U * pixel) + 1U] = a01;
        acc[(2U * pixel) + 2U] = a10;
        acc[(2U * pixel) + 3U] = a11;
    }
}
#else
void nn_dot_4x2(const int16_t *patch, const int8_t *weights, uint32_t groups, const int32_t *bias, int32_t *acc)
{
    const int16_t *x = patch;
    const int8_t *w = weights;
    int32_t a0 = bias[0], a1 = bias[1], b0 = a0, b1 = a1, c0 = a0, c1 = a1, d0 = a0, d1 = a1;
    for (const int16_t *end = &patch[groups * 2U * NN_PIXELS]; x != end; x += 2 * NN_PIXELS) {
        for (uint32_t k = 0; k < 2U; k++) {
            const int32_t w0 = w[0], w1 = w[1];
            a0 += x[k] * w0;
            a1 += x[k] * w1;
            b0 += x[2U + k] * w0;
            b1 += x[2U + k] * w1;
            c0 += x[4U + k] * w0;
            c1 += x[4U + k] * w1;
            d0 += x[6U + k] * w0;
            d1 += x[6U + k] * w1;
            w += 2;
        }
    }
    acc[0] = a0;
    acc[1] = a1;
    acc[2] = b0;
    acc[3] = b1;
    acc[4] = c0;
    acc[5] = c1;
    acc[6] = d0;
    acc[7] = d1;
}
#endif

void nn_dot_1x2(const int16_t *patch, const int8_t *weights, uint32_t groups, const int32_t *bias, int32_t *acc)
{
    const int16_t *x = patch;
    const int8_t *w = weights;
    int32_t a0 = bias[0], a1 = bias[1];
    for (uint32_t group = groups; group != 0U; group--) {
        a0 += (x[0] * w[0]) + (x[1] * w[2]);
        a1 += (x[0] * w[1]) + (x[1] * w[3]);
        x += 2;
        w += 4;
    }
    acc[0] = a0;
    acc[1] = a1;
}

void nn_dot4_4x2(const int16_t *patch, const int8_t *weights, uint32_t groups, const int32_t *bias, int32_t *acc)
{
    for (uint32_t pixel = 0; pixel < NN_PIXELS; pixel++) {
        const int16_t *x = &patch[2U * pixel];
        const int8_t *w = weights;
        int32_t a0 = bias[0], a1 = bias[1];
        for (uint32_t group = groups; group != 0U; group -= 2U) {
            for (uint32_t n = 0; n < 2U; n++) {
                a0 += (x[0] * nibble(w[0], n)) + (x[1] * nibble(w[2], n));
                a1 += (x[0] * nibble(w[1], n)) + (x[1] * nibble(w[3], n));
                x += 2 * NN_PIXELS;
            }
            w += 4;
        }
        acc[2U * pixel] = a0;
        acc[(2U * pixel) + 1U] = a1;
    }
}

void nn_dot4_1x2(const int16_t *patch, const int8_t *weights, uint32_t groups, const int32_t *bias, int32_t *acc)
{
    const int16_t *x = patch;
    const int8_t *w = weights;
    int32_t a0 = bias[0], a1 = bias[1];
    for (uint32_t group = groups; group != 0U; group -= 2U) {
        for (uint32_t n = 0; n < 2U; n++) {
            a0 += (x[0] * nibble(w[0], n)) + (x[1] * nibble(w[2], n));
            a1 += (x[0] * nibble(w[1], n)) + (x[1] * nibble(w[3], n));
            x += 2;
        }
        w += 4;
    }
    acc[0] = a0;
    acc[1] = a1;
}

/* One channel's sum of `pixels` pixels, whose groups lie `step` values apart; acc is two apart. */
static void dot_palette(const int16_t *patch, const int8_t *weights, uint32_t groups, int32_t bias, int32_t *acc,
                        uint32_t pixels)
{
    const int16_t *pairs = &patch[-NN_PALETTE_VALUES];
    for (uint32_t pixel = 0; pixel < pixels; pixel++) {
        const int16_t *x = &patch[2U * pixel];
        const uint8_t *w = (const uint8_t *)weights;
        int32_t sum = bias;
        for (uint32_t group = groups; group != 0U; group--) {
            const int16_t *pair = &pairs[2U * *w];
            sum += (x[0] * pair[0]) + (x[1] * pair[1]);
            x += 2U * pixels;
            w += 2;
        }
        acc[2U * pixel] = sum;
    }
}

void nn_dot_palette_4x2(const int16_t *patch, const int8_t *weights, uint32_t groups, const int32_t *bias, int32_t *acc)
{
    dot_palette(patch, weights, groups, bias[0], acc, NN_PIXELS);
    dot_palette(patch, &weights[1], groups, bias[1], &acc[1], NN_PIXELS);
}

void nn_dot_palette_1x2(const int16_t *patch, const int8_t *weights, uint32_t groups, const int32_t *bias, int32_t *acc)
{
    dot_palette(patch, weights, groups, bias[0], acc, 1U);
    dot_palette(patch, &weights[1], groups, bias[1], &acc[1], 1U);
}

#endif

#if NN_DSP
#define STORAGE(dot, block, group_bytes, whole) {dot, block, group_bytes, whole}
#else
#define STORAGE(dot, block, group_bytes, whole) {dot, group_bytes, whole}
#endif

const nn_storage_t nn_int8 = STORAGE(nn_dot_4x2, nn_block_s8, 4U, 2U);
const nn_storage_t nn_int8_vector = STORAGE(nn_dot_1x2, NULL, 4U, 2U);
const nn_storage_t nn_int4 = STORAGE(nn_dot4_4x2, nn_block4_s8, 2U, 4U);
const nn_storage_t nn_int4_vector = STORAGE(nn_dot4_1x2, NULL, 2U, 4U);
const nn_storage_t nn_palette = STORAGE(nn_dot_palette_4x2, nn_block_palette_s8, 2U, 2U);
const nn_storage_t nn_palette_vector = STORAGE(nn_dot_palette_1x2, NULL, 2U, 2U);
