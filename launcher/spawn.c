#define _GNU_SOURCE
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cgroup.h"
#include "child.h"
#include "descriptor.h"
#include "kernel.h"

#define LISTENER_POLL_MS 5
#define NAMESPACE_FLAGS                                                                                                \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

#define END_MS 1000

static int fail(struct failure *why, const struct plan *plan, const struct shape *shape, int error)
{
	if (shape->count > 0)
		failure_of_op(why, plan, shape->first, -error, NULL);
	else
		*why = (struct failure){.index = UINT32_MAX, .error = -error, .exit_code = 125, .text = "spawn"};
	return error;
}

static void close_ends(struct ends *ends)
{
	fd_close(&ends->status);
	fd_close(&ends->start);
	for (int i = 0; i < 3; i++)
		fd_close(&ends->io[i]);
}

void child_close(struct child *child)
{
	fd_close(&child->pidfd);
	fd_close(&child->start_fd);
	fd_close(&child->status_fd);
	fd_close(&child->tty);
	for (int i = 0; i < 3; i++)
		fd_close(&child->io[i]);
}

static void reap(pid_t pid)
{
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* One report, with the descriptor that came along or -1. Returns 0 or -errno; -EPIPE when the child is gone. */
static int receive(int socket, int flags, struct report *report, int *fd)
{
	struct iovec part = {.iov_base = report, .iov_len = sizeof(*report)};
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	ssize_t got;
	do
		got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | flags);
	while (got < 0 && errno == EINTR);
	*fd = -1;
	if (got <= 0)
		return got < 0 ? -errno : -EPIPE;
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof(int))) {
		memcpy(fd, CMSG_DATA(header), sizeof(*fd));
		*fd = fd_high(*fd);
	}
	return got == sizeof(*report) ? 0 : -EBADMSG;
}

/* The processes that it told of before it ended, and that nobody has heard of yet. */
static void discard_told(int socket)
{
	struct report report;
	int fd;
	while (receive(socket, MSG_DONTWAIT, &report, &fd) == 0) {
		if (fd >= 0 && (report.kind == REPORT_INNER || report.kind == REPORT_MADE)) {
			sys_pidfd_send_signal(fd, SIGKILL);
			reap(report.pid);
		}
		fd_close(&fd);
	}
}

/* End a child that will not run, and leave nothing of it. It may be another's to reap: its end is awaited first. */
static void discard(struct child *child)
{
	struct pollfd end = {.fd = child->pidfd, .events = POLLIN};
	if (child->pidfd >= 0 && sys_pidfd_send_signal(child->pidfd, SIGKILL) == 0)
		poll(&end, 1, -1);
	reap(child->pid);
	if (child->status_fd >= 0)
		discard_told(child->status_fd);
	child_close(child); /* what a helper waits for */
	reap(child->helper);
	child->pid = -1;
}

/* One standard stream: what the host stage was given, /dev/null, or a pipe whose other end is ours. */
static int make_stream(const struct host *host, const struct shape *shape, int number, int *theirs, int *ours)
{
	int ends[2], error;
	if (shape->terminal)
		return 0;
	int given = !shape->joins && !shape->tool && host->child_fds[number] >= 0 ? host->child_fds[number]
	                                                                          : host->streams[number];
	if (given >= 0) {
		*theirs = result(fcntl(given, F_DUPFD_CLOEXEC, MAX_CHILD_FDS));
		return *theirs < 0 ? *theirs : 0;
	}
	if (number == STDIN_FILENO && shape->stdin_mode == 0) {
		*theirs = fd_high(open("/dev/null", O_RDONLY | O_CLOEXEC));
		return *theirs < 0 ? *theirs : 0;
	}
	error = fd_pipe(ends);
	if (error)
		return error;
	*theirs = ends[number == STDIN_FILENO ? 0 : 1];
	*ours = ends[number == STDIN_FILENO ? 1 : 0];
	return 0;
}

