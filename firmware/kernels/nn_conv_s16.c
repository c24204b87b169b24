/* int16 convolution and dense layer with int8 weights; sums in 64 bits, collected from 32-bit spans. */
#include "nn.h"

#define GROUP_STRIDE (2U * NN_PIXELS)

/* The window of one output pixel, values in their own order, zero outside the image. */
static void gather(const nn_window_t *w, const int16_t *in, int32_t top, int32_t left, int16_t *patch)
{
    int16_t *to = patch;
    uint32_t step = 1;
    const uint32_t channels = w->in_c;
    for (int32_t ky = 0; ky < w->kernel_h; ky++) {
        const int32_t y = top + (ky * w->dilation_h);
        for (int32_t kx = 0; kx < w->kernel_w; kx++) {
            const int32_t x = left + (kx * w->dilation_w);
            const int inside = ((y >= 0) && (y < w->in_h) && (x >= 0) && (x < w->in_w)) ? 1 : 0;
            const int16_t *tap = (inside != 0) ? &in[(((uint32_t)y * w->in_w) + (uint32_t)x) * channels] : in;
            for (uint32_t c = 0; c < channels; c++) {
                *to = (inside != 0) ? tap[c] : (int16_t)0;
                to += step;
                step = GROUP_STRIDE - step;
            }
        }
    }
    if (step != 1U) {
        *to = 0;
    }
}

/* Sums of two channels for `pixels` (4 or 1) pixels, over all spans. */
static void sums(nn_dot_t dot, uint32_t pixels, const int16_t *patch, const int8_t *weights, uint32_t groups,
                 uint32_t span, const int64_t *bias, int64_t *acc)
{
    static const int32_t none[2] = {0, 0};
    int32_t part[2 * NN_PIXELS];
    for (uint32_t i = 0; i < (2U * pixels); i++) {
        acc[i] = bias[i & 1U];
    }
    for (uint32_t done = 0; done < groups; done += span) {
        const uint32_t count = ((groups - done) < span) ? (groups - done) : span;
        dot(&patch[done * 2U * pixels], &weights[done * 4U], count, none, part);
        for (uint32_t i = 0; i < (2U * pixels); i++) {
            acc[i] += part[i];
        }
    }
}

static inline int16_t finish(const nn_requant16_t *q, uint32_t channel, int64_t sum)
{
    return (int16_t)nn_clamp(nn_requantize64(sum, q->multiplier[channel], q->shift[channel]), q->min, q->max);
}

void nn_conv_s16(const nn_window_t *w, const nn_requant16_t *q, uint32_t span, const int8_t *weights, const int16_t *in,
                 int16_t *out, int16_t *patch)
{
    const uint32_t groups = (((uint32_t)w->kernel_h * w->kernel_w * w->in_c) + 1U) / 2U;
    const uint32_t total = (uint32_t)w->out_h * w->out_w;
    const uint32_t channels = w->out_c;
    int64_t acc[2 * NN_PIXELS];
    int16_t *to = out;
    for (uint32_t first = 0; first < total; first += NN_PIXELS) {
        const uint32_t pixels = ((total - first) < NN_PIXELS) ? (total - first) : NN_PIXELS;
        for (uint32_t p = 0; p < pixels; p++) {
            const int32_t oy = (int32_t)((first + p) / w->out_w), ox = (int32_t)((first + p) % w->out_w);
            gather(w, in, (oy * w->stride_h) - w->pad_top, (ox * w->stride_w) - w->pad_left, &patch[2U * p]);
        }
        for (uint32_t c = 0; c < channels; c += 2U) {
            const uint32_t pair = ((c + 1U) < channels) ? 2U : 1U;
            sums(nn_dot_4x2, NN_PIXELS, patch, &weights[(c / 2U) * groups * 4U], groups, span, &q->bias[c], acc);
            for (uint32_t p = 0; p < pixels; p++) {
                for (uint32_t n = 0; n < pair; n++) {
                    to[(p * channels) + c + n] = finish(q, c + n, acc[(2U * p) + n]);
                }
            }
        }
        to += pixels * channels;
    }
}

void nn_dense_s16(uint32_t in_c, uint32_t out_c, const nn_requant16_t *q, uint32_t span, const int8_t *weights,
                  const int16_t *in, int16_t *out, int16_t *patch)
{
    const uint32_t groups = (in_c + 1U) / 2U;
    int64_t acc[2];
    for (uint32_t k = 0; k < (2U * groups); k++) {
        patch[k] = (k < in_c) ? in[k] : (int16_t)0;
    }
    for (uint32_t c = 0; c < out_c; c += 2U) {
        sums(nn_dot_1x2, 1, patch, &weights[(c / 2U) * groups * 4U], groups, span, &q->bias[c], acc);
        out[c] = finish(q, c, acc[0]);
        if ((c + 1U) < out_c) {
            out[c + 1U] = finish(q, c + 1U, acc[1]);
        }
    }
}
