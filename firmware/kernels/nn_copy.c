/* Padding and concatenation of any type, by bytes. */
#include "nn.h"

void nn_pad(const uint32_t n[4], const uint32_t before[4], const uint32_t after[4], int value, const void *in, void *out)
{
    uint32_t size[4]; /* bytes of one entry of each padded dimension */
    size[3] = 1;
    for (uint32_t d = 3; d > 0U; d--) {
        size[d - 1U] = size[d] * (before[d] + n[d] + after[d]);
    }
    (void)__builtin_memset(out, value, size[0] * (before[0] + n[0] + after[0]));
    const uint8_t *from = in;
    uint8_t *to = out;
    for (uint32_t i = 0; i < n[0]; i++) {
        for (uint32_t j = 0; j < n[1]; j++) {
            for (uint32_t k = 0; k < n[2]; k++) {
                uint8_t *row = &to[((before[0] + i) * size[0]) + ((before[1] + j) * size[1]) +
                                   ((before[2] + k) * size[2]) + before[3]];
                (void)__builtin_memcpy(row, from, n[3]);
                from += n[3];
            }
        }
    }
}

void nn_copy_rows(uint32_t rows, uint32_t row_bytes, const void *in, void *out, uint32_t out_step)
{
    const uint8_t *from = in;
    uint8_t *to = out;
    for (uint32_t row = 0; row < rows; row++) {
        (void)__builtin_memcpy(to, from, row_bytes);
        from += row_bytes;
        to += out_step;
    }
}
