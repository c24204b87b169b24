/* Counts what an emulated core executes: called by Unicorn at the start of each basic block.
 * Compiled for this computer by hwsearch/device/emulated_board.py; the layout of blocks is its too. */
#include <stdint.h>

typedef struct {
    uint64_t instructions;      /* since the start */
    uint32_t code_start;        /* address of the first byte of code */
    uint32_t code_halfwords;
    const uint16_t *code;
    uint32_t *sizes;            /* per halfword of code: bytes of the block seen there last */
    uint32_t *counts;           /* instructions of that block */
    uint32_t *runs;             /* how often it ran since the last clear */
    uint32_t *taken;            /* how often it was left by a jump, not into the next address */
    uint32_t *touched;          /* indexes of blocks that ran since the last clear */
    uint32_t touched_count;
    uint32_t last;              /* index of the block before; UINT32_MAX: none */
    uint32_t last_end;          /* the address behind it */
    uint32_t recording;         /* whether runs and taken are kept */
} blocks;

void blocks_clear(blocks *b);
void blocks_hook(void *emulator, uint64_t address, uint32_t size, void *context);

void blocks_clear(blocks *b)
{
    for (uint32_t i = 0; i < b->touched_count; i++) {
        b->runs[b->touched[i]] = 0;
        b->taken[b->touched[i]] = 0;
    }
    b->touched_count = 0;
    b->last = UINT32_MAX;
}

/* A halfword whose top five bits are 0b11101, 0b11110 or 0b11111 opens a 32-bit instruction
 * (Armv7-M ARM, DDI 0403, A5.1). */
static uint32_t instructions_in(const uint16_t *code, uint32_t halfwords)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < halfwords; i++) {
        if (code[i] >= 0xE800u) {
            i++;
        }
        count++;
    }
    return count;
}

void blocks_hook(void *emulator, uint64_t address, uint32_t size, void *context)
{
    blocks *b = context;
    (void)emulator;
    const uint32_t index = ((uint32_t)address - b->code_start) >> 1;
    if (index >= b->code_halfwords || size > 2u * (b->code_halfwords - index)) {
        return;
    }
    if (b->sizes[index] != size) {
        b->sizes[index] = size;
        b->counts[index] = instructions_in(b->code + index, size >> 1);
    }
    b->instructions += b->counts[index];
    if (b->recording != 0u) {
        if (b->last != UINT32_MAX && b->last_end != (uint32_t)address) {
            b->taken[b->last]++;
        }
        if (b->runs[index]++ == 0u) {
            b->touched[b->touched_count++] = index;
        }
        b->last = index;
        b->last_end = (uint32_t)address + size;
    }
}
