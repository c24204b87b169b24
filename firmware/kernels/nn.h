/* Integer kernels of generated networks: activations int8 or int16 in NHWC order, weights int8 or int4.
 *
 * Rounding is TFLite Micro's: a product with a Q31 multiplier rounds half up, the shift to the right that
 * follows rounds half away from zero. A patch is a small int16 copy of the input under the kernel's window; its
 * pairs of values lie in the order in which the packed weights meet them (README.md, "Packing").
 */
#ifndef NN_H
#define NN_H

#include <stddef.h>
#include <stdint.h>

#if defined(__ARM_FEATURE_DSP) && (__ARM_FEATURE_DSP == 1) && !defined(NN_PORTABLE)
#define NN_DSP 1
#else
#define NN_DSP 0
#endif

/* Armv6-M and Armv8-M baseline have no 32 x 32 to 64 bit multiply. */
#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
#define NN_SHORT_MULTIPLY 1
#endif

#define NN_PIXELS 4 /* output pixels that a convolution computes together */

/* Geometry of a sliding window over one image. */
typedef struct {
    uint16_t in_h, in_w, in_c;
    uint16_t out_h, out_w, out_c;
    uint16_t kernel_h, kernel_w;
    uint16_t stride_h, stride_w;
    uint16_t dilation_h, dilation_w;
    int16_t pad_top, pad_left;
} nn_window_t;

/* How sums of products become activations, per output channel; arrays have an even number of entries. */
typedef struct {
    const int32_t *bias;       /* the input's zero point is folded in */
    const int32_t *multiplier; /* Q31 */
    const int8_t *shift;       /* to the left where positive */
    int32_t zero_point;        /* of the output */
    int32_t min, max;          /* fused activation, as output values */
    int32_t narrow;            /* 1: every |sum| < 2^30 and every shift < 0 (proven when generated) */
} nn_requant_t;

/* Elementwise operators of two operands: up to four dimensions, the last one innermost; a step is 0 where the
 * operand is broadcast. Shifts are to the right for operands of add, to the left where positive for the result. */
typedef struct {
    uint32_t n[4];
    uint32_t a_step[4], b_step[4];
    int32_t a_zero, b_zero, zero_point;
    int32_t a_multiplier, a_right, b_multiplier, b_right;
    int32_t multiplier, shift;
    int32_t sign;   /* 1: add, -1: subtract */
    int32_t b_unit; /* what one step of b counts before its multiplier, where a's multiplier is 1/2; else 0 */
    int32_t min, max;
} nn_binary_t;

/* Mean over the middle of three dimensions. plain: both sides have the same quantization. */
typedef struct {
    uint32_t outer, n, inner;
    int32_t in_zero, zero_point;
    int32_t multiplier, shift;
    int32_t plain;
} nn_mean_t;

static inline int32_t nn_min(int32_t a, int32_t b) { return (a < b) ? a : b; }
static inline int32_t nn_max(int32_t a, int32_t b) { return (a > b) ? a : b; }
static inline int32_t nn_clamp(int32_t x, int32_t low, int32_t high) { return nn_min(nn_max(x, low), high); }

/* round(2 * x * m / 2^32), half up; |x| < 2^30. */
static inline int32_t nn_multiply_high(int32_t x, int32_t m)
{
#if NN_DSP
    int32_t y;
    __asm__("smmulr %0, %1, %2" : "=r"(y) : "r"(x * 2), "r"(m));
    return y;
#elif defined(NN_SHORT_MULTIPLY)
    const int32_t xh = x >> 16, mh = m >> 16, xl = (int32_t)((uint32_t)x & 0xFFFFU), ml = (int32_t)((uint32_t)m & 0xFFFFU);
    const int32_t a = (xh * ml) + (int32_t)(((uint32_t)xl * (uint32_t)ml) >> 16U);
    const int32_t b = xl * mh;
    const uint32_t low = ((uint32_t)a & 0xFFFFU) + ((uint32_t)b & 0xFFFFU);
    const int32_t high = (xh * mh) + (a >> 16) + (b >> 16) + (int32_t)(low >> 16U);
    return (high * 2) + (int32_t)(((low & 0xFFFFU) + 0x4000U) >> 15U);
#else
    return (int32_t)((((int64_t)x * m) + (1LL << 30)) >> 31);
#endif
}

