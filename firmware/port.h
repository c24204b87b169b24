/* What a board gives the firmware: see docs/porting.md. */
#ifndef PORT_H
#define PORT_H

#include <stdint.h>

const char *port_board(void);
const char *port_core(void);

/* Core clock in Hz; 0 where there is none to speak of (emulators). */
uint32_t port_clock_hz(void);

/* Clocks, serial line (8N1), tick counter. Called once, before anything else. */
void port_init(void);

/* The next byte from the host; waits for it. */
uint8_t port_read(void);

/* Sends bytes to the host; waits until they are taken. */
void port_write(const uint8_t *bytes, uint32_t count);

/* A counter that rises by port_ticks_hz a second and wraps at 2^32.
 * A rate of 0 says that a tick is an instruction. */
uint32_t port_ticks(void);
uint32_t port_ticks_hz(void);

/* Pins for a power analyser, high during an invoke, toggled at each layer. May do nothing. */
#define PORT_TRIGGER_INVOKE 0u
#define PORT_TRIGGER_LAYER 1u
void port_trigger(uint32_t pin, uint32_t level);

/* Starts the board anew; does not return on a board. */
void port_reset(void);

/* Paints the free stack below the caller; then how deep it was used since, and what there is.
 * cortexm/start.c has these for every Cortex-M. */
void port_stack_paint(void);
uint32_t port_stack_used(void);
uint32_t port_stack_bytes(void);

#endif
