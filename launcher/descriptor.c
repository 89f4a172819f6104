#define _GNU_SOURCE
#include "descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kernel.h"
#include "plan.h"

void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void fd_cleanup(int *fd)
{
	int saved = errno;
	fd_close(fd);
	errno = saved;
}

int fd_take(int *fd)
{
	int taken = *fd;
	*fd = -1;
	return taken;
}

int fd_high(int fd)
{
	if (fd < 0 || fd >= MAX_CHILD_FDS)
		return fd;
	int moved = result(fcntl(fd, F_DUPFD_CLOEXEC, MAX_CHILD_FDS));
	close(fd);
	return moved;
}

static void sort(int *numbers, size_t count)
{
	for (size_t i = 1; i < count; i++)
		for (size_t j = i; j > 0 && numbers[j] < numbers[j - 1]; j--) {
			int swap = numbers[j];
			numbers[j] = numbers[j - 1];
			numbers[j - 1] = swap;
		}
}

int fd_keep_only(int *keep, size_t count)
{
	unsigned first = 0;
	sort(keep, count);
	for (size_t i = 0; i < count; i++) {
		if (keep[i] < 0 || (unsigned)keep[i] < first)
			continue;
		unsigned next = (unsigned)keep[i];
		int error = next > first ? sys_close_range(first, next - 1) : 0;
		if (error < 0)
			return error;
		first = next + 1;
	}
	return sys_close_range(first, UINT_MAX);
}

static int high_pair(int ends[2])
{
	for (int i = 0; i < 2; i++)
		ends[i] = fd_high(ends[i]);
	if (ends[0] >= 0 && ends[1] >= 0)
		return 0;
	int error = ends[0] < 0 ? ends[0] : ends[1];
	fd_close(&ends[0]);
	fd_close(&ends[1]);
	return error;
}

int fd_pipe(int ends[2])
{
	return pipe2(ends, O_CLOEXEC) < 0 ? -errno : high_pair(ends);
}

int fd_socketpair(int type, int ends[2])
{
	return socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) < 0 ? -errno : high_pair(ends);
}

int fd_write_all(int fd, const void *data, size_t length)
{
	const uint8_t *at = data;
	while (length > 0) {
		ssize_t written = write(fd, at, length);
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return written < 0 ? -errno : -EIO;
		at += written;
		length -= (size_t)written;
	}
	return 0;
}

int fd_send(int socket, const void *bytes, size_t length, int fd)
{
	struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = length};
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	if (fd >= 0) {
		message.msg_control = control;
		message.msg_controllen = sizeof(control);
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	}
	return sendmsg(socket, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int fd_receive(int socket)
{
	char byte;
	int fd;
	struct iovec part = {.iov_base = &byte, .iov_len = sizeof(byte)};
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
		return got < 0 ? -errno : -EPROTO;
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

int file_write(int directory, const char *path, const char *value, size_t length)
{
	CLEANUP_FD int fd = openat(directory, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;
	/* One write: the kernel's control files take a value as a whole. */
	ssize_t written = write(fd, value, length);
	if (written < 0)
		return -errno;
	return (size_t)written == length ? 0 : -EIO;
}

int file_read(int directory, const char *path, char *buffer, size_t size)
{
	CLEANUP_FD int fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t length = read(fd, buffer, size - 1);
	if (length < 0)
		return -errno;
	buffer[length] = '\0';
	return (int)length;
}
