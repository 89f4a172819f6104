#define _GNU_SOURCE
#include "service.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "descriptor.h"
#include "directory.h"
#include "kernel.h"

#define PID_BYTES 32
#define COMMAND_BYTES 8192
#define PID_FILE_OPTION "--pid-file="

static int is_empty(const char *path)
{
	struct entry entry;
	CLEANUP_FD int fd = fd_high(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	if (fd < 0)
		return errno == ENOENT ? 1 : -errno;
	struct listing listing = {.fd = fd};
	int found = listing_next(&listing, &entry);
	return found < 0 ? found : !found;
}

/* Numbers are used again: the process must have been told of this very file. */
static bool was_started_with(pid_t pid, const char *path)
{
	char name[PID_BYTES], command[COMMAND_BYTES], option[PATH_MAX + sizeof(PID_FILE_OPTION)];
	snprintf(name, sizeof(name), "/proc/%d/cmdline", pid);
	int length = file_read(AT_FDCWD, name, command, sizeof(command));
	if (length <= 0 || (size_t)snprintf(option, sizeof(option), PID_FILE_OPTION "%s", path) >= sizeof(option))
		return false;
	for (const char *word = command; word < command + length; word += strlen(word) + 1)
		if (strcmp(word, option) == 0)
			return true;
	return false;
}

/* Its end is not waited for: closing inotify takes the kernel 15 ms, and whoever starts it again has patience. */
static int end_process(pid_t pid, const char *path)
{
	CLEANUP_FD int pidfd = fd_high(sys_pidfd_open(pid));
	if (pidfd < 0 || !was_started_with(pid, path))
		return 0;
	int error = sys_pidfd_send_signal(pidfd, SIGTERM);
	return error == -ESRCH ? 0 : error;
}

static int take_lock(const char *path)
{
	char name[PATH_MAX];
	if ((size_t)snprintf(name, sizeof(name), "%s.lock", path) >= sizeof(name))
		return -ENAMETOOLONG;
	CLEANUP_FD int fd = fd_high(open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX) < 0)
		if (errno != EINTR)
			return -errno;
	return fd_take(&fd);
}

int service_end(const char *users, const char *path)
{
	char text[PID_BYTES];
	CLEANUP_FD int lock = take_lock(path);
	if (lock < 0)
		return lock == -ENOENT ? 0 : lock;
	int empty = is_empty(users);
	if (empty <= 0)
		return empty;
	int length = file_read(AT_FDCWD, path, text, sizeof(text));
	if (length < 0)
		return length == -ENOENT ? 0 : length;
	long pid = strtol(text, NULL, 10);
	int error = pid > 0 && pid <= INT_MAX ? end_process((pid_t)pid, path) : 0;
	if (!error && unlink(path) < 0 && errno != ENOENT)
		error = -errno;
	return error;
}
