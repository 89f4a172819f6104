#define _GNU_SOURCE
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "descriptor.h"
#include "kernel.h"
#include "mounts.h"
#include "stats.h"

#define TEXT_BYTES 4096
#define PROCESS_BYTES 8192

int sink_flush(struct sink *sink)
{
	int error = fd_write_all(sink->fd, sink->buffer, sink->used);
	sink->used = 0;
	return error;
}

int sink_put(struct sink *sink, const void *data, size_t length)
{
	int error = 0;
	while (length && !error) {
		size_t part = sizeof(sink->buffer) - sink->used;
		part = part < length ? part : length;
		memcpy(sink->buffer + sink->used, data, part);
		sink->used += part;
		data = (const uint8_t *)data + part;
		length -= part;
		if (sink->used == sizeof(sink->buffer))
			error = sink_flush(sink);
	}
	return error;
}

int sink_finish(struct sink *sink, int error, const char *name)
{
	struct record last = {.tag = error ? TAG_ERROR : TAG_END, .mode = (uint32_t)-error};
	last.name = error ? (uint32_t)strlen(name) : 0;
	int failed = sink_put(sink, &last, sizeof(last));
	if (!failed)
		failed = sink_put(sink, name, last.name);
	return failed ? failed : sink_flush(sink);
}

/* In a view of the mounts of our own where no device can be opened: what is a file now may be one a moment later. */
static int take_devices_away(void)
{
	struct mount_attr changes = {.attr_set = MOUNT_ATTR_NODEV, .propagation = MS_PRIVATE};
	if (unshare(CLONE_NEWNS) < 0)
		return -errno;
	CLEANUP_FD int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return root < 0 ? -errno : mount_change(root, true, &changes);
}

