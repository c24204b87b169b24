/* int16 depthwise convolution, one channel after another over a ring of rows (nn_depthwise_s8.c tells why). */
#include "nn.h"

static void load_row(const nn_window_t *w, const int16_t *in, int32_t y, int16_t *row)
{
    int16_t *to = &row[w->pad_left];
    const int inside = ((y >= 0) && (y < w->in_h)) ? 1 : 0;
    const int16_t *from = (inside != 0) ? &in[(uint32_t)y * w->in_w * w->in_c] : in;
    for (uint32_t x = 0; x < w->in_w; x++) {
        to[x] = (inside != 0) ? from[x * w->in_c] : (int16_t)0;
    }
}

void nn_depthwise_s16(const nn_window_t *w, const nn_requant16_t *q, const int8_t *weights, const int16_t *in,
                      int16_t *out, int16_t *rows, uint32_t row)
{
    const uint32_t taps = (uint32_t)w->kernel_h * w->kernel_w;
    const uint32_t multiplier = (uint32_t)w->out_c / w->in_c;
    const uint32_t ring = ((w->kernel_h - 1U) * w->dilation_h) + 1U;
    (void)__builtin_memset(rows, 0, ring * row * sizeof(*rows));
    for (uint32_t c = 0; c < w->out_c; c++) {
        const int16_t *from = &in[c / multiplier];
        int16_t *to = &out[c];
        int32_t next = -w->pad_top;
        uint32_t slot = 0;
        for (int32_t oy = 0; oy < w->out_h; oy++) {
            const int32_t first = (oy * w->stride_h) - w->pad_top;
            while (next < (first + (int32_t)ring)) {
                if (next >= first) {
                    load_row(w, from, next, &rows[slot * row]);
                }
                next++;
                slot = ((slot + 1U) == ring) ? 0U : (slot + 1U);
            }
            for (uint32_t ox = 0; ox < w->out_w; ox++) {
                int64_t sum = q->bias[c];
                const int8_t *weight = &weights[c * taps];
                uint32_t at = slot;
                for (uint32_t ky = 0; ky < w->kernel_h; ky++) {
                    const int16_t *x = &rows[(at * row) + (ox * w->stride_w)];
                    int32_t part = 0;
                    for (uint32_t kx = 0; kx < w->kernel_w; kx++) {
                        part += *x * *weight;
                        x = &x[w->dilation_w];
                        weight = &weight[1];
                    }
                    sum += part;
                    at += w->dilation_h;
                    at = (at >= ring) ? (at - ring) : at;
                }
                const int32_t y = nn_requantize64(sum, q->multiplier[c], q->shift[c]);
                *to = (int16_t)nn_clamp(y, q->min, q->max);
                to += w->out_c;
            }
        }
    }
}
