/* The decoder of wire.c for comparison with the one in Python. */
#include <string.h>

#include "wire.h"

/* Decodes a whole line; writes "length, bytes" of each sound frame without its CRC to out.
 * Returns the bytes written; broken counts the runs that were no frame. */
uint32_t decode_line(const uint8_t *line, uint32_t count, uint8_t *out, uint32_t *broken);

uint32_t decode_line(const uint8_t *line, uint32_t count, uint8_t *out, uint32_t *broken)
{
    wire_frame frame;
    uint32_t written = 0;
    memset(&frame, 0, sizeof frame);
    *broken = 0;
    for (uint32_t i = 0; i < count; i++) {
        const wire_event event = wire_take(&frame, line[i]);
        if (event == WIRE_FRAME) {
            const uint32_t body = frame.count - CRC_BYTES;
            wire_put_u16(out + written, body);
            memcpy(out + written + 2, frame.bytes, body);
            written += body + 2u;
        }
        *broken += event == WIRE_BROKEN;
    }
    return written;
}
