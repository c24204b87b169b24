/* int8 convolution and dense layer over the weights that are not zero. A patch holds the values of k one after another,
 * each of four output pixels (of one in a dense layer), so that one weight meets all four after one load. */
#include "nn.h"

/* Sums of one row; the next one's place. acc: four pixels. */
const uint8_t *nn_sparse_4(const int16_t *patch, const uint8_t *row, int32_t bias, int32_t *acc);
const uint8_t *nn_sparse_1(const int16_t *patch, const uint8_t *row, int32_t bias, int32_t *acc);

#if NN_DSP
/* r0 patch, r1 row, r2 r3 patch words, r4-r7 sums, r8 r9 weights (0, 2) and (1, 3), r10 r11 steps of them in bytes, as
 * the low two bytes, r12 what of a halfword of steps is theirs, lr fours that are left, [sp] acc. */
#define FUNCTION(name)                                                                                             \
    ".section .text." name ",\"ax\",%progbits\n .align 2\n .global " name "\n .thumb_func\n .type " name           \
    ", %function\n" name ":\n"

#define END(name) ".size " name ", . - " name "\n"

#define FOUR(even, odd)                                                                                            \
    "1: ldrh r11, [r1], #2\n"                                                                                      \
    "ldr r9, [r1], #4\n"                                                                                           \
    "and r10, r12, r11, lsl #" even "\n"                                                                           \
    "and r11, r12, r11, lsr #" odd "\n"                                                                            \
    "sxtb16 r8, r9\n"                                                                                              \
    "sxtb16 r9, r9, ror #8\n"

/* The lower (b) or upper (t) weight of a register with four pixels. */
#define PIXELS_4(weight, half)                                                                                     \
    "ldrd r2, r3, [r0]\n"                                                                                          \
    "smla" half "b r4, " weight ", r2, r4\n smla" half "t r5, " weight ", r2, r5\n"                               \
    "smla" half "b r6, " weight ", r3, r6\n smla" half "t r7, " weight ", r3, r7\n"

/* The sums of a row on four pixels, from the bias in r4 on. */
#define ROW_4                                                                                                      \
    "mov r5, r4\n mov r6, r4\n mov r7, r4\n"                                                                       \
    "mov r12, #0x78787878\n"                                                                                       \
    "ldrh lr, [r1], #2\n"                                                                                          \
    "cmp lr, #0\n"                                                                                                 \
    "beq 2f\n" FOUR("3", "1")                                                                                      \
    "uxtab r0, r0, r10\n" PIXELS_4("r8", "b")                                                                      \
    "uxtab r0, r0, r11\n" PIXELS_4("r9", "b")                                                                      \
    "uxtab r0, r0, r10, ror #8\n" PIXELS_4("r8", "t")                                                              \
    "uxtab r0, r0, r11, ror #8\n" PIXELS_4("r9", "t")                                                              \
    "subs lr, lr, #1\n"                                                                                            \
    "bne 1b\n"

/* One sum, in place: product with r8 rounded half up, shifted right by r9 half away from zero, with r3 the rounding
 * and the output's zero point; then a byte. */
#define REQUANTIZE(sum)                                                                                            \
    "lsl " sum ", " sum ", #1\n"                                                                                   \
    "smmulr " sum ", " sum ", r8\n"                                                                                \
    "add " sum ", " sum ", " sum ", asr #31\n"                                                                     \
    "add " sum ", " sum ", r3\n"                                                                                   \
    "asr " sum ", " sum ", r9\n"                                                                                   \
    "ssat " sum ", #8, " sum "\n"

/* Through all rows of a block at r0 (nn_block_t). */
__asm__(".syntax unified\n" FUNCTION("nn_block_sparse_s8")
        "push {r0, r4-r11, lr}\n"
        "ldr r1, [r0, #4]\n"
        "0: ldr r3, [sp]\n"
        "ldr r2, [r3, #40]\n"
        "ldr r0, [r3]\n"
        "ldr r4, [r3, #16]\n"
        "ldr r4, [r4, r2, lsl #2]\n" ROW_4
        "2: ldr lr, [sp]\n"
        "ldr r12, [lr, #40]\n"
        "ldrd r8, r9, [lr, #20]\n"
        "ldrd r10, r11, [lr, #28]\n"
        "ldr r3, [lr, #36]\n"
        "ldr r8, [r8, r12, lsl #2]\n"
        "ldrsb r9, [r9, r12]\n"
        "add r10, r10, r12\n"
        "rsb r9, r9, #0\n"
        "sub r0, r9, #1\n"
        "lsl r3, r3, r0\n" REQUANTIZE("r4") REQUANTIZE("r5") REQUANTIZE("r6") REQUANTIZE("r7")
        "strb r4, [r10]\n"
        "strb r5, [r10, r11]\n"
        "add r10, r10, r11, lsl #1\n"
        "strb r6, [r10]\n"
        "strb r7, [r10, r11]\n"
        "ldr r0, [lr, #44]\n"
        "add r12, r12, #1\n"
        "str r12, [lr, #40]\n"
        "cmp r12, r0\n"
        "bne 0b\n"
        "pop {r0, r4-r11, pc}\n" END("nn_block_sparse_s8"));

