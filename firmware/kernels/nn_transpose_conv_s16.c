/* int16 transposed convolution, one output pixel at a time: the taps that reach it, zero elsewhere. */
#include "nn.h"

/* Where input row or column `tap` of the kernel meets output position `at`, -1 where it does not. */
static int32_t source(int32_t at, int32_t pad, int32_t tap, int32_t stride, int32_t size)
{
    const int32_t scaled = at + pad - tap;
    if ((scaled < 0) || ((scaled % stride) != 0)) {
        return -1;
    }
    return ((scaled / stride) < size) ? (scaled / stride) : -1;
}

void nn_transpose_conv_s16(const nn_window_t *w, const nn_requant16_t *q, uint32_t span, const int8_t *weights,
                           const int16_t *in, int16_t *out, int16_t *patch)
{
    static const int32_t none[2] = {0, 0};
    const uint32_t channels = w->in_c;
    const uint32_t groups = (((uint32_t)w->kernel_h * w->kernel_w * channels) + 1U) / 2U;
    int32_t part[2];
    int16_t *to = out;
    patch[(2U * groups) - 1U] = 0;
    for (int32_t oy = 0; oy < w->out_h; oy++) {
        for (int32_t ox = 0; ox < w->out_w; ox++) {
            int16_t *x = patch;
            for (int32_t ky = 0; ky < w->kernel_h; ky++) {
                const int32_t iy = source(oy, w->pad_top, ky, w->stride_h, w->in_h);
                for (int32_t kx = 0; kx < w->kernel_w; kx++) {
                    const int32_t ix = source(ox, w->pad_left, kx, w->stride_w, w->in_w);
                    const int inside = ((iy >= 0) && (ix >= 0)) ? 1 : 0;
                    const int16_t *tap = (inside != 0) ? &in[(((uint32_t)iy * w->in_w) + (uint32_t)ix) * channels] : in;
                    for (uint32_t c = 0; c < channels; c++) {
                        *x = (inside != 0) ? tap[c] : (int16_t)0;
                        x++;
                    }
                }
            }
            for (uint32_t c = 0; c < w->out_c; c += 2U) {
                const int8_t *filter = &weights[(c / 2U) * groups * 4U];
                const uint32_t pair = ((c + 1U) < w->out_c) ? 2U : 1U;
                int64_t acc[2] = {q->bias[c], q->bias[c + 1U]};
                for (uint32_t done = 0; done < groups; done += span) {
                    const uint32_t count = ((groups - done) < span) ? (groups - done) : span;
                    nn_dot_1x2(&patch[2U * done], &filter[4U * done], count, none, part);
                    acc[0] += part[0];
                    acc[1] += part[1];
                }
                for (uint32_t n = 0; n < pair; n++) {
                    const int32_t y = nn_requantize64(acc[n], q->multiplier[c + n], q->shift[c + n]);
                    to[c + n] = (int16_t)nn_clamp(y, q->min, q->max);
                }
            }
            to += w->out_c;
        }
    }
}