/* The image: a device with an erofs file system, or the directory of all layers, a line feed, and their names. */
static int open_lower(const char *path)
{
	const char *names = strchr(path, '\n'), *blame;
	struct mount_attr private = {.propagation = MS_PRIVATE};
	char base[PATH_MAX];
	if (!names)
		return mount_filesystem("erofs", path, "", MOUNT_ATTR_RDONLY);
	if ((size_t)(names - path) >= sizeof(base))
		return -ENAMETOOLONG;
	memcpy(base, path, (size_t)(names - path));
	base[names++ - path] = '\0';
	struct overlay overlay = {.base = base, .lower = names, .upper = "", .work = ""};
	CLEANUP_FD int directory = open(base, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return -errno;
	if (!strchr(names, ':')) /* overlayfs wants two */
		return result(openat(directory, names, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
	if (unshare(CLONE_NEWNS) < 0)
		return -errno;
	CLEANUP_FD int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int error = root < 0 ? -errno : mount_change(root, true, &private);
	return error ? error : mount_overlay(&overlay, &blame);
}

static bool is(const struct op *tool, const char *name)
{
	return strcmp(tool->args[0].text, name) == 0;
}

int tool_prepare(struct setup *setup, pid_t main_pid)
{
	const struct op *tool = setup->shape->tool;
	if (is(tool, "usage") || is(tool, "processes") || is(tool, "limit") || is(tool, "hold"))
		return 0;
	if (is(tool, "changes")) {
		setup->lower = fd_high(open_lower(tool->args[1].text));
		if (setup->lower < 0)
			return setup->lower;
	}
	int error = namespaces_visit(setup, main_pid);
	return error ? error : take_devices_away();
}

static int put_text(struct sink *sink, const char *text, size_t length)
{
	return sink_put(sink, text, length);
}

/* The seconds since the boot on a line, then each process: pid, owner, the line of /proc/PID/stat and the command's
 * words, each ended by a NUL; a line feed ends the process. */
static int put_process(struct sink *sink, const char *pid)
{
	char path[64], text[PROCESS_BYTES];
	struct stat owner;
	snprintf(path, sizeof(path), "/proc/%s/stat", pid);
	int stat_length = file_read(AT_FDCWD, path, text, TEXT_BYTES);
	snprintf(path, sizeof(path), "/proc/%s", pid);
	if (stat_length <= 0 || stat(path, &owner) < 0)
		return 0; /* it has ended */
	char head[64];
	int length = snprintf(head, sizeof(head), "%s%c%u%c", pid, 0, owner.st_uid, 0);
	int error = put_text(sink, head, (size_t)length);
	for (char *feed; (feed = memchr(text, '\n', (size_t)stat_length - 1));)
		*feed = '?';          /* of the name, which the process chose */
	text[stat_length - 1] = '\0'; /* its line feed */
	if (!error)
		error = put_text(sink, text, (size_t)stat_length);
	snprintf(path, sizeof(path), "/proc/%s/cmdline", pid);
	length = file_read(AT_FDCWD, path, text, sizeof(text));
	for (int i = 0; i < length; i++)
		text[i] = text[i] == '\n' ? ' ' : text[i] == '\0' ? '\001' : text[i];
	if (!error && length > 0)
		error = put_text(sink, text, (size_t)length);
	return error ? error : put_text(sink, "\n", 1);
}

static int put_processes(struct sink *sink, int group)
{
	CLEANUP_FD int fd = openat(group, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	FILE *list = fd < 0 ? NULL : fdopen(fd_take(&fd), "r");
	struct timespec now;
	char line[64];
	int error = list ? 0 : -errno;
	clock_gettime(CLOCK_BOOTTIME, &now);
	int length = snprintf(line, sizeof(line), "%lld\n", (long long)now.tv_sec);
	if (!error)
		error = put_text(sink, line, (size_t)length);
	while (list && !error && fgets(line, sizeof(line), list)) {
		line[strcspn(line, "\n")] = '\0';
		error = put_process(sink, line);
	}
	if (list)
		fclose(list);
	return error ? error : sink_flush(sink);
}

static int put_usage(struct sink *sink, const struct host *host)
{
	char text[TEXT_BYTES];
	size_t length = stats_text(host, text, sizeof(text));
	if (!length)
		return -EIO;
	unsigned long long total =
		(unsigned long long)sysconf(_SC_PHYS_PAGES) * (unsigned long long)sysconf(_SC_PAGESIZE);
	/* The object goes on: what is there without a limit. */
	int more =
		snprintf(text + length - 1, sizeof(text) - length,
	                 ", \"memory_total_bytes\": %llu, \"processors\": %ld}", total, sysconf(_SC_NPROCESSORS_ONLN));
	int error = put_text(sink, text, length - 1 + (size_t)more);
	return error ? error : sink_flush(sink);
}

/* "FILE VALUE" for the workload's leaf, once its controllers reach it. */
static int set_limit(int group, const char *text)
{
	static const char ALL[] = "+cpu +memory +pids";
	char name[NAME_MAX + 1];
	const char *value = strchr(text, ' ');
	size_t length = value ? (size_t)(value - text) : 0;
	if (!length || length > NAME_MAX || memchr(text, '/', length))
		return -EINVAL;
	memcpy(name, text, length);
	name[length] = '\0';
	if (faccessat(group, name, F_OK, 0) < 0) {
		file_write(group, "../../cgroup.subtree_control", ALL, strlen(ALL));
		file_write(group, "../cgroup.subtree_control", ALL, strlen(ALL));
	}
	return file_write(group, name, value + 1, strlen(value + 1));
}

static void wait_for_end_of_input(void)
{
	char nothing[64];
	while (read(STDIN_FILENO, nothing, sizeof(nothing)) > 0)
		;
}

static int run_tool(const struct setup *setup, struct sink *sink)
{
	const struct op *tool = setup->shape->tool;
	const char *path = tool->args[1].text;
	uint64_t flags = tool->args[2].number;
	CLEANUP_FD int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -errno;
	if (is(tool, "usage"))
		return put_usage(sink, setup->host);
	if (is(tool, "processes"))
		return put_processes(sink, setup->host->cgroup2_fd);
	if (is(tool, "read"))
		return tool_read(sink, root, path, flags);
	if (is(tool, "changes"))
		return tool_changes(sink, root, setup->lower, flags);
	if (is(tool, "write"))
		return tool_write(sink, root, path, flags);
	if (is(tool, "limit"))
		return sink_finish(sink, set_limit(setup->host->cgroup2_fd, path), path);
	if (is(tool, "identity"))
		return 0; /* the ops before it have been all */
	if (is(tool, "hold"))
		wait_for_end_of_input();
	else
		return -ENOSYS;
	return 0;
}

/* The parent takes the end of the status socket for a successful exec. */
_Noreturn void tool_run(const struct setup *setup)
{
	static struct sink sink; /* not initialised, or its buffer would be pages of every launcher */
	sink.fd = STDOUT_FILENO;
	close(setup->ends.status);
	umask(0);
	_exit(run_tool(setup, &sink) ? EXIT_FAILURE : EXIT_SUCCESS);
}