static int make_ends(const struct host *host, const struct shape *shape, struct child *child, struct ends *ends)
{
	int status[2], start[2];
	int error = fd_socketpair(SOCK_SEQPACKET, status);
	if (error)
		return error;
	child->status_fd = status[0];
	ends->status = status[1];
	if (host->wait_fd >= 0 && !shape->joins) {
		ends->start = fcntl(host->wait_fd, F_DUPFD_CLOEXEC, MAX_CHILD_FDS);
		error = ends->start < 0 ? -errno : 0;
	} else {
		error = fd_socketpair(SOCK_STREAM, start);
		ends->start = error ? -1 : start[0];
		child->start_fd = error ? -1 : start[1];
	}
	for (int i = 0; i < 3 && !error; i++)
		error = make_stream(host, shape, i, &ends->io[i], &child->io[i]);
	return error;
}

/* The cgroup namespace comes after the cgroups; and a user namespace before all others, which it shall own. */
static uint64_t clone_namespaces(const struct host *host, const struct shape *shape)
{
	return host->userns_fd >= 0 || (shape->flags & CLONE_NEWUSER) || shape->tool
	               ? 0
	               : shape->flags & ~(uint64_t)CLONE_NEWCGROUP;
}

static pid_t clone_child(const struct host *host, const struct shape *shape, pid_t main_pid, int *pidfd)
{
	struct clone_args arguments = {
		.flags = CLONE_PIDFD | clone_namespaces(host, shape) | (host->orphans ? CLONE_PARENT : 0),
		.pidfd = (uint64_t)(uintptr_t)pidfd,
		.exit_signal = host->orphans ? 0 : SIGCHLD, /* CLONE_PARENT: as ours */
	};
	if (shape->flags & ~(uint64_t)NAMESPACE_FLAGS)
		return -EINVAL;
	if (host->cgroup2_fd >= 0 && !shape->tool && !shape->runtime) { /* a paused workload can be looked into */
		arguments.flags |= CLONE_INTO_CGROUP;
		arguments.cgroup = (unsigned)host->cgroup2_fd;
	}
	pid_t pid = sys_clone3(&arguments);
	if (pid != -EBUSY || !shape->joins)
		return pid;
	/* The main process has given controllers to groups below, as systemd does: then no process may be in this one.
	 */
	CLEANUP_FD int below = cgroup_below(host->cgroup2_fd, main_pid);
	arguments.cgroup = (unsigned)below;
	return below < 0 ? pid : sys_clone3(&arguments);
}

/* The process that joined the pid namespace takes the place of the one that made it, which has ended. */
static void replace(struct child *child, pid_t pid, int pidfd)
{
	reap(child->pid);
	fd_close(&child->pidfd);
	child->maker = child->pid;
	child->pid = pid;
	child->pidfd = pidfd;
}

