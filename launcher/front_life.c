/* The short verbs of twinhull-oci, as runtime/oci/life.py has them, where nothing is in their way. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "descriptor.h"
#include "directory.h"
#include "fault.h"
#include "front.h"
#include "kernel.h"
#include "spawn.h"

#define KILL_WAIT_MS 10000
#define REMOVAL_TRIES 1000
#define LAST_SIGNAL 64
#define FAILURE_BYTES 512

/* What kept the process from its exec it has written into the FIFO, where it is as long as we have that open. It is the
 * interpreter's to tell, which finds it in a file. */
static int keep_failure(int directory)
{
	char said[FAILURE_BYTES];
	CLEANUP_FD int fifo = openat(directory, "exec.fifo", O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	ssize_t length = fifo < 0 ? -1 : read(fifo, said, sizeof(said));
	if (fifo >= 0 && length < 0 && errno == EAGAIN) /* nothing, and we could still write */
		return 0;
	CLEANUP_FD int file = openat(directory, "error", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (length > 0 && file >= 0)
		fd_write_all(file, said, (size_t)length);
	return LEAVE_IT;
}

/* Write the byte that the process waits for, and wait until it has closed its end: by exec, or by its end. */
static int release(int directory)
{
	CLEANUP_FD int fifo = openat(directory, "exec.fifo", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
	if (fifo < 0 || write(fifo, "", 1) != 1)
		return LEAVE_IT;
	FAULT("start-released");
	struct pollfd closed = {.fd = fifo};
	while (!(closed.revents & POLLERR))
		if (poll(&closed, 1, -1) < 0 && errno != EINTR)
			return LEAVE_IT;
	return keep_failure(directory);
}

int front_start(const char *root, const char *id)
{
	struct container container;
	if (container_open(root, id, true, &container) < 0 || container_is(&container, MARK_POSTSTART) ||
	    container_is(&container, MARK_GUEST) || container_state(&container) != STATE_CREATED ||
	    release(container.directory) != 0)
		return LEAVE_IT;
	return unlinkat(container.directory, "exec.fifo", 0) == 0 ? 0 : LEAVE_IT;
}

int front_state(const char *root, const char *id)
{
	static const char *const NAMES[] = {"created", "running", "paused", "stopped"};
	char end[32];
	struct container container;
	if (container_open(root, id, false, &container) < 0)
		return LEAVE_IT;
	enum front_state state = container_state(&container);
	int length = snprintf(end, sizeof(end), "%d\n}\n", state == STATE_STOPPED ? 0 : container.pid);
	const char *parts[] = {container.head, NAMES[state], container.tail, end};
	size_t lengths[] = {strlen(container.head), strlen(NAMES[state]), strlen(container.tail), (size_t)length};
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (fd_write_all(STDOUT_FILENO, parts[i], lengths[i]) < 0)
			return i == 0 ? LEAVE_IT : 1;
	return 0;
}

/* 9, KILL and SIGKILL are one; -1 for what needs more than a table. */
static int signal_number(const char *text)
{
	static const char NAMES[] = "HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD "
				    "CONT STOP TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS";
	if (isdigit((unsigned char)*text)) {
		char *end;
		long number = strtol(text, &end, 10);
		return *end || number > LAST_SIGNAL ? -1 : (int)number;
	}
	if (strncasecmp(text, "SIG", 3) == 0)
		text += 3;
	int number = 1;
	for (const char *name = NAMES; *name; number++) {
		size_t length = strcspn(name, " ");
		if (strlen(text) == length && strncasecmp(text, name, length) == 0)
			return number;
		name += length + (name[length] == ' ');
	}
	return -1;
}

/* A pidfd of the first process, or LEAVE_IT: its number may be another's by now. */
static int open_process(const struct container *container)
{
	CLEANUP_FD int pidfd = sys_pidfd_open(container->pid);
	return pidfd >= 0 && container_lives(container) ? fd_take(&pidfd) : LEAVE_IT;
}

static int kill_everyone(const struct container *container, int number)
{
	CLEANUP_FD int group = *container->unified ? open(container->unified, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	return number == SIGKILL && group >= 0 && file_write(group, "cgroup.kill", "1", 1) == 0 ? 0 : LEAVE_IT;
}

int front_kill(const char *root, const char *id, const char *signal, bool everyone)
{
	struct container container;
	int number = signal_number(signal);
	if (number < 0 || container_open(root, id, false, &container) < 0)
		return LEAVE_IT;
	if (everyone)
		return kill_everyone(&container, number);
	if (number == SIGKILL && container_is(&container, MARK_SHARES_PIDS))
		return LEAVE_IT;
	CLEANUP_FD int pidfd = open_process(&container);
	return pidfd >= 0 && sys_pidfd_send_signal(pidfd, number) == 0 ? 0 : LEAVE_IT;
}

static int end_process(const struct container *container)
{
	CLEANUP_FD int pidfd = open_process(container);
	struct pollfd ended = {.fd = pidfd, .events = POLLIN};
	if (pidfd < 0 || sys_pidfd_send_signal(pidfd, SIGKILL) < 0)
		return LEAVE_IT;
	while (poll(&ended, 1, KILL_WAIT_MS) < 0)
		if (errno != EINTR)
			return LEAVE_IT;
	return 0;
}

/* With the first process of a pid namespace all of it has ended. */
static int undo(int directory, bool spares)
{
	static struct plan plan;
	struct failure why;
	CLEANUP_FD int fd = openat(directory, "undo", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return errno == ENOENT ? 0 : LEAVE_IT;
	return plan_load(fd, &plan, &why) < 0 || undo_perform(directory, &plan, spares, &why) < 0 ? LEAVE_IT : 0;
}

static int empty(int directory)
{
	struct entry entry;
	CLEANUP_FD int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct listing listing = {.fd = fd};
	int more;
	while ((more = listing_next(&listing, &entry)) > 0)
		if (unlinkat(directory, entry.name, 0) < 0 && errno != ENOENT)
			return LEAVE_IT;
	return more < 0 ? LEAVE_IT : 0;
}

/* Whoever waits for the lock may have put a file of that name there again. */
static int remove_directory(const char *root, const char *id, int directory)
{
	CLEANUP_FD int top = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (int tries = 0; tries < REMOVAL_TRIES; tries++) {
		if (empty(directory) != 0)
			return LEAVE_IT;
		FAULT("delete-emptied");
		if (unlinkat(top, id, AT_REMOVEDIR) == 0 || errno == ENOENT)
			return 0;
		if (errno != ENOTEMPTY)
			return LEAVE_IT;
	}
	return LEAVE_IT;
}

int front_delete(const char *root, const char *id, bool force)
{
	struct container container;
	int error = container_open(root, id, true, &container);
	if (error == -ENOENT && force)
		return 0;
	if (error < 0 || container_is(&container, MARK_POSTSTOP) || container_is(&container, MARK_GUEST) ||
	    faccessat(container.directory, "notify", F_OK, 0) == 0)
		return LEAVE_IT;
	enum front_state state = container_state(&container);
	if (state == STATE_PAUSED || (state == STATE_RUNNING && !force) ||
	    (state != STATE_STOPPED && container_is(&container, MARK_SHARES_PIDS) && !*container.unified) ||
	    (state != STATE_STOPPED && end_process(&container) != 0) ||
	    undo(container.directory, !container_is(&container, MARK_SHARES_PIDS)) != 0)
		return LEAVE_IT;
	FAULT("delete-undone");
	return remove_directory(root, id, container.directory);
}
