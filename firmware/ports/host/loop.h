#ifndef LOOP_H
#define LOOP_H

#include <stdint.h>

/* What port_init and main do on a board. */
void loop_start(void);

/* Bytes from the host; replies to them wait for loop_read. */
void loop_write(const uint8_t *bytes, uint32_t count);

/* Takes at most count bytes of the replies; how many. */
uint32_t loop_read(uint8_t *bytes, uint32_t count);

#endif
