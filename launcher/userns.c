/* A user namespace of the workload's own, in which root is nobody's root.
 *
 * The host stage makes it with its maps, and the network namespace that belongs to it, through a process that
 * ends at once. The child makes the mounts of the host while it is still root there, then enters. Layers are seen
 * through an idmapped mount: what root owns on disk, the workload's root owns, and nothing is changed on disk. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "descriptor.h"
#include "kernel.h"
#include "mounts.h"

static int write_maps(int proc, pid_t pid, const struct op *maps)
{
	static const char *const FILES[] = {"uid_map", "gid_map"};
	for (size_t i = 0; i < 2; i++) {
		char path[64];
		snprintf(path, sizeof(path), "%d/%s", pid, FILES[i]);
		int error = file_write(proc, path, maps->args[i].text, maps->args[i].length);
		if (error)
			return error;
	}
	return 0;
}

static int open_namespace(int proc, pid_t pid, const char *kind)
{
	char path[64];
	snprintf(path, sizeof(path), "%d/ns/%s", pid, kind);
	int fd = fd_high(openat(proc, path, O_RDONLY | O_CLOEXEC));
	return fd < 0 ? -errno : fd;
}

/* proc: a procfs of the pid namespace that we are in. */
static int make(struct host *host, int proc, const struct op *maps, bool network)
{
	int pidfd = -1;
	struct clone_args arguments = {
		.flags = CLONE_PIDFD | CLONE_NEWUSER | (network ? CLONE_NEWNET : 0),
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
	};
	pid_t pid = sys_clone3(&arguments);
	if (pid < 0)
		return pid;
	if (pid == 0)
		for (;;)
			pause();
	int error = write_maps(proc, pid, maps);
	if (!error) {
		host->userns_fd = open_namespace(proc, pid, "user");
		host->userns_network_fd = network ? open_namespace(proc, pid, "net") : -1;
		if (host->userns_fd < 0 || (network && host->userns_network_fd < 0))
			error = -EBADF;
	}
	sys_pidfd_send_signal(pidfd, SIGKILL);
	close(pidfd);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return error;
}

/* A process in it, for nobody outside can tell its maps otherwise. It stops when it is there. */
static pid_t enter_and_stop(const struct host *host, bool network)
{
	int status = 0;
	pid_t pid = fork();
	if (pid == 0) {
		if (setns(host->userns_fd, CLONE_NEWUSER) < 0 || (network && unshare(CLONE_NEWNET) < 0))
			_exit(errno);
		kill(getpid(), SIGSTOP);
		_exit(EINTR);
	}
	if (pid < 0)
		return -errno;
	while (waitpid(pid, &status, WUNTRACED) < 0 && errno == EINTR)
		;
	return WIFSTOPPED(status) ? pid : WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
}

int userns_visit(struct host *host, bool network)
{
	static const char *const FILES[] = {"uid_map", "gid_map"};
	int length = 0;
	CLEANUP_FD int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	pid_t pid = proc < 0 ? -errno : enter_and_stop(host, network);
	if (pid < 0)
		return pid;
	for (size_t i = 0; i < 2 && length >= 0; i++) {
		char path[64];
		snprintf(path, sizeof(path), "%d/%s", pid, FILES[i]);
		length = file_read(proc, path, host->maps[i], sizeof(host->maps[i]));
	}
	if (network && length >= 0)
		length = host->userns_network_fd = open_namespace(proc, pid, "net");
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return length < 0 ? length : 0;
}

int userns_make(struct host *host, const struct op *maps, bool network)
{
	CLEANUP_FD int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return proc < 0 ? -errno : make(host, proc, maps, network);
}

/* A user without root may write a map of one line: himself, when no groups can be given up (user_namespaces(7)). */
static int write_own_maps(const struct op *op)
{
	static const char DENY[] = "deny";
	int error = file_write(AT_FDCWD, "/proc/self/setgroups", DENY, strlen(DENY));
	if (!error)
		error = file_write(AT_FDCWD, "/proc/self/uid_map", op->args[1].text, op->args[1].length);
	if (!error)
		error = file_write(AT_FDCWD, "/proc/self/gid_map", op->args[2].text, op->args[2].length);
	return error;
}

