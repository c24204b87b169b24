/* The board that hwsearch/device/emulator.py emulates: one device with five registers. */
#include "port.h"

#include "cortexm.h"

#define READ CORTEXM_REGISTER(0x40000000u)    /* the next byte; stops the clock until there is one */
#define WRITE CORTEXM_REGISTER(0x40000004u)   /* a byte for the host */
#define TICKS CORTEXM_REGISTER(0x40000008u)   /* instructions so far */
#define TRIGGER CORTEXM_REGISTER(0x4000000Cu) /* bit n: pin n */
#define RESET CORTEXM_REGISTER(0x40000010u)

static uint32_t pins;

const char *port_board(void)
{
    return "emulator";
}

const char *port_core(void)
{
    return PORT_CORE;
}

uint32_t port_clock_hz(void)
{
    return 0;
}

void port_init(void)
{
}

uint8_t port_read(void)
{
    return (uint8_t)READ;
}

void port_write(const uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        WRITE = bytes[i];
    }
}

uint32_t port_ticks(void)
{
    return TICKS;
}

uint32_t port_ticks_hz(void)
{
    return 0;
}

void port_trigger(uint32_t pin, uint32_t level)
{
    pins = level != 0u ? pins | (1u << pin) : pins & ~(1u << pin);
    TRIGGER = pins;
}

void port_reset(void)
{
    RESET = 1;
    for (;;) {
    }
}