__asm__(".syntax unified\n" FUNCTION("nn_sparse_4")
        "push {r3-r11, lr}\n"
        "mov r4, r2\n" ROW_4
        "2: ldr r3, [sp], #4\n"
        "mov r0, r1\n"
        "stm r3, {r4-r7}\n"
        "pop {r4-r11, pc}\n" END("nn_sparse_4"));

__asm__(".syntax unified\n" FUNCTION("nn_sparse_1")
        "push {r3-r11, lr}\n"
        "mov r12, #0x1E1E1E1E\n"
        "ldrh lr, [r1], #2\n"
        "cmp lr, #0\n"
        "beq 2f\n" FOUR("1", "3")
        "uxtab r0, r0, r10\n"
        "ldrsh r3, [r0]\n"
        "uxtab r0, r0, r11\n"
        "ldrsh r4, [r0]\n"
        "uxtab r0, r0, r10, ror #8\n"
        "ldrsh r5, [r0]\n"
        "uxtab r0, r0, r11, ror #8\n"
        "ldrsh r6, [r0]\n"
        "smlabb r2, r8, r3, r2\n"
        "smlabb r2, r9, r4, r2\n"
        "smlatb r2, r8, r5, r2\n"
        "smlatb r2, r9, r6, r2\n"
        "subs lr, lr, #1\n"
        "bne 1b\n"
        "2: ldr r3, [sp], #4\n"
        "mov r0, r1\n"
        "str r2, [r3]\n"
        "pop {r4-r11, pc}\n" END("nn_sparse_1") ".text\n");

#else

const uint8_t *nn_sparse_4(const int16_t *patch, const uint8_t *row, int32_t bias, int32_t *acc)
{
    const int16_t *x = patch;
    const uint8_t *from = &row[2];
    int32_t a = bias, b = bias, c = bias, d = bias;
    for (uint32_t left = row[0] | ((uint32_t)row[1] << 8U); left != 0U; left--) {
        uint32_t steps = from[0] | ((uint32_t)from[1] << 8U);
        for (uint32_t n = 0; n < 4U; n++) {
            const int32_t weight = (int8_t)from[2U + n];
            x += (steps & 15U) * NN_PIXELS;
            steps >>= 4U;
            a += x[0] * weight;
            b += x[1] * weight;
            c += x[2] * weight;
            d += x[3] * weight;
        }
        from += 6;
    }
    acc[0] = a;
    acc[1] = b;
    acc[2] = c;
    acc[3] = d;
    return from;
}

const uint8_t *nn_sparse_1(const int16_t *patch, const uint8_t *row, int32_t bias, int32_t *acc)
{
    const int16_t *x = patch;
    const uint8_t *from = &row[2];
    int32_t sum = bias;
    for (uint32_t left = row[0] | ((uint32_t)row[1] << 8U); left != 0U; left--) {
        uint32_t steps = from[0] | ((uint32_t)from[1] << 8U);
        for (uint32_t n = 0; n < 4U; n++) {
            x += steps & 15U;
            steps >>= 4U;
            sum += *x * (int8_t)from[2U + n];
        }
        from += 6;
    }
    *acc = sum;
    return from;
}

#endif

/* `count` values of one pixel. Gives the place of the next. */
static int16_t *copy(const int8_t *in, uint32_t count, int16_t *patch)
{
    int16_t *to = patch;
    uint32_t left = count;
    for (; left > 3U; left -= 4U) {
        to[0] = in[0];
        to[NN_PIXELS] = in[1];
        to[2 * NN_PIXELS] = in[2];
        to[3 * NN_PIXELS] = in[3];
        in += 4;
        to += 4 * NN_PIXELS;
    }
    for (; left != 0U; left--) {
        *to = *in;
        in++;
        to += NN_PIXELS;
    }
    return to;
}

static int16_t *fill(int16_t zero, uint32_t count, int16_t *patch)
{
    int16_t *to = patch;
    for (uint32_t left = count; left != 0U; left--) {
        *to = zero;
        to += NN_PIXELS;
    }
    return to;
}

