#ifndef CORTEXM_H
#define CORTEXM_H

#include <stdint.h>

#define CORTEXM_REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

/* Asks the core for a system reset; does not return. */
void cortexm_reset(void);

#endif
