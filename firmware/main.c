/* The firmware: answers the host for ever. */
#include "command.h"
#include "port.h"

int main(void)
{
    port_init();
    command_init();
    for (;;) {
        command_take(port_read());
    }
}
