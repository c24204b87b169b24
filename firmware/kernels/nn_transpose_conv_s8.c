/* int8 transposed convolution, one output pixel at a time: the taps that reach it, zero elsewhere. */
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

void nn_transpose_conv_s8(const nn_window_t *w, const nn_requant_t *q, int32_t in_zero, const int8_t *weights,
                          const int8_t *in, int8_t *out, int16_t *patch)
{
    const uint32_t channels = w->in_c;
    const uint32_t values = (uint32_t)w->kernel_h * w->kernel_w * channels;
    const uint32_t groups = (values + 1U) / 2U;
    int32_t acc[2];
    int8_t *to = out;
    patch[(2U * groups) - 1U] = 0;
    for (int32_t oy = 0; oy < w->out_h; oy++) {
        for (int32_t ox = 0; ox < w->out_w; ox++) {
            int16_t *x = patch;
            for (int32_t ky = 0; ky < w->kernel_h; ky++) {
                const int32_t iy = source(oy, w->pad_top, ky, w->stride_h, w->in_h);
                for (int32_t kx = 0; kx < w->kernel_w; kx++) {
                    const int32_t ix = source(ox, w->pad_left, kx, w->stride_w, w->in_w);
                    const int8_t *tap = &in[(iy < 0 || ix < 0) ? 0U : ((((uint32_t)iy * w->in_w) + (uint32_t)ix) * channels)];
                    for (uint32_t c = 0; c < channels; c++) {
                        *x = ((iy < 0) || (ix < 0)) ? (int16_t)in_zero : (int16_t)tap[c];
                        x++;
                    }
                }
            }
            const int8_t *filter = weights;
            for (uint32_t c = 0; c < w->out_c; c += 2U) {
                nn_dot_1x2(patch, filter, groups, &q->bias[c], acc);
                const uint32_t pair = ((c + 1U) < w->out_c) ? 2U : 1U;
                for (uint32_t n = 0; n < pair; n++) {
                    const int32_t y = nn_requantize(acc[n], q->multiplier[c + n], q->shift[c + n]) + q->zero_point;
                    to[c + n] = (int8_t)nn_clamp(y, q->min, q->max);
                }
                filter += groups * 4U;
            }
            to += w->out_c;
        }
    }
}
