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
        uint32_t left = width;
        for (; left > 1U; left -= 2U) {
            const int16_t first = from[0];
            const int16_t second = from[step];
            from += 2U * step;
            to[0] = first;
            to[1] = second;
            to += 2;
        }
        if (left != 0U) {
            *to = *from;
        }
    } else {
        for (uint32_t x = 0; x < width; x++) {
            to[x] = zero;
        }
    }
}

typedef struct {
    int32_t bias, multiplier, shift;
} channel_t;

#if NN_DSP
/* One output row of a 3 x 3 kernel; the kernel below knows the order of the fields. Sums are twice their value. */
typedef struct {
    const int16_t *rows[3];
    uint32_t taps[6]; /* doubled, as pairs: (0, 1), (1, 2) of each row */
    int8_t *out;
    int32_t bias, multiplier, round, right;
    uint32_t step;
    const int16_t *pairs_end;   /* of rows[0], after the outputs that are computed two at a time */
    const int16_t *singles_end; /* and after those computed alone: the last of an odd row, or all with stride 2 */
} row_t;

void nn_row_3x3_s8(const row_t *row);

/* r0-r2 rows, r3-r8 taps, r9 r10 values, r11 r12 sums, lr output; [sp] bias, multiplier, round, right, step, ends.
 * Two outputs: (x0 x1)(t0 t1) + x2 t2 and x1 t0 + (x2 x3)(t1 t2), 6 dual or single multiplies each. */
#define TAPS_PAIR(row, t01, t12)                                                                                   \
    "ldr r9, [" row "], #4\n"                                                                                      \
    "ldr r10, [" row "]\n"                                                                                         \
    "smlad r11, r9, " t01 ", r11\n"                                                                                \
    "smlatb r12, r9, " t01 ", r12\n"                                                                               \
    "smlabt r11, r10, " t12 ", r11\n"                                                                              \
    "smlad r12, r10, " t12 ", r12\n"
#define TAPS_SINGLE(row, t01, t12)                                                                                 \
    "ldr r9, [" row "], #4\n"                                                                                      \
    "ldrsh r10, [" row "]\n"                                                                                       \
    "smlad r11, r9, " t01 ", r11\n"                                                                                \
    "smlabt r11, r10, " t12 ", r11\n"
#define ROUND(sum)                                                                                                 \
    "smmulr " sum ", " sum ", r9\n"                                                                                \
    "add " sum ", " sum ", " sum ", asr #31\n"                                                                     \
    "add " sum ", " sum ", r10\n"

__asm__(".syntax unified\n"
        ".section .text.nn_row_3x3_s8,\"ax\",%progbits\n .align 2\n .global nn_row_3x3_s8\n .thumb_func\n"
        ".type nn_row_3x3_s8, %function\n"
        "nn_row_3x3_s8:\n"
        "push {r4-r11, lr}\n"
        "add r12, r0, #36\n"
        "ldm r12, {r3-r10}\n"
        "mov lr, r3\n"
        "push {r4-r10}\n"
        "ldm r0, {r0-r8}\n"
        "ldr r9, [sp, #20]\n"
        "cmp r0, r9\n"
        "beq 2f\n"
        "1: ldr r11, [sp]\n"
        "mov r12, r11\n" TAPS_PAIR("r0", "r3", "r4") TAPS_PAIR("r1", "r5", "r6") TAPS_PAIR("r2", "r7", "r8")
        "ldrd r9, r10, [sp, #4]\n" ROUND("r11") ROUND("r12")
        "ldrd r9, r10, [sp, #12]\n"
        "asr r11, r11, r9\n"
        "asr r12, r12, r9\n"
        "ssat r11, #8, r11\n"
        "ssat r12, #8, r12\n"
        "ldr r9, [sp, #20]\n"
        "strb r11, [lr]\n"
        "strb r12, [lr, r10]\n"
        "add lr, lr, r10, lsl #1\n"
        "cmp r0, r9\n"
        "bne 1b\n"
        "2: ldr r9, [sp, #24]\n"
        "cmp r0, r9\n"
        "beq 4f\n"
        "3: ldr r11, [sp]\n" TAPS_SINGLE("r0", "r3", "r4") TAPS_SINGLE("r1", "r5", "r6") TAPS_SINGLE("r2", "r7", "r8")
        "ldrd r9, r10, [sp, #4]\n" ROUND("r11")
        "ldrd r9, r10, [sp, #12]\n"
        "asr r11, r11, r9\n"
        "ssat r11, #8, r11\n"
        "ldr r9, [sp, #24]\n"
        "strb r11, [lr]\n"
        "add lr, lr, r10\n"
        "cmp r0, r9\n"
        "bne 3b\n"
        "4: add sp, sp, #28\n"
        "pop {r4-r11, pc}\n"
        ".size nn_row_3x3_s8, . - nn_row_3x3_s8\n .text\n");

