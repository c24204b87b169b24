/* The core's cycle counter (Armv7-M ARM, DDI 0403, C1.8). Emulators have none: it stands still. */
#ifndef DWT_H
#define DWT_H

#include "cortexm.h"

static inline void dwt_start(void)
{
    CORTEXM_REGISTER(0xE000EDFCu) |= 1u << 24; /* DEMCR: TRCENA */
    CORTEXM_REGISTER(0xE0001004u) = 0;         /* CYCCNT */
    CORTEXM_REGISTER(0xE0001000u) |= 1u;       /* CTRL: CYCCNTENA */
}

static inline uint32_t dwt_cycles(void)
{
    return CORTEXM_REGISTER(0xE0001004u);
}

#endif
