/* The second-stage boot loader that the RP2040's boot ROM runs from the first 256 bytes of flash
 * (datasheet 2.8.1.3): sets the flash interface (4.10) to serial reads by command 03h, which every
 * flash chip has, and starts the image behind it. hwsearch/device/boot2.py writes the checksum. */

void boot2(void);

__attribute__((section(".boot2"), naked, used)) void boot2(void)
{
    __asm__ volatile(".syntax unified\n"
                     "boot2_start:\n"
                     "ldr r0, =0x18000000\n" /* the SSI */
                     "movs r1, #0\n"
                     "str r1, [r0, #0x08]\n" /* SSIENR: off while it is set up */
                     "movs r1, #4\n"
                     "str r1, [r0, #0x14]\n"   /* BAUDR: a quarter of the core clock */
                     "ldr r1, =0x001F0300\n" /* CTRLR0: 32-bit data frames, EEPROM read */
                     "str r1, [r0, #0x00]\n"
                     "movs r1, #0\n"
                     "str r1, [r0, #0x04]\n"   /* CTRLR1: one data frame */
                     "ldr r1, =0x03000218\n" /* SPI_CTRLR0: command 03h, 8 + 24 bits */
                     "ldr r2, =0x180000F4\n"
                     "str r1, [r2]\n"
                     "movs r1, #1\n"
                     "str r1, [r0, #0x08]\n"
                     "ldr r0, =0x10000100\n" /* the vectors behind this */
                     "ldr r1, =0xE000ED08\n" /* VTOR */
                     "str r0, [r1]\n"
                     "ldr r1, [r0, #4]\n"
                     "ldr r0, [r0]\n"
                     "msr msp, r0\n"
                     "bx r1\n"
                     ".ltorg\n"
                     ".org boot2_start + 252\n"
                     ".word 0\n");
}