static inline uint32_t pair(int32_t low, int32_t high) { return ((uint32_t)low & 0xFFFFU) | ((uint32_t)high << 16U); }

/* One channel of a 3 x 3 kernel: three rows that take turns. */
static void channel_3x3(const nn_window_t *w, int16_t zero, const int8_t *in, int8_t *out, int16_t *rows, uint32_t row,
                        uint32_t pairs, row_t *r)
{
    const uint32_t width = w->in_w, step = w->in_c, pad = (uint32_t)(int32_t)w->pad_left;
    const uint32_t out_step = (uint32_t)w->out_w * w->out_c, singles = 2U * (w->out_w - pairs);
    int16_t *first = rows, *second = &rows[row], *third = &rows[2U * row];
    const int8_t *from = in;
    int32_t y = -w->pad_top;
    uint32_t missing = 3;
    r->out = out;
    for (uint32_t left = w->out_h; left != 0U; left--) {
        for (; missing != 0U; missing--) {
            int16_t *to = &first[pad];
            int16_t *const oldest = first;
            first = second;
            second = third;
            third = oldest;
            if ((uint32_t)y < w->in_h) {
                for (uint32_t x = width >> 1U; x != 0U; x--) {
                    const int16_t here = from[0], next = from[step];
                    from = &from[2U * step];
                    to[0] = here;
                    to[1] = next;
                    to = &to[2];
                }
                if ((width & 1U) != 0U) {
                    *to = *from;
                    from = &from[step];
                }
            } else {
                for (uint32_t x = width; x != 0U; x--) {
                    *to = zero;
                    to++;
                }
            }
            y++;
        }
        missing = w->stride_h;
        r->rows[0] = first;
        r->rows[1] = second;
        r->rows[2] = third;
        r->pairs_end = &first[pairs];
        r->singles_end = &r->pairs_end[singles];
        nn_row_3x3_s8(r);
        r->out = &r->out[out_step];
    }
}
#endif

#if NN_DSP
/* The fused activation, where it is narrower than int8, on a row that holds int8's whole range. */
static void clamp_row(const nn_window_t *w, const nn_requant_t *q, int8_t *out)
{
    int8_t *to = out;
    for (uint32_t x = 0; x < w->out_w; x++) {
        *to = (int8_t)nn_clamp(*to, q->min, q->max);
        to += w->out_c;
    }
}
#endif

static inline int8_t finish(const nn_requant_t *q, const channel_t *channel, int32_t sum)
{
    int32_t y;
    if (q->narrow != 0) {
        y = nn_shift_right(nn_multiply_high(sum, channel->multiplier), -channel->shift) + q->zero_point;
    } else {
        y = nn_requantize(sum, channel->multiplier, channel->shift) + q->zero_point;
    }
    return (int8_t)nn_clamp(y, q->min, q->max);
}

#if !NN_DSP
/* 3 x 3, undilated. */
static void row_3x3(const nn_window_t *w, const int16_t *r0, const int16_t *r1, const int16_t *r2, const int8_t *t,
                    const nn_requant_t *q, const channel_t *channel, int8_t *out)
{
    int8_t *to = out;
    const uint32_t stride = w->stride_w, step = w->out_c;
    for (uint32_t left = w->out_w; left != 0U; left--) {
        int32_t sum = channel->bias;
        sum += (r0[0] * t[0]) + (r0[1] * t[1]) + (r0[2] * t[2]);
        sum += (r1[0] * t[3]) + (r1[1] * t[4]) + (r1[2] * t[5]);
        sum += (r2[0] * t[6]) + (r2[1] * t[7]) + (r2[2] * t[8]);
        *to = finish(q, channel, sum);
        r0 = &r0[stride];
        r1 = &r1[stride];
        r2 = &r2[stride];
        to += step;
    }
}
#endif

#if NN_DSP
#define PAIRS 32 /* most pairs of taps that row_pairs takes */

/* Any kernel of a narrow layer that is not dilated sideways, two taps at a time; of an odd row the last pair ends in
 * a zero. `words` is a constant wherever this is used, so that the inner loop unrolls. */
static inline void row_pairs(const nn_window_t *w, const int16_t *rows, uint32_t row, uint32_t ring, uint32_t top,
                             const uint32_t *pairs, const uint32_t words, const nn_requant_t *q, const channel_t *channel,
                             int8_t *out)
{
    const int32_t multiplier = channel->multiplier, right = -channel->shift, min = q->min, max = q->max;
    const int32_t round = (int32_t)((uint32_t)((2 * q->zero_point) + 1) << (uint32_t)(right - 1));
    const uint32_t taller = w->dilation_h * row, stride = w->stride_w, step = w->out_c;
    const int16_t *const end = &rows[ring * row];
    const int16_t *from = &rows[top * row];
    int8_t *to = out;
    for (uint32_t left = w->out_w; left != 0U; left--) {
        int32_t sum = channel->bias;
        const uint32_t *taps = pairs;
        const int16_t *x = from;
        for (uint32_t ky = w->kernel_h; ky != 0U; ky--) {
#pragma GCC unroll 4
            for (uint32_t n = 0; n < words; n++) {
                __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(nn_load32(&x[2U * n])), "r"(taps[n]));
            }
            taps = &taps[words];
            x = &x[taller];
            x = (x >= end) ? &x[-(int32_t)(ring * row)] : x;
        }
        const int32_t y = nn_multiply_high(sum, multiplier);
        *to = (int8_t)nn_clamp(nn_saturate8((y + (y >> 31) + round) >> right), min, max);
        from = &from[stride];
        to += step;
    }
}
#endif

