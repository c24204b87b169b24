/* NUCLEO-L4R5ZI (ST RM0432, UM2179): 120 MHz from HSI16 by the PLL, 5 wait states, caches on;
 * LPUART1 on PG7 and PG8, which the board's ST-LINK shows as a serial port. Trigger pins PF13 (D7,
 * invoke) and PF14 (D4, layer). Built and size-checked; not yet run on a board. */
#include "port.h"

#include "cortexm.h"
#include "dwt.h"

#define CORE_HZ 120000000u
#define HSI_HZ 16000000u
#define BAUD 115200u

#define RCC_CR CORTEXM_REGISTER(0x40021000u)
#define RCC_CFGR CORTEXM_REGISTER(0x40021008u)
#define RCC_PLLCFGR CORTEXM_REGISTER(0x4002100Cu)
#define RCC_AHB2ENR CORTEXM_REGISTER(0x4002104Cu)
#define RCC_APB1ENR1 CORTEXM_REGISTER(0x40021058u)
#define RCC_APB1ENR2 CORTEXM_REGISTER(0x4002105Cu)
#define RCC_CCIPR CORTEXM_REGISTER(0x40021088u)
#define PWR_CR2 CORTEXM_REGISTER(0x40007004u)
#define PWR_CR5 CORTEXM_REGISTER(0x40007080u)
#define FLASH_ACR CORTEXM_REGISTER(0x40022000u)
#define GPIOF_MODER CORTEXM_REGISTER(0x48001400u)
#define GPIOF_BSRR CORTEXM_REGISTER(0x48001418u)
#define GPIOG_MODER CORTEXM_REGISTER(0x48001800u)
#define GPIOG_AFRL CORTEXM_REGISTER(0x48001820u)
#define GPIOG_AFRH CORTEXM_REGISTER(0x48001824u)
#define LPUART1_CR1 CORTEXM_REGISTER(0x40008000u)
#define LPUART1_BRR CORTEXM_REGISTER(0x4000800Cu)
#define LPUART1_ISR CORTEXM_REGISTER(0x4000801Cu)
#define LPUART1_ICR CORTEXM_REGISTER(0x40008020u)
#define LPUART1_RDR CORTEXM_REGISTER(0x40008024u)
#define LPUART1_TDR CORTEXM_REGISTER(0x40008028u)
#define ISR_ERRORS 0xFu /* parity, framing, noise, overrun */
#define ISR_RXNE (1u << 5)
#define ISR_TC (1u << 6)
#define ISR_TXE (1u << 7)

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
    RCC_APB1ENR1 |= 1u << 28; /* PWR */
    PWR_CR5 &= ~(1u << 8);    /* range 1 boost, needed above 80 MHz */
    RCC_CR |= 1u << 8;        /* HSION */
    while ((RCC_CR & (1u << 10)) == 0u) {
    }
    /* HSI16 / 2 x 30 / 2 = 120 MHz */
    RCC_PLLCFGR = 2u | (1u << 4) | (30u << 8) | (1u << 24);
    RCC_CR |= 1u << 24; /* PLLON */
    while ((RCC_CR & (1u << 25)) == 0u) {
    }
    FLASH_ACR = 5u | (1u << 8) | (1u << 9) | (1u << 10); /* 5 wait states, prefetch, caches */
    while ((FLASH_ACR & 0xFu) != 5u) {
    }
    /* Above 80 MHz by way of half the speed for a microsecond (RM0432, 6.2.9). */
    RCC_CFGR = (RCC_CFGR & ~0xF3u) | 0x83u;
    while ((RCC_CFGR & 0xCu) != 0xCu) {
    }
    for (int i = 0; i < 120; i++) {
        __asm__ volatile("nop");
    }
    RCC_CFGR &= ~0xF0u;
}

void port_init(void)
{
    start_clock();
    RCC_AHB2ENR |= (1u << 5) | (1u << 6); /* GPIOF, GPIOG */
    PWR_CR2 |= 1u << 9;                   /* VDDIO2, which feeds port G */
    GPIOG_AFRL = (GPIOG_AFRL & ~(0xFu << 28)) | (8u << 28);
    GPIOG_AFRH = (GPIOG_AFRH & ~0xFu) | 8u;
    GPIOG_MODER = (GPIOG_MODER & ~(0xFu << 14)) | (0xAu << 14);
    GPIOF_MODER = (GPIOF_MODER & ~(0xFu << 26)) | (0x5u << 26);
    RCC_CCIPR = (RCC_CCIPR & ~(3u << 10)) | (2u << 10); /* LPUART1 from HSI16 */
    RCC_APB1ENR2 |= 1u;
    LPUART1_BRR = (uint32_t)((256ull * HSI_HZ + BAUD / 2u) / BAUD);
    LPUART1_CR1 = 1u | (1u << 2) | (1u << 3); /* UE, RE, TE */
    dwt_start();
}

uint8_t port_read(void)
{
    while ((LPUART1_ISR & ISR_RXNE) == 0u) {
        LPUART1_ICR = ISR_ERRORS; /* an overrun would stop reception */
    }
    return (uint8_t)LPUART1_RDR;
}

void port_write(const uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        while ((LPUART1_ISR & ISR_TXE) == 0u) {
        }
        LPUART1_TDR = bytes[i];
    }
}

uint32_t port_ticks(void)
{
    return dwt_cycles();
}

uint32_t port_ticks_hz(void)
{
    return CORE_HZ;
}

void port_trigger(uint32_t pin, uint32_t level)
{
    GPIOF_BSRR = (level != 0u ? 0x2000u : 0x20000000u) << pin;
}

void port_reset(void)
{
    while ((LPUART1_ISR & ISR_TC) == 0u) {
    }
    cortexm_reset();
}