/* The process that another runtime has made. That runtime has ended, so we, a subreaper, are its parent. */
static int take(struct child *child, pid_t pid, int *pidfd)
{
	siginfo_t info;
	if (pid == child->pid)
		return -ECHILD;
	if (waitid((idtype_t)P_PIDFD, (id_t)*pidfd, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
		return -errno;
	fd_close(&child->pidfd);
	child->helper = child->pid;
	child->pid = pid;
	child->pidfd = fd_take(pidfd);
	return 0;
}

/* The byte that await_parent reads. A socket, not a pipe: to a child that has died it is an error, not SIGPIPE. */
static int nod(const struct child *child)
{
	return send(child->start_fd, "", 1, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Returns when the child has something to say. A filter may hold up its very next call until a listener has answered:
 * that one's descriptor is fetched, not sent. A client that is gone, for it was killed, awaits nothing any more. */
static int await_word(const struct host *host, const struct child *child)
{
	struct pollfd words[] = {{.fd = child->status_fd, .events = POLLIN}, {.fd = host->client_fd}};
	for (;;) {
		int spoke = poll(words, 2, host->listener ? LISTENER_POLL_MS : -1);
		int number = host->listener ? __atomic_load_n(host->listener, __ATOMIC_ACQUIRE) : 0;
		if (number > 0) {
			CLEANUP_FD int fd = fd_high(result(syscall(SYS_pidfd_getfd, child->pidfd, number, 0)));
			*host->listener = 0;
			int error = fd < 0 ? fd : host->on_listener(host, child->pid, fd);
			if (error)
				return error;
		}
		if (spoke > 0)
			return words[1].revents ? -ECANCELED : 0;
	}
}

/* Hooks of the caller's run while the namespaces are there and the root is not yet. */
static int answer_hooks(const struct host *host, const struct child *child)
{
	int error = host->on_hooks ? host->on_hooks(host, child->pid) : -ENOSYS;
	return error ? error : fd_send(child->status_fd, "", 1, -1);
}

/* A tree for a child that may not make it; without one it is told so. */
static int answer_map(const struct host *host, const struct child *child, const struct plan *plan, size_t index,
                      int source)
{
	if (source < 0 || index >= plan->count || plan->ops[index].code != OP_BIND_IDMAPPED)
		return -EBADMSG;
	CLEANUP_FD int tree = userns_map_for(host, child->pidfd, &plan->ops[index], source);
	return fd_send(child->status_fd, "", 1, tree < 0 ? -1 : tree);
}

/* Returns 1 when the child is ready, 0 to go on, or -errno with *why filled in. */
static int handle(const struct host *host, struct child *child, const struct plan *plan, const struct shape *shape,
                  struct failure *why)
{
	struct report report;
	CLEANUP_FD int fd = -1;
	int error = await_word(host, child);
	if (!error)
		error = receive(child->status_fd, 0, &report, &fd);
	if (!error && report.kind == REPORT_HOOKS)
		error = answer_hooks(host, child);
	if (!error && report.kind == REPORT_MAP)
		error = answer_map(host, child, plan, report.index, fd);
	if (error)
		return fail(why, plan, shape, error);
	switch (report.kind) {
	case REPORT_READY: return 1;
	case REPORT_HOOKS:
	case REPORT_MAP: return 0;
	case REPORT_MADE:
		error = take(child, report.pid, &fd);
		if (error)
			failure_of_op(why, plan, shape->first + shape->count - 1, -error, NULL);
		return error;
	case REPORT_INNER: replace(child, report.pid, fd_take(&fd)); return 0;
	case REPORT_TERMINAL: child->tty = fd_take(&fd); return 0;
	case REPORT_FAILED: *why = report.failure; return why->error > 0 ? -why->error : -EPROTO;
	}
	return fail(why, plan, shape, -EBADMSG);
}

/* A process born into a frozen cgroup would never answer. */
static bool is_frozen(const struct host *host)
{
	char state[8];
	return host->cgroup2_fd >= 0 && file_read(host->cgroup2_fd, "cgroup.freeze", state, sizeof(state)) > 0 &&
	       state[0] == '1';
}

/* Of a child that is gone without a word but was not killed by anybody: its filter refuses what a start takes. */
static void blame_filter(const struct child *child, const struct plan *plan, const struct shape *shape,
                         struct failure *why)
{
	siginfo_t info = {0};
	struct pollfd end = {.fd = child->pidfd, .events = POLLIN};
	if (poll(&end, 1, END_MS) <= 0 ||
	    waitid((idtype_t)P_PIDFD, (id_t)child->pidfd, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
	    info.si_status == SIGKILL)
		return;
	for (size_t i = shape->first; i < shape->first + shape->count; i++)
		if (plan->ops[i].code == OP_SECCOMP)
			failure_of_op(why, plan, i, EPERM, "refuses what a start takes");
}

/* Wait until the child has performed its plan, or has failed and is no more. */
static int await_ready(const struct host *host, struct child *child, const struct plan *plan, const struct shape *shape,
                       struct failure *why)
{
	int error = 0;
	while (!error)
		error = handle(host, child, plan, shape, why);
	if (error == -EPIPE)
		blame_filter(child, plan, shape, why);
	if (error < 0)
		discard(child);
	return error < 0 ? error : 0;
}

/* bytes: NULL, or where a child ahead of its plan will find it. */
static int make_child(const struct host *host, const struct plan *plan, const struct shape *shape, pid_t main_pid,
                      const void *bytes, struct child *child, struct failure *why)
{
	struct ends ends = {-1, -1, {-1, -1, -1}};
	*child = (struct child){.pid = -1, .pidfd = -1, .start_fd = -1, .status_fd = -1, .io = {-1, -1, -1}, .tty = -1};
	int error = make_ends(host, shape, child, &ends);
	if (!error) {
		child->pid = clone_child(host, shape, main_pid, &child->pidfd);
		if (child->pid == 0 && bytes)
			child_run_ahead(host, plan, shape, &ends, bytes);
		if (child->pid == 0)
			child_run(host, plan, shape, main_pid, &ends);
		error = child->pid < 0 ? child->pid : 0;
	}
	close_ends(&ends);
	child->pidfd = fd_high(child->pidfd);
	if (!error)
		return await_ready(host, child, plan, shape, why);
	fail(why, plan, shape, error);
	discard(child);
	return error;
}

static int take_over(const struct host *host, struct ahead *ahead, const struct plan *plan, const struct shape *shape,
                     struct child *child, struct failure *why)
{
	*child = ahead->child;
	ahead->bytes = NULL;
	for (int i = 0; i < 3; i++)
		if (shape->terminal || (i == STDIN_FILENO && shape->stdin_mode == 0))
			fd_close(&child->io[i]);
	int error = nod(child);
	if (!error)
		return await_ready(host, child, plan, shape, why);
	fail(why, plan, shape, error);
	discard(child);
	return error;
}

int spawn_ahead(struct host *host, const struct plan *plan, const void *bytes, struct ahead *ahead, struct failure *why)
{
	struct shape shape = shape_of(plan);
	shape.stdin_mode = 1;
	*ahead = (struct ahead){.bytes = bytes, .plan = plan};
	int error = make_child(host, plan, &shape, 0, bytes, &ahead->child, why);
	host->ahead = error ? NULL : ahead;
	return error;
}

static bool is_last(enum op_code code)
{
	return code == OP_EXEC || code == OP_TOOL || code == OP_RUNTIME;
}

int spawn_child(const struct host *host, const struct plan *plan, pid_t main_pid, struct child *child,
                struct failure *why)
{
	struct shape shape = shape_of(plan);
	int error = shape.count > 0 && is_last(plan->ops[shape.first + shape.count - 1].code) ? 0 : -EINVAL;
	if (!error && shape.tool && main_pid <= 0)
		error = -ESRCH;
	if (!error && shape.joins && (main_pid <= 0 || is_frozen(host)))
		error = main_pid <= 0 ? -ESRCH : -EBUSY;
	if (!error && shape.runtime && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		error = -errno;
	*child = (struct child){.pid = -1, .pidfd = -1, .start_fd = -1, .status_fd = -1, .io = {-1, -1, -1}, .tty = -1};
	if (error)
		return fail(why, plan, &shape, error);
	struct ahead *ahead = !shape.joins && !shape.tool && host->ahead && host->ahead->bytes ? host->ahead : NULL;
	if (ahead && shape.flags == shape_of(ahead->plan).flags)
		error = take_over(host, ahead, plan, &shape, child, why);
	else
		error = make_child(host, plan, &shape, main_pid, NULL, child, why);
	child->stdin_open = shape.stdin_mode != 0;
	child->stdin_keeps = shape.stdin_mode == 2;
	return error;
}

int spawn_start(struct child *child, struct failure *why)
{
	struct report report = {.kind = REPORT_READY};
	CLEANUP_FD int fd = -1;
	int error = nod(child);
	*why = (struct failure){.index = UINT32_MAX, .error = error ? -error : EPROTO, .exit_code = 125};
	snprintf(why->text, sizeof(why->text), "start");
	fd_close(&child->start_fd);
	if (!error) {
		error = receive(child->status_fd, 0, &report, &fd);
		/* The socket is close-on-exec: its end is the proof that exec succeeded. */
		if (error == -EPIPE) {
			fd_close(&child->status_fd);
			reap(child->helper);
			return 0;
		}
		why->error = error ? -error : why->error;
	}
	if (!error && report.kind == REPORT_FAILED)
		*why = report.failure;
	discard(child);
	return -why->error;
}
