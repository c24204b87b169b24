/* int16 average and maximum pooling. */
#include "nn.h"

/* The part of a window that lies inside the image. */
typedef struct {
    int32_t top, bottom, left, right;
} area_t;

static area_t inside(const nn_window_t *w, int32_t oy, int32_t ox)
{
    const int32_t y = (oy * w->stride_h) - w->pad_top;
    const int32_t x = (ox * w->stride_w) - w->pad_left;
    const area_t area = {nn_max(y, 0), nn_min(y + w->kernel_h, w->in_h), nn_max(x, 0), nn_min(x + w->kernel_w, w->in_w)};
    return area;
}

void nn_average_pool_s16(const nn_window_t *w, int32_t min, int32_t max, const int16_t *in, int16_t *out)
{
    int16_t *to = out;
    const uint32_t channels = w->in_c;
    for (int32_t oy = 0; oy < w->out_h; oy++) {
        for (int32_t ox = 0; ox < w->out_w; ox++) {
            const area_t a = inside(w, oy, ox);
            const int32_t count = (a.bottom - a.top) * (a.right - a.left);
            for (uint32_t c = 0; c < channels; c++) {
                int32_t sum = 0;
                for (int32_t y = a.top; y < a.bottom; y++) {
                    const int16_t *x = &in[((((uint32_t)y * w->in_w) + (uint32_t)a.left) * channels) + c];
                    for (int32_t n = a.right - a.left; n > 0; n--) {
                        sum += *x;
                        x += channels;
                    }
                }
                sum = ((sum > 0) ? (sum + (count / 2)) : (sum - (count / 2))) / count;
                *to = (int16_t)nn_clamp(sum, min, max);
                to++;
            }
        }
    }
}

void nn_max_pool_s16(const nn_window_t *w, int32_t min, int32_t max, const int16_t *in, int16_t *out)
{
    int16_t *to = out;
    const uint32_t channels = w->in_c;
    for (int32_t oy = 0; oy < w->out_h; oy++) {
        for (int32_t ox = 0; ox < w->out_w; ox++) {
            const area_t a = inside(w, oy, ox);
            for (uint32_t c = 0; c < channels; c++) {
                int32_t best = -32768;
                for (int32_t y = a.top; y < a.bottom; y++) {
                    const int16_t *x = &in[((((uint32_t)y * w->in_w) + (uint32_t)a.left) * channels) + c];
                    for (int32_t n = a.right - a.left; n > 0; n--) {
                        best = nn_max(best, *x);
                        x += channels;
                    }
                }
                *to = (int16_t)nn_clamp(best, min, max);
                to++;
            }
        }
    }
}
