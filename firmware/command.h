/* One request, one reply. */
#ifndef COMMAND_H
#define COMMAND_H

#include <stdint.h>

/* Starts the engine and forgets all that was said before. */
void command_init(void);

/* Takes one byte from the line; when it completes a request, runs it and sends the reply. */
void command_take(uint8_t byte);

/* From a fault handler: from now on every request is answered with these FAULT_WORDS registers,
 * until a reset. Sends them at once, in answer to the request that ran. */
void command_fault(const uint32_t *registers);

/* A layer starts; called by engines built with per-layer ticks, once more after the last. */
void command_layer(uint32_t index);

#endif
