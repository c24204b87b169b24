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

/* `count` values of one pixel, a multiple of four: (k0, k2), (k1, k3). Gives the place of the next. */
static int16_t *gather_words(const int8_t *in, uint32_t count, int16_t *patch)
{
    int16_t *to = patch;
    for (uint32_t left = count; left != 0U; left -= 4U) {
        unpack4(in, to, &to[GROUP_STRIDE]);
        in += 4;
        to += 2U * GROUP_STRIDE;
    }
    return to;
}

/* Any number of values in their own order; `k` values lie in the patch already. */
static int16_t *gather_bytes(const int8_t *in, uint32_t count, int16_t *patch, uint32_t k)
{
    int16_t *to = patch;
    uint32_t left = count;
    if (((k & 1U) != 0U) && (left != 0U)) {
        *to = *in;
        in++;
        to += GROUP_STRIDE - 1U;
        left--;
    }
    for (; left > 1U; left -= 2U) {
        to[0] = in[0];
        to[1] = in[1];
        in += 2;
        to += GROUP_STRIDE;
    }
    if (left != 0U) {
        *to = *in;
        to++;
    }
    return to;
}

/* `count` times the zero point. */
static int16_t *gather_zero(int16_t zero, uint32_t count, int16_t *patch, uint32_t k)
{
    int16_t *to = patch;
    uint32_t step = ((k & 1U) != 0U) ? (GROUP_STRIDE - 1U) : 1U;
    for (uint32_t left = count; left != 0U; left--) {
        *to = zero;
        to += step;
        step = GROUP_STRIDE - step;
    }
    return to;
}

/* The window of one output pixel. Taps side by side in the image are one run. */
static void gather(const nn_window_t *w, int16_t zero, const int8_t *in, int32_t top, int32_t left, int16_t *patch)
{
    int16_t *to = patch;
    const uint32_t channels = w->in_c;
    const uint32_t width = w->in_w;
    const uint32_t words = ((channels & 3U) == 0U) ? 1U : 0U;
    const uint32_t run = (w->dilation_w == 1U) ? w->kernel_w : 1U;
    uint32_t k = 0;
    if ((run == w->kernel_w) && (top >= 0) && (left >= 0) && ((left + (int32_t)run) <= (int32_t)width) &&
        ((top + (int32_t)((w->kernel_h - 1U) * w->dilation_h)) < w->in_h)) {
        const int8_t *from = &in[(((uint32_t)top * width) + (uint32_t)left) * channels];
        const uint32_t inside = run * channels;
        const uint32_t step = w->dilation_h * width * channels;
        for (uint32_t rows = w->kernel_h; rows != 0U; rows--) {
            to = (words != 0U) ? gather_words(from, inside, to) : gather_bytes(from, inside, to, k);
            k += inside;
            from += step;
        }
        if ((k & 1U) != 0U) {
            *to = 0;
        }
        return;
    }
    for (uint32_t ky = 0; ky < w->kernel_h; ky++) {
        const int32_t y = top + (int32_t)(ky * w->dilation_h);
        const uint32_t row = ((y >= 0) && (y < w->in_h)) ? 1U : 0U;
        int32_t x = left;
        for (uint32_t kx = 0; kx < w->kernel_w; kx += run) {
            uint32_t before = (x < 0) ? (uint32_t)nn_min(-x, (int32_t)run) : 0U;
            const int32_t over = x + (int32_t)run - (int32_t)width;
            const uint32_t after = ((row != 0U) && (over > 0)) ? (uint32_t)nn_min(over, (int32_t)(run - before)) : 0U;
            before = (row != 0U) ? before : run;
            const uint32_t inside = (run - before - after) * channels;
            if (before != 0U) {
                to = gather_zero(zero, before * channels, to, k);
                k += before * channels;
            }
            if (inside != 0U) {
                const int8_t *from = &in[((((uint32_t)y * width) + (uint32_t)x) + before) * channels];
                to = (words != 0U) ? gather_words(from, inside, to) : gather_bytes(from, inside, to, k);
                k += inside;
            }
            if (after != 0U) {
                to = gather_zero(zero, after * channels, to, k);
                k += after * channels;
            }
            x += w->dilation_w;
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
            const int32_t right = -shift, min = q->min, max = q->max;
            const int32_t round = (int32_t)((uint32_t)((2 * q->zero_point) + 1) << (uint32_t)(right - 1));
            for (uint32_t p = 0; p < pixels; p++) {
                const int32_t x = nn_multiply_high(acc[(2U * p) + c], multiplier);
                *to = (int8_t)nn_clamp((x + (x >> 31) + round) >> right, min, max);
                to += channels;
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

void nn_conv_s8(const nn_window_t *w, const nn_requant_t *q, const nn_storage_t *storage, int32_t in_zero,
                const int8_t *weights, const int8_t *in, int8_t *out, int16_t *patch)
{
    const uint32_t values = (uint32_t)w->kernel_h * w->kernel_w * w->in_c;
    const uint32_t whole = storage->whole;
    const uint32_t groups = ((values + whole - 1U) & ~(whole - 1U)) / 2U;
    const uint32_t total = (uint32_t)w->out_h * w->out_w;
    const uint32_t pair_bytes = groups * storage->group_bytes;
    const uint32_t channels = w->out_c;
    int32_t acc[2 * NN_PIXELS];
    int32_t top = -w->pad_top;
    int32_t left = -w->pad_left;
    uint32_t column = 0;
    int8_t *to = out;
#if NN_DSP
    const uint32_t paired = (q->narrow != 0) ? (channels & 0xFFFEU) : 0U;
#endif
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
        uint32_t c = 0;
#if NN_DSP
        if ((pixels == NN_PIXELS) && (paired != 0U)) {
            nn_block_t block = {patch, weights, &patch[(groups & 3U) * GROUP_STRIDE], &patch[groups * GROUP_STRIDE],
                                q->bias, q->multiplier, q->shift, to, channels, (2 * q->zero_point) + 1, 0, paired};
            storage->block(&block);
            nn_clamp_block(q, paired, channels, to);
            c = paired;
        }
#endif
        for (; c < channels; c += 2U) {
            storage->dot(patch, &weights[(c / 2U) * pair_bytes], groups, &q->bias[c], acc);
            store(q, c, channels, pixels, acc, to);
        }
        to += pixels * channels;
    }
}
