/* Forward TCP connections of one listening address to another, in a process of its own. */
#ifndef TWINHULL_PROXY_H
#define TWINHULL_PROXY_H

#include <stdint.h>
#include <sys/types.h>

/* Listen on address:port and start the process; it ends with its parent. Returns its pid or -errno. */
pid_t proxy_start(const char *address, uint16_t port, const char *to, uint16_t to_port);

#endif
