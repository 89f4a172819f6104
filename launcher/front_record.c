/* A container of twinhull-oci as its directory tells it: state is derived, not stored. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "descriptor.h"
#include "front.h"
#include "kernel.h"

#define FIELDS 7       /* that concern us; the last is followed by the record for the interpreter */
#define START_FIELD 19 /* of /proc/PID/stat, counted from the state */

static int lock(int directory)
{
	/* Kept open to our end, also when the interpreter takes over: exec closes it. */
	int fd = openat(directory, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

/* NUL-terminated texts, one after the other. */
static int split(struct container *container)
{
	const char *fields[FIELDS], *at = container->record, *end = at + container->length;
	for (size_t i = 0; i < FIELDS; i++) {
		const char *nul = memchr(at, '\0', (size_t)(end - at));
		if (!nul)
			return -EBADMSG;
		fields[i] = at;
		at = nul + 1;
	}
	container->pid = (pid_t)strtol(fields[0], NULL, 10);
	container->start_time = strtoull(fields[1], NULL, 10);
	container->unified = fields[2];
	container->freezer = fields[3];
	container->marks = fields[4];
	container->head = fields[5];
	container->tail = fields[6];
	return container->pid > 0 && container->start_time > 0 ? 0 : -EBADMSG;
}

static int read_record(struct container *container)
{
	struct stat file;
	CLEANUP_FD int fd = openat(container->directory, "record", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &file) < 0)
		return errno == ENOENT ? -EAGAIN : -errno;
	container->length = (size_t)file.st_size;
	container->record = mmap(NULL, container->length, PROT_READ, MAP_PRIVATE, fd, 0);
	return container->record == MAP_FAILED ? -errno : split(container);
}

int container_open(const char *root, const char *id, bool locks, struct container *container)
{
	CLEANUP_FD int top = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (top < 0)
		return -errno;
	container->directory = openat(top, id, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (container->directory < 0)
		return -errno;
	int error = locks ? lock(container->directory) : 0;
	return error ? error : read_record(container);
}

/* When a process began, 0 if it has ended. */
static unsigned long long start_time(pid_t pid)
{
	char path[32], text[1024];
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (file_read(AT_FDCWD, path, text, sizeof(text)) <= 0)
		return 0;
	char *rest = strrchr(text, ')'); /* its name may have spaces and parentheses */
	if (!rest || rest[1] != ' ' || strchr("ZXx", rest[2]))
		return 0;
	rest += 2;
	for (int i = 0; i < START_FIELD && rest; i++)
		strsep(&rest, " ");
	return rest ? strtoull(rest, NULL, 10) : 0;
}

bool container_lives(const struct container *container)
{
	return start_time(container->pid) == container->start_time;
}

bool container_is(const struct container *container, char mark)
{
	return strchr(container->marks, mark) != NULL;
}

static bool reads_as(const char *directory, const char *file, const char *wanted)
{
	char text[32];
	CLEANUP_FD int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int length = fd < 0 ? -errno : file_read(fd, file, text, sizeof(text));
	return length > 0 && strncmp(text, wanted, strlen(wanted)) == 0;
}

static bool is_frozen(const struct container *container)
{
	if (*container->unified && reads_as(container->unified, "cgroup.freeze", "1"))
		return true;
	return *container->freezer && (reads_as(container->freezer, "freezer.state", "FROZEN") ||
	                               reads_as(container->freezer, "freezer.state", "FREEZING"));
}

enum front_state container_state(const struct container *container)
{
	if (!container_lives(container))
		return STATE_STOPPED;
	/* It can be opened while somebody reads it; one that is merely there was left by a start that was killed. */
	CLEANUP_FD int fifo = openat(container->directory, "exec.fifo", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fifo >= 0)
		return STATE_CREATED;
	return is_frozen(container) ? STATE_PAUSED : STATE_RUNNING;
}
