#define _GNU_SOURCE
#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "descriptor.h"

#define CHUNK_BYTES 4096

void console_init(struct console *console, int directory_fd)
{
	*console = (struct console){.directory_fd = directory_fd, .fd = -1};
}

static void open_half(struct console *console)
{
	if (console->fd >= 0)
		close(console->fd);
	console->fd =
		openat(console->directory_fd, "console", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	console->size = 0;
}

int console_copy(struct console *console, int from)
{
	char bytes[CHUNK_BYTES];
	ssize_t got = read(from, bytes, sizeof(bytes));
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (got == 0)
		return -EPIPE;
	if (console->fd >= 0 && console->size + (size_t)got > CONSOLE_HALF_BYTES) {
		renameat(console->directory_fd, "console", console->directory_fd, "console.1");
		open_half(console);
	} else if (console->fd < 0) {
		open_half(console);
	}
	console->size += (size_t)got;
	if (console->fd >= 0)
		fd_write_all(console->fd, bytes, (size_t)got); /* a full disk loses the console, nothing else */
	return (int)got;
}
