/* Sums of products over a patch on cores with the DSP extension: the inner loops of convolutions and dense layers. */
#include "nn.h"

#if NN_DSP

/* Armv7E-M and Armv8-M with the DSP extension. Written out, because no compiler keeps eight sums, two pointers
 * and four operands in the fourteen registers there are. Per group and 4 x 2 block: 1 load of weights, 2 loads of
 * patch, 2 unpacks, 8 dual multiply-accumulates for 16 products.
 *
 *   r0 patch, r1 weights, r4-r11 sums (pixel 0 channel 0, pixel 0 channel 1, pixel 1 channel 0 ...),
 *   r2 r3 patch words of two pixels, r12 lr weights of channel 0 and 1,
 *   [sp] the block, [sp, #4] the end of the groups left over by fours, [sp, #8] the end of the patch. */

#define FUNCTION(name)                                                                                             \
    ".section .text." name ",\"ax\",%progbits\n .align 2\n .global " name "\n .thumb_func\n .type " name           \
    ", %function\n" name ":\n"

#define END(name) ".size " name ", . - " name "\n"

/* One group of four pixels at r0 with the weights in r12 (channel 0) and lr (channel 1). */
#define PRODUCTS_4X2                                                                                               \
    "ldrd r2, r3, [r0], #16\n"                                                                                     \
    "smlad r4, r12, r2, r4\n smlad r5, lr, r2, r5\n smlad r6, r12, r3, r6\n smlad r7, lr, r3, r7\n"                \
    "ldrd r2, r3, [r0, #-8]\n"                                                                                     \
    "smlad r8, r12, r2, r8\n smlad r9, lr, r2, r9\n smlad r10, r12, r3, r10\n smlad r11, lr, r3, r11\n"

#define GROUP_4X2                                                                                                  \
    "ldr r12, [r1], #4\n"                                                                                          \
    "sxtb16 lr, r12, ror #8\n"                                                                                     \
    "sxtb16 r12, r12\n" PRODUCTS_4X2

/* Two groups in eight nibbles: as multiples of 16 in the upper half of each byte, so sums end 16 times too large. */
#define GROUP_PAIR4_4X2                                                                                            \
    "ldr r12, [r1]\n"                                                                                              \
    "lsl r12, r12, #4\n"                                                                                           \
    "and r12, r12, #0xF0F0F0F0\n"                                                                                  \
    "sxtb16 lr, r12, ror #8\n"                                                                                     \
    "sxtb16 r12, r12\n" PRODUCTS_4X2                                                                               \
    "ldr r12, [r1], #4\n"                                                                                          \
    "and r12, r12, #0xF0F0F0F0\n"                                                                                  \
    "sxtb16 lr, r12, ror #8\n"                                                                                     \
    "sxtb16 r12, r12\n" PRODUCTS_4X2

/* One group of indices of a palette, whose pairs r3 has the address of. */
#define GROUP_PALETTE_4X2                                                                                          \
    "ldrh lr, [r1], #2\n"                                                                                          \
    "uxtb r12, lr\n"                                                                                               \
    "lsr lr, lr, #8\n"                                                                                             \
    "ldr r12, [r3, r12, lsl #2]\n"                                                                                 \
    "ldr lr, [r3, lr, lsl #2]\n" PRODUCTS_4X2

/* Through all pairs of channels of a block at r0 (nn_block_t); sums start at the bias of channel [lr, #40]. */
#define BLOCK_BEGIN                                                                                                \
    "push {r4-r11, lr}\n"                                                                                          \
    "ldrd r2, r3, [r0, #8]\n"                                                                                      \
    "push {r0, r2, r3}\n" BLOCK_PAIR

#define BLOCK_PAIR                                                                                                 \
    "0: ldr lr, [sp]\n"                                                                                            \
    "ldr r2, [lr, #40]\n"                                                                                          \
    "ldr r3, [lr, #16]\n"                                                                                          \
    "ldrd r0, r1, [lr]\n"                                                                                          \
    "add r3, r3, r2, lsl #2\n"                                                                                     \
    "ldrd r4, r5, [r3]\n"

#define BLOCK_SPREAD "mov r6, r4\n mov r7, r5\n mov r8, r4\n mov r9, r5\n mov r10, r4\n mov r11, r5\n"

/* One sum, in place: product with r1 rounded half up, shifted right by r2 half away from zero, with r3 the rounding
 * and the output's zero point; then a byte. */
