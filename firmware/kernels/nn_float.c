/* float32 at the edges of a network: quantization and its inverse. */
#include "nn.h"

/* Nearest integer, half away from zero, of a value that fits 31 bits. */
static int32_t nearest(float x)
{
    const int32_t whole = (int32_t)x;
    const float rest = x - (float)whole;
    return whole + ((rest >= 0.5f) ? 1 : 0) - ((rest <= -0.5f) ? 1 : 0);
}

static int32_t quantize(float x, float scale, int32_t zero_point, int32_t low, int32_t high)
{
    const float limit = 1.0e6f;
    float y = x / scale;
    y = (y > limit) ? limit : ((y < -limit) ? -limit : y);
    return nn_clamp(nearest(y) + zero_point, low, high);
}

void nn_quantize_s8(uint32_t size, float scale, int32_t zero_point, const float *in, int8_t *out)
{
    for (uint32_t i = 0; i < size; i++) {
        out[i] = (int8_t)quantize(in[i], scale, zero_point, -128, 127);
    }
}

void nn_quantize_s16(uint32_t size, float scale, int32_t zero_point, const float *in, int16_t *out)
{
    for (uint32_t i = 0; i < size; i++) {
        out[i] = (int16_t)quantize(in[i], scale, zero_point, -32768, 32767);
    }
}

void nn_dequantize_s8(uint32_t size, float scale, int32_t zero_point, const int8_t *in, float *out)
{
    for (uint32_t i = 0; i < size; i++) {
        out[i] = scale * (float)(in[i] - zero_point);
    }
}

void nn_dequantize_s16(uint32_t size, float scale, int32_t zero_point, const int16_t *in, float *out)
{
    for (uint32_t i = 0; i < size; i++) {
        out[i] = scale * (float)(in[i] - zero_point);
    }
}
