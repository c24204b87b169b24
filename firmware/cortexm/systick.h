#ifndef SYSTICK_H
#define SYSTICK_H

#include <stdint.h>

void systick_start(void);

/* Core clock cycles since systick_start, modulo 2^32. */
uint32_t systick_ticks(void);

#endif