#define REQUANTIZE(sum)                                                                                            \
    "lsl " sum ", " sum ", #1\n"                                                                                   \
    "smmulr " sum ", " sum ", r1\n"                                                                                \
    "add " sum ", " sum ", " sum ", asr #31\n"                                                                     \
    "add " sum ", " sum ", r3\n"                                                                                   \
    "asr " sum ", " sum ", r2\n"                                                                                   \
    "ssat " sum ", #8, " sum "\n"

/* Four pixels of channel r12 of the block lr. */
#define CHANNEL_STORE(a, b, c, d)                                                                                  \
    "ldr r0, [lr, #24]\n"                                                                                          \
    "ldr r1, [lr, #20]\n"                                                                                          \
    "ldrsb r2, [r0, r12]\n"                                                                                        \
    "ldr r3, [lr, #36]\n"                                                                                          \
    "rsb r2, r2, #0\n"                                                                                             \
    "sub r0, r2, #1\n"                                                                                             \
    "lsl r3, r3, r0\n"                                                                                             \
    "ldr r1, [r1, r12, lsl #2]\n"                                                                                  \
    "ldr r0, [lr, #28]\n"                                                                                          \
    "add r0, r0, r12\n" REQUANTIZE(a) REQUANTIZE(b) REQUANTIZE(c) REQUANTIZE(d)                                    \
    "ldr r3, [lr, #32]\n"                                                                                          \
    "strb " a ", [r0]\n"                                                                                           \
    "strb " b ", [r0, r3]\n"                                                                                       \
    "strb " c ", [r0, r3, lsl #1]\n"                                                                               \
    "add r0, r0, r3\n"                                                                                             \
    "strb " d ", [r0, r3, lsl #1]\n"

#define BLOCK_END                                                                                                  \
    "ldr lr, [sp]\n"                                                                                               \
    "ldr r12, [lr, #40]\n"                                                                                         \
    "str r1, [lr, #4]\n" CHANNEL_STORE("r4", "r6", "r8", "r10")                                                    \
    "add r12, r12, #1\n" CHANNEL_STORE("r5", "r7", "r9", "r11")                                                    \
    "ldr r0, [lr, #44]\n"                                                                                          \
    "add r12, r12, #1\n"                                                                                           \
    "str r12, [lr, #40]\n"                                                                                         \
    "cmp r12, r0\n"                                                                                                \
    "bne 0b\n"                                                                                                     \
    "add sp, sp, #12\n"                                                                                            \
    "pop {r4-r11, pc}\n"

/* The same for one pair of channels, without requantization: [sp] the end of the groups left over by fours, [sp, #4] the
 * end of the patch, acc at [sp, #44]. */
#define PROLOGUE_4X2(bytes)                                                                                        \
    "push {r4-r11, lr}\n"                                                                                          \
    "ldrd r4, r5, [r3]\n"                                                                                          \
    bytes                                                                                                          \
    "push {r2, r3}\n"                                                                                              \
    "mov r6, r4\n mov r7, r5\n mov r8, r4\n mov r9, r5\n mov r10, r4\n mov r11, r5\n"

#define EPILOGUE_4X2                                                                                               \
    "ldr r2, [sp, #44]\n"                                                                                          \
    "stm r2, {r4-r11}\n"                                                                                           \
    "add sp, sp, #8\n"                                                                                             \
    "pop {r4-r11, pc}\n"

/* One pixel: r0 patch, r1 weights, r2 r3 sums, r4-r7 patch, r8-r11 weights, r12 unpacked, lr end; acc at [sp, #36]. */
#define PRODUCTS_1X2(x, w)                                                                                         \
    "sxtb16 r12, " w ", ror #8\n"                                                                                  \
    "sxtb16 " w ", " w "\n"                                                                                        \
    "smlad r3, r12, " x ", r3\n"                                                                                   \
    "smlad r2, " w ", " x ", r2\n"

__asm__(".syntax unified\n" FUNCTION("nn_block_s8") BLOCK_BEGIN BLOCK_SPREAD
        "1: ldr r2, [sp, #4]\n"
        "cmp r0, r2\n"
        "beq 2f\n" GROUP_4X2
        "b 1b\n"
        "2: ldr r2, [sp, #8]\n"
        "cmp r0, r2\n"
        "beq 4f\n"
        "3:\n" GROUP_4X2 GROUP_4X2 GROUP_4X2 GROUP_4X2
        "ldr r2, [sp, #8]\n"
        "cmp r0, r2\n"
        "bne 3b\n"
        "4:\n" BLOCK_END END("nn_block_s8"));

