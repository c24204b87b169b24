#include "wire.h"

#define GROUP_MAX 254u

uint32_t wire_u16(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | ((uint32_t)bytes[1] << 8);
}

uint32_t wire_u32(const uint8_t *bytes)
{
    return wire_u16(bytes) | (wire_u16(bytes + 2) << 16);
}

void wire_put_u16(uint8_t *bytes, uint32_t value)
{
    bytes[0] = (uint8_t)(value & 0xFFu);
    bytes[1] = (uint8_t)((value >> 8) & 0xFFu);
}

void wire_put_u32(uint8_t *bytes, uint32_t value)
{
    wire_put_u16(bytes, value);
    wire_put_u16(bytes + 2, value >> 16);
}

/* Four bits at a time: a table of 64 bytes, four times as fast as bit by bit. */
uint32_t wire_crc32(const uint8_t *bytes, uint32_t count)
{
    static const uint32_t TABLE[16] = {
        0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u,
        0x4DB26158u, 0x5005713Cu, 0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
        0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
    };
    uint32_t crc = 0xFFFFFFFFu;
    for (uint32_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        crc = (crc >> 4) ^ TABLE[crc & 15u];
        crc = (crc >> 4) ^ TABLE[crc & 15u];
    }
    return ~crc;
}

static void append(wire_frame *frame, uint8_t byte)
{
    if (frame->count < WIRE_FRAME_BYTES) {
        frame->bytes[frame->count] = byte;
        frame->count++;
    } else {
        frame->broken = 1;
    }
}

static int is_sound(const wire_frame *frame)
{
    if (frame->broken != 0 || frame->left != 0 || frame->count < HEADER_BYTES + CRC_BYTES) {
        return 0;
    }
    const uint32_t body = frame->count - CRC_BYTES;
    return wire_payload_bytes(frame) == body - HEADER_BYTES
           && wire_crc32(frame->bytes, body) == wire_u32(frame->bytes + body);
}

wire_event wire_take(wire_frame *frame, uint8_t byte)
{
    if (byte == 0u) {
        wire_event event = WIRE_MORE;
        if (frame->begun != 0) {
            event = is_sound(frame) ? WIRE_FRAME : WIRE_BROKEN;
        }
        frame->begun = 0;
        return event;
    }
    if (frame->begun == 0) {
        frame->begun = 1;
        frame->count = 0;
        frame->left = 0;
        frame->zero = 0;
        frame->broken = 0;
    }
    if (frame->left == 0) { /* a code byte: the length of the group that it opens, plus one */
        if (frame->zero != 0) {
            append(frame, 0);
        }
        frame->left = (uint8_t)(byte - 1u);
        frame->zero = (uint8_t)(byte - 1u < GROUP_MAX);
    } else {
        frame->left--;
        append(frame, byte);
    }
    return WIRE_MORE;
}

uint32_t wire_payload_bytes(const wire_frame *frame)
{
    return wire_u16(frame->bytes);
}

uint32_t wire_sequence(const wire_frame *frame)
{
    return wire_u16(frame->bytes + 2);
}

uint32_t wire_crc(const wire_frame *frame)
{
    return wire_u32(frame->bytes + HEADER_BYTES + wire_payload_bytes(frame));
}

static void encode(const uint8_t *bytes, uint32_t count, wire_write *write)
{
    static const uint8_t delimiter = 0;
    uint32_t at = 0;
    int more = 1;
    write(&delimiter, 1); /* ends whatever noise came before */
    while (more != 0) {
        uint32_t run = 0;
        while (at + run < count && run < GROUP_MAX && bytes[at + run] != 0u) {
            run++;
        }
        const uint8_t code = (uint8_t)(run + 1u);
        write(&code, 1);
        write(bytes + at, run);
        at += run;
        if (run < GROUP_MAX && at < count) {
            at++; /* the zero that the code byte stands for */
        } else {
            more = at < count;
        }
    }
    write(&delimiter, 1);
}

static uint32_t complete(uint8_t *bytes, uint32_t payload_bytes, uint32_t sequence,
                         uint32_t command, uint32_t status)
{
    const uint32_t body = HEADER_BYTES + payload_bytes;
    wire_put_u16(bytes, payload_bytes);
    wire_put_u16(bytes + 2, sequence);
    bytes[4] = (uint8_t)command;
    bytes[5] = (uint8_t)status;
    wire_put_u32(bytes + body, wire_crc32(bytes, body));
    return body + CRC_BYTES;
}

void wire_send(wire_frame *frame, uint32_t payload_bytes, uint32_t sequence, uint32_t command,
               uint32_t status, wire_write *write)
{
    frame->count = complete(frame->bytes, payload_bytes, sequence, command, status);
    encode(frame->bytes, frame->count, write);
}

void wire_send_again(const wire_frame *frame, wire_write *write)
{
    encode(frame->bytes, frame->count, write);
}

void wire_send_malformed(wire_write *write)
{
    uint8_t bytes[HEADER_BYTES + CRC_BYTES];
    encode(bytes, complete(bytes, 0, 0, 0, STATUS_MALFORMED), write);
}
