/* libFuzzer target: any bytes on the line, and any sound frame, into wire.c and command.c.
 *
 * The input is a list of segments: a byte n, then n % 64 bytes. With n < 128 they go to the line
 * as they are; else as the command, status and payload of a sound frame, which must come back
 * as it was sent before it goes to the firmware. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "loop.h"
#include "model.h"
#include "wire.h"

#define LINE_BYTES 2048u
#define REPEAT 9u /* so often is a segment's payload repeated, to reach long frames */

static uint8_t line[LINE_BYTES];
static uint32_t line_bytes;

static void to_line(const uint8_t *bytes, uint32_t count)
{
    if (line_bytes + count > LINE_BYTES) {
        abort();
    }
    memcpy(line + line_bytes, bytes, count);
    line_bytes += count;
}

/* Every reply must be made of sound frames alone. */
static void check_replies(void)
{
    static uint8_t replies[65536];
    static wire_frame decoder;
    const uint32_t count = loop_read(replies, sizeof replies);
    for (uint32_t i = 0; i < count; i++) {
        if (wire_take(&decoder, replies[i]) == WIRE_BROKEN) {
            abort();
        }
    }
}

static void send_frame(const uint8_t *bytes, uint32_t count)
{
    static wire_frame sent;
    static wire_frame got;
    uint32_t payload = 0;
    for (uint32_t r = 0; r < REPEAT && count > 2u; r++) {
        for (uint32_t i = 2; i < count && payload < PAYLOAD_MAX_BYTES; i++) {
            sent.bytes[HEADER_BYTES + payload] = bytes[i];
            payload++;
        }
        if ((bytes[1] & 15u) != 15u) { /* long frames are slow: one in sixteen */
            break;
        }
    }
    line_bytes = 0;
    wire_send(&sent, payload, count > 1u ? bytes[1] : 0u, count > 0u ? bytes[0] : 0u, 0, to_line);
    uint32_t frames = 0;
    memset(&got, 0, sizeof got);
    for (uint32_t i = 0; i < line_bytes; i++) {
        const wire_event event = wire_take(&got, line[i]);
        if (event == WIRE_BROKEN || (event == WIRE_FRAME
            && (got.count != sent.count || memcmp(got.bytes, sent.bytes, got.count) != 0))) {
            abort();
        }
        frames += event == WIRE_FRAME;
    }
    if (frames != 1u) {
        abort();
    }
    loop_write(line, line_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    loop_start();
    while (size > 0u) {
        const uint32_t kind = data[0];
        uint32_t count = kind % 64u;
        data++;
        size--;
        if (count > size) {
            count = (uint32_t)size;
        }
        if (kind < 128u) {
            loop_write(data, count);
        } else {
            send_frame(data, count);
        }
        data += count;
        size -= count;
        check_replies();
    }
    return 0;
}
