/* Start-up, fault handler and stack gauge of every Cortex-M port. */
#include <stdint.h>

#include "command.h"
#include "cortexm.h"
#include "port.h"
#include "protocol.h"

#define PAINT 0xA5A5A5A5u
#define STACKED_WORDS 8u

extern uint32_t image_data_start[], image_data_end[], image_bss_start[], image_bss_end[];
extern const uint32_t image_data_source[];
extern uint32_t image_stack_limit[], image_stack_top[];

#if defined(CALL_CONSTRUCTORS) /* of C++ engines */
typedef void constructor(void);
extern constructor *const image_init_start[], *const image_init_end[];
#endif

int main(void);
void start_reset(void);
void start_fault(void);
void start_fault_report(void);

uint32_t start_fault_registers[FAULT_WORDS];
uint32_t *start_painted_top;

static void halt(void)
{
    for (;;) {
    }
}

__attribute__((weak)) void systick_handler(void)
{
    halt();
}

/* Armv7-M ARM (DDI 0403) B1.5.2: initial stack, reset, then exceptions 2 to 15. Memory, bus and
 * usage faults stay disabled, so that each escalates to a hard fault. */
__attribute__((section(".vectors"), used)) static const uintptr_t VECTORS[16] = {
    (uintptr_t)image_stack_top,
    (uintptr_t)start_reset,
    (uintptr_t)start_fault, /* NMI */
    (uintptr_t)start_fault, /* hard fault */
    (uintptr_t)start_fault,
    (uintptr_t)start_fault,
    (uintptr_t)start_fault,
    (uintptr_t)start_fault, /* secure fault */
    0, 0, 0,
    (uintptr_t)start_fault, /* SVCall */
    (uintptr_t)start_fault, /* debug monitor */
    0,
    (uintptr_t)start_fault, /* PendSV */
    (uintptr_t)systick_handler,
};

void start_reset(void)
{
#if defined(__ARM_FP)
    CORTEXM_REGISTER(0xE000ED88u) |= 0xFu << 20; /* CPACR: full access to CP10 and CP11 */
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
    const uint32_t *from = image_data_source;
    for (uint32_t *to = image_data_start; to < image_data_end; to++) {
        *to = *from;
        from++;
    }
    for (uint32_t *to = image_bss_start; to < image_bss_end; to++) {
        *to = 0;
    }
#if defined(CALL_CONSTRUCTORS)
    for (constructor *const *call = image_init_start; call < image_init_end; call++) {
        (*call)();
    }
#endif
    (void)main();
    halt();
}

/* Saves the stacked registers if the stack pointer still points into the stack, then goes on
 * with a fresh stack. In instructions that Armv6-M has. */
__attribute__((naked)) void start_fault(void)
{
    __asm__ volatile(".syntax unified\n"
                     "mrs r0, msp\n"
                     "ldr r1, =image_stack_limit\n"
                     "cmp r0, r1\n"
                     "blo 2f\n"
                     "ldr r1, =image_stack_top - 32\n"
                     "cmp r0, r1\n"
                     "bhi 2f\n"
                     "ldr r1, =start_fault_registers\n"
                     "movs r2, #8\n"
                     "1: ldr r3, [r0]\n"
                     "str r3, [r1]\n"
                     "adds r0, #4\n"
                     "adds r1, #4\n"
                     "subs r2, #1\n"
                     "bne 1b\n"
                     "2: ldr r0, =image_stack_top\n"
                     "msr msp, r0\n"
                     "bl start_fault_report\n"
                     ".ltorg\n");
}

void start_fault_report(void)
{
#if __ARM_ARCH > 6 && !defined(__ARM_ARCH_6M__) && !defined(__ARM_ARCH_8M_BASE__)
    for (uint32_t i = 0; i < FAULT_WORDS - STACKED_WORDS; i++) {
        static const uint32_t OFFSETS[] = {0x28u, 0x2Cu, 0x34u, 0x38u};
        start_fault_registers[STACKED_WORDS + i] = CORTEXM_REGISTER(0xE000ED00u + OFFSETS[i]);
    }
#endif
    command_fault(start_fault_registers);
    for (;;) {
        command_take(port_read());
    }
}

void cortexm_reset(void)
{
    CORTEXM_REGISTER(0xE000ED0Cu) = 0x05FA0004u; /* AIRCR: key, SYSRESETREQ */
    halt();
}

/* Fills what lies below the caller's frame; has no frame of its own. In instructions that
 * Armv6-M has. */
__attribute__((naked)) void port_stack_paint(void)
{
    __asm__ volatile(".syntax unified\n"
                     "ldr r0, =image_stack_limit\n"
                     "ldr r1, =0xA5A5A5A5\n"
                     "mov r2, sp\n"
                     "ldr r3, =start_painted_top\n"
                     "str r2, [r3]\n"
                     "1: cmp r0, r2\n"
                     "bhs 2f\n"
                     "str r1, [r0]\n"
                     "adds r0, #4\n"
                     "b 1b\n"
                     "2: bx lr\n"
                     ".ltorg\n");
}

uint32_t port_stack_used(void)
{
    const volatile uint32_t *word = image_stack_limit;
    while (word < start_painted_top && *word == PAINT) {
        word++;
    }
    return 4u * (uint32_t)(start_painted_top - word);
}

uint32_t port_stack_bytes(void)
{
    return 4u * (uint32_t)(image_stack_top - image_stack_limit);
}
