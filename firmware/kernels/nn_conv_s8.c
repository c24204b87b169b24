/* int8 convolution and dense layer: a patch of four output pixels meets two output channels at a time. */
#include "nn.h"

/* The patch holds four pixels, so that one load gets the same group of two of them. */
#define GROUP_STRIDE (2U * NN_PIXELS)

/* Four values of one pixel as two groups: (k0, k2), (k1, k3), which is what SXTB16 makes of a word. */
static inline void unpack4(const int8_t *in, int16_t *first, int16_t *second)
{
#if NN_DSP
    const uint32_t word = nn_load32(in);
    uint32_t even, odd;
    __asm__("sxtb16 %0, %1" : "=r"(even) : "r"(word));
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(word));
    nn_store32(first, even);
    nn_store32(second, odd);
#else
    first[0] = in[0];
    first[1] = in[2];
    second[0] = in[1];
    second[1] = in[3];
#endif
}

/* One tap of one pixel, in_c a multiple of four; NULL where it lies outside. Gives the next tap's place. */
static int16_t *gather_words(const int8_t *in, uint32_t channels, int16_t zero, int16_t *patch)
{
    int16_t *to = patch;
    if (in != NULL) {
        for (uint32_t c = 0; c < channels; c += 4U) {
            unpack4(&in[c], to, &to[GROUP_STRIDE]);
            to += 2U * GROUP_STRIDE;
        }
    } else {
        for (uint32_t c = 0; c < channels; c += 2U) {
            to[0] = zero;
            to[1] = zero;
            to += GROUP_STRIDE;
        }
    }
    return to;
}

/* The same for any in_c, values in their own order; `k` counts values and tells which half of a group is next. */
static int16_t *gather_bytes(const int8_t *in, uint32_t channels, int16_t zero, int16_t *patch, uint32_t k)
{
    int16_t *to = patch;
    uint32_t step = ((k & 1U) != 0U) ? (GROUP_STRIDE - 1U) : 1U;
    for (uint32_t c = 0; c < channels; c++) {
        *to = (in != NULL) ? (int16_t)in[c] : zero;
        to += step;
        step = GROUP_STRIDE - step;
    }
    return to;
}

/* The window of one output pixel. */
static void gather(const nn_window_t *w, int16_t zero, const int8_t *in, int32_t top, int32_t left, int16_t *patch)
{
    int16_t *to = patch;
    const uint32_t channels = w->in_c;
    const int32_t row_bytes = (int32_t)w->in_w * w->in_c;
    const int words = ((channels & 3U) == 0U) ? 1 : 0;
    uint32_t k = 0;
    for (int32_t ky = 0; ky < w->kernel_h; ky++) {
        const int32_t y = top + (ky * w->dilation_h);
        const int8_t *row = ((y >= 0) && (y < w->in_h)) ? &in[y * row_bytes] : NULL;
        for (int32_t kx = 0; kx < w->kernel_w; kx++) {
            const int32_t x = left + (kx * w->dilation_w);
            const int8_t *tap = ((row != NULL) && (x >= 0) && (x < w->in_w)) ? &row[x * (int32_t)channels] : NULL;
            if (words != 0) {
                to = gather_words(tap, channels, zero, to);
            } else {
                to = gather_bytes(tap, channels, zero, to, k);
                k += channels;
            }
        }
    }
    if ((k & 1U) != 0U) {
        *to = 0;
    }
}

/* Up to four pixels by two channels of sums into the output. */
static void store(const nn_requant_t *q, uint32_t channel, uint32_t channels, uint32_t pixels, const int32_t *acc,
                  int8_t *out)
{
    const uint32_t pair = ((channel + 1U) < channels) ? 2U : 1U;
    for (uint32_t c = 0; c < pair; c++) {
        const int32_t multiplier = q->multiplier[channel + c];
        const int32_t shift = q->shift[channel + c];
        int8_t *to = &out[channel + c];
        if (q->narrow != 0) {
            const int32_t right = -shift;
            const int32_t round = (int32_t)(1UL << (uint32_t)(right - 1)) + (int32_t)((uint32_t)q->zero_point << (uint32_t)right);
            if ((pixels == NN_PIXELS) && (q->min == -128) && (q->max == 127)) {
                for (uint32_t p = 0; p < NN_PIXELS; p++) {
                    const int32_t x = nn_multiply_high(acc[(2U * p) + c], multiplier);
                    *to = (int8_t)nn_saturate8((x + (x >> 31) + round) >> right);
                    to += channels;
                }
            } else {
                for (uint32_t p = 0; p < pixels; p++) {
                    const int32_t x = nn_multiply_high(acc[(2U * p) + c], multiplier);
                    *to = (int8_t)nn_clamp((x + (x >> 31) + round) >> right, q->min, q->max);
                    to += channels;
                }
            }
        } else {
            for (uint32_t p = 0; p < pixels; p++) {
                const int32_t x = nn_requantize(acc[(2U * p) + c], multiplier, shift) + q->zero_point;
                *to = (int8_t)nn_clamp(x, q->min, q->max);
                to += channels;
            }
        }
    }
}

void nn_conv_s8(const nn_window_t *w, const nn_requant_t *q, nn_dot_t dot, uint32_t group_bytes, int32_t in_zero,
                const int8_t *weights, const int8_t *in, int8_t *out, int16_t *patch)
{
    const uint32_t values = (uint32_t)w->kernel_h * w->kernel_w * w->in_c;
    const uint32_t groups = (group_bytes == 4U) ? ((values + 1U) / 2U) : (2U * ((values + 3U) / 4U));
    const uint32_t total = (uint32_t)w->out_h * w->out_w;
    const uint32_t pair_bytes = groups * group_bytes;
    int32_t acc[2 * NN_PIXELS];
    int32_t top = -w->pad_top;
    int32_t left = -w->pad_left;
    uint32_t column = 0;
    int8_t *to = out;
    for (uint32_t first = 0; first < total; first += NN_PIXELS) {
        const uint32_t pixels = ((total - first) < NN_PIXELS) ? (total - first) : NN_PIXELS;
        for (uint32_t p = 0; p < pixels; p++) {
            gather(w, (int16_t)in_zero, in, top, left, &patch[2U * p]);
            left += w->stride_w;
            column++;
            if (column == w->out_w) {
                column = 0;
                left = -w->pad_left;
                top += w->stride_h;
            }
        }
        const int8_t *filter = weights;
        for (uint32_t c = 0; c < w->out_c; c += 2U) {
            dot(patch, filter, groups, &q->bias[c], acc);
            store(q, c, w->out_c, pixels, acc, to);
            filter += pair_bytes;
        }
        to += pixels * w->out_c;
    }
}
