#define _GNU_SOURCE
#include "output.h"

#include <errno.h>
#include <limits.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define TERMINAL_PIECE_BYTES 1024

void output_init(struct output *output, int fd)
{
	struct stat status;
	*output = (struct output){.fd = fd, .piece = PIPE_BUF};
	if (fstat(fd, &status) < 0)
		return;
	bool terminal = isatty(fd);
	output->waits = S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode) || terminal;
	if (terminal)
		output->piece = TERMINAL_PIECE_BYTES;
}

static ssize_t checked(ssize_t written)
{
	if (written >= 0)
		return written;
	return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

ssize_t output_write(struct output *output, const void *data, size_t length)
{
	if (!output->waits)
		return checked(write(output->fd, data, length));
	if (!output->by_pieces) {
		struct iovec part = {(void *)(uintptr_t)data, length};
		long written = syscall(SYS_pwritev2, output->fd, &part, 1, -1L, -1L, RWF_NOWAIT);
		if (written >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL))
			return checked(written);
		output->by_pieces = true;
	}
	struct pollfd room = {.fd = output->fd, .events = POLLOUT};
	if (poll(&room, 1, 0) <= 0)
		return 0;
	return checked(write(output->fd, data, length < output->piece ? length : output->piece));
}