/* Any kernel; `top` is the ring row of the window's first row. */
static void row_any(const nn_window_t *w, const int16_t *rows, uint32_t row, uint32_t ring, uint32_t top,
                    const int8_t *weights, const nn_requant_t *q, const channel_t *channel, int8_t *out)
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
        *to = finish(q, channel, sum);
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
    const uint32_t three =
        ((w->kernel_h == 3U) && (w->kernel_w == 3U) && (w->dilation_h == 1U) && (w->dilation_w == 1U)) ? 1U : 0U;
#if NN_DSP
    const uint32_t fast =
        ((three != 0U) && (w->stride_w <= 2U) && (q->narrow != 0)) ? 1U : 0U;
    const uint32_t clamped = ((q->min > -128) || (q->max < 127)) ? 1U : 0U;
    const uint32_t words = (w->kernel_w + 1U) / 2U; /* pairs of taps in a row of the kernel */
    const uint32_t paired = ((w->dilation_w == 1U) && (q->narrow != 0) && (words <= 4U) && ((words * w->kernel_h) <= PAIRS)) ? 1U : 0U;
    uint32_t tap_pairs[PAIRS];
    const uint32_t pairs = (w->stride_w == 1U) ? ((uint32_t)w->out_w & 0xFFFEU) : 0U;
    row_t r;
    r.step = w->out_c;
#endif
    for (uint32_t c = 0; c < w->out_c; c++) {
        const int8_t *weight = &weights[c * taps];
        const int8_t *from = &in[c / multiplier];
        int8_t *to = &out[c];
        const channel_t channel = {q->bias[c], q->multiplier[c], q->shift[c]};
#if NN_DSP
        if (fast != 0U) {
            for (uint32_t ky = 0; ky < 3U; ky++) {
                r.taps[2U * ky] = pair(2 * weight[3U * ky], 2 * weight[(3U * ky) + 1U]);
                r.taps[(2U * ky) + 1U] = pair(2 * weight[(3U * ky) + 1U], 2 * weight[(3U * ky) + 2U]);
            }
            r.bias = 2 * channel.bias;
            r.multiplier = channel.multiplier;
            r.right = -channel.shift;
            r.round = (int32_t)((uint32_t)((2 * q->zero_point) + 1) << (uint32_t)(r.right - 1));
            channel_3x3(w, (int16_t)in_zero, from, to, rows, row, pairs, &r);
            for (uint32_t oy = 0; (clamped != 0U) && (oy < w->out_h); oy++) {
                clamp_row(w, q, &to[oy * w->out_w * w->out_c]);
            }
            continue;
        }
        if (paired != 0U) {
            for (uint32_t ky = 0; ky < w->kernel_h; ky++) {
                const int8_t *t = &weight[ky * w->kernel_w];
                for (uint32_t kx = 0; kx < w->kernel_w; kx += 2U) {
                    tap_pairs[(ky * words) + (kx / 2U)] = pair(t[kx], ((kx + 1U) < w->kernel_w) ? t[kx + 1U] : 0);
                }
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
            if (paired != 0U) {
                switch (words) {
                case 1:
                    row_pairs(w, rows, row, ring, slot, tap_pairs, 1, q, &channel, to);
                    break;
                case 2:
                    row_pairs(w, rows, row, ring, slot, tap_pairs, 2, q, &channel, to);
                    break;
                case 3:
                    row_pairs(w, rows, row, ring, slot, tap_pairs, 3, q, &channel, to);
                    break;
                default:
                    row_pairs(w, rows, row, ring, slot, tap_pairs, 4, q, &channel, to);
                    break;
                }
            } else {
#else
            if (three != 0U) {
                const uint32_t second = (slot == 2U) ? 0U : (slot + 1U);
                const uint32_t third = (second == 2U) ? 0U : (second + 1U);
                row_3x3(w, &rows[slot * row], &rows[second * row], &rows[third * row], weight, q, &channel, to);
            } else {
#endif
                row_any(w, rows, row, ring, slot, weight, q, &channel, to);
            }
            to += (uint32_t)w->out_w * w->out_c;
        }
    }
}