/* The window of one output pixel. Taps side by side in the image are one run. */
static void gather(const nn_window_t *w, int16_t zero, const int8_t *in, int32_t top, int32_t left, int16_t *patch)
{
    int16_t *to = patch;
    const int32_t run = (w->dilation_w == 1U) ? w->kernel_w : 1;
    const uint32_t channels = w->in_c;
    int32_t y = top;
    for (uint32_t ky = 0; ky < w->kernel_h; ky++) {
        int32_t x = left;
        for (uint32_t kx = 0; kx < w->kernel_w; kx += (uint32_t)run) {
            int32_t before = run, after = 0;
            if ((y >= 0) && (y < w->in_h)) {
                before = nn_clamp(-x, 0, run);
                after = nn_clamp((x + run) - w->in_w, 0, run - before);
            }
            const uint32_t inside = (uint32_t)(run - before - after) * channels;
            to = fill(zero, (uint32_t)before * channels, to);
            if (inside != 0U) {
                to = copy(&in[((uint32_t)((y * w->in_w) + x + before)) * channels], inside, to);
            }
            to = fill(zero, (uint32_t)after * channels, to);
            x += w->dilation_w;
        }
        y += w->dilation_h;
    }
}

/* The sums of `pixels` pixels of one channel into the output. */
static void store(const nn_requant_t *q, uint32_t channel, uint32_t channels, uint32_t pixels, const int32_t *acc,
                  int8_t *out)
{
    const int32_t multiplier = q->multiplier[channel], shift = q->shift[channel];
    const int32_t min = q->min, max = q->max;
    int8_t *to = &out[channel];
    if (q->narrow != 0) {
        const int32_t right = -shift;
        const int32_t round = (int32_t)((uint32_t)((2 * q->zero_point) + 1) << (uint32_t)(right - 1));
        for (uint32_t p = 0; p < pixels; p++) {
            const int32_t x = nn_multiply_high(acc[p], multiplier);
            *to = (int8_t)nn_clamp((x + (x >> 31) + round) >> right, min, max);
            to += channels;
        }
    } else {
        for (uint32_t p = 0; p < pixels; p++) {
            const int32_t x = nn_requantize(acc[p], multiplier, shift) + q->zero_point;
            *to = (int8_t)nn_clamp(x, min, max);
            to += channels;
        }
    }
}

void nn_sparse_conv_s8(const nn_window_t *w, const nn_requant_t *q, int32_t in_zero, const uint8_t *rows,
                       const int8_t *in, int8_t *out, int16_t *patch)
{
    const uint32_t total = (uint32_t)w->out_h * w->out_w;
    const uint32_t channels = w->out_c;
    int32_t acc[NN_PIXELS];
    int32_t top = -w->pad_top;
    int32_t left = -w->pad_left;
    uint32_t column = 0;
    int8_t *to = out;
    for (uint32_t first = 0; first < total; first += NN_PIXELS) {
        const uint32_t pixels = ((total - first) < NN_PIXELS) ? (total - first) : NN_PIXELS;
        for (uint32_t p = 0; p < pixels; p++) {
            gather(w, (int16_t)in_zero, in, top, left, &patch[p]);
            left += w->stride_w;
            column++;
            if (column == w->out_w) {
                column = 0;
                left = -w->pad_left;
                top += w->stride_h;
            }
        }
        const uint8_t *row = rows;
        uint32_t c = 0;
#if NN_DSP
        if ((pixels == NN_PIXELS) && (q->narrow != 0)) {
            nn_block_t block = {patch, (const int8_t *)rows, NULL, NULL, q->bias, q->multiplier, q->shift, to, channels,
                                (2 * q->zero_point) + 1, 0, channels};
            nn_block_sparse_s8(&block);
            nn_clamp_block(q, channels, channels, to);
            c = channels;
        }
#endif
        for (; c < channels; c++) {
            row = nn_sparse_4(patch, row, q->bias[c], acc);
            store(q, c, channels, pixels, acc, to);
        }
        to += pixels * channels;
    }
}

void nn_sparse_dense_s8(uint32_t in_c, uint32_t out_c, const nn_requant_t *q, const uint8_t *rows, const int8_t *in,
                        int8_t *out, int16_t *patch)
{
    const uint8_t *row = rows;
    int32_t acc;
    for (uint32_t k = 0; k < in_c; k++) {
        patch[k] = in[k];
    }
    for (uint32_t c = 0; c < out_c; c++) {
        row = nn_sparse_1(patch, row, q->bias[c], &acc);
        store(q, c, out_c, 1U, &acc, out);
    }
}
