#define _GNU_SOURCE
#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "descriptor.h"
#include "directory.h"
#include "kernel.h"

#define WAIT_MS 2000
#define RETRY_NS 2000000
#define RETRIES (WAIT_MS * 1000000LL / RETRY_NS)
#define MAX_DEPTH 16
#define PROCS_BYTES 4096

/* A new v1 cpuset has no CPUs and no memory, and takes no process before it has: what its parent has, which may be as
 * new and another's. */
static int inherit_cpuset(int parent, int group)
{
	static const char *const FILES[] = {"cpuset.cpus", "cpuset.mems"};
	for (size_t i = 0; i < 2; i++) {
		char value[PROCS_BYTES];
		int length = file_read(group, FILES[i], value, sizeof(value));
		if (length == -ENOENT || length > 1)
			continue;
		if (length >= 0)
			length = file_read(parent, FILES[i], value, sizeof(value));
		if (length >= 0 && length <= 1) {
			CLEANUP_FD int above = openat(parent, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			length = above < 0 ? -errno : inherit_cpuset(above, parent);
			if (length >= 0)
				length = file_read(parent, FILES[i], value, sizeof(value));
		}
		if (length >= 0)
			length = file_write(group, FILES[i], value, (size_t)length);
		if (length < 0)
			return length;
	}
	return 0;
}

static int make_below(int parent, const char *name)
{
	bool made = mkdirat(parent, name, 0755) == 0;
	if (!made && errno != EEXIST)
		return -errno;
	CLEANUP_FD int group = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (group < 0)
		return -errno;
	if (made) /* whatever our umask: who is not root inside reads its limits there */
		fchmod(group, 0755);
	int error = made && faccessat(group, "cgroup.clone_children", F_OK, 0) == 0 ? inherit_cpuset(parent, group) : 0;
	return error ? error : fd_take(&group);
}

/* Of v1 or v2: nothing that is put into it would ever answer. */
static bool is_frozen(int group)
{
	char state[16];
	return (file_read(group, "freezer.state", state, sizeof(state)) > 0 && state[0] == 'F') ||
	       (file_read(group, "cgroup.freeze", state, sizeof(state)) > 0 && state[0] == '1');
}

int cgroup_make(const char *path, bool awake)
{
	char copy[PATH_MAX];
	if (path[0] != '/' || strlen(path) >= sizeof(copy))
		return -EINVAL;
	CLEANUP_FD int group = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (group >= 0)
		return awake && is_frozen(group) ? -EBUSY : fd_high(fd_take(&group));
	memcpy(copy, path, strlen(path) + 1);
	group = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char *rest = copy;
	for (char *name; group >= 0 && (name = strsep(&rest, "/"));) {
		if (!*name)
			continue;
		int next = make_below(group, name);
		fd_close(&group);
		group = next;
	}
	return fd_high(fd_take(&group));
}

/* What is left of a process's path below a group; the group's own is some end of where it is mounted. */
static const char *rest_below(const char *mounted, const char *path)
{
	for (const char *own = mounted; own; own = strchr(own + 1, '/')) {
		size_t length = strlen(own);
		if (length > 1 && strncmp(path, own, length) == 0 && path[length] == '/')
			return path + length + 1;
	}
	return NULL;
}

int cgroup_below(int group, pid_t pid)
{
	char file[64], lines[PATH_MAX], mounted[PATH_MAX];
	snprintf(file, sizeof(file), "/proc/self/fd/%d", group);
	ssize_t length = readlink(file, mounted, sizeof(mounted) - 1);
	if (length < 0)
		return -errno;
	mounted[length] = '\0';
	snprintf(file, sizeof(file), "/proc/%d/cgroup", pid);
	int error = file_read(AT_FDCWD, file, lines, sizeof(lines));
	if (error < 0)
		return error;
	char *path = strncmp(lines, "0::", 3) == 0 ? lines + 3 : strstr(lines, "\n0::");
	if (!path)
		return -ENOENT;
	path += *path == '\n' ? 4 : 0;
	path[strcspn(path, "\n")] = '\0';
	const char *rest = rest_below(mounted, path);
	int found = rest ? openat(group, rest, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	return found < 0 ? -ENOENT : fd_high(found);
}

int cgroup_policy_load(const void *program, size_t length)
{
	_Alignas(uint64_t) struct bpf_insn instructions[BPF_MAXINSNS];
	static const char license[] = "Apache-2.0";
	if (length == 0 || length % sizeof(struct bpf_insn) != 0 || length > sizeof(instructions))
		return -EINVAL;
	memcpy(instructions, program, length);
	union bpf_attr load = {
		.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
		.insns = (uint64_t)(uintptr_t)instructions,
		.insn_cnt = (uint32_t)(length / sizeof(struct bpf_insn)),
		.license = (uint64_t)(uintptr_t)license,
	};
	return fd_high(sys_bpf(BPF_PROG_LOAD, &load));
}

int cgroup_policy_attach(int group, int policy)
{
	union bpf_attr attach = {
		.target_fd = (unsigned)group,
		.attach_bpf_fd = (unsigned)policy,
		.attach_type = BPF_CGROUP_DEVICE,
		.attach_flags = BPF_F_ALLOW_MULTI,
	};
	return sys_bpf(BPF_PROG_ATTACH, &attach);
}

int cgroup_device_policy(int group, const void *program, size_t length)
{
	CLEANUP_FD int policy = cgroup_policy_load(program, length);
	return policy < 0 ? policy : cgroup_policy_attach(group, policy);
}

long cgroup_value(int group, const char *file, const char *key)
{
	char text[PROCS_BYTES];
	size_t length = strlen(key);
	if (file_read(group, file, text, sizeof(text)) < 0)
		return -1;
	char *rest = text;
	for (char *line; (line = strsep(&rest, "\n"));)
		if (strncmp(line, key, length) == 0 && line[length] == ' ')
			return strtol(line + length + 1, NULL, 10);
	return -1;
}

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Wait until a key of cgroup.events has the value; the kernel wakes us by POLLPRI on each change. */
static int await_event(int group, const char *key, long wanted)
{
	CLEANUP_FD int events = openat(group, "cgroup.events", O_RDONLY | O_CLOEXEC);
	if (events < 0)
		return -errno;
	int64_t deadline = now_ms() + WAIT_MS;
	while (cgroup_value(group, "cgroup.events", key) != wanted) {
		char seen[256];
		struct pollfd change = {.fd = events, .events = POLLPRI};
		int64_t left = deadline - now_ms();
		if (left <= 0)
			return -EBUSY;
		/* The file must have been read for the next change to count; a short wait covers the gap. */
		if (pread(events, seen, sizeof(seen), 0) < 0)
			return -errno;
		poll(&change, 1, left < 50 ? (int)left : 50);
	}
	return 0;
}

int cgroup_freeze(int group, bool frozen)
{
	int error = file_write(group, "cgroup.freeze", frozen ? "1" : "0", 1);
	if (!error)
		error = await_event(group, "frozen", frozen);
	if (error && frozen) /* a process that the kernel cannot stop: half a freeze is none */
		file_write(group, "cgroup.freeze", "0", 1);
	return error;
}

int cgroup_kill(int group)
{
	return file_write(group, "cgroup.kill", "1", 1);
}

int cgroup_kill_and_wait(const char *path)
{
	CLEANUP_FD int group = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (group < 0)
		return errno == ENOENT ? 0 : -errno;
	if (cgroup_value(group, "cgroup.events", "populated") == 0)
		return 0;
	int error = cgroup_kill(group);
	return error ? error : await_event(group, "populated", 0);
}

/* v1 has no cgroup.kill: each process by its pidfd, opened while the group still lists it. */
static void kill_listed(int group)
{
	char text[PROCS_BYTES];
	if (file_read(group, "cgroup.procs", text, sizeof(text)) <= 0)
		return;
	char *rest = text;
	for (char *line; (line = strsep(&rest, "\n"));) {
		long pid = strtol(line, NULL, 10);
		/* The last line may be cut short, and 0 is a process that our pid namespace does not show. */
		if (pid <= 0 || !rest)
			continue;
		CLEANUP_FD int pidfd = sys_pidfd_open((pid_t)pid);
		if (pidfd >= 0)
			sys_pidfd_send_signal(pidfd, SIGKILL);
	}
}

/* Somebody else's: a process that ends, or has ended, is not listed. */
static bool is_occupied(int group)
{
	char text[PROCS_BYTES];
	return file_read(group, "cgroup.procs", text, sizeof(text)) > 0;
}

static int remove_tree(int parent, const char *name, int depth, bool spares);

static int remove_children(int group, int depth, bool spares)
{
	CLEANUP_FD int listed = openat(group, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct listing listing = {.fd = listed};
	struct entry entry;
	int error = listed < 0 ? -errno : 0, more = 0;
	while (!error && (more = listing_next(&listing, &entry)) > 0)
		if (entry.is_directory)
			error = remove_tree(group, entry.name, depth + 1, spares);
	return error ? error : more;
}

/* A process that was killed leaves its group a little later, and rmdir says EBUSY until then. */
static int remove_tree(int parent, const char *name, int depth, bool spares)
{
	struct timespec pause = {.tv_nsec = RETRY_NS};
	for (int tries = 0;; tries++) {
		if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
			return 0;
		if (errno != EBUSY || depth >= MAX_DEPTH || tries >= RETRIES)
			return -errno;
		CLEANUP_FD int group = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (group < 0)
			continue;
		int error = remove_children(group, depth, spares);
		if (!error && spares && is_occupied(group))
			error = -EUSERS;
		if (error)
			return error;
		if (!spares)
			kill_listed(group);
		if (tries > 0)
			nanosleep(&pause, NULL);
	}
}

int cgroup_remove(const char *path, bool spares)
{
	int error = remove_tree(AT_FDCWD, path, 0, spares);
	return error == -EUSERS ? 0 : error;
}