/* x / 2^n, half away from zero; n >= 1 and x + 2^(n-1) fits. */
static inline int32_t nn_shift_right(int32_t x, int32_t n)
{
    return (x + (x >> 31) + (int32_t)(1UL << (uint32_t)(n - 1))) >> n;
}

/* x * multiplier / 2^31 * 2^shift for any x and shift. */
static inline int32_t nn_requantize(int32_t x, int32_t multiplier, int32_t shift)
{
    const int32_t left = nn_max(shift, 0);
    const int32_t right = nn_max(-shift, 0);
    const int64_t product = (int64_t)(int32_t)((uint32_t)x << (uint32_t)left) * multiplier;
    const int32_t high = (int32_t)((product + (1LL << 30)) >> 31);
    const int32_t rest = (int32_t)((uint32_t)high & ((1UL << (uint32_t)right) - 1UL));
    const int32_t half = (int32_t)(((1UL << (uint32_t)right) - 1UL) >> 1U) + ((high < 0) ? 1 : 0);
    return (high >> right) + ((rest > half) ? 1 : 0);
}

/* The same for a 64-bit sum of the int16 kernels: one rounding, half up, with the multiplier's upper 16 bits. */
static inline int32_t nn_requantize64(int64_t x, int32_t multiplier, int32_t shift)
{
    const int32_t m = (multiplier < 0x7FFF0000) ? ((multiplier + (1 << 15)) >> 16) : 0x7FFF;
    const int32_t total = 15 - shift;
    return (int32_t)(((x * m) + (int64_t)(1ULL << (uint32_t)(total - 1))) >> total);
}

static inline int32_t nn_saturate8(int32_t x)
{
#if NN_DSP
    int32_t y;
    __asm__("ssat %0, #8, %1" : "=r"(y) : "r"(x));
    return y;
#else
    return nn_clamp(x, -128, 127);
#endif
}

static inline uint32_t nn_load32(const void *from)
{
    uint32_t word;
    (void)__builtin_memcpy(&word, from, sizeof(word));
    return word;
}

static inline void nn_store32(void *to, uint32_t word) { (void)__builtin_memcpy(to, &word, sizeof(word)); }

/* Sums of products, nn_dot.c. A group is two values of k; weights hold it for two channels: (c0 k0, c1 k0, c0 k1,
 * c1 k1), a byte each, or two groups in four bytes as nibbles. acc gets bias + sum: [pixel][channel]. */
void nn_dot_4x2(const int16_t *patch, const int8_t *weights, uint32_t groups, const int32_t *bias, int32_t *acc);
void nn_dot_1x2(const int16_t *patch, const int8_t *weights, uint32_t groups, const int32_t *bias, int32_t *acc);
void nn_dot4_4x2(const int16_t *patch, const int8_t *weights, uint32_t groups, const int32_t *bias, int32_t *acc);
void nn_dot4_1x2(const int16_t *patch, const int8_t *weights, uint32_t groups, const int32_t *bias, int32_t *acc);

/* The same with a byte for the two values of a channel: the lower nibble is the first one's place in a palette of 16.
 * The NN_PALETTE_VALUES values before the patch are the pairs that each byte stands for; nn_palette_s8.c. */
#define NN_PALETTE_VALUES 512
void nn_dot_palette_4x2(const int16_t *patch, const int8_t *weights, uint32_t groups, const int32_t *bias,
                        int32_t *acc);
void nn_dot_palette_1x2(const int16_t *patch, const int8_t *weights, uint32_t groups, const int32_t *bias,
                        int32_t *acc);

typedef void (*nn_dot_t)(const int16_t *patch, const int8_t *weights, uint32_t groups, const int32_t *bias, int32_t *acc);

#if NN_DSP
/* Four pixels by all pairs of channels, with requantization to int8's whole range, of a narrow layer. The kernels know
 * the order of the fields. */
typedef struct {
    const int16_t *patch;
    const int8_t *weights;
    const int16_t *rest; /* end of the groups left over by fours, which come first */
    const int16_t *end;  /* end of the patch */
    const int32_t *bias;
    const int32_t *multiplier;
    const int8_t *shift;
    int8_t *out;
    uint32_t step;      /* from pixel to pixel of the output */
    int32_t offset;     /* 2 * zero point + 1 */
    uint32_t channel;   /* the next one */
    uint32_t channels;  /* how many, even */
} nn_block_t;

