/* int8 convolution and dense layer whose weights are indices of a palette, a nibble each: one load gets the two values
 * that a byte of two indices stands for. */
#include "nn.h"

static void expand(const int8_t palette[16], int16_t *pairs)
{
    int16_t *to = pairs;
    for (uint32_t second = 0; second < 16U; second++) {
        const int16_t b = palette[second];
        for (uint32_t first = 0; first < 16U; first++) {
            to[0] = palette[first];
            to[1] = b;
            to += 2;
        }
    }
}

void nn_palette_conv_s8(const nn_window_t *w, const nn_requant_t *q, int32_t in_zero, const int8_t palette[16],
                        const int8_t *weights, const int8_t *in, int8_t *out, int16_t *scratch)
{
    expand(palette, scratch);
    nn_conv_s8(w, q, &nn_palette, in_zero, weights, in, out, &scratch[NN_PALETTE_VALUES]);
}

void nn_palette_dense_s8(uint32_t in_c, uint32_t out_c, const nn_requant_t *q, const int8_t palette[16],
                         const int8_t *weights, const int8_t *in, int8_t *out, int16_t *scratch)
{
    expand(palette, scratch);
    nn_dense_s8(in_c, out_c, q, &nn_palette_vector, weights, in, out, &scratch[NN_PALETTE_VALUES]);
}
