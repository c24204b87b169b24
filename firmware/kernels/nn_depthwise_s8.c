/* int8 depthwise convolution, one channel after another over a ring of int16 rows.
 *
 * A channel's rows are copied out of the interleaved input once, so horizontal neighbours lie side by side for dual
 * multiply-accumulates, and the output may take the input's own place. */
#include "nn.h"

/* Row y of one channel between padding; a row outside the image is padding throughout. */
static void load_row(const nn_window_t *w, int16_t zero, const int8_t *in, int32_t y, int16_t *row)
{
    int16_t *to = &row[w->pad_left];
    const uint32_t step = w->in_c;
    const uint32_t width = w->in_w;
    if ((y >= 0) && (y < w->in_h)) {
        const int8_t *from = &in[(uint32_t)y * width * step];
        for (uint32_t x = 0; x < width; x++) {
            to[x] = *from;
            from += step;
        }
    } else {
        for (uint32_t x = 0; x < width; x++) {
            to[x] = zero;
        }
    }
}

typedef struct {
    int32_t bias, multiplier, right, round, min, max;
} channel_t;

static inline int8_t finish(const channel_t *q, int32_t sum)
{
    const int32_t x = nn_multiply_high(sum, q->multiplier);
    return (int8_t)nn_clamp((x + (x >> 31) + q->round) >> q->right, q->min, q->max);
}

static inline int8_t finish_full(const channel_t *q, int32_t sum)
{
    const int32_t x = nn_multiply_high(sum, q->multiplier);
    return (int8_t)nn_saturate8((x + (x >> 31) + q->round) >> q->right);
}

#if NN_DSP
static inline int32_t smlad(uint32_t a, uint32_t b, int32_t sum)
{
    int32_t y;
    __asm__("smlad %0, %1, %2, %3" : "=r"(y) : "r"(a), "r"(b), "r"(sum));
    return y;
}
static inline int32_t smlabt(uint32_t a, uint32_t b, int32_t sum)
{
    int32_t y;
    __asm__("smlabt %0, %1, %2, %3" : "=r"(y) : "r"(a), "r"(b), "r"(sum));
    return y;
}
static inline int32_t smlatb(uint32_t a, uint32_t b, int32_t sum)
{
    int32_t y;
    __asm__("smlatb %0, %1, %2, %3" : "=r"(y) : "r"(a), "r"(b), "r"(sum));
    return y;
}
static inline uint32_t pair(int32_t low, int32_t high) { return ((uint32_t)low & 0xFFFFU) | ((uint32_t)high << 16U); }

/* Three rows of a 3 x 3 kernel, stride 1: two outputs from two words of each row; w01 and w12 are pairs of taps. */
static void row_3x3(const int16_t *r0, const int16_t *r1, const int16_t *r2, const uint32_t taps[6], const channel_t *q,
                    uint32_t width, uint32_t step, int8_t *out)
{
    const uint32_t t0 = taps[0], t1 = taps[1], t2 = taps[2], t3 = taps[3], t4 = taps[4], t5 = taps[5];
    int8_t *to = out;
    for (uint32_t x = 0; x < width; x += 2U) {
        uint32_t a = nn_load32(r0), b = nn_load32(&r0[2]);
        int32_t s0 = smlad(a, t0, q->bias), s1 = smlatb(a, t0, q->bias);
        s0 = smlabt(b, t1, s0);
        s1 = smlad(b, t1, s1);
        a = nn_load32(r1);
        b = nn_load32(&r1[2]);
        s0 = smlad(a, t2, s0);
        s1 = smlatb(a, t2, s1);
        s0 = smlabt(b, t3, s0);
        s1 = smlad(b, t3, s1);
        a = nn_load32(r2);
        b = nn_load32(&r2[2]);
        s0 = smlad(a, t4, s0);
        s1 = smlatb(a, t4, s1);
        s0 = smlabt(b, t5, s0);
        s1 = smlad(b, t5, s1);
        r0 = &r0[2];
        r1 = &r1[2];
        r2 = &r2[2];
        *to = finish_full(q, s0);
        to += step;
        if ((x + 1U) < width) {
            *to = finish_full(q, s1);
            to += step;
        }
    }
}
#endif

