/* Raspberry Pi Pico (RP2040 datasheet): 125 MHz from the crystal by the PLL; UART0 on GP0 and GP1
 * at 115200 baud. Trigger pins GP2 (invoke) and GP3 (layer). Runs from flash by XIP.
 * Built and size-checked; not yet run on a board. */
#include "port.h"

#include "cortexm.h"
#include "systick.h"

#define CORE_HZ 125000000u
#define BAUD 115200u
#define CLEAR 0x3000u /* atomic bit clear alias, 2.1.2 */

#define RESETS 0x4000C000u
#define RESET_DONE CORTEXM_REGISTER(RESETS + 8u)
#define RESET_BITS ((1u << 5) | (1u << 8) | (1u << 12) | (1u << 22)) /* IO, pads, PLL, UART0 */
#define XOSC_CTRL CORTEXM_REGISTER(0x40024000u)
#define XOSC_STATUS CORTEXM_REGISTER(0x40024004u)
#define XOSC_STARTUP CORTEXM_REGISTER(0x4002400Cu)
#define PLL_CS CORTEXM_REGISTER(0x40028000u)
#define PLL_PWR CORTEXM_REGISTER(0x40028004u)
#define PLL_FBDIV CORTEXM_REGISTER(0x40028008u)
#define PLL_PRIM CORTEXM_REGISTER(0x4002800Cu)
#define CLK_REF_CTRL CORTEXM_REGISTER(0x40008030u)
#define CLK_REF_SELECTED CORTEXM_REGISTER(0x40008038u)
#define CLK_SYS_CTRL CORTEXM_REGISTER(0x4000803Cu)
#define CLK_SYS_SELECTED CORTEXM_REGISTER(0x40008044u)
#define CLK_PERI_CTRL CORTEXM_REGISTER(0x40008048u)
#define GPIO_CTRL(n) CORTEXM_REGISTER(0x40014004u + 8u * (n))
#define FUNCTION_UART 2u
#define FUNCTION_SIO 5u
#define SIO_OUT_SET CORTEXM_REGISTER(0xD0000014u)
#define SIO_OUT_CLR CORTEXM_REGISTER(0xD0000018u)
#define SIO_OE_SET CORTEXM_REGISTER(0xD0000024u)
#define UART_DR CORTEXM_REGISTER(0x40034000u)
#define UART_FR CORTEXM_REGISTER(0x40034018u)
#define UART_IBRD CORTEXM_REGISTER(0x40034024u)
#define UART_FBRD CORTEXM_REGISTER(0x40034028u)
#define UART_LCR_H CORTEXM_REGISTER(0x4003402Cu)
#define UART_CR CORTEXM_REGISTER(0x40034030u)
#define FR_BUSY (1u << 3)
#define FR_RXFE (1u << 4)
#define FR_TXFF (1u << 5)
#define TRIGGER_PIN 2u

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
    return CORE_HZ;
}

static void start_clock(void)
{
    XOSC_STARTUP = 47;                      /* 1 ms at 12 MHz, 2.16.3 */
    XOSC_CTRL = 0xAA0u | (0xFABu << 12);    /* 1 to 15 MHz, enable */
    while ((XOSC_STATUS & (1u << 31)) == 0u) {
    }
    CLK_REF_CTRL = 2; /* crystal */
    while ((CLK_REF_SELECTED & (1u << 2)) == 0u) {
    }
    /* 12 MHz x 125 / 6 / 2 = 125 MHz, 2.18.2 */
    PLL_CS = 1;
    PLL_FBDIV = 125;
    CORTEXM_REGISTER(0x40028004u + CLEAR) = 1u | (1u << 5); /* power: PLL, VCO */
    while ((PLL_CS & (1u << 31)) == 0u) {
    }
    PLL_PRIM = (6u << 16) | (2u << 12);
    CORTEXM_REGISTER(0x40028004u + CLEAR) = 1u << 3; /* power: dividers */
    CLK_SYS_CTRL = 0;                                /* from clk_ref while the source changes */
    while ((CLK_SYS_SELECTED & 1u) == 0u) {
    }
    CLK_SYS_CTRL = 1;
    while ((CLK_SYS_SELECTED & 2u) == 0u) {
    }
    CLK_PERI_CTRL = 1u << 11;
}

void port_init(void)
{
    CORTEXM_REGISTER(RESETS + CLEAR) = RESET_BITS;
    while ((RESET_DONE & RESET_BITS) != RESET_BITS) {
    }
    start_clock();
    GPIO_CTRL(0u) = FUNCTION_UART;
    GPIO_CTRL(1u) = FUNCTION_UART;
    GPIO_CTRL(TRIGGER_PIN) = FUNCTION_SIO;
    GPIO_CTRL(TRIGGER_PIN + 1u) = FUNCTION_SIO;
    SIO_OE_SET = 3u << TRIGGER_PIN;
    const uint32_t divider = (CORE_HZ * 4u + BAUD / 2u) / BAUD; /* in 64ths, 4.2.7.1 */
    UART_IBRD = divider >> 6;
    UART_FBRD = divider & 63u;
    UART_LCR_H = (3u << 5) | (1u << 4); /* 8 bits, FIFOs */
    UART_CR = 1u | (1u << 8) | (1u << 9);
    systick_start();
}

uint8_t port_read(void)
{
    while ((UART_FR & FR_RXFE) != 0u) {
    }
    return (uint8_t)UART_DR;
}

void port_write(const uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        while ((UART_FR & FR_TXFF) != 0u) {
        }
        UART_DR = bytes[i];
    }
}

uint32_t port_ticks(void)
{
    return systick_ticks();
}

uint32_t port_ticks_hz(void)
{
    return CORE_HZ;
}

void port_trigger(uint32_t pin, uint32_t level)
{
    if (level != 0u) {
        SIO_OUT_SET = 1u << (TRIGGER_PIN + pin);
    } else {
        SIO_OUT_CLR = 1u << (TRIGGER_PIN + pin);
    }
}

void port_reset(void)
{
    while ((UART_FR & FR_BUSY) != 0u) {
    }
    cortexm_reset();
}
