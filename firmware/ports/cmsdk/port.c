/* Arm's MPS2 and MPS3 FPGA images, as QEMU has them: CMSDK UART (Arm DDI 0479, 4.3).
 * Ticks: the CMSDK timer (4.1), or where CMSDK_COUNTER is given the 64-bit system counter of an
 * SSE-300 (Arm 101773, "System counter"). */
#include "port.h"

#include "cortexm.h"

#define UART_DATA CORTEXM_REGISTER(CMSDK_UART + 0x00u)
#define UART_STATE CORTEXM_REGISTER(CMSDK_UART + 0x04u)
#define UART_CTRL CORTEXM_REGISTER(CMSDK_UART + 0x08u)
#define UART_BAUDDIV CORTEXM_REGISTER(CMSDK_UART + 0x10u)
#define TX_FULL 1u
#define RX_FULL 2u
#define BAUD 115200u

const char *port_board(void)
{
    return PORT_BOARD;
}

const char *port_core(void)
{
    return PORT_CORE;
}

uint32_t port_clock_hz(void)
{
    return CMSDK_CLOCK_HZ;
}

void port_init(void)
{
    UART_BAUDDIV = CMSDK_CLOCK_HZ / BAUD;
    UART_CTRL = 3; /* transmit, receive */
#ifdef CMSDK_COUNTER
    CORTEXM_REGISTER(CMSDK_COUNTER) = 1; /* CNTCR: enable */
#else
    CORTEXM_REGISTER(CMSDK_TIMER + 0x8u) = UINT32_MAX; /* RELOAD */
    CORTEXM_REGISTER(CMSDK_TIMER + 0x4u) = UINT32_MAX; /* VALUE */
    CORTEXM_REGISTER(CMSDK_TIMER) = 1;                 /* CTRL: enable */
#endif
}

uint8_t port_read(void)
{
    while ((UART_STATE & RX_FULL) == 0u) {
    }
    return (uint8_t)UART_DATA;
}

void port_write(const uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        while ((UART_STATE & TX_FULL) != 0u) {
        }
        UART_DATA = bytes[i];
    }
}

uint32_t port_ticks(void)
{
#ifdef CMSDK_COUNTER
    return CORTEXM_REGISTER(CMSDK_COUNTER + 0x8u); /* CNTCV, low word */
#else
    return UINT32_MAX - CORTEXM_REGISTER(CMSDK_TIMER + 0x4u); /* counts down */
#endif
}

uint32_t port_ticks_hz(void)
{
    return CMSDK_CLOCK_HZ;
}

void port_trigger(uint32_t pin, uint32_t level)
{
    (void)pin;
    (void)level;
}

void port_reset(void)
{
    while ((UART_STATE & TX_FULL) != 0u) {
    }
    cortexm_reset();
}