/* Any kernel; `top` is the ring row of the window's first row. */
static void row_any(const nn_window_t *w, const int16_t *rows, uint32_t row, uint32_t ring, uint32_t top,
                    const int8_t *weights, const nn_requant_t *q, const channel_t *channel, int32_t shift, int8_t *out)
{
    int8_t *to = out;
    for (uint32_t ox = 0; ox < w->out_w; ox++) {
        int32_t sum = channel->bias;
        const int8_t *weight = weights;
        uint32_t slot = top;
        for (uint32_t ky = 0; ky < w->kernel_h; ky++) {
            const int16_t *x = &rows[(slot * row) + (ox * w->stride_w)];
            for (uint32_t kx = 0; kx < w->kernel_w; kx++) {
                sum += *x * *weight;
                x = &x[w->dilation_w];
                weight = &weight[1];
            }
            slot += w->dilation_h;
            slot = (slot >= ring) ? (slot - ring) : slot;
        }
        if (q->narrow != 0) {
            *to = finish(channel, sum);
        } else {
            const int32_t y = nn_requantize(sum, channel->multiplier, shift) + q->zero_point;
            *to = (int8_t)nn_clamp(y, q->min, q->max);
        }
        to += w->out_c;
    }
}

void nn_depthwise_s8(const nn_window_t *w, const nn_requant_t *q, int32_t in_zero, const int8_t *weights,
                     const int8_t *in, int8_t *out, int16_t *rows, uint32_t row)
{
    const uint32_t taps = (uint32_t)w->kernel_h * w->kernel_w;
    const uint32_t multiplier = (uint32_t)w->out_c / w->in_c;
    const uint32_t ring = ((w->kernel_h - 1U) * w->dilation_h) + 1U;
    for (uint32_t i = 0; i < (ring * row); i++) {
        rows[i] = (int16_t)in_zero;
    }
    for (uint32_t c = 0; c < w->out_c; c++) {
        const int8_t *weight = &weights[c * taps];
        const int8_t *from = &in[c / multiplier];
        int8_t *to = &out[c];
        const int32_t shift = q->shift[c];
        channel_t channel = {q->bias[c], q->multiplier[c], -shift, 0, q->min, q->max};
        if (q->narrow != 0) {
            channel.round = (int32_t)(1UL << (uint32_t)(channel.right - 1)) +
                            (int32_t)((uint32_t)q->zero_point << (uint32_t)channel.right);
        }
#if NN_DSP
        const int fast = ((w->kernel_h == 3U) && (w->kernel_w == 3U) && (w->dilation_h == 1U) && (w->dilation_w == 1U) &&
                          (w->stride_w == 1U) && (q->narrow != 0) && (q->min == -128) && (q->max == 127)) ? 1 : 0;
        uint32_t pairs[6] = {0};
        if (fast != 0) {
            for (uint32_t ky = 0; ky < 3U; ky++) {
                pairs[2U * ky] = pair(weight[3U * ky], weight[(3U * ky) + 1U]);
                pairs[(2U * ky) + 1U] = pair(weight[(3U * ky) + 1U], weight[(3U * ky) + 2U]);
            }
        }
#endif
        int32_t next = -w->pad_top; /* the first row that is not in the ring yet */
        uint32_t slot = 0;          /* where it goes */
        for (int32_t oy = 0; oy < w->out_h; oy++) {
            const int32_t first = (oy * w->stride_h) - w->pad_top;
            const int32_t end = first + (int32_t)ring;
            while (next < end) {
                if (next >= first) {
                    load_row(w, (int16_t)in_zero, from, next, &rows[slot * row]);
                }
                next++;
                slot = ((slot + 1U) == ring) ? 0U : (slot + 1U);
            }
#if NN_DSP
            if (fast != 0) {
                const uint32_t second = (slot == 2U) ? 0U : (slot + 1U);
                const uint32_t third = (second == 2U) ? 0U : (second + 1U);
                row_3x3(&rows[slot * row], &rows[second * row], &rows[third * row], pairs, &channel, w->out_w, w->out_c, to);
            } else
#endif
            {
                row_any(w, rows, row, ring, slot, weight, q, &channel, shift, to);
            }
            to += (uint32_t)w->out_w * w->out_c;
        }
    }
}
