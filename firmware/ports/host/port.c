/* This computer: the same commands in a shared library, for loop:// and for fuzzing. */
#include "port.h"

#include <time.h>

#include "command.h"
#include "loop.h"

#define OUTPUT_BYTES 65536u

static uint8_t output[OUTPUT_BYTES];
static uint32_t output_count;

void loop_start(void)
{
    output_count = 0;
    command_init();
}

void loop_write(const uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        command_take(bytes[i]);
    }
}

uint32_t loop_read(uint8_t *bytes, uint32_t count)
{
    const uint32_t taken = count < output_count ? count : output_count;
    for (uint32_t i = 0; i < taken; i++) {
        bytes[i] = output[i];
    }
    for (uint32_t i = taken; i < output_count; i++) {
        output[i - taken] = output[i];
    }
    output_count -= taken;
    return taken;
}

const char *port_board(void)
{
    return "host";
}

const char *port_core(void)
{
    return "host";
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
    return 0; /* bytes come by loop_write */
}

void port_write(const uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count && output_count < OUTPUT_BYTES; i++) {
        output[output_count] = bytes[i];
        output_count++;
    }
}

uint32_t port_ticks(void)
{
    struct timespec now;
    (void)timespec_get(&now, TIME_UTC);
    return (uint32_t)((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}

uint32_t port_ticks_hz(void)
{
    return 1000000000u;
}

void port_trigger(uint32_t pin, uint32_t level)
{
    (void)pin;
    (void)level;
}

void port_reset(void)
{
    command_init();
}

void port_stack_paint(void)
{
}

uint32_t port_stack_used(void)
{
    return 0;
}

uint32_t port_stack_bytes(void)
{
    return 0;
}