int userns_own(const struct host *host, const struct op *op)
{
	if (op->args[0].length > 0) {
		CLEANUP_FD int there = fd_high(open(op->args[0].text, O_RDONLY | O_CLOEXEC));
		return there < 0 || setns(there, CLONE_NEWUSER) < 0 ? -errno : 0;
	}
	if (unshare(CLONE_NEWUSER) < 0)
		return -errno;
	if (op->args[1].length > 0)
		return write_own_maps(op);
	return host->on_maps ? host->on_maps(host) : -ENOSYS;
}

int userns_map(struct setup *setup, int tree, const struct op *op)
{
	struct host mapped = {.userns_fd = setup->host->userns_fd};
	struct op maps = {.code = OP_ID_MAPS, .args = {op->args[4], op->args[5]}};
	CLEANUP_FD int made = -1;
	if (maps.args[0].length > 0) {
		/* With a user namespace this is before we enter any other. */
		int proc = setup->host->userns_fd < 0 ? own_procfs(setup) : -1;
		int error = proc < 0 ? userns_make(&mapped, &maps, false) : make(&mapped, proc, &maps, false);
		made = mapped.userns_fd;
		if (error)
			return error;
	}
	if (mapped.userns_fd < 0)
		return -EINVAL;
	struct mount_attr changes = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (unsigned)mapped.userns_fd};
	return mount_change(tree, op->args[2].number & BIND_MAPS_ALL, &changes);
}

/* In a process of ours, which goes where the source is mounted; its maps are made before, by our procfs. */
static int map_there(const struct host *host, int child, const struct op *op, int source)
{
	struct host mapped = {.userns_fd = host->userns_fd};
	struct op maps = {.code = OP_ID_MAPS, .args = {op->args[4], op->args[5]}};
	int error = maps.args[0].length > 0 ? userns_make(&mapped, &maps, false) : 0;
	if (error || setns(child, CLONE_NEWNS) < 0)
		return error ? error : -errno;
	unsigned how = (unsigned)op->args[2].number;
	CLEANUP_FD int tree = mount_copy(source, "", how & BIND_ALL, !(how & BIND_PEERS), op->args[3].number);
	if (tree < 0)
		return tree;
	struct mount_attr changes = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (unsigned)mapped.userns_fd};
	error = mount_change(tree, how & BIND_MAPS_ALL, &changes);
	return error < 0 ? error : fd_take(&tree);
}

int userns_map_for(const struct host *host, int child, const struct op *op, int source)
{
	int ends[2], status = 0;
	int error = fd_socketpair(SOCK_STREAM, ends);
	if (error)
		return error;
	pid_t pid = fork();
	if (pid == 0) {
		int tree = map_there(host, child, op, source);
		_exit(tree < 0 ? -tree : -fd_send(ends[1], "", 1, tree));
	}
	fd_close(&ends[1]);
	int tree = pid < 0 ? -errno : fd_receive(ends[0]);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	fd_close(&ends[0]);
	return tree < 0 && WIFEXITED(status) && WEXITSTATUS(status) ? -WEXITSTATUS(status) : fd_high(tree);
}

/* The host's number of an identity inside, from lines of "inside outside count". */
static int host_number(const char *map, uint64_t wanted, uid_t *outside)
{
	while (*map) {
		char *rest;
		unsigned long inside = strtoul(map, &rest, 10), host = strtoul(rest, &rest, 10);
		if (wanted >= inside && wanted - inside < strtoul(rest, &rest, 10)) {
			*outside = (uid_t)(host + (wanted - inside));
			return 0;
		}
		map = rest + strcspn(rest, "\n");
		map += strspn(map, "\n");
	}
	return -EINVAL;
}

/* See a tree of the host through the workload's maps, in a mount namespace that nobody else has. */
static int idmapped(const struct setup *setup, const char *path, uint64_t attributes)
{
	CLEANUP_FD int tree = mount_clone(AT_FDCWD, path, false, attributes);
	if (tree < 0)
		return tree;
	struct mount_attr changes = {
		.attr_set = MOUNT_ATTR_IDMAP,
		.userns_fd = (unsigned)setup->host->userns_fd,
	};
	int error = mount_change(tree, false, &changes);
	return error < 0 ? error : fd_take(&tree);
}

