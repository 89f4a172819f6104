/* Where the child comes to live: cgroups and namespaces, its own or those of a running workload. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "descriptor.h"
#include "fault.h"
#include "kernel.h"

/* The v2 leaf needs nothing here: the clone put the child into it. Of v1, "0" in tasks moves a process with one thread
 * as cgroup.procs does, but without cgroup_threadgroup_rwsem, whose writer waits for every processor (RCU): 16 ms. */
static int enter_cgroups1(const struct host *host)
{
	for (size_t i = 0; i < MAX_CGROUP1 && host->cgroup1_fds[i] >= 0; i++) {
		int error = file_write(host->cgroup1_fds[i], "tasks", "0", 1);
		if (error)
			return error;
	}
	return 0;
}

/* The namespaces in which the process differs from us, as setns takes them. */
static int differing_namespaces(pid_t pid, int *flags)
{
	static const struct {
		const char *name;
		int flag;
	} KINDS[] = {
		{"cgroup", CLONE_NEWCGROUP}, {"ipc", CLONE_NEWIPC},   {"mnt", CLONE_NEWNS},  {"net", CLONE_NEWNET},
		{"pid", CLONE_NEWPID},       {"user", CLONE_NEWUSER}, {"uts", CLONE_NEWUTS}, {"time", CLONE_NEWTIME},
	};
	*flags = 0;
	for (size_t i = 0; i < sizeof(KINDS) / sizeof(KINDS[0]); i++) {
		char path[64];
		struct stat ours, theirs;
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, KINDS[i].name);
		if (stat(path, &theirs) < 0)
			return errno == ENOENT ? -ESRCH : -errno;
		snprintf(path, sizeof(path), "/proc/self/ns/%s", KINDS[i].name);
		if (stat(path, &ours) < 0)
			return -errno;
		if (ours.st_ino != theirs.st_ino || ours.st_dev != theirs.st_dev)
			*flags |= KINDS[i].flag;
	}
	return 0;
}

static int give_streams(const struct setup *setup, pid_t pid)
{
	char path[64], uids[ID_MAP_BYTES], gids[ID_MAP_BYTES];
	snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
	int length = file_read(AT_FDCWD, path, uids, sizeof(uids));
	snprintf(path, sizeof(path), "/proc/%d/gid_map", pid);
	if (length >= 0)
		length = file_read(AT_FDCWD, path, gids, sizeof(gids));
	return length < 0 ? length : userns_give_streams(&setup->ends, uids, gids);
}

/* Nothing of the host's may be found in us once processes of the workload can see us (CVE-2016-9962). */
static int forget_host(const struct setup *setup, int pidfd, int root)
{
	const struct ends *ends = &setup->ends;
	int keep[MAX_KEPT_FDS] = {ends->status, ends->start, ends->io[0], ends->io[1], ends->io[2], pidfd, root};
	size_t kept = root < 0 ? 6 : 7;
	for (int number = 3; number < MAX_CHILD_FDS; number++)
		if (descriptor_given(setup, number))
			keep[kept++] = setup->host->child_fds[number];
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	return fd_keep_only(keep, kept);
}

/* A pid namespace takes effect for children only. The one that goes on becomes the shim's own child, so that the
 * shim can reap it; we tell its number, as the host sees it, and end. It waits for that: what it has to say itself
 * would be taken for ours, and one whose number nobody was told must not go on. */
static int become_inner(const struct setup *setup)
{
	int pidfd = -1, told[2];
	char word = 0;
	struct clone_args arguments = {
		.flags = CLONE_PARENT | CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
	};
	struct report report = {.kind = REPORT_INNER};
	if (pipe2(told, O_CLOEXEC) < 0)
		return -errno;
	report.pid = sys_clone3(&arguments);
	if (report.pid == 0) {
		close(told[1]);
		while (read(told[0], &word, 1) < 0 && errno == EINTR)
			;
		if (read(told[0], &word, 1) != 0 || !word) /* which is when its maker has ended */
			_exit(125);
		close(told[0]);
		return 0;
	}
	if (report.pid < 0)
		return report.pid == -ENOMEM ? -ESRCH : report.pid; /* the namespace's first process has ended */
	FAULT("inner-made");
	int error = report_send(setup->ends.status, &report, pidfd);
	word = 1;
	if (error || write(told[1], &word, 1) != 1)
		sys_pidfd_send_signal(pidfd, SIGKILL);
	_exit(error ? 125 : 0); /* which closes the pipe */
}

