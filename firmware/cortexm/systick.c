/* Ticks for boards without a free-running 32-bit counter: SysTick, extended by its interrupt. */
#include "systick.h"

#include "cortexm.h"

#define SYST_CSR CORTEXM_REGISTER(0xE000E010u)
#define SYST_RVR CORTEXM_REGISTER(0xE000E014u)
#define SYST_CVR CORTEXM_REGISTER(0xE000E018u)
#define RELOAD 0xFFFFFFu

static volatile uint32_t wraps;

void systick_handler(void)
{
    wraps++;
}

void systick_start(void)
{
    SYST_RVR = RELOAD;
    SYST_CVR = 0;
    SYST_CSR = 7; /* core clock, interrupt, enable */
}

uint32_t systick_ticks(void)
{
    uint32_t before = wraps;
    uint32_t count = SYST_CVR;
    while (before != wraps) {
        before = wraps;
        count = SYST_CVR;
    }
    return (before << 24) + (RELOAD - count);
}
