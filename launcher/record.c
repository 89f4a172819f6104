#define _GNU_SOURCE
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "descriptor.h"
#include "fault.h"

static int sync_directory(int directory_fd)
{
	CLEANUP_FD int fd = openat(directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 && fsync(fd) == 0 ? 0 : -errno;
}

static int write_file(int directory_fd, const char *name, const char *text, size_t length, bool durable)
{
	CLEANUP_FD int fd = openat(directory_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	int error = fd_write_all(fd, text, length);
	if (!error && durable && fsync(fd) < 0)
		error = -errno;
	return error;
}

int record_write(int directory_fd, const struct exit_status *status, bool durable)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	char text[160];
	int length = snprintf(text, sizeof(text),
	                      "{\"code\": %u, \"signal\": %u, \"oom\": %s, \"finished\": %lld.%09ld}\n", status->code,
	                      status->signal, status->oom ? "true" : "false", (long long)now.tv_sec, now.tv_nsec);
	int error = write_file(directory_fd, "exit.new", text, (size_t)length, durable);
	if (error)
		return error;
	FAULT("record-written");
	if (renameat(directory_fd, "exit.new", directory_fd, "exit") < 0)
		return -errno;
	return durable ? sync_directory(directory_fd) : 0;
}

int record_mark(const char *path)
{
	CLEANUP_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : 0;
}
