/* A guest's console in a file of bounded size: `console`, and `console.1` with what came before. */
#ifndef TWINHULL_CONSOLE_H
#define TWINHULL_CONSOLE_H

#include <stddef.h>

#define CONSOLE_HALF_BYTES (32u << 10)

struct console {
	int directory_fd;
	int fd; /* -1 until the first byte */
	size_t size;
};

void console_init(struct console *console, int directory_fd);
/* Take what a descriptor has to give: bytes, 0 if there are none now, -errno when none will come (-EPIPE: its end). */
int console_copy(struct console *console, int from);

#endif