/* Those of the host's that the plan names; *forks when a child of ours has to be the process. */
static int enter_joined(const struct host *host, bool *forks)
{
	for (size_t i = 0; i < MAX_JOINED && host->joined[i].kind; i++) {
		if (setns(host->joined[i].fd, (int)host->joined[i].kind) < 0)
			return -errno;
		*forks |= host->joined[i].kind == CLONE_NEWPID;
	}
	return 0;
}

int namespaces_enter(struct setup *setup)
{
	bool own_user = setup->host->userns_fd >= 0 || (setup->shape->flags & CLONE_NEWUSER), forks = own_user;
	int error = setup->shape->runtime ? 0 : enter_cgroups1(setup->host);
	if (error)
		return error;
	if (setup->shape->runtime) /* which takes the process there itself */
		return own_user ? userns_enter(setup) : 0;
	/* While we still may: in a user namespace of its own nothing of the host's can be joined any more. */
	if (setup->host->netns_fd >= 0 && setns(setup->host->netns_fd, CLONE_NEWNET) < 0)
		return -errno;
	error = enter_joined(setup->host, &forks);
	if (!error && own_user)
		error = userns_enter(setup);
	if (error)
		return error;
	/* Not part of the clone: the namespace's root is the cgroup that its maker is in, and the clone's maker
	 * is the shim. */
	if ((setup->shape->flags & CLONE_NEWCGROUP) && unshare(CLONE_NEWCGROUP) < 0)
		return -errno;
	return forks ? become_inner(setup) : 0;
}

int namespaces_visit(const struct setup *setup, pid_t main_pid)
{
	int flags;
	CLEANUP_FD int pidfd = fd_high(sys_pidfd_open(main_pid));
	if (pidfd < 0)
		return pidfd;
	int keep[] = {setup->ends.status,
	              setup->ends.start,
	              setup->ends.io[0],
	              setup->ends.io[1],
	              setup->ends.io[2],
	              setup->lower,
	              pidfd};
	int error = differing_namespaces(main_pid, &flags);
	if (!error && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		error = -errno;
	if (!error)
		error = fd_keep_only(keep, sizeof(keep) / sizeof(keep[0]));
	flags &= CLONE_NEWNS | CLONE_NEWUSER | (int)(setup->shape->flags & CLONE_NEWUTS);
	if (!error && flags && setns(pidfd, flags) < 0)
		error = -errno;
	if (!error && (flags & CLONE_NEWUSER))
		error = userns_become_root(setup->shape);
	return error;
}

/* The root of a process that is in a mount namespace of others: that namespace's own is another. */
static int open_root(pid_t pid)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/root", pid);
	int fd = fd_high(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
	return fd < 0 ? -errno : fd;
}

int namespaces_join(const struct setup *setup, pid_t main_pid)
{
	int flags;
	/* The shim has not reaped it, so the number cannot have passed to another process. */
	CLEANUP_FD int pidfd = fd_high(sys_pidfd_open(main_pid));
	if (pidfd < 0)
		return pidfd;
	int error = differing_namespaces(main_pid, &flags);
	if (!error)
		error = enter_cgroups1(setup->host);
	if (!error && (flags & CLONE_NEWUSER))
		error = give_streams(setup, main_pid);
	CLEANUP_FD int root = setup->shape->foreign && !error ? open_root(main_pid) : -1;
	if (!error)
		error = setup->shape->foreign && root < 0 ? root : forget_host(setup, pidfd, root);
	if (!error && flags && setns(pidfd, flags) < 0)
		error = -errno;
	fd_close(&pidfd);
	if (!error && (flags & CLONE_NEWUSER))
		error = userns_become_root(setup->shape);
	if (!error && root >= 0 && (fchdir(root) < 0 || chroot(".") < 0))
		error = -errno;
	fd_close(&root);
	return error ? error : become_inner(setup);
}