__asm__(".syntax unified\n" FUNCTION("nn_block4_s8") BLOCK_BEGIN
        "lsl r4, r4, #4\n"
        "lsl r5, r5, #4\n" BLOCK_SPREAD
        "1:\n" GROUP_PAIR4_4X2
        "ldr r2, [sp, #8]\n"
        "cmp r0, r2\n"
        "bne 1b\n"
        "asr r4, r4, #4\n asr r5, r5, #4\n asr r6, r6, #4\n asr r7, r7, #4\n"
        "asr r8, r8, #4\n asr r9, r9, #4\n asr r10, r10, #4\n asr r11, r11, #4\n" BLOCK_END END("nn_block4_s8"));

/* [sp, #4] the pairs of the palette, [sp, #8] the end of the patch; an odd group comes first. */
__asm__(".syntax unified\n" FUNCTION("nn_block_palette_s8")
        "push {r4-r11, lr}\n"
        "ldr r3, [r0, #12]\n"
        "ldr r2, [r0]\n"
        "sub r2, r2, #1024\n"
        "push {r0, r2, r3}\n" BLOCK_PAIR BLOCK_SPREAD
        "ldrd r3, r2, [sp, #4]\n"
        "sub r12, r2, r0\n"
        "tst r12, #16\n"
        "beq 2f\n" GROUP_PALETTE_4X2
        "1: ldrd r3, r2, [sp, #4]\n"
        "2: cmp r0, r2\n"
        "beq 4f\n"
        "3:\n" GROUP_PALETTE_4X2 "ldr r3, [sp, #4]\n" GROUP_PALETTE_4X2 "ldrd r3, r2, [sp, #4]\n"
        "cmp r0, r2\n"
        "bne 3b\n"
        "4:\n" BLOCK_END END("nn_block_palette_s8"));

__asm__(".syntax unified\n" FUNCTION("nn_dot_palette_4x2")
        PROLOGUE_4X2("add r12, r0, r2, lsl #4\n"
                     "sub r2, r0, #1024\n"
                     "mov r3, r12\n")
        "1: ldr r3, [sp]\n" GROUP_PALETTE_4X2
        "ldr r2, [sp, #4]\n"
        "cmp r0, r2\n"
        "bne 1b\n" EPILOGUE_4X2 END("nn_dot_palette_4x2"));

__asm__(".syntax unified\n" FUNCTION("nn_dot_4x2")
        PROLOGUE_4X2("and r3, r2, #3\n"
                     "add r3, r0, r3, lsl #4\n"
                     "add r12, r0, r2, lsl #4\n"
                     "mov r2, r3\n"
                     "mov r3, r12\n")
        "1: ldr r2, [sp]\n"
        "cmp r0, r2\n"
        "beq 2f\n" GROUP_4X2
        "b 1b\n"
        "2: ldr r2, [sp, #4]\n"
        "cmp r0, r2\n"
        "beq 4f\n"
        "3:\n" GROUP_4X2 GROUP_4X2 GROUP_4X2 GROUP_4X2
        "ldr r2, [sp, #4]\n"
        "cmp r0, r2\n"
        "bne 3b\n"
        "4:\n" EPILOGUE_4X2 END("nn_dot_4x2"));

__asm__(".syntax unified\n" FUNCTION("nn_dot4_4x2")
        PROLOGUE_4X2("add r3, r0, r2, lsl #4\n")
        "lsl r4, r4, #4\n lsl r5, r5, #4\n mov r6, r4\n mov r7, r5\n mov r8, r4\n mov r9, r5\n mov r10, r4\n mov r11, r5\n"
        "1:\n" GROUP_PAIR4_4X2
        "ldr r2, [sp, #4]\n"
        "cmp r0, r2\n"
        "bne 1b\n"
        "asr r4, r4, #4\n asr r5, r5, #4\n asr r6, r6, #4\n asr r7, r7, #4\n"
        "asr r8, r8, #4\n asr r9, r9, #4\n asr r10, r10, #4\n asr r11, r11, #4\n" EPILOGUE_4X2 END("nn_dot4_4x2"));