/* upper and work stay as they are on disk, but for their owner: what the workload makes in them is already its. */
static int give_to_root(const struct setup *setup, const char *path, int *fd)
{
	uid_t uid, gid;
	if (!setup->shape->maps)
		return -EINVAL;
	int error = host_number(setup->shape->maps->args[0].text, 0, &uid);
	if (!error)
		error = host_number(setup->shape->maps->args[1].text, 0, &gid);
	if (!error)
		error = directory_make(path);
	if (error)
		return error;
	*fd = fd_high(open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
	return *fd < 0 || fchownat(*fd, "", uid, gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

static int prepare_overlay(struct setup *setup, const struct op *op)
{
	CLEANUP_FD int upper = -1, work = -1;
	char upper_path[64] = "", work_path[64] = "";
	int error = 0;
	if (op->args[2].length > 0) {
		error = give_to_root(setup, op->args[2].text, &upper);
		if (!error)
			error = give_to_root(setup, op->args[3].text, &work);
		/* By descriptor: they may lie below the base, where the idmapped mount would show them. */
		snprintf(upper_path, sizeof(upper_path), "/proc/self/fd/%d", upper);
		snprintf(work_path, sizeof(work_path), "/proc/self/fd/%d", work);
	}
	if (error)
		return error;
	struct overlay overlay = {
		.base = op->args[0].text,
		.lower = op->args[1].text,
		.upper = upper_path,
		.work = work_path,
		.notes = op->args[4].number,
	};
	CLEANUP_FD int base = idmapped(setup, overlay.base, 0);
	CLEANUP_FD int place = open(overlay.base, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (base < 0 || place < 0)
		return base < 0 ? base : -errno;
	error = sys_move_mount(base, place);
	if (error)
		return error;
	CLEANUP_FD int root = mount_overlay(&overlay, &setup->blame);
	CLEANUP_FD int detached = root < 0 ? root : mount_clone(root, "", false, 0);
	if (detached < 0)
		return detached;
	/* What stays on "/" would be locked there for the workload's namespace. */
	error = sys_umount("/..", UMOUNT_DETACH);
	return error < 0 ? error : fd_take(&detached);
}

/* A node that the host does not have under this name, so that it cannot be shown: one alone in a file system of ours.
 * Returns its detached mount, or 0 where there is nothing to make, or nobody here may. */
static int prepare_device(struct setup *setup, const struct op *op)
{
	const struct op *maps = setup->shape->maps;
	mode_t mode = (mode_t)op->args[1].number & 07777, type = (mode_t)op->args[2].number;
	dev_t device = makedev((unsigned)op->args[3].number, (unsigned)op->args[4].number);
	struct stat found;
	uid_t uid, gid;
	if (type == S_IFIFO) /* which anybody may make */
		return 0;
	if (lstat(op->args[0].text, &found) == 0 && (found.st_mode & S_IFMT) == type && found.st_rdev == device)
		return 0;
	int error = host_number(maps ? maps->args[0].text : setup->host->maps[0], op->args[5].number, &uid);
	if (!error)
		error = host_number(maps ? maps->args[1].text : setup->host->maps[1], op->args[6].number, &gid);
	if (error)
		return error;
	CLEANUP_FD int mount = mount_filesystem("tmpfs", "device", "mode=755", 0);
	CLEANUP_FD int place = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (mount < 0 || place < 0)
		return mount < 0 ? mount : -errno;
	if (mknodat(mount, "node", type | mode, device) < 0)
		return errno == EPERM ? 0 : -errno;
	if (fchownat(mount, "node", uid, gid, AT_SYMLINK_NOFOLLOW) < 0 || fchmodat(mount, "node", mode, 0) < 0)
		return -errno;
	/* Only what is attached can be cloned, before Linux 6.15. */
	error = sys_move_mount(mount, place);
	if (error)
		return error;
	CLEANUP_FD int node = mount_clone(mount, "node", false, 0);
	error = sys_umount("/..", UMOUNT_DETACH);
	return node < 0 ? node : error < 0 ? error : fd_take(&node);
}

static int prepare_op(struct setup *setup, const struct op *op)
{
	const struct argument *args = op->args;
	switch ((int)op->code) {
	case OP_OVERLAY: return prepare_overlay(setup, op);
	case OP_ROOT_BIND:
		return args[1].number & ROOT_OWNERS
		               ? mount_clone(AT_FDCWD, args[0].text, true, 0)
		               : idmapped(setup, args[0].text, args[1].number & ROOT_READONLY ? MOUNT_ATTR_RDONLY : 0);
	case OP_BIND_IDMAPPED:
	case OP_BIND: return args[2].number & BIND_INSIDE ? 0 : bind_tree(setup, op);
	case OP_DEVICE: return prepare_device(setup, op);
	default: return 0;
	}
}

static int prepare(struct setup *setup)
{
	if (unshare(CLONE_NEWNS) < 0)
		return -errno;
	int error = sys_mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL);
	for (size_t i = setup->shape->first; !error && i < setup->shape->first + setup->shape->count; i++) {
		setup->current = &setup->plan->ops[i];
		int fd = prepare_op(setup, setup->current);
		if (fd > 0)
			setup->prepared[i] = fd = fd_high(fd);
		error = fd < 0 ? fd : 0;
	}
	return error;
}

int userns_give_streams(const struct ends *ends, const char *uids, const char *gids)
{
	uid_t uid, gid;
	int error = host_number(uids, 0, &uid);
	if (!error)
		error = host_number(gids, 0, &gid);
	for (int i = 0; !error && i < 3; i++) {
		struct stat found;
		int fd = ends->io[i];
		if (fd >= 0 && fstat(fd, &found) == 0 && S_ISFIFO(found.st_mode) && fchown(fd, uid, gid) < 0 &&
		    geteuid() == 0) /* a user's caller may have given him one of another's */
			error = -errno;
	}
	return error;
}

/* The file of a time namespace of ours, opened by who may write it: root of the host. NULL: no offsets. */
static int open_offsets(struct setup *setup, const struct op **offsets)
{
	*offsets = NULL;
	for (size_t i = setup->shape->first; i < setup->shape->first + setup->shape->count; i++)
		if (setup->plan->ops[i].code == OP_TIME_OFFSETS)
			*offsets = &setup->plan->ops[i];
	return *offsets ? result(open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC)) : -1;
}

/* The process that goes on is a child of ours, and in it from the beginning: op_time_offsets comes too late. */
static int make_time(int file, const struct op *offsets)
{
	if (unshare(CLONE_NEWTIME) < 0)
		return -errno;
	return offsets->args[0].length ? fd_write_all(file, offsets->args[0].text, offsets->args[0].length) : 0;
}

int userns_enter(struct setup *setup)
{
	const struct op *maps = setup->shape->maps;
	const struct host *host = setup->host;
	uint64_t others = setup->shape->flags & ~(uint64_t)(CLONE_NEWUSER | CLONE_NEWCGROUP);
	if (host->userns_fd < 0 || !(others & CLONE_NEWNS))
		return -EINVAL;
	int error = prepare(setup);
	if (!error)
		error = userns_give_streams(&setup->ends, maps ? maps->args[0].text : host->maps[0],
		                            maps ? maps->args[1].text : host->maps[1]);
	if (error)
		return error;
	const struct op *offsets;
	CLEANUP_FD int times = open_offsets(setup, &offsets);
	setup->current = offsets;
	if (offsets && times < 0)
		return times;
	setup->current = NULL;
	if (setns(host->userns_fd, CLONE_NEWUSER) < 0)
		return -errno;
	error = userns_become_root(setup->shape);
	if (!error && unshare((int)others) < 0)
		error = -errno;
	if (error || !offsets)
		return error;
	setup->current = offsets;
	return make_time(times, offsets);
}

int userns_become_root(const struct shape *shape)
{
	/* With all capabilities there it is refused only where the namespace denies it to everybody. */
	if (!keeps_groups(shape->user) && syscall(SYS_setgroups, 0, NULL) < 0 && errno != EPERM)
		return -errno;
	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return -errno;
	return 0;
}
