/* Frames on a serial line: COBS, between zero bytes, around header, payload and CRC-32.
 *
 * header (little-endian): payload bytes u16, sequence u16, command u8, status u8.
 * The same frames as hwsearch/device/wire.py. */
#ifndef WIRE_H
#define WIRE_H

#include <stdint.h>

#include "protocol.h"

#define WIRE_FRAME_BYTES (HEADER_BYTES + PAYLOAD_MAX_BYTES + CRC_BYTES)

typedef enum {
    WIRE_MORE,  /* nothing yet */
    WIRE_FRAME, /* a whole, sound frame: see the fields of wire_frame */
    WIRE_BROKEN /* bytes arrived between two delimiters that are no frame */
} wire_event;

/* One frame, decoded in place: bytes holds header, payload, CRC. */
typedef struct {
    uint8_t bytes[WIRE_FRAME_BYTES];
    uint32_t count; /* decoded so far */
    uint8_t left;   /* bytes left of the current COBS group */
    uint8_t zero;   /* whether a zero is due when the group ends */
    uint8_t broken; /* too long: skip to the next delimiter */
    uint8_t begun;  /* any byte since the last delimiter */
} wire_frame;

uint32_t wire_u16(const uint8_t *bytes);
uint32_t wire_u32(const uint8_t *bytes);
void wire_put_u16(uint8_t *bytes, uint32_t value);
void wire_put_u32(uint8_t *bytes, uint32_t value);

/* CRC-32 of IEEE 802.3: reflected polynomial 0xEDB88320, as zlib's. */
uint32_t wire_crc32(const uint8_t *bytes, uint32_t count);

/* Takes one byte. After WIRE_FRAME the frame's bytes stay until the next call. */
wire_event wire_take(wire_frame *frame, uint8_t byte);

/* Of a whole frame. */
uint32_t wire_payload_bytes(const wire_frame *frame);
uint32_t wire_sequence(const wire_frame *frame);
uint32_t wire_crc(const wire_frame *frame);

/* Takes bytes for the line. */
typedef void wire_write(const uint8_t *bytes, uint32_t count);

/* Completes header and CRC of a frame whose payload is in place, and writes it in COBS groups. */
void wire_send(wire_frame *frame, uint32_t payload_bytes, uint32_t sequence, uint32_t command,
               uint32_t status, wire_write *write);

/* Writes a frame again that wire_send has completed. */
void wire_send_again(const wire_frame *frame, wire_write *write);

/* Says that a broken frame arrived: an empty frame of sequence number 0. */
void wire_send_malformed(wire_write *write);

#endif
