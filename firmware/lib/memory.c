/* The four memory functions that compilers call on their own; no C library is linked.
 * The empty asm keeps a compiler from recognising a loop as the function that it implements. */
#include <stdint.h>
#include <string.h>

#define OPAQUE() __asm__ volatile("" ::: "memory")

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    if ((((uintptr_t)t | (uintptr_t)f) & 3u) == 0u) {
        while (count >= 16u) {
            uint32_t *tw = (uint32_t *)(void *)t;
            const uint32_t *fw = (const uint32_t *)(const void *)f;
            const uint32_t a = fw[0];
            const uint32_t b = fw[1];
            const uint32_t c = fw[2];
            const uint32_t d = fw[3];
            tw[0] = a;
            tw[1] = b;
            tw[2] = c;
            tw[3] = d;
            t += 16;
            f += 16;
            count -= 16u;
            OPAQUE();
        }
    }
    while (count > 0u) {
        *t++ = *f++;
        count--;
        OPAQUE();
    }
    return to;
}

void *memmove(void *to, const void *from, size_t count)
{
    uint8_t *t = to;
    const uint8_t *f = from;
    if ((uintptr_t)t - (uintptr_t)f >= count) {
        return memcpy(to, from, count);
    }
    while (count > 0u) {
        count--;
        t[count] = f[count];
        OPAQUE();
    }
    return to;
}

void *memset(void *to, int value, size_t count)
{
    uint8_t *t = to;
    const uint8_t byte = (uint8_t)value;
    if (((uintptr_t)t & 3u) == 0u) {
        const uint32_t word = byte * 0x01010101u;
        while (count >= 16u) {
            uint32_t *tw = (uint32_t *)(void *)t;
            tw[0] = word;
            tw[1] = word;
            tw[2] = word;
            tw[3] = word;
            t += 16;
            count -= 16u;
            OPAQUE();
        }
    }
    while (count > 0u) {
        *t++ = byte;
        count--;
        OPAQUE();
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t count)
{
    const uint8_t *x = a;
    const uint8_t *y = b;
    for (size_t i = 0; i < count; i++) {
        if (x[i] != y[i]) {
            return x[i] < y[i] ? -1 : 1;
        }
    }
    return 0;
}

/* The Arm run-time ABI's names (RTABI32 4.3.4), which clang calls: clr has no value, set has it last. */
void __aeabi_memcpy(void *to, const void *from, size_t count);
void __aeabi_memcpy4(void *to, const void *from, size_t count);
void __aeabi_memcpy8(void *to, const void *from, size_t count);
void __aeabi_memmove(void *to, const void *from, size_t count);
void __aeabi_memset(void *to, size_t count, int value);
void __aeabi_memset4(void *to, size_t count, int value);
void __aeabi_memclr(void *to, size_t count);
void __aeabi_memclr4(void *to, size_t count);
void __aeabi_memclr8(void *to, size_t count);

void __aeabi_memcpy(void *to, const void *from, size_t count)
{
    (void)memcpy(to, from, count);
}

void __aeabi_memcpy4(void *to, const void *from, size_t count)
{
    (void)memcpy(to, from, count);
}

void __aeabi_memcpy8(void *to, const void *from, size_t count)
{
    (void)memcpy(to, from, count);
}

void __aeabi_memmove(void *to, const void *from, size_t count)
{
    (void)memmove(to, from, count);
}

void __aeabi_memset(void *to, size_t count, int value)
{
    (void)memset(to, value, count);
}

void __aeabi_memset4(void *to, size_t count, int value)
{
    (void)memset(to, value, count);
}

void __aeabi_memclr(void *to, size_t count)
{
    (void)memset(to, 0, count);
}

void __aeabi_memclr4(void *to, size_t count)
{
    (void)memset(to, 0, count);
}

void __aeabi_memclr8(void *to, size_t count)
{
    (void)memset(to, 0, count);
}