__asm__(".syntax unified\n" FUNCTION("nn_dot_1x2")
        "push {r4-r11, lr}\n"
        "add lr, r0, r2, lsl #2\n"
        "ldrd r2, r3, [r3]\n"
        "sub r12, lr, r0\n"
        "tst r12, #15\n"
        "beq 2f\n"
        "1: ldr r4, [r0], #4\n"
        "ldr r8, [r1], #4\n" PRODUCTS_1X2("r4", "r8")
        "sub r12, lr, r0\n"
        "tst r12, #15\n"
        "bne 1b\n"
        "2: cmp r0, lr\n"
        "beq 4f\n"
        "3: ldm r0!, {r4-r7}\n"
        "ldm r1!, {r8-r11}\n" PRODUCTS_1X2("r4", "r8") PRODUCTS_1X2("r5", "r9") PRODUCTS_1X2("r6", "r10")
        PRODUCTS_1X2("r7", "r11")
        "cmp r0, lr\n"
        "bne 3b\n"
        "4: ldr r0, [sp, #36]\n"
        "strd r2, r3, [r0]\n"
        "pop {r4-r11, pc}\n" END("nn_dot_1x2"));

__asm__(".syntax unified\n" FUNCTION("nn_dot4_1x2")
        "push {r4-r11, lr}\n"
        "add lr, r0, r2, lsl #2\n"
        "ldrd r2, r3, [r3]\n"
        "lsl r2, r2, #4\n"
        "lsl r3, r3, #4\n"
        "1: ldm r0!, {r4-r5}\n"
        "ldr r9, [r1], #4\n"
        "lsl r8, r9, #4\n"
        "and r8, r8, #0xF0F0F0F0\n"
        "and r9, r9, #0xF0F0F0F0\n" PRODUCTS_1X2("r4", "r8") PRODUCTS_1X2("r5", "r9")
        "cmp r0, lr\n"
        "bne 1b\n"
        "asr r2, r2, #4\n"
        "asr r3, r3, #4\n"
        "ldr r0, [sp, #36]\n"
        "strd r2, r3, [r0]\n"
        "pop {r4-r11, pc}\n" END("nn_dot4_1x2") ".text\n");

/* r12 the pairs of the palette, r4 the indices of two groups, r5 r6 patch, r7-r10 pairs. */
#define GROUP_PAIR_PALETTE_1X2                                                                                     \
    "ldr r4, [r1], #4\n"                                                                                           \
    "uxtb r7, r4\n"                                                                                                \
    "ubfx r8, r4, #8, #8\n"                                                                                        \
    "ubfx r9, r4, #16, #8\n"                                                                                       \
    "lsr r10, r4, #24\n"                                                                                           \
    "ldr r7, [r12, r7, lsl #2]\n"                                                                                  \
    "ldr r8, [r12, r8, lsl #2]\n"                                                                                  \
    "ldr r9, [r12, r9, lsl #2]\n"                                                                                  \
    "ldr r10, [r12, r10, lsl #2]\n"                                                                                \
    "ldm r0!, {r5-r6}\n"                                                                                           \
    "smlad r2, r7, r5, r2\n smlad r3, r8, r5, r3\n smlad r2, r9, r6, r2\n smlad r3, r10, r6, r3\n"

__asm__(".syntax unified\n" FUNCTION("nn_dot_palette_1x2")
        "push {r4-r10, lr}\n"
        "sub r12, r0, #1024\n"
        "add lr, r0, r2, lsl #2\n"
        "tst r2, #1\n"
        "ldrd r2, r3, [r3]\n"
        "beq 1f\n"
        "ldrh r8, [r1], #2\n"
        "uxtb r7, r8\n"
        "lsr r8, r8, #8\n"
        "ldr r7, [r12, r7, lsl #2]\n"
        "ldr r8, [r12, r8, lsl #2]\n"
        "ldr r5, [r0], #4\n"
        "smlad r2, r7, r5, r2\n"
        "smlad r3, r8, r5, r3\n"
        "1: sub r4, lr, r0\n"
        "tst r4, #8\n"
        "beq 2f\n" GROUP_PAIR_PALETTE_1X2
        "2: cmp r0, lr\n"
        "beq 4f\n"
        "3:\n" GROUP_PAIR_PALETTE_1X2 GROUP_PAIR_PALETTE_1X2
        "cmp r0, lr\n"
        "bne 3b\n"
        "4: ldr r0, [sp, #32]\n"
        "strd r2, r3, [r0]\n"
        "pop {r4-r10, pc}\n" END("nn_dot_palette_1x2") ".text\n");

#endif