void nn_block_s8(nn_block_t *block);
void nn_block4_s8(nn_block_t *block);
void nn_block_palette_s8(nn_block_t *block);
void nn_block_sparse_s8(nn_block_t *block);

/* The fused activation, where it is narrower than int8, on four pixels that hold int8's whole range. */
static inline void nn_clamp_block(const nn_requant_t *q, uint32_t count, uint32_t channels, int8_t *out)
{
    const int32_t min = q->min, max = q->max;
    if ((min == -128) && (max == 127)) {
        return;
    }
    for (uint32_t p = 0; p < NN_PIXELS; p++) {
        int8_t *to = &out[p * channels];
        for (uint32_t left = count; left != 0U; left--) {
            *to = (int8_t)nn_clamp(*to, min, max);
            to++;
        }
    }
}
#endif

/* How the weights of a convolution or dense layer lie in memory, and the loops that read them so. A vector is a patch
 * of one pixel. */
typedef struct {
    nn_dot_t dot;
#if NN_DSP
    void (*block)(nn_block_t *block);
#endif
    uint32_t group_bytes; /* of a group of two channels */
    uint32_t whole;       /* values that a patch is rounded up to */
} nn_storage_t;

extern const nn_storage_t nn_int8, nn_int8_vector, nn_int4, nn_int4_vector, nn_palette, nn_palette_vector;

/* Convolution; patch has 4 * k values, k = kernel_h * kernel_w * in_c rounded up to storage->whole.
 * out may lie before in, as the planner says (hwsearch/codegen/overlap.py). */
void nn_conv_s8(const nn_window_t *w, const nn_requant_t *q, const nn_storage_t *storage, int32_t in_zero,
                const int8_t *weights, const int8_t *in, int8_t *out, int16_t *patch);
void nn_dense_s8(uint32_t in_c, uint32_t out_c, const nn_requant_t *q, const nn_storage_t *storage,
                 const int8_t *weights, const int8_t *in, int8_t *out, int16_t *patch);

/* The same with at most 16 distinct weights; scratch has NN_PALETTE_VALUES values more than the patch. */
void nn_palette_conv_s8(const nn_window_t *w, const nn_requant_t *q, int32_t in_zero, const int8_t palette[16],
                        const int8_t *weights, const int8_t *in, int8_t *out, int16_t *scratch);
void nn_palette_dense_s8(uint32_t in_c, uint32_t out_c, const nn_requant_t *q, const int8_t palette[16],
                         const int8_t *weights, const int8_t *in, int8_t *out, int16_t *scratch);

/* The same without the weights that are zero. rows, per output channel: how many fours of weights it has (16 bits), and
 * of each four the steps (16 bits: a nibble each, the first lowest; how many values further than the last weight) and
 * the weights. Little-endian, nothing aligned. */
void nn_sparse_conv_s8(const nn_window_t *w, const nn_requant_t *q, int32_t in_zero, const uint8_t *rows,
                       const int8_t *in, int8_t *out, int16_t *patch);
void nn_sparse_dense_s8(uint32_t in_c, uint32_t out_c, const nn_requant_t *q, const uint8_t *rows, const int8_t *in,
                        int8_t *out, int16_t *patch);

/* Depthwise convolution, channel by channel; weights [channel][kernel_h][kernel_w]; rows is a ring of
 * (kernel_h - 1) * dilation_h + 1 rows of `row` values each: in_w and padding, even. out == in is allowed. */
void nn_depthwise_s8(const nn_window_t *w, const nn_requant_t *q, int32_t in_zero, const int8_t *weights,
                     const int8_t *in, int8_t *out, int16_t *rows, uint32_t row);

/* Pooling; out may start where in does. */
void nn_average_pool_s8(const nn_window_t *w, int32_t min, int32_t max, const int8_t *in, int8_t *out);
void nn_max_pool_s8(const nn_window_t *w, int32_t min, int32_t max, const int8_t *in, int8_t *out);

/* Elementwise, mean, softmax; out may start where in does. */
void nn_add_s8(const nn_binary_t *q, const int8_t *a, const int8_t *b, int8_t *out);
void nn_mul_s8(const nn_binary_t *q, const int8_t *a, const int8_t *b, int8_t *out);
void nn_lookup_s8(uint32_t size, const int8_t table[256], const int8_t *in, int8_t *out);
void nn_mean_s8(const nn_mean_t *q, const int8_t *in, int8_t *out);
/* exps[d]: exp of the real difference that d steps below the maximum stand for, Q31; 0 from `count` on. */
void nn_softmax_s8(uint32_t rows, uint32_t size, const int32_t *exps, uint32_t count, const int8_t *in, int8_t *out);

