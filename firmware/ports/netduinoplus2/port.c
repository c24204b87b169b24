/* STM32F405 (ST RM0090): USART1 on PA9 and PA10 at 115200 baud, core at the 16 MHz of its HSI with
 * no wait states. Trigger pins PB0 (invoke) and PB1 (layer). Runs on QEMU's netduinoplus2. */
#include "port.h"

#include "cortexm.h"
#include "dwt.h"

#define HSI_HZ 16000000u
#define BAUD 115200u

#define RCC_AHB1ENR CORTEXM_REGISTER(0x40023830u)
#define RCC_APB1ENR CORTEXM_REGISTER(0x40023840u)
#define RCC_APB2ENR CORTEXM_REGISTER(0x40023844u)
#define GPIOA_MODER CORTEXM_REGISTER(0x40020000u)
#define GPIOA_AFRH CORTEXM_REGISTER(0x40020024u)
#define GPIOB_MODER CORTEXM_REGISTER(0x40020400u)
#define GPIOB_BSRR CORTEXM_REGISTER(0x40020418u)
#define USART1_SR CORTEXM_REGISTER(0x40011000u)
#define USART1_DR CORTEXM_REGISTER(0x40011004u)
#define USART1_BRR CORTEXM_REGISTER(0x40011008u)
#define USART1_CR1 CORTEXM_REGISTER(0x4001100Cu)
#define SR_RXNE (1u << 5)
#define SR_TC (1u << 6)
#define SR_TXE (1u << 7)
#define TIM2_CR1 CORTEXM_REGISTER(0x40000000u)
#define TIM2_EGR CORTEXM_REGISTER(0x40000014u)
#define TIM2_CNT CORTEXM_REGISTER(0x40000024u)
#define TIM2_PSC CORTEXM_REGISTER(0x40000028u)
#define TIM2_ARR CORTEXM_REGISTER(0x4000002Cu)

/* QEMU has no cycle counter and clocks TIM2 at 1 GHz; divided by 40 it has 25 MHz. */
#define QEMU_TIM2_DIVIDER 40u
#define QEMU_TIM2_HZ (1000000000u / QEMU_TIM2_DIVIDER)

static uint8_t has_cycle_counter;

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
    return HSI_HZ;
}

void port_init(void)
{
    RCC_AHB1ENR |= 3u;       /* GPIOA, GPIOB */
    RCC_APB1ENR |= 1u;       /* TIM2 */
    RCC_APB2ENR |= 1u << 4;  /* USART1 */
    GPIOA_AFRH = (GPIOA_AFRH & ~0xFF0u) | 0x770u; /* PA9, PA10: AF7 */
    GPIOA_MODER = (GPIOA_MODER & ~(0xFu << 18)) | (0xAu << 18);
    GPIOB_MODER = (GPIOB_MODER & ~0xFu) | 0x5u; /* PB0, PB1: outputs */
    USART1_BRR = (HSI_HZ + BAUD / 2u) / BAUD;
    USART1_CR1 = (1u << 13) | (1u << 3) | (1u << 2); /* UE, TE, RE */

    dwt_start();
    const uint32_t before = dwt_cycles();
    __asm__ volatile("nop\n nop\n nop");
    has_cycle_counter = (uint8_t)(dwt_cycles() != before);
    if (has_cycle_counter == 0u) {
        TIM2_PSC = QEMU_TIM2_DIVIDER - 1u;
        TIM2_ARR = UINT32_MAX;
        TIM2_EGR = 1;
        TIM2_CR1 = 1;
    }
}

uint8_t port_read(void)
{
    while ((USART1_SR & SR_RXNE) == 0u) {
    }
    return (uint8_t)USART1_DR;
}

void port_write(const uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        while ((USART1_SR & SR_TXE) == 0u) {
        }
        USART1_DR = bytes[i];
    }
}

uint32_t port_ticks(void)
{
    return has_cycle_counter != 0u ? dwt_cycles() : TIM2_CNT;
}

uint32_t port_ticks_hz(void)
{
    return has_cycle_counter != 0u ? HSI_HZ : QEMU_TIM2_HZ;
}

void port_trigger(uint32_t pin, uint32_t level)
{
    GPIOB_BSRR = level != 0u ? 1u << pin : 0x10000u << pin;
}

void port_reset(void)
{
    while ((USART1_SR & SR_TC) == 0u) {
    }
    cortexm_reset();
}