/* Transposed convolution; patch has kernel_h * kernel_w * in_c values, rounded up to even. */
void nn_transpose_conv_s8(const nn_window_t *w, const nn_requant_t *q, int32_t in_zero, const int8_t *weights,
                          const int8_t *in, int8_t *out, int16_t *patch);

/* Bytes of any type. n: the input's dimensions, before and after: padding; the last one in bytes. */
void nn_pad(const uint32_t n[4], const uint32_t before[4], const uint32_t after[4], int value, const void *in,
            void *out);
void nn_copy_rows(uint32_t rows, uint32_t row_bytes, const void *in, void *out, uint32_t out_step);

/* int16 activations, int8 weights, zero points 0. Sums are 64 bits wide; products of `span` groups fit 32. */
typedef struct {
    const int64_t *bias;
    const int32_t *multiplier;
    const int8_t *shift;
    int32_t min, max;
} nn_requant16_t;

void nn_conv_s16(const nn_window_t *w, const nn_requant16_t *q, uint32_t span, const int8_t *weights, const int16_t *in,
                 int16_t *out, int16_t *patch);
void nn_dense_s16(uint32_t in_c, uint32_t out_c, const nn_requant16_t *q, uint32_t span, const int8_t *weights,
                  const int16_t *in, int16_t *out, int16_t *patch);
void nn_transpose_conv_s16(const nn_window_t *w, const nn_requant16_t *q, uint32_t span, const int8_t *weights,
                           const int16_t *in, int16_t *out, int16_t *patch);
void nn_depthwise_s16(const nn_window_t *w, const nn_requant16_t *q, const int8_t *weights, const int16_t *in,
                      int16_t *out, int16_t *rows, uint32_t row);
void nn_average_pool_s16(const nn_window_t *w, int32_t min, int32_t max, const int16_t *in, int16_t *out);
void nn_max_pool_s16(const nn_window_t *w, int32_t min, int32_t max, const int16_t *in, int16_t *out);
void nn_add_s16(const nn_binary_t *q, const int16_t *a, const int16_t *b, int16_t *out);
void nn_mul_s16(const nn_binary_t *q, const int16_t *a, const int16_t *b, int16_t *out);
void nn_mean_s16(const nn_mean_t *q, const int16_t *in, int16_t *out);

/* Values rescaled and clamped; those below zero with a multiplier of their own. Also between int8 and int16. */
typedef struct {
    int32_t in_zero, zero_point;
    int32_t multiplier, shift;
    int32_t negative_multiplier, negative_shift;
    int32_t min, max;
} nn_rescale_t;
void nn_rescale_s16(uint32_t size, const nn_rescale_t *q, const int16_t *in, int16_t *out);
void nn_rescale_s8_s16(uint32_t size, const nn_rescale_t *q, const int8_t *in, int16_t *out);
void nn_rescale_s16_s8(uint32_t size, const nn_rescale_t *q, const int16_t *in, int8_t *out);
/* sigmoid[i]: 65536 / (1 + exp(-i / 24)); the input is taken times multiplier / 2^right, in 1 / 12288. */
void nn_logistic_s16(uint32_t size, const uint16_t sigmoid[256], int32_t multiplier, int32_t right, const int16_t *in,
                     int16_t *out);
void nn_tanh_s16(uint32_t size, const uint16_t sigmoid[256], int32_t multiplier, int32_t right, const int16_t *in,
                 int16_t *out);
/* exps: exp over [-10, 0], inverses: 1 / (1 + x) over [0, 1], 512 steps each. */
void nn_softmax_s16(uint32_t rows, uint32_t size, const int16_t exps[513], const int16_t inverses[513],
                    int32_t multiplier, int32_t shift, const int16_t *in, int16_t *out);

/* float32 at the edges of a network. */
void nn_quantize_s8(uint32_t size, float scale, int32_t zero_point, const float *in, int8_t *out);
void nn_quantize_s16(uint32_t size, float scale, int32_t zero_point, const float *in, int16_t *out);
void nn_dequantize_s8(uint32_t size, float scale, int32_t zero_point, const int8_t *in, float *out);
void nn_dequantize_s16(uint32_t size, float scale, int32_t zero_point, const int16_t *in, float *out);

#endif
